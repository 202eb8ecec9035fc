/*
 * limiter.js - how fast rate-limiter-flexible is, and how long a check takes, in processes of their own.
 *
 *     node limiter.js STORE WHERE PROCESSES IN_FLIGHT RATE_MS LATENCY_MS
 *
 * STORE: postgres (WHERE: a libpq connection string), redis (WHERE: the path of a socket), memory, or cluster: then the processes are
 * workers of a node cluster, and count together in its primary. Each process has one limiter,
 * and IN_FLIGHT checks under way at any time; all wait for each other before they begin. First without looking at the clock for
 * each check, for the rate, then with it. Prints one line: checks per second of all processes, then CLASS:COUNT for each class of
 * tests/support/histogram.h that has durations, in nanoseconds.
 */
'use strict';
const cluster = require('cluster');
const {fork} = require('child_process');
const {RateLimiterCluster, RateLimiterClusterMaster, RateLimiterMemory, RateLimiterPostgres, RateLimiterRedis} = require('rate-limiter-flexible');

const CLIENTS = 100;
const LIMIT = {points: 1000000000, duration: 60, keyPrefix: 'peers'};
const WARM_UP_MS = 300; // connections, plans, and the compiler of node
// A look at the clock each so many checks, where only the rate is wanted.
const LOOK_EVERY = 32;

const [store, where, ...numbers] = process.argv.slice(2);
const [processes, inFlight, rateMs, latencyMs] = numbers.map(Number);
const ids = Array.from({length: CLIENTS}, (_, i) => 'client-' + String(i).padStart(8, '0'));

/* ---- The limiter ------------------------------------------------------------- */

function makePostgres() {
	const {Pool} = require('pg');
	const of = Object.fromEntries(where.split(' ').map((word) => word.split('=')));
	const pool = new Pool({host: of.host, port: Number(of.port), database: of.dbname, user: of.user, max: inFlight});

	return new Promise((resolve, reject) => {
		const options = {...LIMIT, storeClient: pool, storeType: 'pool', tableName: 'peers'};
		const limiter = new RateLimiterPostgres(options, (error) => error ? reject(error) : resolve(limiter));
	});
}

async function makeLimiter() {
	if (store === 'postgres')
		return makePostgres();
	if (store === 'redis')
		return new RateLimiterRedis({...LIMIT, storeClient: new (require('ioredis'))(where)});
	if (store === 'cluster')
		return new RateLimiterCluster(LIMIT);
	return new RateLimiterMemory(LIMIT);
}

/* ---- Messages ---------------------------------------------------------------- */

/* The next one that has this property: a cluster's limiters send their own. One that ends before ends all. */
function nextMessage(other, property) {
	return new Promise((resolve, reject) => {
		const look = (message) => {
			if (message[property] === undefined)
				return;
			other.off('message', look);
			resolve(message);
		};
		other.on('message', look);
		other.once('exit', (status) => reject(new Error('a process ended, status ' + status)));
	});
}

/* ---- One process ---------------------------------------------------------------- */

let turn = 0;
const nextId = () => ids[turn++ % CLIENTS];

async function runForRate(limiter, until, done) {
	while (process.hrtime.bigint() < until) {
		for (let i = 0; i < LOOK_EVERY; i++)
			await limiter.consume(nextId());
		done.checks += LOOK_EVERY;
	}
}

async function runForLatency(limiter, until, done) {
	for (let before = 0n; before < until;) {
		before = process.hrtime.bigint();
		await limiter.consume(nextId());
		done.ns.push(Number(process.hrtime.bigint() - before));
	}
}

/* A denial, and an error of the store, is a rejection: it ends the process. */
async function runAll(run, limiter, ms) {
	const done = {checks: 0, ns: []};
	const began = process.hrtime.bigint();
	const until = began + BigInt(ms) * 1000000n;

	await Promise.all(Array.from({length: inFlight}, () => run(limiter, until, done)));
	done.rate = done.checks * 1e9 / Number(process.hrtime.bigint() - began);
	return done;
}

/* As histogram_class() has it; no duration here is 2^31 ns or more. */
function classOf(ns) {
	const log2 = 31 - Math.clz32(ns);

	return ns < 16 ? ns : (log2 - 3) * 16 + (ns >> (log2 - 4) & 15);
}

function countClasses(all) {
	const classes = {};

	for (const ns of all)
		classes[classOf(ns)] = (classes[classOf(ns)] || 0) + 1;
	return classes;
}

async function work() {
	const limiter = await makeLimiter();

	await runAll(runForRate, limiter, WARM_UP_MS);
	process.send({ready: true});
	await nextMessage(process, 'go');
	const {rate} = await runAll(runForRate, limiter, rateMs);
	const {ns} = await runAll(runForLatency, limiter, latencyMs);
	process.send({rate, classes: countClasses(ns)}, () => process.exit(0));
}

/* ---- All of them ------------------------------------------------------------------ */

function startProcess() {
	const options = process.argv.slice(2);
	if (store !== 'cluster')
		return fork(__filename, options);
	cluster.setupPrimary({exec: __filename, args: options});
	return cluster.fork();
}

async function prepare() {
	if (store === 'postgres')
		await makeLimiter(); // several that make the same table at once are in each other's way
	if (store === 'cluster')
		new RateLimiterClusterMaster();
}

async function lead() {
	await prepare();
	const children = Array.from({length: processes}, startProcess);

	await Promise.all(children.map((child) => nextMessage(child, 'ready')));
	const ends = children.map((child) => nextMessage(child, 'rate'));
	for (const child of children)
		child.send({go: true});

	const classes = {};
	let rate = 0;
	for (const end of await Promise.all(ends)) {
		rate += end.rate;
		for (const [index, count] of Object.entries(end.classes))
			classes[index] = (classes[index] || 0) + count;
	}
	console.log([rate.toFixed(1), ...Object.entries(classes).map((pair) => pair.join(':'))].join(' '));
}

(process.send === undefined ? lead() : work()).then(() => process.send === undefined && process.exit(0), (error) => {
	console.error('limiter.js: ' + (error && error.stack || JSON.stringify(error)));
	process.exit(1);
});
