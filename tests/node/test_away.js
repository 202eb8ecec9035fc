/*
 * test_away.js - limiters whose agent is away, knows no such policy, or can't answer before they are closed.
 */
'use strict';
const assert = require('assert');
const {execFileSync} = require('child_process');
const path = require('path');
const {test} = require('node:test');
const {BUILD, LIBRARY, startAgent, until} = require('./support.js');
const {away, closeWhileItWaits, make} = require('./limiters.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);

/* Nothing runs meanwhile. */
const block = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

test('no agent: a lenient limit inside the process; or all, or none', async () => {
	const limiter = make({policy: 'away', cacheClient: away, fallbackMaxRequests: 7, timeoutMs: 50});
	let allowed = 0;
	for (let i = 0; i < 20; i++)
		allowed += await limiter.isAllowed('a');
	assert.strictEqual(allowed, 7);
	assert.strictEqual((await limiter.check('a')).source, 'local');
	limiter.close();
	for (const localMaxRequests of [0, 3]) {
		const other = make({policy: 'away', cacheClient: away, localMaxRequests, timeoutMs: 50});
		let local = 0;
		for (let i = 0; i < 20; i++)
			local += await other.isAllowed('a');
		assert.strictEqual(local, localMaxRequests);
		other.close();
	}
	for (const [onError, wanted] of [['allow', true], ['deny', false]]) {
		const other = make({policy: 'away', cacheClient: away, onError, timeoutMs: 50});
		for (let i = 0; i < 20; i++)
			assert.strictEqual(await other.isAllowed('a'), wanted);
		other.close();
	}
});

test('an agent that comes, goes and comes again', async () => {
	const own = await startAgent();
	const limiter = make({policy: 'again', cacheClient: connect(own.socketPath), maxRequests: 1000, timeoutMs: 100});
	assert.strictEqual((await limiter.check('a')).source, 'database');
	await own.stop();
	await until(async () => (await limiter.check('b' + Math.random())).source === 'local', 'the process decides by itself');
	await own.start();
	await until(async () => (await limiter.check('c' + Math.random())).source === 'database', 'the agent decides again');
	limiter.close();
});

test('limits that the policy must have: what is denied when the limiter is closed may come again after a second', async () => {
	const own = await startAgent();
	const limiter = new DistributedRateLimiter({policy: 'present', mustExist: true, cacheClient: connect(own.socketPath), timeoutMs: 60000});
	const told = await closeWhileItWaits(own, [limiter], () => [limiter.check('a'), DistributedRateLimiter.checkAll([{limiter, clientId: 'b'}])]);
	for (const {allowed, limit, retryAfterMs, resetAfterMs, timeWindowMs} of told)
		assert.deepStrictEqual([allowed, limit, retryAfterMs, resetAfterMs, timeWindowMs], [false, 0, 1000, 1000, 0]);
	assert.deepStrictEqual(limiter.headers(told[0], {xRateLimit: true}), [['Retry-After', '1']]); // a limit of 0 would be that of a blocked client
});

test('of several checks that fail at once each tells its own policy', async () => {
	const policies = ['absent-1', 'absent-2', 'absent-3'];
	const limiters = policies.map((policy) => new DistributedRateLimiter({policy, mustExist: true}));
	const ask = () => Promise.all(limiters.map((limiter) => limiter.check('a')));
	await ask();
	const waiting = ask();
	block(200); // so that the answers come together
	assert.deepStrictEqual((await waiting).map(({error}) => /policy "(.*)":/.exec(error)[1]), policies);
	for (const limiter of limiters)
		limiter.close();
});

test('peek takes nothing of the limit inside the process either', async () => {
	const limiter = new DistributedRateLimiter({policy: 'absent-peek', mustExist: true, localMaxRequests: 2, fallbackTimeWindowMs: 2678400000});
	for (let i = 0; i < 3; i++) {
		const peeked = await limiter.peek('a');
		assert.deepStrictEqual([peeked.allowed, peeked.remaining, limiter.refund(peeked)], [true, 2, false]);
	}
	assert.deepStrictEqual([await limiter.isAllowed('a'), await limiter.isAllowed('a'), await limiter.isAllowed('a')], [true, true, false]);
	assert.strictEqual((await limiter.peek('a')).allowed, false);
	limiter.close();
});

test('what peek says by itself is no decision', async () => {
	const limiter = new DistributedRateLimiter({policy: 'absent-counted', mustExist: true, localMaxRequests: 2, fallbackTimeWindowMs: 2678400000});
	for (let i = 0; i < 3; i++)
		assert.strictEqual((await limiter.peek('a')).source, 'local');
	assert.strictEqual((await limiter.check('a')).source, 'local');
	await make({policy: 'absent-counted'}).check('b'); // now there is such a policy, for which it is counted
	assert.strictEqual((await limiter.check('c')).source, 'database');
	const metrics = execFileSync(path.join(BUILD, 'stint'), ['metrics'], {encoding: 'utf8'});
	const decided = metrics.split('\n').filter((line) => /^stint_decisions_total.*"absent-counted".*"local"/.test(line) && !line.endsWith(' 0'));
	assert.deepStrictEqual(decided, ['stint_decisions_total{policy="absent-counted",outcome="allowed",source="local"} 1']);
	limiter.close();
});

test('a shadow denies nobody when no agent answers', async () => {
	const nobody = make({policy: 'shadow-away', cacheClient: away, shadow: true, onError: 'deny', timeoutMs: 50});
	for (let i = 0; i < 3; i++) {
		const {allowed, shadowDenied} = await nobody.check('a');
		assert.deepStrictEqual([allowed, shadowDenied], [true, true]);
	}
	nobody.close();
	const own = await startAgent();
	const waits = make({policy: 'shadow-close', cacheClient: connect(own.socketPath), shadow: true, timeoutMs: 60000});
	const told = await closeWhileItWaits(own, [waits], () => [waits.check('a'), DistributedRateLimiter.checkAll([{limiter: waits, clientId: 'b'}])]);
	assert.deepStrictEqual(told.map(({allowed, shadowDenied}) => [allowed, shadowDenied]), [[true, true], [true, true]]);
});

test('close: what waits is denied at once, or allowed; nothing is decided after it', async () => {
	const own = await startAgent();
	for (const [onError, wanted] of [[undefined, false], ['deny', false], ['allow', true]]) {
		const limiter = make({policy: 'close', cacheClient: connect(own.socketPath), onError, timeoutMs: 60000});
		const [allowed, verdict] = await closeWhileItWaits(own, [limiter, limiter], () => [limiter.isAllowed('a' + onError), limiter.check('b' + onError)]);
		assert.strictEqual(allowed, wanted);
		assert.strictEqual(verdict.allowed, wanted);
		assert.match(verdict.error, /cancelled/);
		await assert.rejects(limiter.isAllowed('a'), /^TypeError: this limiter is closed$/);
		assert.throws(() => limiter.tryCheck('a'), /^TypeError: this limiter is closed$/);
	}
});
