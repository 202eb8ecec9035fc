/*
 * limiter.js - the class that apps use. Who decides is behind it: this host's agent, or a store that the app passes.
 */
'use strict';
const {Agent} = require('./agent.js');
const {CacheBackend} = require('./cache.js');
const {makeHeaders} = require('./http.js');
const {MAX_REQUESTS_MAX, checkCacheOptions, checkInteger, checkNames, checkObject, checkOptions, show} = require('./options.js');

const PARTS_MAX = 16;
const PART = ['limiter', 'clientId', 'cost'];
const CACHE_COST_MAX = 1000; // each unit is a call of the store

function makeBackend(options) {
	const {cacheClient} = options;
	if (cacheClient === undefined || cacheClient instanceof Agent) {
		const {AgentBackend} = require('./agent_backend.js'); // it loads the addon, which not everybody needs
		return new AgentBackend(options, cacheClient || new Agent());
	}
	checkCacheOptions(options);
	return new CacheBackend(options, cacheClient);
}

/* The cost that the app asks for; undefined: it names none. */
function findCost(options, most) {
	if (options === undefined)
		return undefined;
	checkObject('the second argument', options, '{ cost: 1 }');
	for (const name in options)
		if (name !== 'cost')
			throw new TypeError(`option ${show(name)} is unknown, must be cost`);
	const {cost} = options;
	if (cost !== undefined)
		checkInteger('cost', cost, 1, most);
	return cost;
}

function readCost(options, most) {
	if (options === undefined) // mostly: V8 then leaves the rest out where it compiles for speed
		return 1;
	const cost = findCost(options, most);
	return cost === undefined ? 1 : cost;
}

/** Limits clients, each by its id, to maxRequests in any timeWindowMs, together with all other processes. */
class DistributedRateLimiter {
	#backend;
	#costMax;
	#options;

	/** Throws a TypeError or a RangeError that names the option, its value and its range. */
	constructor(options) {
		this.#options = Object.freeze(checkOptions(options));
		this.#backend = makeBackend(this.#options);
		this.#costMax = this.#backend instanceof CacheBackend ? CACHE_COST_MAX : MAX_REQUESTS_MAX;
	}

	/** @returns {Promise<boolean>} whether this client may go on; rejects for a wrong clientId only */
	isAllowed(clientId) {
		return this.#backend.isAllowed(clientId);
	}

	/** @returns {Promise<object>} the same with a cost, and with the reasons */
	async check(clientId, options) {
		return this.#backend.check(clientId, readCost(options, this.#costMax));
	}

	/** @returns {object|undefined} the verdict, if it needs nobody else; else nothing has been taken */
	tryCheck(clientId, options) {
		return this.#backend.tryCheck(clientId, readCost(options, this.#costMax));
	}

	/* The backend, if it can do more than check. */
	#agentFor(what) {
		if (this.#backend instanceof CacheBackend)
			throw new TypeError(`${what} needs this host's agent, this limiter has a cacheClient`);
		return this.#backend;
	}

	/** @returns {Promise<object>} what check() would say now; takes nothing */
	async peek(clientId, options) {
		return this.#agentFor('peek').peek(clientId, readCost(options, this.#costMax));
	}

	/** Counts a cost that is known only afterwards, beyond the limit if need be. @returns {boolean} false: the agent is away */
	charge(clientId, options) {
		return this.#agentFor('charge').charge(clientId, readCost(options, this.#costMax));
	}

	/**
	 * Gives back what a check of this limiter has taken: the request did not count after all. At most once for each verdict.
	 * @param {object} verdict what check() or tryCheck() has returned, no copy of it
	 * @param {object} [options] { cost }: at most what was taken; default: all
	 * @returns {boolean} false: it can't be given back, or not any more
	 */
	refund(verdict, options) {
		return this.#backend.refund(verdict, findCost(options, this.#costMax));
	}

	/**
	 * One check of several limiters of one agent, all or nothing: [{ limiter, clientId, cost }].
	 * @returns {Promise<object>} the verdict of the one that denies, or has the least left: `part` is its number
	 */
	static async checkAll(parts) {
		if (!Array.isArray(parts) || parts.length < 1 || parts.length > PARTS_MAX)
			throw new TypeError(`parts is ${show(parts)}, must be an array of 1 to ${PARTS_MAX} like { limiter, clientId, cost }`);
		const all = Array.from(parts, (part) => {
			checkObject('a part', part, '{ limiter, clientId, cost }');
			checkNames(part, PART, ' of a part');
			const {limiter, clientId, cost} = part;
			if (!(limiter instanceof DistributedRateLimiter))
				throw new TypeError(`limiter is ${show(limiter)}, must be a DistributedRateLimiter`);
			return {backend: limiter.#agentFor('checkAll'), clientId, cost: readCost({cost}, MAX_REQUESTS_MAX)};
		});
		return all[0].backend.checkAll(all);
	}

	/** What it was made with, and its policy. */
	get options() {
		return this.#options;
	}

	/**
	 * Header fields that tell a verdict: RateLimit-Policy, RateLimit, and on a denial Retry-After.
	 * @returns {string[][]} pairs of name and value
	 */
	headers(verdict, options) {
		return makeHeaders(verdict, this.#options, options);
	}

	/** Ends it. Checks that wait are decided at once, as onError says. */
	close() {
		this.#backend.close();
	}
}

if (Symbol.dispose !== undefined) {
	Object.defineProperty(DistributedRateLimiter.prototype, Symbol.dispose,
		{value: DistributedRateLimiter.prototype.close, writable: true, configurable: true});
}

module.exports = {DistributedRateLimiter};
