/*
 * verdict.js - what a check found. What refund() needs to give it back is hidden in it: nobody sees, copies or changes that.
 */
'use strict';
const {checkInteger, show} = require('./options.js');

const SOURCES = ['', 'lease', 'database', 'fallback', 'local', 'advance'];
const REASONS = ['', 'admitted', 'over_limit', 'blocked', 'cost_above_limit', 'unavailable'];

/* Places in its numbers, as addon.h has them. */
const RECEIPT_LOW = 7;
const RECEIPT_HIGH = 8;
const FIELDS = 9;

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
		this.allowed = numbers[at] === 1;
		this.limit = numbers[at + 1];
		this.remaining = numbers[at + 2];
		this.retryAfterMs = numbers[at + 3];
		this.resetAfterMs = numbers[at + 4];
		this.source = SOURCES[numbers[at + 5]];
		this.policy = owner.policy;
		this.reason = REASONS[numbers[at + 6]];
		this.#owner = owner;
		this.#clientId = clientId;
		this.#cost = cost;
		this.#low = numbers[at + RECEIPT_LOW];
		this.#high = numbers[at + RECEIPT_HIGH];
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

const NOTHING = new Float64Array(FIELDS);

module.exports = {OTHERS_VERDICT, REASONS, RULE_OF_VERDICT, SOURCES, Verdict};
