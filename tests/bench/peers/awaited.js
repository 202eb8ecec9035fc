/*
 * awaited.js - how fast lib/node is, in processes of their own, beside rate-limiter-flexible in memory.
 *
 *     node awaited.js LIBRARY EMPTY PROCESSES CLIENTS MS [own]
 *
 * LIBRARY: the path of lib/node; EMPTY: that of an addon that does nothing; $STINT_SOCKET: the agent. Each process
 * draws from CLIENTS by turns, one check at a time: all from the same, in the same order, or each from its own.
 * Measures for MS each, by turns of 100 ms, and prints one line, medians of the checks per second of all processes:
 * isAllowed awaited, tryCheck, and consume awaited; then how often the empty addon is called with an id; then the
 * p99 of the event loop's delay in ms while isAllowed is awaited in 32 loops that give way to timers every 1,000
 * checks.
 */
'use strict';
const {fork} = require('child_process');
const {monitorEventLoopDelay, performance} = require('perf_hooks');
const {RateLimiterMemory} = require('rate-limiter-flexible');

const MANY = 1000000000;
const LOOK_EVERY = 256;
const TURN_MS = 100;
const LOOPS = 32;
const ROUNDS_MAX = 30;

const [library, empty, ...numbers] = process.argv.slice(2);
const [processes, clients, ms] = numbers.map(Number);
const whose = numbers[3] === 'own' ? process.pid + '-' : 'client-';
const ids = Array.from({length: clients}, (_, i) => whose + String(i).padStart(8, '0'));

/* Verdicts per second of `some(first)`, which asks for LOOK_EVERY of them and returns how many it got. */
async function measure(some) {
	const began = performance.now();
	let checks = 0;
	for (let first = 0; performance.now() < began + TURN_MS; first = (first + LOOK_EVERY) % clients)
		checks += await some(first);
	return checks / (performance.now() - began) * 1000;
}

const median = (numbers) => numbers.sort((a, b) => a - b)[numbers.length >> 1];

/* The machine's speed changes within seconds: so each has its turn again and again. */
async function measureByTurns(all) {
	const rates = all.map(() => []);
	for (let turn = 0; turn < Math.max(1, ms / TURN_MS); turn++)
		for (const [i, some] of all.entries())
			rates[i].push(await measure(some));
	return rates.map(median);
}

async function measureDelay(limiter) {
	const delay = monitorEventLoopDelay({resolution: 1});
	const end = performance.now() + ms;
	delay.enable();
	const loop = async () => {
		for (let i = 0; performance.now() < end; i = (i + 1000) % clients) {
			for (let j = 0; j < 1000; j++)
				await limiter.isAllowed(ids[(i + j) % clients]);
			await new Promise(setImmediate);
		}
	};
	await Promise.all(Array.from({length: LOOPS}, loop));
	return delay.percentile(99) / 1e6;
}

/* Until the table decides for all clients: its leases grow with what they are used for. */
async function warm(limiter) {
	for (let cold = clients, round = 0; cold > 0 && round < ROUNDS_MAX; round++) {
		for (let first = 0; first < clients; first += 1000)
			await Promise.all(ids.slice(first, first + 1000).map((id) => limiter.isAllowed(id)));
		cold = ids.filter((id) => limiter.tryCheck(id) === undefined).length;
	}
}

async function work() {
	const {DistributedRateLimiter} = require(library);
	const stint = new DistributedRateLimiter({policy: 'awaited', maxRequests: MANY, timeWindowMs: 3600000});
	const memory = new RateLimiterMemory({points: MANY, duration: 60});
	const eachOf = (check) => async (first) => {
		for (let i = first; i < first + LOOK_EVERY; i++)
			await check(ids[i % clients]);
		return LOOK_EVERY;
	};
	const isAllowed = eachOf((id) => stint.isAllowed(id));
	const tryCheck = (first) => {
		let decided = 0;
		for (let i = first; i < first + LOOK_EVERY; i++)
			decided += stint.tryCheck(ids[i % clients]) !== undefined;
		return decided;
	};
	const take = require(empty);
	const call = (first) => {
		for (let i = first; i < first + LOOK_EVERY; i++)
			take(ids[i % clients]);
		return LOOK_EVERY;
	};
	const consume = eachOf((id) => memory.consume(id));

	await warm(stint);
	const all = [isAllowed, tryCheck, consume, call];
	await measureByTurns(all); // the compiler of node
	process.send('ready');
	await new Promise((resolve) => process.once('message', resolve));
	const rates = await measureByTurns(all);
	process.send({rates, delay: await measureDelay(stint)}, () => process.exit(0));
}

function nextMessage(child) {
	return new Promise((resolve, reject) => {
		child.once('message', resolve);
		child.once('exit', (status) => reject(new Error('a process ended, status ' + status)));
	});
}

async function lead() {
	const children = Array.from({length: processes}, () => fork(__filename, process.argv.slice(2)));
	await Promise.all(children.map(nextMessage));
	const ends = children.map(nextMessage);
	for (const child of children)
		child.send('go');
	const told = await Promise.all(ends);
	const sums = [0, 1, 2, 3].map((i) => told.reduce((sum, {rates}) => sum + rates[i], 0));
	console.log([...sums, Math.max(...told.map(({delay}) => delay))].map((number) => number.toFixed(3)).join(' '));
}

(process.send === undefined ? lead() : work()).catch((error) => {
	console.error('awaited.js: ' + error.stack);
	process.exit(1);
});
