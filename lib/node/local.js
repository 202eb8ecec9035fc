/*
 * local.js - a limit inside this process, for when nobody else can decide: fixed windows by the monotonic clock.
 *
 * Only the present window's clients are kept, and no more than CLIENTS_MAX: the oldest give way, and then begin anew.
 */
'use strict';
const {performance} = require('perf_hooks');

const CLIENTS_MAX = 65536;
const TIMER_MS_MAX = 0x7fffffff;
const RETRY_MS = 1000; // when who is denied may ask again, if the limiter doesn't know its policy's window (mustExist)

function forgetIdle(reference) {
	const limit = reference.deref();
	if (limit !== undefined)
		limit.forgetIdle();
}

class LocalLimit {
	#maxRequests;
	#timeWindowMs;
	#counts = new Map();
	#began = -Infinity;

	constructor(maxRequests, timeWindowMs) {
		this.#maxRequests = maxRequests;
		this.#timeWindowMs = timeWindowMs;
	}

	/* When nobody comes any more, the timer lets go of the last window's clients; it doesn't keep a limit that nobody has. */
	#turn(now) {
		if (now < this.#began + this.#timeWindowMs)
			return;
		this.#began = now - (now % this.#timeWindowMs);
		this.#counts = new Map();
		setTimeout(forgetIdle, Math.min(2 * this.#timeWindowMs, TIMER_MS_MAX), new WeakRef(this)).unref();
	}

	forgetIdle() {
		if (performance.now() >= this.#began + this.#timeWindowMs)
			this.#counts = new Map();
	}

	get size() {
		return this.#counts.size;
	}

	#count(clientId, taken) {
		if (!this.#counts.has(clientId) && this.#counts.size >= CLIENTS_MAX)
			this.#counts.delete(this.#counts.keys().next().value);
		this.#counts.set(clientId, taken);
	}

	/** Decides at once. */
	check(clientId, cost, policy) {
		const now = performance.now();
		this.#turn(now);
		const taken = this.#counts.get(clientId) || 0;
		const allowed = taken + cost <= this.#maxRequests;
		if (allowed)
			this.#count(clientId, taken + cost);
		const leftMs = Math.max(1, Math.ceil(this.#began + this.#timeWindowMs - now));
		const reason = allowed ? 'admitted' : cost > this.#maxRequests ? 'cost_above_limit' : 'over_limit';
		return {allowed, shadowDenied: false, limit: this.#maxRequests, remaining: this.#maxRequests - taken - (allowed ? cost : 0),
			retryAfterMs: allowed ? 0 : leftMs, resetAfterMs: leftMs, timeWindowMs: this.#timeWindowMs, source: 'local', policy, reason};
	}
}

/** The one of checked options: its own, or the fallback's limit. */
function makeLocalLimit({maxRequests, timeWindowMs, fallbackMaxRequests, fallbackTimeWindowMs, localMaxRequests}) {
	const lenient = fallbackMaxRequests || 2 * maxRequests;
	return new LocalLimit(localMaxRequests === undefined ? lenient : localMaxRequests, fallbackTimeWindowMs || timeWindowMs);
}

/** A shadow denies nobody, whoever decides: this verdict, or the same as told of a shadow. */
function admitShadow({shadow}, verdict) {
	return shadow && !verdict.allowed ? {...verdict, allowed: true, shadowDenied: true} : verdict;
}

/** The verdict of onError: 'allow' or 'deny'. */
function decideByWord(options, word) {
	const allowed = word === 'allow';
	const {maxRequests: limit = 0, timeWindowMs = 0, policy} = options;
	const waitMs = timeWindowMs || RETRY_MS;
	return admitShadow(options, {allowed, shadowDenied: false, limit, remaining: 0, retryAfterMs: allowed ? 0 : waitMs, resetAfterMs: waitMs,
		timeWindowMs, source: 'local', policy, reason: allowed ? 'admitted' : 'unavailable'});
}

module.exports = {CLIENTS_MAX, LocalLimit, admitShadow, decideByWord, makeLocalLimit};
