/*
 * express.js - a middleware for express, and a store for express-rate-limit.
 */
'use strict';
const {DistributedRateLimiter} = require('./limiter.js');
const {ipClient} = require('./http.js');
const {show} = require('./options.js');

function deny(request, response) {
	response.status(429).type('text/plain').send('Too many requests\n');
}

/* What came from outside and is no id is the sender's fault, not ours. */
function blameSender(error) {
	return Object.assign(error, {status: 400, expose: false});
}

/**
 * A middleware: limits each client, answers 429 to those that have to wait, and tells all of them in header fields.
 * @param {DistributedRateLimiter} limiter
 * @param {object} [options] clientId(request): the id; undefined: it isn't limited; default: the address. cost(request): default 1.
 * headers: false for none, or { version, xRateLimit }. onDenied(request, response, next, verdict): answers a denial.
 */
function limitRequests(limiter, {clientId = (request) => ipClient(request.ip), cost = () => 1, headers = {}, onDenied = deny} = {}) {
	if (!(limiter instanceof DistributedRateLimiter))
		throw new TypeError(`limiter is ${show(limiter)}, must be a DistributedRateLimiter`);

	async function limit(request, response, next) {
		const id = await clientId(request);
		if (id === undefined || id === null)
			return next();
		const verdict = await limiter.check(id, {cost: await cost(request)});
		request.rateLimit = verdict;
		for (const [name, value] of headers === false ? [] : limiter.headers(verdict, headers))
			response.append(name, value);
		return verdict.allowed ? next() : onDenied(request, response, next, verdict);
	}

	return (request, response, next) => {
		limit(request, response, next).catch((error) => next(error instanceof RangeError ? blameSender(error) : error));
	};
}

/** A store for express-rate-limit: its hits are counted by a DistributedRateLimiter, so in all processes of all hosts. */
class ExpressRateLimitStore {
	#options;
	#limiter;
	#fault = new TypeError('this store was given to no rateLimit()');

	/** @param {object} [options] as for DistributedRateLimiter; maxRequests and timeWindowMs default to express-rate-limit's limit and windowMs */
	constructor(options = {}) {
		this.#options = options;
		this.localKeys = false;
	}

	/** Called by express-rate-limit, which only logs what this throws. */
	init(options) {
		try {
			this.#limiter = this.#makeLimiter(options);
		} catch (error) {
			this.#fault = error;
			throw error;
		}
	}

	#makeLimiter({windowMs, limit, skipFailedRequests, skipSuccessfulRequests}) {
		if (skipFailedRequests || skipSuccessfulRequests)
			throw new TypeError('skipFailedRequests and skipSuccessfulRequests must be left out: what was admitted counts');
		const maxRequests = typeof limit === 'number' ? limit : undefined;
		return new DistributedRateLimiter({policy: 'express-rate-limit', maxRequests, timeWindowMs: windowMs, ...this.#options});
	}

	#limit() {
		if (this.#limiter === undefined)
			throw this.#fault;
		return this.#limiter;
	}

	/* A denied request is a hit beyond the limit, whatever was left for a smaller one. */
	#tell(verdict) {
		const {allowed, limit, remaining, retryAfterMs, resetAfterMs} = verdict;
		const totalHits = allowed ? Math.max(1, limit - remaining) : limit + 1;
		return {totalHits, resetTime: new Date(Date.now() + (allowed ? resetAfterMs : retryAfterMs))};
	}

	async get(key) {
		const verdict = await this.#limit().peek(key);
		return {...this.#tell(verdict), totalHits: verdict.limit - verdict.remaining};
	}

	async increment(key) {
		return this.#tell(await this.#limit().check(key));
	}

	/** What was admitted counts. */
	async decrement() {}

	/** There is none for an app: `stint client reset` is the operator's. */
	async resetKey() {
		throw new Error('stint: a client is reset by `stint client reset`');
	}

	shutdown() {
		this.#limit().close();
	}
}

module.exports = {ExpressRateLimitStore, limitRequests};
