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

test('an app with the role of an operator', {concurrency: 8}, async (t) => {
	const postgres = await startPostgres();
	if (postgres === undefined)
		return t.skip('there is no PostgreSQL, or no pg: is the package registry in reach?');
	const agent = await startAgent(postgres.conninfo);
	const limiter = new RateLimiterStint({points: 5, duration: 600, keyPrefix: 'login', cacheClient: connect(agent.socketPath), operator: postgres.pool,
		timeoutMs: 60000});
	/* Before the agent has found the database, it decides by itself, and the database knows of no policy. */
	await limiter.consume('first');
	await until(async () => (await postgres.pool.query("select from stint.policy where name = 'login'")).rowCount > 0, 'the policy is declared');

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

	const make = (keyPrefix, options) => new RateLimiterStint({points: 5, duration: 600, keyPrefix, cacheClient: connect(agent.socketPath),
		operator: postgres.pool, timeoutMs: 60000, ...options});
	const count = async (limiter, key, times) => {
		let admitted = 0;
		for (let i = 0; i < times; i++)
			admitted += await limiter.consume(key).then(() => 1, () => 0);
		return admitted;
	};
	const actions = async (policy) => (await postgres.pool.query('select client_id, action, count(*)::int from stint.change where policy_name = $1 and ' +
		'client_id is not null group by 1, 2 order by 1, 2', [policy])).rows.map(({client_id: key, action, count: n}) => `${key} ${action} ${n}`);

	// Each waits for hosts to drop what they hold: so they do it together.
	await Promise.all([
		t.test('delete: ends a block, and forgets what was consumed', async () => {
			assert.strictEqual(await limiter.delete('c'), true);
			await limiter.consume('c', 5);
			await denied(limiter.consume('c'));
			assert.strictEqual(await limiter.delete('c'), true);
			await until(() => limiter.consume('c', 5).then(() => true, () => false), 'all points are free again');
			assert.strictEqual(await limiter.delete('nobody'), false);
		}),

		t.test('delete: forgets what a penalty has counted beyond the limit', async () => {
			const own = make('penal');
			await own.consume('a');
			await own.penalty('a', 20);
			await until(() => own.consume('a').then(() => false, () => true), 'it is in debt'); // by then the agent has heard of it
			await own.delete('a');
			await until(() => own.consume('a', 5).then(() => true, () => false), 'all points are free again');
			own.close();
		}),

		t.test('express-rate-limit\'s resetKey: what was counted is forgotten, and nothing else', async () => {
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
			store.shutdown();
			const closed = new ExpressRateLimitStore({operator: postgres.pool});
			closed.init({windowMs: 600000, limit: 0});
			await closed.resetKey('a');
		}),

		t.test('set: what was consumed before is forgotten, the points count', async () => {
			const own = make('set');
			await Promise.all([[0, 4], [1, 2], [3, 5], [5, 0], [5, 3], [4, 17]].map(async ([before, points]) => {
				const key = `${before}, ${points}`;
				if (before > 0)
					await own.consume(key, before);
				const told = await own.set(key, points);
				assert.deepStrictEqual(told.toJSON(), {remainingPoints: Math.max(0, 5 - points), msBeforeNext: 600000, consumedPoints: points,
					isFirstInDuration: false});
				assert.strictEqual(((await own.get(key)) || {consumedPoints: 0}).consumedPoints, points < 5 ? points : 6, key);
				assert.strictEqual(await count(own, key, 6), Math.max(0, 5 - points), key);
			}));
			own.close();
		}),

		t.test('set: of keys that a host holds leases of, nothing is lost; and it ends a block', async () => {
			const own = make('wide', {points: 1000});
			await Promise.all(['a', 'b', 'c'].map(async (key) => {
				for (let i = 0; i < 20; i++)
					await own.consume(key, 10);
				await own.block(key, 3600);
				await own.set(key, 900, 600);
				assert.strictEqual((await own.get(key)).consumedPoints, 900);
			}));
			own.close();
		}),

		t.test('blockDuration: a denial blocks on all hosts, once; when that ends, all points are free', async () => {
			const own = make('blocks', {duration: 3600, blockDuration: 3600, operator: {query: (...args) => postgres.pool.query(...args)}});
			const other = make('blocks', {duration: 3600, operator: undefined});
			await own.consume('a', 4);
			await own.consume('b', 5);
			assert.strictEqual((await denied(own.consume('a', 2))).msBeforeNext, 3600000);
			await until(async () => (await other.get('a')).consumedPoints > 5, 'others have heard of it');
			const told = await denied(other.consume('a'));
			assert.ok(told.msBeforeNext > 3000000 && told.consumedPoints > 5, String(told));
			for (let i = 0; i < 100; i++)
				assert.ok((await denied(own.consume('a'))).msBeforeNext > 3000000);
			const {rows: [{until: end}]} = await postgres.pool.query("select blocked_until - clock_timestamp() between interval '50 min' and interval '1 h' as until " +
				"from stint.client_limit where policy = 'blocks' and client_id = 'a' and blocked");
			assert.strictEqual(end, true);
			const isFree = async () => (await postgres.pool.query("select from stint.client_charge where policy = 'blocks' and client_id = 'a'")).rows.length === 0;
			await until(isFree, 'what was consumed is forgotten');
			assert.strictEqual((await actions('blocks'))[0], 'a blocked 1');
			assert.strictEqual(await own.delete('a'), true);
			assert.strictEqual(await count(own, 'a', 5), 5);
			own.close();
			other.close();
		}),

		t.test('blockDuration: of three windows there is nothing to forget', async () => {
			const own = make('brief', {duration: 0.5, blockDuration: 1.5});
			await own.consume('a', 5);
			assert.strictEqual((await denied(own.consume('a'))).msBeforeNext, 1500);
			await until(() => own.consume('a').then(() => true, () => false), 'it is admitted again');
			assert.deepStrictEqual((await actions('brief')).filter((action) => /reset/.test(action)), []);
			own.close();
		}),

		t.test('delete: of a key that is at its limit, a denial meanwhile doesn\'t block', async () => {
			const own = make('deleted', {blockDuration: 3600});
			await own.consume('a', 5);
			assert.strictEqual(await own.delete('a'), true);
			await until(() => own.consume('a').then(() => true, () => false), 'it is admitted again');
			assert.strictEqual((await actions('deleted')).some((action) => /blocked/.test(action)), false);
			own.close();
		}),
	]);

	await t.test('blockDuration: a block of an operator\'s stays as it is', async () => {
		const blocking = new RateLimiterStint({points: 5, duration: 600, keyPrefix: 'login', cacheClient: connect(agent.socketPath), blockDuration: 15,
			operator: {query: async (text, values) => {
				await postgres.pool.query("select stint.block_client('login', 'd', 'by hand')");
				return postgres.pool.query(text, values);
			}}});
		await blocking.consume('d', 5);
		await denied(blocking.consume('d'));
		await until(async () => (await limiter.get('d')).consumedPoints > 5, 'it is blocked');
		await blocking.delete('nobody'); // what is under way for others ends as well
		const {rows} = await postgres.pool.query("select blocked, blocked_until, note from stint.client_override where client_id = 'd'");
		assert.deepStrictEqual(rows, [{blocked: true, blocked_until: null, note: 'by hand'}]);
		blocking.close();
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
