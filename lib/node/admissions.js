/*
 * admissions.js - what a store whose interface names a key only can give back: the key's last admissions.
 *
 * Such an interface doesn't say which request a call of it is about. So a key's admissions are given back last first; and because a request
 * that was denied may be taken back, too, as many calls as there were denials give back nothing. Admissions are forgotten when their window
 * is over, or there are too many, and then stay counted. Denials are remembered until nobody takes one back any more; if there are too many
 * of them, nothing at all is given back for so long.
 */
'use strict';
const {performance} = require('perf_hooks');

const ADMISSIONS_MAX = 65536; // of all keys
const DENIED_KEYS_MAX = 65536;

/* By key, the one that came last at the end: {..., until}. */
class Entries {
	#entries = new Map();

	find(key, now) {
		const entry = this.#entries.get(key);
		return entry !== undefined && entry.until > now ? entry : undefined;
	}

	/* Puts it at the end. Returns what was there and is over. */
	put(key, entry) {
		const before = this.#entries.get(key);
		this.#entries.delete(key);
		this.#entries.set(key, entry);
		return before === entry ? undefined : before;
	}

	remove(key) {
		this.#entries.delete(key);
	}

	/* Takes the oldest out if it is over, or `tooMany`. */
	takeOldest(now, tooMany) {
		for (const [key, entry] of this.#entries) {
			if (entry.until > now && !tooMany)
				return undefined;
			this.#entries.delete(key);
			return entry;
		}
		return undefined;
	}

	get size() {
		return this.#entries.size;
	}
}

class Admissions {
	#windowMs;
	#admitted = new Entries(); // {list, until}
	#denied = new Entries(); // {count, until}
	#count = 0; // of admissions
	#blindUntil = 0; // denials have been forgotten that may yet be taken back

	constructor(windowMs) {
		this.#windowMs = windowMs;
	}

	#noteAdmission(key, admission, now) {
		const entry = this.#admitted.find(key, now) || {list: []};
		entry.list.push(admission);
		entry.until = now + this.#windowMs;
		const before = this.#admitted.put(key, entry);
		this.#count += 1 - (before === undefined ? 0 : before.list.length);
		for (let old; (old = this.#admitted.takeOldest(now, this.#count > ADMISSIONS_MAX)) !== undefined;)
			this.#count -= old.list.length;
	}

	#noteDenial(key, {retryAfterMs}, now) {
		const entry = this.#denied.find(key, now) || {count: 0, until: 0};
		entry.count++;
		entry.until = Math.max(entry.until, now + Math.max(this.#windowMs, retryAfterMs));
		this.#denied.put(key, entry);
		for (let old; (old = this.#denied.takeOldest(now, this.#denied.size > DENIED_KEYS_MAX)) !== undefined;)
			this.#blindUntil = Math.max(this.#blindUntil, old.until);
	}

	/** A check of this key. */
	note(key, verdict, cost = 1) {
		const now = performance.now();
		if (verdict.allowed)
			this.#noteAdmission(key, {verdict, cost}, now);
		else
			this.#noteDenial(key, verdict, now);
	}

	/** The key's last admission, {verdict, cost}, which is forgotten by this; undefined when there is none. */
	take(key) {
		const entry = this.#admitted.find(key, performance.now());
		if (entry === undefined)
			return undefined;
		this.#count--;
		const admission = entry.list.pop();
		if (entry.list.length === 0)
			this.#admitted.remove(key);
		return admission;
	}

	/** The same for a request that may have been denied. */
	takeUnlessDenied(key) {
		const now = performance.now();
		const entry = this.#denied.find(key, now);
		if (entry === undefined || entry.count === 0)
			return now < this.#blindUntil ? undefined : this.take(key);
		entry.count--;
		return undefined;
	}

	/** How many admissions, and keys with denials, it remembers. */
	get size() {
		return this.#count + this.#denied.size;
	}

	/** Of how many keys it remembers admissions. */
	get keys() {
		return this.#admitted.size;
	}
}

module.exports = {ADMISSIONS_MAX, Admissions, DENIED_KEYS_MAX};
