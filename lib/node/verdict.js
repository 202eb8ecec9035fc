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
const USUAL = ALLOWED | SOURCES.indexOf('lease') << SOURCE_SHIFT | REASONS.indexOf('admitted') << REASON_SHIFT;

const RULE_OF_VERDICT = 'must be what check() or tryCheck() has returned, not a copy';
const OTHERS_VERDICT = 'verdict is another limiter\'s, must be of the limiter whose refund() is called';

/* A constant, as a name declared by `class` is none: V8 then knows what it makes. */
const Verdict = class {
	#clientId = 0; // a number first: so V8 doesn't look, in the midst of an object, whether it is one
	#owner;
	#cost;
	#low;
	#high;

	/** `owner` is the backend that decided; cost: what was asked for; low, high: the halves of the receipt. */
	constructor(allowed, shadowDenied, limit, remaining, retryAfterMs, resetAfterMs, timeWindowMs, source, policy, reason, owner, clientId, cost, low, high) {
		this.allowed = allowed;
		this.shadowDenied = shadowDenied;
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
};

/* All is read before there is an object: so V8 writes each of its fields once, and looks at nothing in between. */
function make(allowed, shadowDenied, source, reason, numbers, at, owner, clientId, cost) {
	const limit = numbers[at + LIMIT];
	const remaining = numbers[at + REMAINING];
	const retryAfterMs = numbers[at + RETRY_AFTER_MS];
	const resetAfterMs = numbers[at + RESET_AFTER_MS];
	const timeWindowMs = numbers[at + TIME_WINDOW_MS];
	const low = numbers[at + RECEIPT_LOW];
	const high = numbers[at + RECEIPT_HIGH];
	const {policy} = owner;
	return new Verdict(allowed, shadowDenied, limit, remaining, retryAfterMs, resetAfterMs, timeWindowMs, source, policy, reason, owner, clientId, cost,
		low, high);
}

function makeUnusual(bits, numbers, at, owner, clientId, cost) {
	const verdict = make((bits & ALLOWED) !== 0, (bits & SHADOW_DENIED) !== 0, SOURCES[bits >> SOURCE_SHIFT & MASK], REASONS[bits >> REASON_SHIFT & MASK],
		numbers, at, owner, clientId, cost);
	if ((bits & HIGH) !== 0) {
		verdict.retryAfterMs += numbers[at + RETRY_AFTER_HIGH] * 0x80000000;
		verdict.resetAfterMs += numbers[at + RESET_AFTER_HIGH] * 0x80000000;
		verdict.timeWindowMs += numbers[at + TIME_WINDOW_HIGH] * 0x80000000;
	}
	return verdict;
}

/** The verdict that these numbers tell, from `at`, of a check by `owner`. */
function readVerdict(numbers, at, owner, clientId, cost) {
	const bits = numbers[at + BITS];
	return bits === USUAL ? make(true, false, 'lease', 'admitted', numbers, at, owner, clientId, cost) :
		makeUnusual(bits, numbers, at, owner, clientId, cost);
}

const NOTHING = new Int32Array(FIELDS);

/** One with these fields, of which nothing can be given back. */
function makeVerdict(fields, owner, clientId, cost) {
	return Object.assign(readVerdict(NOTHING, 0, owner, clientId, cost), fields);
}

module.exports = {OTHERS_VERDICT, REASONS, RULE_OF_VERDICT, SOURCES, makeVerdict, readVerdict, refund: Verdict.refund};
