/*
 * verdict.js - what a check found. What refund() needs to give it back is hidden in it: nobody sees, copies or changes that.
 */
'use strict';
const {checkInteger, show} = require('./options.js');

const SOURCES = ['', 'lease', 'database', 'fallback', 'local', 'advance'];
const REASONS = ['', 'admitted', 'over_limit', 'blocked', 'cost_above_limit', 'unavailable'];

/* Places in its numbers, as addon.h has them. */
const BITS = 1;
const LIMIT = 2;
const REMAINING = 3;
const RETRY_AFTER_MS = 4;
const RESET_AFTER_MS = 5;
const TIME_WINDOW_MS = 6;
const RECEIPT_LOW = 7;
const RECEIPT_HIGH = 8;
const RETRY_AFTER_HIGH = 9;
const RESET_AFTER_HIGH = 10;
const TIME_WINDOW_HIGH = 11;
const FIELDS = 12;

/* What the bits say. */
const ALLOWED = 1;
const HIGH = 2; // a time of 2^31 ms or more
const SHADOW_DENIED = 4;
const SOURCE_SHIFT = 4;
const REASON_SHIFT = 8;
const MASK = 7;

const RULE_OF_VERDICT = 'must be what check() or tryCheck() has returned, not a copy';
const OTHERS_VERDICT = 'verdict is another limiter\'s, must be of the limiter whose refund() is called';

class Verdict {
	#owner;
	#clientId;
	#cost;
	#low;
	#high;

	/** `owner` is the backend that decided; cost: what was asked for. */
	constructor(numbers, at, owner, clientId, cost) {
		// All is read before anything is stored: after a store, V8 would look again at what kind of array it reads.
		const bits = numbers[at + BITS];
		const limit = numbers[at + LIMIT];
		const remaining = numbers[at + REMAINING];
		const retryAfterMs = numbers[at + RETRY_AFTER_MS];
		const resetAfterMs = numbers[at + RESET_AFTER_MS];
		const timeWindowMs = numbers[at + TIME_WINDOW_MS];
		const low = numbers[at + RECEIPT_LOW];
		const high = numbers[at + RECEIPT_HIGH];
		const source = SOURCES[bits >> SOURCE_SHIFT & MASK];
		const reason = REASONS[bits >> REASON_SHIFT & MASK];
		const {policy} = owner;

		this.allowed = (bits & ALLOWED) !== 0;
		this.shadowDenied = (bits & SHADOW_DENIED) !== 0;
		this.limit = limit;
		this.remaining = remaining;
		this.retryAfterMs = retryAfterMs;
		this.resetAfterMs = resetAfterMs;
		this.timeWindowMs = timeWindowMs;
		this.source = source;
		this.policy = policy;
		this.reason = reason;
		this.#owner = owner;
		this.#clientId = clientId;
		this.#cost = cost;
		this.#low = low;
		this.#high = high;
		if ((bits & HIGH) !== 0)
			this.#addHigh(numbers[at + RETRY_AFTER_HIGH], numbers[at + RESET_AFTER_HIGH], numbers[at + TIME_WINDOW_HIGH]);
	}

	#addHigh(retry, reset, window) {
		this.retryAfterMs += retry * 0x80000000;
		this.resetAfterMs += reset * 0x80000000;
		this.timeWindowMs += window * 0x80000000;
	}

	/** One with these fields, of which nothing can be given back. */
	static of(fields, owner, clientId, cost) {
		return Object.assign(new Verdict(NOTHING, 0, owner, clientId, cost), fields);
	}

	/**
	 * Calls giveBack(clientId, cost, low, high) with the two halves of the verdict's receipt, the first time; later, and without a receipt,
	 * returns false. `cost`: undefined means all. Throws when it is no verdict of this owner's, or the cost is more than was taken.
	 */
	static refund(verdict, cost, owner, giveBack) {
		if (typeof verdict !== 'object' || verdict === null || !(#owner in verdict))
			throw new TypeError(`verdict is ${show(verdict)}, ${RULE_OF_VERDICT}`);
		if (verdict.#owner !== owner)
			throw new TypeError(OTHERS_VERDICT);
		if (cost !== undefined)
			checkInteger('cost', cost, 1, verdict.#cost);
		const low = verdict.#low;
		const high = verdict.#high;
		verdict.#low = verdict.#high = 0;
		return (low !== 0 || high !== 0) && giveBack(verdict.#clientId, cost === undefined ? verdict.#cost : cost, low, high);
	}
}

const NOTHING = new Int32Array(FIELDS);

module.exports = {OTHERS_VERDICT, REASONS, RULE_OF_VERDICT, SOURCES, Verdict};
