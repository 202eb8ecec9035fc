/*
 * limiter.js - the class that apps use. Who decides is behind it: this host's agent, or a store that the app passes.
 */
'use strict';
const {Agent, AgentBackend} = require('./agent.js');
const {CacheBackend} = require('./cache.js');
const {MAX_REQUESTS_MAX, checkCacheOptions, checkInteger, checkOptions, show} = require('./options.js');

const CACHE_COST_MAX = 1000; // each unit is a call of the store

function makeBackend(options) {
	const {cacheClient} = options;
	if (cacheClient === undefined || cacheClient instanceof Agent)
		return new AgentBackend(options, cacheClient || new Agent());
	checkCacheOptions(options);
	return new CacheBackend(options, cacheClient);
}

function readCost(options, most) {
	if (options === undefined)
		return 1;
	if (typeof options !== 'object' || options === null)
		throw new TypeError(`the second argument is ${show(options)}, must be an object like { cost: 1 }`);
	const {cost} = options;
	if (cost === undefined)
		return 1;
	checkInteger('cost', cost, 1, most);
	return cost;
}

/** Limits clients, each by its id, to maxRequests in any timeWindowMs, together with all other processes. */
class DistributedRateLimiter {
	#backend;
	#costMax;

	/** Throws a TypeError or a RangeError that names the option, its value and its range. */
	constructor(options) {
		this.#backend = makeBackend(checkOptions(options));
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
