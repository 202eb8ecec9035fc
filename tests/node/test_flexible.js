/*
 * test_flexible.js - the interface of rate-limiter-flexible: each test runs on theirs in memory and on ours, as far as both do the same.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {before, test} = require('node:test');
const {LIBRARY, startAgent, until} = require('./support.js');
const {requireFrom} = require('./redis.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);
const {RateLimiterRes, RateLimiterStint} = require(path.join(LIBRARY, 'flexible.js'));

const theirs = requireFrom('rate-limiter-flexible');
const NAMES = ['remainingPoints', 'msBeforeNext', 'consumedPoints', 'isFirstInDuration'];
let agent;

before(async () => {
	agent = await startAgent();
});

const make = (options) => new RateLimiterStint({points: 5, duration: 600, cacheClient: connect(agent.socketPath), ...options});

/* What both tell: the time is theirs or ours. */
function read(told) {
	const {msBeforeNext, ...others} = told.toJSON();
	assert.ok(msBeforeNext > 0, `msBeforeNext is ${msBeforeNext}`);
	assert.deepStrictEqual(Object.keys(told.toJSON()).sort(), [...NAMES].sort());
	assert.deepStrictEqual(JSON.parse(String(told)), told.toJSON());
	return others;
}

const denied = (promise) => promise.then(() => assert.fail('it was admitted'), (told) => told);

/* Runs `body(limiter)` with one of theirs and one of ours: what it returns must be the same. */
function testBoth(what, options, body) {
	test(what, async (t) => {
		const own = make({keyPrefix: what.replace(/[^a-z]/g, '-'), ...options});
		const told = await body(own);
		own.close();
		if (theirs === undefined)
			return t.diagnostic('there is no rate-limiter-flexible beside it: is the package registry in reach?');
		assert.deepStrictEqual(told, await body(new theirs.RateLimiterMemory({points: 5, duration: 600, ...options})));
	});
}

testBoth('consume: the first, the last, one too many', {}, async (limiter) => {
	const told = [];
	for (let i = 0; i < 5; i++)
		told.push(read(await limiter.consume('a')));
	const rejected = await denied(limiter.consume('a'));
	assert.ok(!(rejected instanceof Error));
	return [...told, read(rejected), read(await limiter.consume('b'))];
});

testBoth('consume: several points, all or none', {}, async (limiter) => [read(await limiter.consume('a', 3)), read(await limiter.consume('a', 2)),
	read(await denied(limiter.consume('a', 1)))]);

testBoth('a key that is a number', {}, async (limiter) => {
	await limiter.consume(17, 2);
	return [read(await limiter.consume('17')), read(await limiter.get(17))];
});

testBoth('keys that can\'t be a client\'s id', {}, async (limiter) => {
	const keys = ['x'.repeat(300), 'x'.repeat(301), '\u0142'.repeat(128), 'a\0', 'a\0b', '\ud800', '\udfff', ''];
	const told = [];
	for (const key of keys)
		told.push(read(await limiter.consume(key, 3)), (await limiter.get(key)).consumedPoints, read(await denied(limiter.consume(key, 3))).consumedPoints);
	return told;
});

testBoth('a wrapper of theirs', {}, async (limiter) => {
	if (theirs === undefined)
		return undefined;
	const wrapper = new theirs.RLWrapperBlackAndWhite({limiter, whiteList: ['friend'], blackList: ['foe']});
	for (let i = 0; i < 9; i++)
		await wrapper.consume('friend');
	await denied(wrapper.consume('foe'));
	return [read(await wrapper.consume('a', 2)), (await wrapper.get('a')).consumedPoints, wrapper.blockDuration, wrapper.execEvenly];
});

testBoth('get: null before the first, then what was consumed', {}, async (limiter) => {
	const told = [await limiter.get('a')];
	await limiter.consume('a', 2);
	return [...told, read(await limiter.get('a')).consumedPoints, read(await limiter.get('a')).remainingPoints, await limiter.get('b')];
});

testBoth('penalty: points beyond the limit', {points: 10}, async (limiter) => {
	await limiter.consume('a', 2);
	const {remainingPoints, consumedPoints} = read(await limiter.penalty('a', 3));
	await limiter.penalty('a', 20);
	await until(async () => (await limiter.get('a')).remainingPoints === 0, 'the agent has heard of it');
	return [remainingPoints, consumedPoints, (await denied(limiter.consume('a'))) instanceof Error];
});

test('get: who would be denied has consumed more than the points, who wouldn\'t no more than them', async (t) => {
	const limiter = make({keyPrefix: 'get', points: 2});
	await limiter.consume('a', 2);
	assert.ok((await limiter.get('a')).consumedPoints > limiter.points);
	// An operator's limit, or the fallback's, is another.
	let verdict;
	t.mock.method(DistributedRateLimiter.prototype, 'peek', async () => verdict);
	for (const [limit, remaining, isBeyond] of [[10, 1, false], [10, 0, true], [1, 0, true], [0, 0, true]]) {
		verdict = {allowed: remaining > 0, limit, remaining, retryAfterMs: 5, resetAfterMs: 5};
		assert.strictEqual((await limiter.get('a')).consumedPoints > limiter.points, isBeyond, `${remaining} of ${limit}`);
	}
	t.mock.method(DistributedRateLimiter.prototype, 'check', async () => ({allowed: false, limit: 1, remaining: 0, retryAfterMs: 5, resetAfterMs: 5}));
	assert.ok((await denied(limiter.consume('a'))).consumedPoints > limiter.points);
	limiter.close();
});

test('get: who is blocked has consumed more than the points', async (t) => {
	const limiter = make({keyPrefix: 'blocked'});
	t.mock.method(DistributedRateLimiter.prototype, 'peek', async () => ({allowed: false, limit: 0, remaining: 0, retryAfterMs: 5000, resetAfterMs: 5000}));
	const told = await limiter.get('a');
	assert.deepStrictEqual([told.msBeforeNext, told.consumedPoints, told.remainingPoints], [5000, 6, 0]);
	limiter.close();
});

test('a denial is a RateLimiterRes, whose numbers are those of the limit', async () => {
	const limiter = make({keyPrefix: 'denial', points: 2});
	await limiter.consume('a', 2);
	const told = await denied(limiter.consume('a'));
	assert.ok(told instanceof RateLimiterRes);
	assert.deepStrictEqual([told.remainingPoints, told.consumedPoints, told.isFirstInDuration], [0, 3, false]);
	assert.ok(told.msBeforeNext > 0 && told.msBeforeNext <= 1300000);
	assert.deepStrictEqual([limiter.points, limiter.duration, limiter.keyPrefix], [2, 600, 'denial']);
	limiter.close();
});

test('reward: what was consumed here, once', async () => {
	const limiter = make({keyPrefix: 'reward', points: 100000});
	await assert.rejects(limiter.reward('nobody'), /^Error: stint: nothing was given back/);
	let told, before;
	await until(async () => {
		before = await limiter.consume('a', 3);
		told = await limiter.reward('a', 2).catch(() => undefined);
		return told !== undefined;
	}, 'the lease takes it back');
	assert.strictEqual(told.remainingPoints, before.remainingPoints + 2);
	// What is left of them are those that couldn't be given back before.
	await assert.rejects(limiter.reward('a', 1), /^Error: stint: nothing was given back/);
	limiter.close();
});

test('what stint can\'t do is refused, and says why', async () => {
	const wrong = [
		[{points: 0}, /^RangeError: points is 0, must be an integer of 1 to 1000000000$/],
		[{points: undefined}, /^TypeError: points is undefined,/],
		[{duration: 0}, /^RangeError: duration is 0, must be 0.1 to 2678400 s$/],
		[{duration: '1'}, /^RangeError: duration is "1",/],
		[{inMemoryBlockOnConsumed: 5}, /^TypeError: inMemoryBlockOnConsumed is 5, must be left out: who is denied is denied from memory$/],
		[{keyPrefix: 'a b'}, /^RangeError: keyPrefix is "a b", must be 1 to 63 characters of A-Z, a-z, 0-9 and/],
		[{keyPrefix: 5}, /^TypeError: keyPrefix is 5,/],
		[{policy: 'x'}, /^TypeError: policy is "x", must be left out: it is keyPrefix$/],
		[{maxRequests: 7}, /^TypeError: maxRequests is 7, must be left out: it is points$/],
		[{execEvenly: true}, /^TypeError: execEvenly is true, must be left out: nobody is delayed$/],
		[{insuranceLimiter: {}}, /^TypeError: insuranceLimiter is an object, must be left out: fallbackMaxRequests/],
		[{operator: {}}, /^TypeError: operator is an object, must be a Pool of pg$/],
		[{storeClient: {}}, /^TypeError: storeClient is an object, must be left out: cacheClient says/],
		[{tableName: 't'}, /^TypeError: option "tableName" is unknown/],
	];
	for (const [options, message] of wrong)
		assert.throws(() => make(options), message);
	assert.throws(() => new RateLimiterStint(), /^TypeError: options is undefined/);
	const limiter = make({keyPrefix: 'refused', blockDuration: 0, execEvenly: false});
	await assert.rejects(limiter.block('a', 10), /^TypeError: operator is undefined, .*stint client block/);
	await assert.rejects(limiter.delete('a'), /^TypeError: operator is undefined, .*stint client reset/);
	for (const wrong of [undefined, '10', -1, NaN, 31536001])
		await assert.rejects(limiter.block('a', wrong), /^RangeError: secDuration is .*, must be 0, or 0.001 to 31536000 s$/);
	await assert.rejects(limiter.set('a', 1), /^TypeError: operator is undefined, .*stint client reset/);
	await assert.rejects(limiter.set('a', 1, 5), /^RangeError: secDuration is 5, must be left out, or 600: .*block\(\)/);
	await assert.rejects(limiter.set('a', -1), /^RangeError: points is -1, must be an integer of 0 to 1000000000$/);
	await assert.rejects(limiter.consume('a', 0), /^RangeError: pointsToConsume is 0, must be an integer of 1 to/);
	await assert.rejects(limiter.consume('a', 1, {customDuration: 5}), /^TypeError: customDuration is 5, must be left out/);
	await assert.rejects(limiter.consume(undefined), /^TypeError: clientId is undefined/);
	limiter.close();
	await assert.rejects(limiter.consume('a'), /^TypeError: this limiter is closed$/);
});

test('the agent away: nobody gets an Error but from penalty', async () => {
	const limiter = make({keyPrefix: 'away', cacheClient: connect('/nowhere/at/all'), timeoutMs: 50});
	for (let i = 0; i < 3; i++)
		await limiter.consume('a').catch((told) => assert.ok(told instanceof RateLimiterRes));
	await assert.rejects(limiter.penalty('a'), /the agent is away/);
	limiter.close();
});
