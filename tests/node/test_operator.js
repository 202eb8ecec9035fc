/*
 * test_operator.js - what apps with an operator's role may do, by the interfaces that are there for it, with a real PostgreSQL and an agent that counts in it.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {test} = require('node:test');
const {LIBRARY, startAgent, until} = require('./support.js');
const {startPostgres} = require('./postgres.js');
const {connect} = require(LIBRARY);
const {ExpressRateLimitStore} = require(path.join(LIBRARY, 'express.js'));
const {RateLimiterRes, RateLimiterStint} = require(path.join(LIBRARY, 'flexible.js'));

const denied = (promise) => promise.then(() => assert.fail('it was admitted'), (told) => told);

test('an app with the role of an operator', async (t) => {
	const postgres = await startPostgres();
	if (postgres === undefined)
		return t.skip('there is no PostgreSQL, or no pg: is the package registry in reach?');
	const agent = await startAgent(postgres.conninfo);
	const limiter = new RateLimiterStint({points: 5, duration: 600, keyPrefix: 'login', cacheClient: connect(agent.socketPath), operator: postgres.pool,
		timeoutMs: 60000});

	await t.test('block: at once, for one key, and until its end', async () => {
		await limiter.consume('b');
		const told = await limiter.block('a', 3600);
		assert.ok(told instanceof RateLimiterRes);
		assert.deepStrictEqual(told.toJSON(), {remainingPoints: 0, msBeforeNext: 3600000, consumedPoints: 6, isFirstInDuration: false});
		assert.ok(await denied(limiter.consume('a')) instanceof RateLimiterRes);
		assert.ok((await limiter.get('a')).consumedPoints > 0);
		await limiter.consume('b');
		await limiter.block('b', 0.3);
		await until(() => limiter.consume('b').then(() => true, () => false), 'the block has ended');
	});

	await t.test('block: without an end', async () => {
		assert.strictEqual((await limiter.block('c', 0)).msBeforeNext, -1);
		const {rows} = await postgres.pool.query("select blocked_until from stint.client_override where client_id = 'c'");
		assert.deepStrictEqual(rows, [{blocked_until: null}]);
	});

	await t.test('delete: ends a block, and forgets what was consumed', async () => {
		assert.strictEqual(await limiter.delete('c'), true);
		await limiter.consume('c', 5);
		await denied(limiter.consume('c'));
		assert.strictEqual(await limiter.delete('c'), true);
		await until(() => limiter.consume('c', 5).then(() => true, () => false), 'all points are free again');
		assert.strictEqual(await limiter.delete('nobody'), false);
	});

	await t.test('express-rate-limit\'s resetKey: what was counted is forgotten, and nothing else', async () => {
		const store = new ExpressRateLimitStore({policy: 'express', cacheClient: connect(agent.socketPath), operator: postgres.pool, timeoutMs: 60000});
		store.init({windowMs: 600000, limit: 3});
		await store.resetKey('nobody has declared it yet');
		const isAdmitted = async (key) => (await store.increment(key)).totalHits <= 3;
		for (let i = 0; i < 4; i++)
			assert.strictEqual(await isAdmitted('a'), i < 3);
		await store.resetKey('a');
		await until(() => isAdmitted('a'), 'it is admitted again');
		await postgres.pool.query("select stint.block_client('express', '17')");
		await until(async () => !await isAdmitted('17'), 'it is blocked');
		await store.resetKey(17);
		const {rows} = await postgres.pool.query("select blocked from stint.client_override where client_id = '17'");
		assert.deepStrictEqual(rows, [{blocked: true}]);
		await assert.rejects(store.resetKey(''), /^error: stint: the client has 0 bytes/);
		store.shutdown();
		const closed = new ExpressRateLimitStore({operator: postgres.pool});
		closed.init({windowMs: 600000, limit: 0});
		await closed.resetKey('a');
	});

	await t.test('a role that may not is told so', async () => {
		await postgres.pool.query('create role nobody login');
		const refused = {query: async (text, values) => {
			const client = await postgres.pool.connect();
			try {
				await client.query('set role nobody');
				return await client.query(text, values);
			} finally {
				await client.query('reset role');
				client.release();
			}
		}};
		const other = new RateLimiterStint({points: 5, duration: 600, keyPrefix: 'login', cacheClient: connect(agent.socketPath), operator: refused});
		await assert.rejects(other.block('d', 1), /permission denied/);
		await assert.rejects(other.delete('d'), /permission denied/);
		other.close();
	});
	limiter.close();
});
