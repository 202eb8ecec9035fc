/*
 * test_cache.js - limiters that count by a store's calls alone: on one in memory, by a clock of the test's.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {test} = require('node:test');
const {LIBRARY, collect, run, sleep, until} = require('./support.js');
const {MemoryStore, findMost, makeRandom} = require('./stores.js');
const {DistributedRateLimiter} = require(LIBRARY);
const {CLIENTS_MAX, CacheBackend} = require(path.join(LIBRARY, 'cache.js'));
const {LocalLimit} = require(path.join(LIBRARY, 'local.js'));

const WINDOW_MS = 60000;
const FAR = 1296000000; // the longest there is: no window ends during the test

let now = 1e12;
const clock = () => now;

function make(store, options) {
	return new CacheBackend({maxRequests: 100, timeWindowMs: WINDOW_MS, policy: 'p', ...options}, store, clock);
}

const countTrue = (all) => all.filter((each) => each).length;

test('as many as the limit; what is denied is taken back', async () => {
	const store = new MemoryStore(Date.now);
	const limiter = new DistributedRateLimiter({maxRequests: 5, timeWindowMs: FAR, algorithm: 'fixed_window', cacheClient: store});
	const told = [];
	for (let i = 0; i < 8; i++)
		told.push(await limiter.isAllowed('a'));
	assert.deepStrictEqual(told, [true, true, true, true, true, false, false, false]);
	await sleep(20);
	assert.deepStrictEqual([...store.values.values()].map((entry) => entry.value), [5]);
	const denied = await limiter.check('a');
	assert.strictEqual(denied.reason, 'over_limit');
	assert.strictEqual(denied.source, 'cache');
	assert.ok(denied.retryAfterMs > 0 && denied.retryAfterMs <= FAR);
	assert.strictEqual((await limiter.check('b', {cost: 3})).remaining, 2);
	assert.strictEqual((await limiter.check('b', {cost: 3})).allowed, false);
	assert.strictEqual((await limiter.check('b', {cost: 2})).allowed, true);
	assert.strictEqual((await limiter.check('b', {cost: 6})).reason, 'cost_above_limit');
	await assert.rejects(limiter.check('b', {cost: 1001}), /^RangeError: cost is 1001, must be an integer of 1 to 1000$/);
	assert.strictEqual(limiter.tryCheck('a'), undefined);
	await assert.rejects(limiter.isAllowed(''), /^RangeError: clientId is empty/);
	limiter.close();
	await assert.rejects(limiter.isAllowed('a'), /closed/);
});

test('many processes at once: never more than the limit, whatever comes first', async () => {
	for (let seed = 1; seed <= 30; seed++) {
		const random = makeRandom(seed);
		const store = new MemoryStore(clock, async () => {
			for (let turns = Math.floor(random() * 8); turns > 0; turns--)
				await null;
		});
		const limiters = Array.from({length: 8}, () => make(store, {maxRequests: 20}));
		const told = await Promise.all(Array.from({length: 200}, (_, i) => limiters[i % 8].isAllowed('a')));
		assert.ok(countTrue(told) <= 20, `seed ${seed}: ${countTrue(told)}`);
		await sleep(1);
		const [entry] = store.values.values();
		assert.strictEqual(entry.value, countTrue(told), `seed ${seed}: what is counted is what was admitted`);
		const rest = [];
		for (let i = 0; i < 30; i++)
			rest.push(await limiters[i % 8].isAllowed('a'));
		assert.strictEqual(countTrue(told) + countTrue(rest), 20, `seed ${seed}`);
		now += 10 * WINDOW_MS;
	}
});

/* The most of any interval, and how much was admitted in all, as parts of the limit. */
async function offer(nextGap, seconds) {
	const limiter = make(new MemoryStore(clock));
	now = Math.ceil(now / WINDOW_MS) * WINDOW_MS + 5 * WINDOW_MS;
	const began = now;
	const admitted = [];
	for (let at = now; at < began + seconds * 1000; at += nextGap()) {
		now = Math.floor(at);
		if (await limiter.isAllowed('a'))
			admitted.push(now);
	}
	return {most: findMost(admitted, WINDOW_MS) / 100, share: admitted.length / (seconds * 1000 / WINDOW_MS) / 100};
}

test('how exact it is, against a log of everything, in any interval', async () => {
	const random = makeRandom(7);
	const poisson = (perWindow) => () => -Math.log(1 - random()) * WINDOW_MS / perWindow;
	const wanted = [
		['80% of the limit, at random times', poisson(80), 1.12, 0.75],
		['the limit, at random times', poisson(100), 1.12, 0.9],
		['twice the limit, at random times', poisson(200), 1.06, 0.95],
		['ten times the limit, evenly', () => WINDOW_MS / 1000, 1.02, 0.95],
	];
	for (const [what, gap, most, share] of wanted) {
		const found = await offer(gap, 3600);
		console.log(`# ${what}: at most ${found.most.toFixed(2)} of the limit in any interval, ${found.share.toFixed(2)} on average`);
		assert.ok(found.most <= most && found.share >= share, `${what}: ${JSON.stringify(found)}`);
	}
});

test('the worst that bursts can do is less than twice the limit', async () => {
	const limiter = make(new MemoryStore(clock));
	now = Math.ceil(now / WINDOW_MS) * WINDOW_MS + 6 * WINDOW_MS - 1;
	const admitted = [];
	const ask = async () => {
		if (await limiter.isAllowed('a'))
			admitted.push(now);
	};
	for (let i = 0; i < 100; i++)
		await ask();
	for (let ms = 0; ms < WINDOW_MS; ms += 100) {
		now += 100;
		await ask();
	}
	const most = findMost(admitted, WINDOW_MS);
	console.log(`# a burst at a window's end, then all that comes: at most ${most / 100} of the limit in any interval`);
	assert.ok(most < 200);
	assert.ok(admitted.length > 150);
});

test('retryAfterMs is when the next is admitted, not earlier', async () => {
	const random = makeRandom(3);
	const limiter = make(new MemoryStore(clock), {maxRequests: 10});
	for (let i = 0; i < 300; i++) {
		now += Math.floor(random() * 5000);
		const verdict = await limiter.check('a');
		if (verdict.allowed)
			continue;
		const before = now;
		now = before + verdict.retryAfterMs - 1;
		assert.strictEqual(await limiter.isAllowed('a'), false);
		now = before + verdict.retryAfterMs;
		assert.strictEqual(await limiter.isAllowed('a'), true);
	}
});

test('policies and clients don\'t share keys, whatever they are called', async () => {
	const store = new MemoryStore(clock);
	const pairs = [['a', 'b:c'], ['a:b', 'c'], ['a', '1|b'], ['a/1', 'b'], ['a', 'b']];
	for (const [policy, id] of pairs)
		assert.strictEqual(await make(store, {policy, maxRequests: 1}).isAllowed(id), true);
	for (const [policy, id] of pairs)
		assert.strictEqual(await make(store, {policy, maxRequests: 1}).isAllowed(id), false);
});

test('refund: in the window in which it was counted, once, at most what was taken', async () => {
	const store = new MemoryStore(clock);
	const limiter = make(store, {maxRequests: 10});
	const verdict = await limiter.check('a', 6);
	assert.strictEqual((await limiter.check('a', 6)).allowed, false);
	assert.throws(() => limiter.refund(verdict, 7), /^RangeError: cost is 7, must be an integer of 1 to 6$/);
	assert.strictEqual(limiter.refund(verdict, 4), true);
	assert.strictEqual(limiter.refund(verdict), false);
	await sleep(20);
	const second = await limiter.check('a', 8);
	assert.deepStrictEqual([second.allowed, second.remaining], [true, 0]);
	assert.strictEqual(limiter.refund(await limiter.check('a', 1)), false);
	assert.throws(() => limiter.refund({...second}), /^TypeError: verdict is an object, must be what check\(\) or tryCheck\(\) has returned/);
	assert.throws(() => make(store).refund(second), /^TypeError: verdict is another limiter's/);
	now += WINDOW_MS;
	assert.strictEqual(limiter.refund(second), false);
});

test('a shadow denies nobody, and counts as if it did', async () => {
	const store = new MemoryStore(clock);
	const limiter = make(store, {maxRequests: 3, shadow: true});
	const told = [];
	for (let i = 0; i < 6; i++)
		told.push(await limiter.check('a', 1));
	told.push(await limiter.check('a', 4));
	assert.ok(told.every(({allowed}) => allowed));
	assert.deepStrictEqual(told.map(({shadowDenied}) => shadowDenied), [false, false, false, true, true, true, true]);
	assert.deepStrictEqual([told[5].reason, told[6].reason], ['over_limit', 'cost_above_limit']);
	assert.strictEqual(limiter.refund(told[5]), false);
	await sleep(20);
	assert.deepStrictEqual([...store.values.values()].map((entry) => entry.value), [3]);
});

/* By mode: what is no Error. */
const THROWN = new Map([['throws nothing', undefined], ['throws null', null], ['throws words', 'words'], ['throws an object', {}]]);

/* A store that does what `mode` says. */
class FaultyStore extends MemoryStore {
	mode = 'well';

	async answer(run) {
		const value = await super.answer(run);
		if (this.mode === 'fails')
			throw new Error('ECONNREFUSED');
		if (THROWN.has(this.mode))
			throw THROWN.get(this.mode);
		if (this.mode === 'hangs')
			await new Promise(() => {});
		if (this.mode === 'nonsense')
			return 'nonsense';
		return value;
	}
}

test('a store that fails, hangs, or answers nonsense: a lenient limit, no rejection, and the right one again', async () => {
	for (const mode of ['fails', 'hangs', 'nonsense', ...THROWN.keys()]) {
		const store = new FaultyStore(Date.now);
		const limiter = new DistributedRateLimiter({maxRequests: 3, timeWindowMs: FAR, fallbackMaxRequests: 7, cacheClient: store,
			algorithm: 'fixed_window', timeoutMs: 50});
		assert.strictEqual(await limiter.isAllowed('a'), true);
		store.mode = mode;
		const told = await Promise.all(Array.from({length: 30}, () => limiter.check('a')));
		assert.strictEqual(countTrue(told.map((verdict) => verdict.allowed)), 7);
		assert.ok(told.every((verdict) => verdict.source === 'local' && typeof verdict.error === 'string'));
		if (THROWN.has(mode))
			assert.match(told[0].error, /^stint: cacheClient has thrown (undefined|null|"words"|an object)$/);
		const calls = store.calls;
		for (let i = 0; i < 20; i++)
			assert.strictEqual((await limiter.check('a')).source, 'local');
		assert.ok(store.calls <= calls + 1, 'it is not asked while it is away');
		store.mode = 'well';
		await until(async () => (await limiter.check('b')).source === 'cache', 'the store decides again');
		limiter.close();
	}
});

test('onError: nobody, or all', async () => {
	for (const [onError, wanted] of [['deny', false], ['allow', true]]) {
		const store = new FaultyStore(Date.now);
		store.mode = 'fails';
		const limiter = new DistributedRateLimiter({maxRequests: 1, timeWindowMs: FAR, cacheClient: store, onError});
		for (let i = 0; i < 5; i++)
			assert.strictEqual(await limiter.isAllowed('a'), wanted);
		limiter.close();
	}
});

test('a count below 0 admits nobody beyond the limit', async () => {
	const store = new MemoryStore(clock);
	const limiter = make({...store, get: async () => '-50', incrementAndGet: (...args) => store.incrementAndGet(...args),
		decrementAndGet: (...args) => store.decrementAndGet(...args)}, {maxRequests: 3});
	now = Math.ceil(now / WINDOW_MS) * WINDOW_MS;
	const told = [];
	for (let i = 0; i < 5; i++)
		told.push(await limiter.isAllowed('a'));
	assert.deepStrictEqual(told, [true, true, true, false, false]);
});

test('a count that comes too late is taken back when its request was denied', async () => {
	let release;
	const gate = new Promise((resolve) => {
		release = resolve;
	});
	const store = new MemoryStore(Date.now, () => gate);
	const limiter = new DistributedRateLimiter({maxRequests: 3, timeWindowMs: FAR, cacheClient: store, onError: 'deny', timeoutMs: 20});
	assert.strictEqual(await limiter.isAllowed('a'), false);
	release();
	await until(() => [...store.values.values()].some((entry) => entry.value === 0), 'it is taken back');
	limiter.close();
});

test('memory is bounded, and idle clients go', async () => {
	const store = {get: async () => '1', incrementAndGet: async () => 1, decrementAndGet: async () => 0};
	const limiter = make(store);
	now = Math.ceil(now / WINDOW_MS) * WINDOW_MS + WINDOW_MS / 2;
	for (let i = 0; i < CLIENTS_MAX + 5000; i += 1000)
		await Promise.all(Array.from({length: 1000}, (_, j) => limiter.isAllowed('client-' + (i + j))));
	assert.ok(limiter.size > 60000 && limiter.size <= CLIENTS_MAX, `${limiter.size}`);
	now += WINDOW_MS;
	await limiter.isAllowed('a');
	assert.ok(limiter.size <= 1);
	store.get = async () => { throw new Error('away'); };
	now += WINDOW_MS;
	for (let i = 0; i < CLIENTS_MAX + 5000; i++)
		await limiter.isAllowed('client-' + i);
	assert.ok(limiter.size > 60000 && limiter.size <= 2 * CLIENTS_MAX, `${limiter.size}`);
});

test('a limit inside the process that nobody has any more is collected, however long its window', async () => {
	const use = () => {
		const limit = new LocalLimit(5, FAR);
		assert.strictEqual(limit.check('a', 1, 'p').allowed, true);
		return new WeakRef(limit);
	};
	const limit = use();
	await until(async () => {
		await collect();
		return limit.deref() === undefined;
	}, 'it is collected');
});

test('what doesn\'t go with a store is refused', () => {
	const store = new MemoryStore(clock);
	const wrong = [
		[{cacheClient: {}}, TypeError, /^cacheClient is an object, must have the methods get, set, incrementAndGet, decrementAndGet/],
		[{cacheClient: 'redis://'}, TypeError, /^cacheClient is "redis:\/\/", must/],
		[{cacheClient: store, timeWindowMs: 1296000001}, RangeError, /^timeWindowMs is 1296000001, must be 100 to 1296000000/],
		[{cacheClient: store, mode: 'relaxed'}, TypeError, /^mode is for the agent/],
		[{cacheClient: store, resolution: 10}, TypeError, /^resolution is for the agent/],
	];
	for (const [options, Kind, message] of wrong)
		assert.throws(() => new DistributedRateLimiter({maxRequests: 1, timeWindowMs: 1000, ...options}), {name: Kind.name, message});
});

test('it needs no addon, and its process ends by itself', async () => {
	const script = `Object.defineProperty(process.versions, 'bun', {value: '1.0.0'});
		const {DistributedRateLimiter} = require(process.env.STINT);
		const never = () => new Promise(() => {});
		const cacheClient = {get: never, set: never, incrementAndGet: never, decrementAndGet: never};
		new DistributedRateLimiter({maxRequests: 1, timeWindowMs: 1296000000, timeoutMs: 100, cacheClient}).isAllowed('a').then(console.log)`;
	const {status, output} = await run(script);
	assert.strictEqual(status, 0, output);
	assert.match(output, /true/);
});
