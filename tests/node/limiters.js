/*
 * limiters.js - what the tests of the class share: limiters on an agent of the test's own, or on none.
 */
'use strict';
const {before} = require('node:test');
const {LIBRARY, folder, startAgent} = require('./support.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);

const WINDOW_MS = 600000; // longer than a test
const STORE = {get() {}, set() {}, incrementAndGet() {}, decrementAndGet() {}};
const away = connect(folder + '/nobody.sock');

before(async () => {
	process.env.STINT_SOCKET = (await startAgent()).socketPath;
});

/** Limiters ask the agent that this file has started, unless the options say another. */
const make = (options) => new DistributedRateLimiter({maxRequests: 5, timeWindowMs: WINDOW_MS, ...options});

/** Closes `limiters` while an agent of theirs, which stands still, has what `ask` asks: gives what they are told without it. */
async function closeWhileItWaits(agent, limiters, ask) {
	await limiters[0].isAllowed('known');
	agent.signal('SIGSTOP');
	const waiting = ask();
	for (const limiter of limiters)
		limiter.close();
	const told = await Promise.all(waiting);
	agent.signal('SIGCONT');
	return told;
}

module.exports = {STORE, WINDOW_MS, away, closeWhileItWaits, make};
