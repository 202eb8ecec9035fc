// limiter.js - rate-limiter-flexible as an app uses it: one process, checks one after the other or some in flight at once.
//
//     node limiter.js STORE IN_FLIGHT MS ADDRESS
//
// STORE: postgres, redis or memory. ADDRESS: the folder of PostgreSQL's socket, or Redis's socket. Prints: checks, seconds, and
// nanoseconds of the quantiles 0.5 0.75 0.9 0.99 0.999 0.9999.
'use strict';

const { RateLimiterMemory, RateLimiterPostgres, RateLimiterRedis } = require('rate-limiter-flexible');

const [store, inFlight, ms, address] = process.argv.slice(2);
const limit = { points: 1e9, duration: 60, keyPrefix: 'bench' };

function makePostgres() {
	const { Pool } = require('pg');
	const pool = new Pool({ host: address, user: 'postgres', database: 'stint', max: Math.max(1, Number(inFlight)) });
	return new Promise((resolve, reject) => {
		const limiter = new RateLimiterPostgres(
			{ ...limit, storeClient: pool, tableName: 'flexible', clearExpiredByTimeout: false },
			(error) => (error ? reject(error) : resolve({ limiter, end: () => pool.end() })));
	});
}

async function makeRedis() {
	const Redis = require('ioredis');
	const client = new Redis({ path: address, enableOfflineQueue: true });
	return { limiter: new RateLimiterRedis({ ...limit, storeClient: client }), end: () => client.quit() };
}

async function makeMemory() {
	return { limiter: new RateLimiterMemory(limit), end: async () => {} };
}

async function work(limiter, until, took) {
	for (let n = 0; process.hrtime.bigint() < until; n++) {
		const began = process.hrtime.bigint();
		await limiter.consume('client-' + (n % 100));
		took.push(Number(process.hrtime.bigint() - began));
		// A memory store never waits, and would keep the loop from all else.
		if (store === 'memory' && n % 1000 === 0) await new Promise(setImmediate);
	}
}

async function run(limiter, forMs) {
	const took = [];
	const began = process.hrtime.bigint();
	const until = began + BigInt(forMs) * 1000000n;
	await Promise.all(Array.from({ length: Number(inFlight) }, () => work(limiter, until, took)));
	return { took, seconds: Number(process.hrtime.bigint() - began) / 1e9 };
}

async function main() {
	const make = { postgres: makePostgres, redis: makeRedis, memory: makeMemory }[store];
	const { limiter, end } = await make();
	await run(limiter, Math.min(300, ms)); // compiles what is hot
	const { took, seconds } = await run(limiter, ms);
	took.sort((a, b) => a - b);
	const quantiles = [0.5, 0.75, 0.9, 0.99, 0.999, 0.9999].map((q) => took[Math.floor((took.length - 1) * q)]);
	console.log([took.length, seconds.toFixed(6), ...quantiles].join(' '));
	await end();
}

main().catch((error) => {
	console.error(error);
	process.exit(1);
});
