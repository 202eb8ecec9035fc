/*
 * blocks.js - the keys that a process has denied and is having blocked, on all hosts.
 *
 * A denial doesn't wait for the block, and stands whether or not there will be one. Until this host has heard of it, the key is denied here
 * without asking anybody: so a block is asked for once, however many denials there are. No more are asked for at the same time than ASKED_MAX;
 * and for REST_MS after one has failed none is: the database may be away. Who is not blocked is when denied the next time.
 *
 * A key that the app has deleted isn't blocked for FORGIVEN_MS: until then what was counted before may still be what it is denied for.
 */
'use strict';
const {performance} = require('perf_hooks');
const {show} = require('./options.js');

const ASKED_MAX = 256;
const REST_MS = 1000;
const FORGIVEN_MS = 20000;
const FORGIVEN_MAX = 4096;

class Blocks {
	#durationMs;
	#block;
	#name;
	#asked = new Map(); // by key: {until, done}
	#forgiven = new Map(); // by key, the oldest first: until when
	#restUntil = 0;
	#hasWarned = false;

	/** block(key) resolves when this host has heard of it, or will not; name: whose they are, for warnings. */
	constructor(durationMs, block, name) {
		this.#durationMs = durationMs;
		this.#block = block;
		this.#name = name;
	}

	/** A key was denied: it is to be blocked. Never throws. Returns for how many ms it is denied here; 0: it can't be blocked at the moment. */
	ask(key) {
		const now = performance.now();
		if (this.#asked.has(key))
			return this.msLeft(key);
		if (this.#asked.size >= ASKED_MAX || now < this.#restUntil || now < this.#forgiven.get(key))
			return 0;
		const asked = {until: now + this.#durationMs, done: undefined};
		this.#asked.set(key, asked);
		asked.done = this.#run(key);
		return this.#durationMs;
	}

	async #run(key) {
		try {
			await this.#block(key);
			this.#hasWarned = false;
		} catch (error) {
			this.#fail(error);
		}
		this.#asked.delete(key);
	}

	/* One warning, until it succeeds again. It names no key: those may be anything. */
	#fail(error) {
		this.#restUntil = performance.now() + REST_MS;
		if (!this.#hasWarned)
			process.emitWarning(`${this.#name}: blockDuration: not all who were denied are blocked: ${error instanceof Error ? error.message : show(error)}`);
		this.#hasWarned = true;
	}

	/** For how many ms a key is yet denied here; 0: it isn't, or this host knows better. */
	msLeft(key) {
		const asked = this.#asked.get(key);
		return asked === undefined ? 0 : Math.max(0, Math.ceil(asked.until - performance.now()));
	}

	/** The app deletes a key: resolves when nothing is under way for it; no more will be, for a while. */
	async forgive(key) {
		const now = performance.now();
		for (const [other, until] of this.#forgiven) {
			if (until > now && this.#forgiven.size < FORGIVEN_MAX)
				break;
			this.#forgiven.delete(other);
		}
		this.#forgiven.delete(key);
		this.#forgiven.set(key, now + FORGIVEN_MS);
		const asked = this.#asked.get(key);
		await (asked && asked.done);
	}

	/** How many keys are being blocked, or are not to be. */
	get size() {
		return this.#asked.size + this.#forgiven.size;
	}

	/** Denies nobody any more, and says nothing. */
	close() {
		this.#hasWarned = true;
		this.#restUntil = Infinity;
		this.#asked.clear();
	}
}

module.exports = {ASKED_MAX, Blocks, FORGIVEN_MAX};
