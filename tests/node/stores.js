/*
 * stores.js - what test_cache.js, test_redis.js and test_postgres.js share: a store in memory, an exact log, and load.
 */
'use strict';
const assert = require('assert');
const {sleep, until} = require('./support.js');

/** A store by a clock of the test's. What it is asked is answered in a later turn, in the order of `delay()`. */
class MemoryStore {
	constructor(clock, delay = () => Promise.resolve()) {
		this.clock = clock;
		this.delay = delay;
		this.values = new Map();
		this.calls = 0;
	}

	async answer(run) {
		this.calls++;
		await this.delay();
		const value = run();
		await this.delay();
		return value;
	}

	find(key) {
		const entry = this.values.get(key);
		return entry !== undefined && entry.expiresAt > this.clock() ? entry : undefined;
	}

	get(key) {
		return this.answer(() => this.find(key)?.value ?? null);
	}

	set(key, value, expiryMs) {
		return this.answer(() => this.values.set(key, {value, expiresAt: this.clock() + expiryMs}));
	}

	incrementAndGet(key, expiryMs) {
		return this.answer(() => {
			const entry = this.find(key) || {value: 0, expiresAt: this.clock() + expiryMs};
			this.values.set(key, entry);
			return ++entry.value;
		});
	}

	decrementAndGet(key) {
		return this.answer(() => --this.find(key).value);
	}
}

/** The most that any interval of windowMs admitted, of times in order. */
function findMost(times, windowMs) {
	let most = 0;
	for (let first = 0, last = 0; last < times.length; last++) {
		while (times[first] <= times[last] - windowMs)
			first++;
		most = Math.max(most, last - first + 1);
	}
	return most;
}

/** Numbers from 0 to 1, by a seed. */
function makeRandom(seed) {
	let state = seed >>> 0;
	return () => {
		state = state + 0x6d2b79f5 >>> 0;
		let t = Math.imul(state ^ state >>> 15, 1 | state);
		t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
		return ((t ^ t >>> 14) >>> 0) / 4294967296;
	};
}

/** Asks in `workers` loops, until `isOver()`; returns the verdicts by what decided, and when the store admitted. */
async function load(limiter, clientId, workers, isOver) {
	const seen = {rejected: 0, bySource: {}, allowedAt: []};
	const one = async () => {
		while (!isOver()) {
			try {
				const verdict = await limiter.check(clientId);
				seen.bySource[verdict.source] = (seen.bySource[verdict.source] || 0) + 1;
				if (verdict.allowed && verdict.source === 'cache')
					seen.allowedAt.push(Date.now());
			} catch {
				seen.rejected++;
			}
			await sleep(2);
		}
	};
	await Promise.all(Array.from({length: workers}, one));
	return seen;
}

/** Kills the limiter's server under load and starts it again: no check is rejected, and whoever can decides. Returns when the server admitted. */
async function killUnderLoad(limiter, kill, start) {
	let over = false;
	const seen = load(limiter, 'a', 10, () => over);
	await sleep(100);
	await kill();
	await until(async () => (await limiter.check('b')).source === 'local', 'the process decides by itself');
	await sleep(100);
	await start();
	await until(async () => (await limiter.check('c')).source === 'cache', 'the server decides again');
	await sleep(300);
	over = true;
	const {allowedAt, bySource, rejected} = await seen;
	assert.strictEqual(rejected, 0);
	assert.ok(bySource.cache > 0 && bySource.local > 0, JSON.stringify(bySource));
	return allowedAt;
}

module.exports = {MemoryStore, findMost, killUnderLoad, makeRandom};
