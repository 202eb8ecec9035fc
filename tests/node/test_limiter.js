/*
 * test_limiter.js - the class, on this host's agent: what it decides.
 */
'use strict';
const assert = require('assert');
const {test} = require('node:test');
const {LIBRARY, until} = require('./support.js');
const {STORE, WINDOW_MS, make} = require('./limiters.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);

test('as many as the limit, not one more', async () => {
	const limiter = make({policy: 'plain'});
	const told = [];
	for (let i = 0; i < 8; i++)
		told.push(await limiter.isAllowed('a'));
	assert.deepStrictEqual(told, [true, true, true, true, true, false, false, false]);
	assert.strictEqual(await limiter.isAllowed('b'), true);
	limiter.close();
});

test('as many as the limit when all are asked at once', async () => {
	const limiter = make({policy: 'at-once', maxRequests: 50});
	const told = await Promise.all(Array.from({length: 300}, () => limiter.isAllowed('a')));
	assert.strictEqual(told.filter((allowed) => allowed).length, 50);
	limiter.close();
});

test('thousands of new clients at once: more than one batch of answers', async () => {
	const limiter = make({policy: 'crowd', maxRequests: 1, timeoutMs: 60000});
	const ids = Array.from({length: 2000}, (_, i) => 'client-' + i);
	const first = await Promise.all(ids.map((id) => limiter.check(id)));
	assert.ok(first.every((verdict) => verdict.allowed && verdict.remaining === 0 && verdict.source === 'database'));
	assert.ok((await Promise.all(ids.map((id) => limiter.isAllowed(id)))).every((allowed) => !allowed));
	limiter.close();
});

test('a verdict in full', async () => {
	const limiter = make({policy: 'verdict'});
	const {resetAfterMs, ...first} = await limiter.check('a', {cost: 2});
	assert.deepStrictEqual(first, {allowed: true, shadowDenied: false, limit: 5, remaining: 3, retryAfterMs: 0, timeWindowMs: WINDOW_MS, source: 'database', policy: 'verdict',
		reason: 'admitted'});
	assert.ok(resetAfterMs > 0);
	const denied = await limiter.check('a', {cost: 4});
	assert.strictEqual(denied.allowed, false);
	assert.strictEqual(denied.reason, 'over_limit');
	assert.ok(denied.retryAfterMs > 0);
	assert.strictEqual((await limiter.check('a', {cost: 6})).reason, 'cost_above_limit');
	assert.strictEqual((await limiter.check('a', {cost: 3})).remaining, 0);
	limiter.close();
});

test('the longest windows: times that 31 bits don\'t hold', async () => {
	const timeWindowMs = 2678400000;
	const limiter = make({policy: 'long', timeWindowMs, algorithm: 'fixed_window', maxRequests: 1});
	const first = await limiter.check('a');
	const {allowed, retryAfterMs, resetAfterMs} = await limiter.check('a');
	assert.deepStrictEqual([first.allowed, allowed], [true, false]);
	assert.ok(Number.isInteger(retryAfterMs) && retryAfterMs > 0 && retryAfterMs <= resetAfterMs && resetAfterMs <= 2 * timeWindowMs);
	const sliding = make({policy: 'long-sliding', timeWindowMs, maxRequests: 1});
	await sliding.isAllowed('a');
	const denied = await sliding.check('a');
	assert.strictEqual(denied.timeWindowMs, timeWindowMs);
	assert.ok(denied.retryAfterMs >= timeWindowMs && denied.resetAfterMs <= 3 * timeWindowMs, `${denied.retryAfterMs}`);
	limiter.close();
	sliding.close();
});

test('tryCheck: undefined where nobody knows, nothing taken; then the table\'s answer', async () => {
	const limiter = make({policy: 'try', maxRequests: 1000});
	assert.strictEqual(limiter.tryCheck('a'), undefined);
	let before = await limiter.check('a');
	assert.strictEqual(before.remaining, 999);
	let verdict;
	await until(async () => {
		before = await limiter.check('a');
		verdict = limiter.tryCheck('a');
		return verdict !== undefined;
	}, 'the table holds more than one credit');
	assert.strictEqual(verdict.allowed, true);
	assert.strictEqual(verdict.source, 'lease');
	assert.strictEqual(verdict.remaining, before.remaining - 1);
	limiter.close();
});

test('limiters of one policy count together, those of others don\'t', async () => {
	const limiters = [make({policy: 'shared'}), make({policy: 'shared'}), make({policy: 'own'})];
	for (let i = 0; i < 5; i++)
		assert.ok(await limiters[i % 2].isAllowed('a'));
	assert.strictEqual(await limiters[0].isAllowed('a'), false);
	assert.strictEqual(await limiters[1].isAllowed('a'), false);
	assert.strictEqual(await limiters[2].isAllowed('a'), true);
	for (const limiter of limiters)
		limiter.close();
});

test('limits that the policy must have', async () => {
	const mustExist = {mustExist: true, maxRequests: undefined, timeWindowMs: undefined};
	const absent = make({policy: 'absent', onError: 'deny', ...mustExist});
	assert.strictEqual(await absent.isAllowed('a'), false);
	const denied = await absent.check('a');
	assert.deepStrictEqual([denied.allowed, denied.source, denied.reason], [false, 'local', 'unavailable']);
	assert.strictEqual(denied.error, 'stint: policy "absent": no such policy');
	assert.strictEqual(absent.tryCheck('a'), undefined);
	absent.close();
	const declares = make({policy: 'present', maxRequests: 2});
	await declares.isAllowed('b');
	const present = new DistributedRateLimiter({policy: 'present', mustExist: true});
	const told = [await present.check('a'), await present.check('a'), await present.check('a')];
	assert.deepStrictEqual(told.map(({allowed, limit, timeWindowMs}) => [allowed, limit, timeWindowMs]),
		[[true, 2, WINDOW_MS], [true, 2, WINDOW_MS], [false, 2, WINDOW_MS]]);
	assert.strictEqual(present.headers(told[2])[0][1], '"present";q=2;w=600');
	const other = make({policy: 'present', maxRequests: 1, mustExist: true});
	assert.strictEqual((await other.check('c')).limit, 2);
	other.close();
	present.close();
	declares.close();
});

test('peek takes nothing, charge goes beyond the limit', async () => {
	const limiter = make({policy: 'beside'});
	assert.strictEqual(limiter.charge('a'), false);
	assert.strictEqual((await limiter.check('a', {cost: 2})).remaining, 3);
	for (let i = 0; i < 3; i++)
		assert.strictEqual((await limiter.peek('a', {cost: 3})).allowed, true);
	assert.strictEqual((await limiter.peek('a', {cost: 4})).allowed, false);
	assert.strictEqual(limiter.charge('a', {cost: 5}), true);
	await until(async () => !(await limiter.peek('a')).allowed, 'the client is in debt');
	assert.strictEqual(await limiter.isAllowed('a'), false);
	await assert.rejects(limiter.peek(''), RangeError);
	assert.throws(() => limiter.charge('a\0'), RangeError);
	limiter.close();
	await assert.rejects(limiter.peek('a'), /closed/);
	assert.throws(() => limiter.charge('a'), /closed/);
	const store = new DistributedRateLimiter({maxRequests: 1, timeWindowMs: 1000, cacheClient: STORE});
	assert.throws(() => store.charge('a'), /^TypeError: charge needs this host's agent/);
});

test('a shadow denies nobody, and tells whom it would', async () => {
	const limiter = make({policy: 'shadow', maxRequests: 2, shadow: true});
	const told = [];
	for (let i = 0; i < 5; i++)
		told.push(await limiter.check('a'));
	assert.ok(told.every(({allowed}) => allowed));
	assert.deepStrictEqual(told.map(({shadowDenied}) => shadowDenied), [false, false, true, true, true]);
	const last = told[4];
	assert.deepStrictEqual([last.reason, last.remaining, last.retryAfterMs > 0, limiter.refund(last)], ['over_limit', 0, true, false]);
	assert.strictEqual(await limiter.isAllowed('a'), true);
	assert.strictEqual((await limiter.check('a', {cost: 3})).reason, 'cost_above_limit');
	assert.ok(!limiter.headers(last).some(([name]) => name === 'Retry-After'));
	const strict = make({policy: 'not-shadow', maxRequests: 2});
	const checkAll = () => DistributedRateLimiter.checkAll([{limiter, clientId: 'a'}, {limiter: strict, clientId: 'a'}]);
	const all = [await checkAll(), await checkAll(), await checkAll()];
	assert.deepStrictEqual(all.map(({allowed, shadowDenied, part}) => [allowed, shadowDenied, part]), [[true, true, 0], [true, true, 0], [false, false, 1]]);
	limiter.close();
	strict.close();
});

test('Symbol.dispose, where there is one, is close', () => {
	const limiter = make({policy: 'dispose'});
	if (Symbol.dispose !== undefined)
		limiter[Symbol.dispose]();
	else
		limiter.close();
	assert.throws(() => limiter.tryCheck('a'), /closed/);
});

test('as an ES module: the same classes', async () => {
	const stint = await import(LIBRARY + '/index.mjs');
	assert.strictEqual(stint.DistributedRateLimiter, DistributedRateLimiter);
	assert.strictEqual(stint.default.connect, connect);
});
