/*
 * admissions.js - what a store whose interface names a key only can give back: the key's last admissions.
 *
 * Such an interface doesn't say which request a call of it is about. So a key's admissions are given back last first; and because a request
 * that was denied may be taken back, too, as many calls as there were denials give back nothing. Whoever has not come for a window is
 * forgotten, and then nothing is given back.
 */
'use strict';
const {performance} = require('perf_hooks');

const ADMISSIONS_MAX = 65536; // of all keys

class Admissions {
	#windowMs;
	#entries = new Map(); // by key, the one that came last at the end: {admitted, denied, until}
	#count = 0;

	constructor(windowMs) {
		this.#windowMs = windowMs;
	}

	#forget(key, entry) {
		this.#entries.delete(key);
		this.#count -= entry.admitted.length + 1;
	}

	#forgetOldest(now) {
		for (const [key, entry] of this.#entries) {
			if (entry.until > now && this.#count <= ADMISSIONS_MAX)
				return;
			this.#forget(key, entry);
		}
	}

	#find(key, now) {
		const entry = this.#entries.get(key);
		return entry !== undefined && entry.until > now ? entry : undefined;
	}

	/** A check of this key. */
	note(key, verdict, cost = 1) {
		const now = performance.now();
		const entry = this.#find(key, now) || {admitted: [], denied: 0};
		const before = this.#entries.get(key);
		if (before !== undefined)
			this.#forget(key, before);
		if (verdict.allowed)
			entry.admitted.push({verdict, cost});
		else
			entry.denied++;
		entry.until = now + this.#windowMs;
		this.#entries.set(key, entry);
		this.#count += entry.admitted.length + 1;
		this.#forgetOldest(now);
	}

	/** The key's last admission, {verdict, cost}, which is forgotten by this; undefined when there is none. */
	take(key) {
		const entry = this.#find(key, performance.now());
		if (entry === undefined || entry.admitted.length === 0)
			return undefined;
		this.#count--;
		return entry.admitted.pop();
	}

	/** The same for a request that may have been denied. */
	takeUnlessDenied(key) {
		const entry = this.#find(key, performance.now());
		if (entry === undefined || entry.denied === 0)
			return this.take(key);
		entry.denied--;
		return undefined;
	}

	get size() {
		return this.#count;
	}
}

module.exports = {ADMISSIONS_MAX, Admissions};
