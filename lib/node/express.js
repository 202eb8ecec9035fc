/*
 * express.js - a middleware for express, and a store for express-rate-limit.
 */
'use strict';
const {Admissions} = require('./admissions.js');
const {readAnyKey} = require('./client_id.js');
const {DistributedRateLimiter} = require('./limiter.js');
const {Gate, TOO_MANY, findAddress} = require('./middleware.js');
const {demand, isUnknown, makeOperator} = require('./operator.js');
const {toError} = require('./options.js');

function deny(request, response) {
	response.status(429).type('text/plain').send(TOO_MANY);
}

function addFields(response, fields) {
	for (const {name, value, isList} of fields)
		if (isList)
			response.append(name, value);
		else
			response.set(name, value);
}

/**
 * A middleware: limits each client, answers 429 to those that have to wait, and tells all of them in header fields.
 * @param {DistributedRateLimiter} limiter
 * @param {object} [options] clientId(request): the id; undefined: it isn't limited; default: the address. cost(request): default 1.
 * headers: false for none, or { version, xRateLimit }. counts(request, response): false: the request did not count after all.
 * onDenied(request, response, next, verdict): answers a denial.
 */
function limitRequests(limiter, {onDenied = deny, ...options} = {}) {
	const gate = new Gate(limiter, {...options, onDenied}, (request) => findAddress(request.ip));

	async function limit(request, response, next) {
		const verdict = await gate.decide(request);
		if (verdict === undefined)
			return next();
		request.rateLimit = verdict;
		addFields(response, gate.fields(verdict));
		if (gate.mayRefund)
			response.once('finish', () => gate.settle(verdict, request, response));
		return verdict.allowed ? next() : onDenied(request, response, next, verdict);
	}

	return (request, response, next) => {
		limit(request, response, next).catch((error) => next(toError('onDenied', error)));
	};
}

/** A store for express-rate-limit: its hits are counted by a DistributedRateLimiter, so in all processes of all hosts. */
class ExpressRateLimitStore {
	#options;
	#operator;
	#limiter;
	#limit; // express-rate-limit's own, if it is a number
	#admissions; // if any may be given back
	#fault = new TypeError('this store was given to no rateLimit()');
	#closedForMs; // with a limit of 0 nobody is admitted, and there is nothing to count

	/**
	 * @param {object} [options] as for DistributedRateLimiter; maxRequests and timeWindowMs default to express-rate-limit's limit and windowMs,
	 * policy to a name made of them: stores without one that have the same limits count together. operator, a Pool of pg with the role stint_operator, for resetKey()
	 */
	constructor({operator, ...options} = {}) {
		this.#operator = makeOperator(operator, options.cacheClient);
		this.#options = options;
		this.localKeys = false;
	}

	/** Called by express-rate-limit, which only logs what this throws. */
	init(options) {
		try {
			this.#begin(options);
		} catch (error) {
			this.#fault = error;
			throw error;
		}
	}

	/* `max` is what versions before 7 call `limit`. */
	#begin({windowMs, max, limit = max, skipFailedRequests, skipSuccessfulRequests}) {
		this.#limit = typeof limit === 'number' ? limit : undefined;
		this.#closedForMs = limit === 0 && this.#options.maxRequests === undefined ? windowMs : undefined;
		if (this.#closedForMs !== undefined)
			return;
		const {maxRequests = this.#limit, timeWindowMs = windowMs, policy = `express-rate-limit/${maxRequests}/${timeWindowMs}ms`} = this.#options;
		this.#limiter = new DistributedRateLimiter({...this.#options, policy, maxRequests, timeWindowMs});
		this.prefix = `${policy}|`; // express-rate-limit takes a key that two stores count for one, unless they have prefixes
		if (skipFailedRequests || skipSuccessfulRequests)
			this.#admissions = new Admissions(this.#limiter.options.timeWindowMs);
	}

	#find() {
		if (this.#limiter === undefined)
			throw this.#fault;
		return this.#limiter;
	}

	/*
	 * express-rate-limit denies what is beyond its own limit, which may be another than the one that applies to the client: what was denied is
	 * beyond any, whatever was left for a smaller cost; what was admitted is within its own.
	 */
	#tell({allowed, limit, remaining, retryAfterMs, resetAfterMs}) {
		const own = this.#limit === undefined ? Math.max(1, limit) : this.#limit;
		const beyond = this.#limit === undefined ? Number.MAX_SAFE_INTEGER : own + 1;
		return {totalHits: allowed ? own - Math.min(remaining, own - 1) : beyond,
			resetTime: new Date(Date.now() + (allowed ? resetAfterMs : retryAfterMs))};
	}

	/* More than a limit of 0. */
	#tellClosed(totalHits) {
		return {totalHits, resetTime: new Date(Date.now() + this.#closedForMs)};
	}

	async get(key) {
		if (this.#closedForMs !== undefined)
			return this.#tellClosed(0);
		const verdict = await this.#find().peek(readAnyKey(key));
		const told = this.#tell(verdict);
		return verdict.remaining >= verdict.limit && verdict.limit > 0 ? {...told, totalHits: 0} : told;
	}

	async increment(key) {
		if (this.#closedForMs !== undefined)
			return this.#tellClosed(1);
		const verdict = await this.#find().check(readAnyKey(key));
		if (this.#admissions !== undefined)
			this.#admissions.note(key, verdict);
		return this.#tell(verdict);
	}

	/** Gives the client's last admission back, if that is still possible. */
	async decrement(key) {
		const admission = this.#admissions && this.#admissions.takeUnlessDenied(key);
		if (admission !== undefined)
			this.#find().refund(admission.verdict);
	}

	/** Forgets what was counted for a client, on all hosts. An operator's block of it stays. */
	async resetKey(key) {
		if (this.#closedForMs !== undefined)
			return;
		const operator = demand(this.#operator, '`stint client reset` is an operator\'s');
		try {
			await operator.reset(this.#find().options.policy, readAnyKey(key));
		} catch (error) {
			if (!isUnknown(error)) // a policy that nobody has declared has counted nothing
				throw error;
		}
	}

	shutdown() {
		if (this.#closedForMs === undefined)
			this.#find().close();
	}
}

module.exports = {ExpressRateLimitStore, limitRequests};
