/*
 * test_redis.js - a limiter on a real Redis, which is killed and stopped under load.
 */
'use strict';
const assert = require('assert');
const {test} = require('node:test');
const {LIBRARY, until} = require('./support.js');
const {findMost, killUnderLoad} = require('./stores.js');
const {startRedis} = require('./redis.js');
const {DistributedRateLimiter} = require(LIBRARY);

const FAR = 1296000000; // the longest there is: no window ends during the test

test('Redis', async (t) => {
	const redis = await startRedis();
	if (redis === undefined)
		return t.skip('there is no Redis server (redis-tools), or no ioredis: is the package registry in reach?');
	const {cacheClient, client, server} = redis;
	const make = (options) => new DistributedRateLimiter({maxRequests: 50, timeWindowMs: FAR, policy: 'redis', algorithm: 'fixed_window',
		fallbackMaxRequests: 1000000, timeoutMs: 200, cacheClient, ...options});

	await t.test('never more than the limit, and all of it', async () => {
		const limiters = [make({timeoutMs: 60000}), make({timeoutMs: 60000}), make({timeoutMs: 60000})];
		const told = await Promise.all(Array.from({length: 600}, (_, i) => limiters[i % 3].isAllowed('a')));
		assert.ok(told.filter((allowed) => allowed).length <= 50);
		let rest = 0;
		for (let i = 0; i < 100; i++)
			rest += await limiters[i % 3].isAllowed('a');
		assert.strictEqual(told.filter((allowed) => allowed).length + rest, 50);
		const [key] = await client.keys('*|a');
		assert.strictEqual(await client.get(key), '50');
		assert.ok(await client.pttl(key) > FAR);
		assert.strictEqual((await limiters[0].check('b', {cost: 30})).remaining, 20);
	});

	await t.test('killed under load: the lenient limit, then the right one', async () => {
		const allowedAt = await killUnderLoad(make(), () => server.stop('SIGKILL'), () => server.start(client));
		// It had forgotten all when it came back.
		assert.ok(findMost(allowedAt, FAR) <= 100, `${allowedAt.length}`);
	});

	await t.test('stopped under load: no check hangs', async () => {
		const limiter = make({policy: 'stopped'});
		await limiter.isAllowed('a');
		server.process.kill('SIGSTOP');
		const told = await Promise.all(Array.from({length: 100}, () => limiter.check('a')));
		assert.ok(told.every((verdict) => verdict.allowed && verdict.source === 'local'));
		server.process.kill('SIGCONT');
		await until(async () => (await limiter.check('b')).source === 'cache', 'Redis decides again');
		// Those that were admitted meanwhile count.
		assert.strictEqual(await limiter.isAllowed('a'), false);
	});
});
