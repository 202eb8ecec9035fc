/*
 * test_postgres.js - a limiter on PostgresCache and a real PostgreSQL, which is killed and stopped under load.
 */
'use strict';
const assert = require('assert');
const {test} = require('node:test');
const {LIBRARY, until} = require('./support.js');
const {findMost, killUnderLoad} = require('./stores.js');
const {startPostgres} = require('./postgres.js');
const {DistributedRateLimiter, PostgresCache} = require(LIBRARY);

const FAR = 1296000000; // the longest there is: no window ends during the test

test('PostgreSQL', async (t) => {
	assert.throws(() => new PostgresCache({}), /^TypeError: pool is an object, must be a Pool of pg$/);
	const postgres = await startPostgres();
	if (postgres === undefined)
		return t.skip('there is no PostgreSQL, or no pg: is the package registry in reach?');
	const {pool, pgCluster} = postgres;
	const cache = new PostgresCache(pool);
	const make = (options) => new DistributedRateLimiter({maxRequests: 50, timeWindowMs: FAR, policy: 'pg', algorithm: 'fixed_window',
		fallbackMaxRequests: 1000000, timeoutMs: 500, cacheClient: cache, ...options});

	await t.test('the four calls', async () => {
		assert.strictEqual(await cache.get('k'), null);
		await cache.set('k', 7, 60000);
		assert.strictEqual(await cache.get('k'), '7');
		assert.strictEqual(await cache.incrementAndGet('k', 60000), 8);
		assert.strictEqual(await cache.decrementAndGet('k'), 7);
		assert.strictEqual(await cache.incrementAndGet('new', 60000), 1);
		assert.strictEqual(await cache.decrementAndGet('nothing'), 0);
	});

	await t.test('never more than the limit, and all of it', async () => {
		const limiters = [make({timeoutMs: 60000}), make({timeoutMs: 60000}), make({timeoutMs: 60000})];
		const told = await Promise.all(Array.from({length: 600}, (_, i) => limiters[i % 3].isAllowed('a')));
		let allowed = told.filter((each) => each).length;
		assert.ok(allowed <= 50);
		await until(async () => {
			allowed += await limiters[0].isAllowed('a');
			return allowed >= 50;
		}, 'all of the limit');
		for (let i = 0; i < 20; i++)
			assert.strictEqual(await limiters[i % 3].isAllowed('a'), false);
		const sliding = make({algorithm: undefined, timeoutMs: 60000});
		assert.strictEqual((await sliding.check('b', {cost: 30})).remaining, 20);
	});

	await t.test('killed under load: the lenient limit, then the right one', async () => {
		const allowedAt = await killUnderLoad(make(), () => pgCluster('kill'), () => pgCluster('start'));
		// The table isn't logged: a server that was killed has forgotten it.
		assert.ok(findMost(allowedAt, FAR) <= 100, `${allowedAt.length}`);
	});

	await t.test('stopped under load: no check hangs', async () => {
		const limiter = make({policy: 'stopped'});
		await limiter.isAllowed('a');
		await pgCluster('pause');
		const told = await Promise.all(Array.from({length: 100}, () => limiter.check('a')));
		await pgCluster('resume');
		assert.ok(told.every((verdict) => verdict.allowed && verdict.source === 'local'));
		await until(async () => (await limiter.check('b')).source === 'cache', 'PostgreSQL decides again');
	});
});
