/*
 * test_peers.js - @fastify/rate-limit's own tests, which its package brings, with our store in the place of its store in memory.
 *
 * Its tests set the clock, for windows of a second or two. Here windows are 600 times as long, so that none ends while a test runs, and what a
 * test sets is a clock of the store's: it tells how long a window still is, and which of its windows a key is in. Left out are the tests of
 * what our store refuses, and two that wait for a window's end.
 */
'use strict';
const assert = require('assert');
const {execFile} = require('child_process');
const fs = require('fs');
const path = require('path');
const {before, test} = require('node:test');
const {BUILD, LIBRARY, folder, startAgent} = require('./support.js');

const MODULES = path.join(BUILD, 'tests', 'node', 'node_modules');
const PACKAGE = path.join('@fastify', 'rate-limit');
const skip = parseInt(process.versions.node) < 20 ? 'fastify is for Node.js 20 and later' :
	!fs.existsSync(path.join(MODULES, PACKAGE, 'test')) && 'there is no @fastify/rate-limit: is the package registry in reach?';

/* Time goes on when a test lets it. */
const CLOCK = `
	const {timers} = require('node:test').mock;
	globalThis.ticked = 0;
	timers.enable = timers.reset = () => {};
	timers.tick = (ms) => { globalThis.ticked += ms; };
`;

const STORE = `
	const {connect} = require(process.env.STINT);
	const {makeFastifyRateLimitStore} = require(process.env.STINT + '/fastify.js');
	const long = (timeWindow) => (typeof timeWindow === 'number' ? Math.min(timeWindow * 600, 2678400000) : timeWindow);
	let count = 0;

	/* The next window of a key counts as another key. */
	function addClock(store) {
		const windows = new Map();
		const find = (key, timeWindow) => {
			const window = windows.get(key) || {turn: 0, began: -Infinity};
			return ticked - window.began < timeWindow ? window : {turn: window.turn + 1, began: ticked};
		};
		const call = (name) => {
			const own = store[name];
			store[name] = (key, callback, timeWindow, max) => {
				const window = find(key, timeWindow);
				if (name === 'incr')
					windows.set(key, window);
				const tell = (told) => told && {...told, ttl: told.current === 0 ? told.ttl : window.began + timeWindow - ticked};
				own.call(store, key + ' ' + window.turn, (error, told) => callback(error, tell(told)), long(timeWindow), max);
			};
		};
		call('incr');
		call('read');
		const child = store.child;
		store.child = (params) => addClock(child.call(store, {...params, timeWindow: long(params.timeWindow)}));
		return store;
	}

	module.exports = function (continueExceeding, exponentialBackoff) {
		const Store = makeFastifyRateLimitStore({policy: 'peer-' + process.pid + '-' + ++count, timeoutMs: 60000, cacheClient: connect(process.env.STINT_SOCKET)});
		return addClock(new Store({continueExceeding, exponentialBackoff}));
	};
`;

/* What our store refuses, or would if it were told, which only theirs is here; and what waits for a window's end. */
const REFUSED = ['continueExceeding must be left out', 'exponentialBackoff must be left out', 'ban is 1, must be left out'];
const LEFT_OUT = ['With onBanReach option', 'With ban', 'With async/await keyGenerator', 'With multiple routes and custom groupId'];

let agent, place;

/* A copy with our store, beside all that it needs. */
function copyPackage() {
	const modules = path.join(folder, 'node_modules');
	fs.mkdirSync(path.join(modules, '@fastify'), {recursive: true});
	const link = (name) => fs.symlinkSync(path.join(MODULES, name), path.join(modules, name));
	for (const name of fs.readdirSync(MODULES).filter((name) => name !== '@fastify'))
		link(name);
	for (const name of fs.readdirSync(path.join(MODULES, '@fastify')).filter((name) => name !== 'rate-limit'))
		link(path.join('@fastify', name));
	place = path.join(modules, PACKAGE);
	fs.cpSync(path.join(MODULES, PACKAGE), place, {recursive: true});
	fs.writeFileSync(path.join(place, 'store', 'LocalStore.js'), STORE);
	fs.writeFileSync(path.join(folder, 'clock.js'), CLOCK);
}

before(async () => {
	if (skip)
		return;
	agent = await startAgent();
	copyPackage();
});

/* Each test of a file: its name, and what was wrong, or undefined. */
function runTheirs(name) {
	const args = ['--require', path.join(folder, 'clock.js'), '--test-reporter=tap', path.join(place, 'test', `${name}.test.js`)];
	const options = {timeout: 60000, env: {...process.env, NODE_TEST_CONTEXT: undefined, STINT: LIBRARY, STINT_SOCKET: agent.socketPath}};
	return new Promise((resolve) => execFile(process.execPath, args, options, (error, output) => {
		const parts = output.split(/^(?=(?:not )?ok \d+ - )/m).slice(1);
		resolve(parts.map((part) => [/^(?:not )?ok \d+ - (.*)/.exec(part)[1], part.startsWith('not') ? part : undefined]));
	}));
}

test('theirs', {skip}, async () => {
	const files = [['global-rate-limit', 30], ['route-rate-limit', 37], ['group-rate-limit', 4], ['not-found-handler-rate-limited', 2],
		['create-rate-limit', 4], ['ip-normalization', 4], ['github-issues/issue-215', 1]];
	const all = await Promise.all(files.map(([name]) => runTheirs(name)));
	files.forEach(([name, least], i) => {
		const faults = all[i].filter(([what, fault]) => fault !== undefined && !LEFT_OUT.includes(what) && !REFUSED.some((reason) => fault.includes(reason)));
		assert.deepStrictEqual(faults, []);
		const passed = all[i].filter(([, fault]) => fault === undefined).length;
		assert.ok(passed >= least, `${name}: ${passed} pass`);
	});
});
