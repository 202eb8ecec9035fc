/*
 * test_blocks.js - rate-limiter-flexible's blockDuration, with an operator's pool that does what a test wants; see test_operator.js for a real one.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {before, test} = require('node:test');
const {LIBRARY, sleep, startAgent, until} = require('./support.js');
const {requireFrom} = require('./redis.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);
const {ASKED_MAX, Blocks, FORGIVEN_MAX} = require(path.join(LIBRARY, 'blocks.js'));
const {RateLimiterRes, RateLimiterStint} = require(path.join(LIBRARY, 'flexible.js'));

const theirs = requireFrom('rate-limiter-flexible');
const never = new Promise(() => {});
let agent;

before(async () => {
	agent = await startAgent();
});

const make = (keyPrefix, query, options) => new RateLimiterStint({points: 2, duration: 600, keyPrefix, cacheClient: connect(agent.socketPath),
	blockDuration: 30, timeoutMs: 2000, operator: {query}, ...options});
const denied = (promise) => promise.then(() => assert.fail('it was admitted'), (told) => told);

/* Runs `body`, and returns what it was warned of. */
async function warned(body) {
	const warnings = [];
	const note = (warning) => warnings.push(warning.message);
	process.on('warning', note);
	await body(warnings);
	await sleep(0); // warnings come with the next turn
	process.off('warning', note);
	return warnings;
}

test('a denial tells how long it blocks, and so does get(), as theirs do', async (t) => {
	const told = async (limiter) => {
		await limiter.consume('a', 2);
		const seen = [(await denied(limiter.consume('a'))), await denied(limiter.consume('a', 2)), await limiter.get('a')];
		for (const {msBeforeNext} of seen)
			assert.ok(msBeforeNext > 20000 && msBeforeNext <= 30000, `msBeforeNext is ${msBeforeNext}`);
		return [seen.map(({consumedPoints}) => consumedPoints > 2), (await limiter.consume('b')).remainingPoints, limiter.blockDuration];
	};
	const own = make('tells', () => never);
	assert.deepStrictEqual(await told(own), [[true, true, true], 1, 30]);
	own.close();
	if (theirs === undefined)
		return t.diagnostic('there is no rate-limiter-flexible beside it: is the package registry in reach?');
	assert.deepStrictEqual(await told(new theirs.RateLimiterMemory({points: 2, duration: 600, blockDuration: 30})), [[true, true, true], 1, 30]);
});

test('a denial before all points are consumed blocks, too', async () => {
	const asked = [];
	const limiter = make('cost', (text, [, key]) => {
		asked.push(key);
		return never;
	});
	await limiter.consume('a');
	await denied(limiter.consume('a', 2));
	await denied(limiter.consume('a', 1));
	await denied(limiter.consume('b', 3)); // more than all
	assert.deepStrictEqual(asked, ['a', 'b']);
	limiter.close();
});

test('points that are left, though in several leases, don\'t block', async () => {
	const limiter = make('split', () => assert.fail('it blocks'), {points: 5});
	await limiter.consume('a', 1);
	await limiter.get('a');
	await limiter.consume('a', 4).catch((told) => assert.strictEqual(told.remainingPoints, 4));
	limiter.close();
});

test('a flood of denials asks once for each key, and for so many keys at a time', async () => {
	let asked = 0;
	const limiter = make('flood', () => {
		asked++;
		return never;
	});
	await limiter.consume('a', 2);
	for (let i = 0; i < 1000; i++)
		assert.ok(await denied(limiter.consume('a')) instanceof RateLimiterRes);
	assert.strictEqual(asked, 1);
	for (let i = 0; i < 2 * ASKED_MAX; i++)
		assert.ok(await denied(limiter.consume(`key ${i}`, 3)) instanceof RateLimiterRes);
	assert.strictEqual(asked, ASKED_MAX);
	limiter.close();
});

test('whatever becomes of the block, a denial is a denial', async () => {
	const faults = [() => { throw new Error('at once'); }, async () => { throw new Error('later'); }, async () => { throw null; }, async () => undefined];
	for (const [i, fault] of faults.entries()) {
		const limiter = make(`fault-${i}`, fault);
		const warnings = await warned(async () => {
			for (const key of ['a', 'b', 'c']) {
				const told = await denied(limiter.consume(key, 3));
				assert.ok(told instanceof RateLimiterRes && told.consumedPoints > 2, String(told));
			}
		});
		assert.strictEqual(warnings.length, 1, `${i}: ${warnings}`);
		assert.match(warnings[0], /^policy fault-[0-9]: blockDuration: not all who were denied are blocked: /);
		limiter.close();
	}
});

test('after a failure it rests, then asks again; and warns again only after a success', async () => {
	let isAway = true, asked = 0;
	const blocks = new Blocks(60000, async () => {
		asked++;
		if (isAway)
			throw new Error('away');
	}, 'policy x');
	const warnings = await warned(async () => {
		const askUntil = (count) => until(() => {
			if (asked < count)
				blocks.ask('a');
			return asked >= count && blocks.msLeft('a') === 0;
		}, 'it asks again');
		await askUntil(1);
		for (let i = 0; i < 100; i++)
			blocks.ask(`key ${i}`);
		assert.strictEqual(asked, 1);
		assert.strictEqual(blocks.msLeft('a'), 0);
		await askUntil(2);
		isAway = false;
		await askUntil(3);
		isAway = true;
		await askUntil(asked + 1);
	});
	assert.deepStrictEqual(warnings, Array(2).fill('policy x: blockDuration: not all who were denied are blocked: away'));
});

test('who is blocked already isn\'t blocked again, nor anything forgotten', async () => {
	const texts = [];
	const limiter = make('again', async (text) => {
		texts.push(text);
		return {rows: []};
	}, {timeoutMs: 50});
	await denied(limiter.consume('a', 3));
	await limiter.delete('a').catch(() => {}); // which waits for what is under way
	assert.match(texts[0], /block_client.*where not exists/);
	assert.match(texts[1], /unblock_client/);
	limiter.close();
});

test('delete() isn\'t undone by a block that was under way', async () => {
	const order = [];
	let answer;
	const limiter = make('order', (text) => {
		const name = /stint\.(\w+)\(/.exec(text)[1];
		order.push(name);
		return name === 'block_client' ? new Promise((resolve) => { answer = resolve; }) : Promise.resolve({rows: []});
	}, {timeoutMs: 50});
	await denied(limiter.consume('a', 3));
	const deleted = limiter.delete('a');
	await sleep(50);
	assert.deepStrictEqual(order, ['block_client']);
	answer({rows: [{}]});
	await deleted;
	assert.deepStrictEqual(order, ['block_client', 'reset_client', 'unblock_client', 'reset_client']);
	limiter.close();
});

test('keys that are deleted are not blocked for a while, so many of them', async () => {
	const asked = [];
	const blocks = new Blocks(60000, async (key) => { asked.push(key); }, 'policy x');
	for (let i = 0; i < 2 * FORGIVEN_MAX; i++)
		await blocks.forgive(`key ${i}`);
	assert.strictEqual(blocks.size, FORGIVEN_MAX);
	assert.deepStrictEqual([blocks.ask(`key ${FORGIVEN_MAX}`), blocks.ask('key 0')], [0, 60000]);
	assert.deepStrictEqual(asked, ['key 0']);
});

test('set: what becomes of it where others change the same key, or the agent goes away', async (t) => {
	const limiter = make('set', async () => ({rows: []}));
	let limits, charged = false;
	t.mock.method(DistributedRateLimiter.prototype, 'peek', async () => {
		const limit = limits.length > 1 ? limits.shift() : limits[0];
		return {allowed: limit > 0, limit, remaining: charged ? 0 : limit, retryAfterMs: 5, resetAfterMs: 5};
	});
	t.mock.method(DistributedRateLimiter.prototype, 'charge', () => charged);
	limits = [0, 2, 0]; // it is heard that it is blocked, that it isn't; then another block comes
	await assert.rejects(limiter.set('a', 1), /^Error: stint: what was counted is forgotten, but no points are counted: the key has been blocked meanwhile$/);
	limits = [0, 2];
	await assert.rejects(limiter.set('a', 1), /no points are counted: the agent is away$/);
	charged = true;
	limits = [0, 2];
	assert.strictEqual((await limiter.set('a', 1)).remainingPoints, 1);
	limiter.close();
});

test('denials while the agent is away block nobody', async () => {
	let asked = 0;
	const limiter = make('away', () => {
		asked++;
		return never;
	}, {cacheClient: connect('/nowhere/at/all'), timeoutMs: 50, localMaxRequests: 1});
	await denied(limiter.consume('a', 2));
	await denied(limiter.consume('a', 3));
	assert.strictEqual(asked, 0);
	limiter.close();
});

test('a limiter that is closed while it blocks says nothing', async () => {
	let fail;
	const limiter = make('closed', () => new Promise((resolve, reject) => { fail = reject; }));
	await denied(limiter.consume('a', 3));
	const warnings = await warned(async () => {
		limiter.close();
		fail(new Error('too late'));
		await assert.rejects(limiter.consume('a'), /^TypeError: this limiter is closed$/);
	});
	assert.deepStrictEqual(warnings, []);
});

test('what blockDuration needs is told', () => {
	const wrong = [
		[{operator: undefined}, /^TypeError: operator is undefined, must be a Pool of pg .*: blockDuration is 30, and blocks are an operator's$/],
		[{blockDuration: '10'}, /^RangeError: blockDuration is "10", must be 0, or 15 to 31536000 s: before that hosts may hold what was consumed$/],
		[{blockDuration: -1}, /^RangeError: blockDuration is -1,/],
		[{blockDuration: 14}, /^RangeError: blockDuration is 14,/],
		[{blockDuration: 2, duration: 1}, /^RangeError: blockDuration is 2, must be 0, or 3 to 31536000 s: three windows$/],
		[{blockDuration: 14, duration: '1'}, /^RangeError: duration is "1"/],
		[{cacheClient: {get() {}, set() {}, incrementAndGet() {}, decrementAndGet() {}}}, /^TypeError: operator needs this host's agent/],
	];
	for (const [options, message] of wrong)
		assert.throws(() => make('wrong', () => never, options), message);
});
