/*
 * fastify.js - a hook and a plugin for fastify, and a store for @fastify/rate-limit.
 */
'use strict';
const {createHash} = require('crypto');
const {readAnyKey} = require('./client_id.js');
const {DistributedRateLimiter} = require('./limiter.js');
const {Gate, TOO_MANY, findAddress} = require('./middleware.js');
const {checkOptions, checkPolicy, show} = require('./options.js');

function deny(request, reply) {
	return reply.code(429).type('text/plain; charset=utf-8').send(TOO_MANY);
}

function addFields(reply, fields) {
	for (const {name, value, isList} of fields) {
		const before = reply.getHeader(name);
		reply.header(name, before !== undefined && isList ? `${before}, ${value}` : value);
	}
}

/**
 * An onRequest hook, for `fastify.addHook('onRequest', ...)` or a route's `onRequest`. Its options are those of express's middleware, with
 * fastify's request and reply; onDenied(request, reply, verdict) answers a denial, or throws.
 */
function limitRequests(limiter, {onDenied = deny, ...options} = {}) {
	const gate = new Gate(limiter, {...options, onDenied}, (request) => findAddress(request.ip));

	return async (request, reply) => {
		const verdict = await gate.decide(request);
		if (verdict === undefined)
			return undefined;
		request.rateLimit = verdict;
		addFields(reply, gate.fields(verdict));
		if (gate.mayRefund)
			reply.raw.once('finish', () => gate.settle(verdict, request, reply));
		if (verdict.allowed)
			return undefined;
		await onDenied(request, reply, verdict);
		return reply;
	};
}

/** A plugin: `fastify.register(stint, { limiter, ...options })` limits all routes of the instance. */
function stint(fastify, {limiter, ...options}, done) {
	const {prefix, logLevel, logSerializers, ...own} = options; // fastify's
	if (!fastify.hasRequestDecorator('rateLimit'))
		fastify.decorateRequest('rateLimit', null);
	fastify.addHook('onRequest', limitRequests(limiter, own));
	done();
}

/* What fastify-plugin sets: the hook is the instance's that registers it, not that of a scope of its own. */
stint[Symbol.for('skip-override')] = true;
stint[Symbol.for('fastify.display-name')] = 'stint';
stint[Symbol.for('plugin-meta')] = {name: 'stint', fastify: '>=4'};

/* ---- @fastify/rate-limit -------------------------------------------------------------- */

const LIMITS_MAX = 256;
const NAME_MAX = 30; // the limits and the route follow, 33 characters at most

/* What counting has no place for. */
function checkParams({continueExceeding, exponentialBackoff, ban}) {
	const refused = continueExceeding ? 'continueExceeding' : exponentialBackoff ? 'exponentialBackoff' : undefined;
	if (refused !== undefined)
		throw new TypeError(`${refused} must be left out: a denial takes nothing, and doesn't make the next one longer`);
	if (ban > 0)
		throw new TypeError(`ban is ${ban}, must be left out, or 0: denials are not counted`);
}

/* Routes with limits of their own are counted apart. */
function nameRoute({method, url}) {
	return createHash('sha256').update(`${method} ${url}`).digest('hex').slice(0, 8);
}

/*
 * What the plugin passes to a store beside key and callback: timeWindow and max since its version 10; max and ban in version 9, whose
 * timeWindow is a number. What is a number is in its parameters, too.
 */
function findLimits(params, first, second) {
	const {max, timeWindow, ban} = params;
	if (typeof timeWindow === 'number' && typeof max === 'number')
		return {max, timeWindow};
	const isVersion9 = typeof timeWindow === 'number' && (first !== timeWindow || second === -1) && second === ban;
	return isVersion9 ? {max: first, timeWindow} : {max: second, timeWindow: first};
}

/* What @fastify/rate-limit calls. Each pair of max and timeWindow is a limiter of its own: both may be functions. */
class CountingStore {
	#params;
	#options;
	#limiters;
	#route = '';

	constructor(params, options, limiters = new Map()) {
		checkParams(params);
		this.#params = params;
		this.#options = options;
		this.#limiters = limiters;
	}

	child(params) {
		const child = new CountingStore(params, this.#options, this.#limiters);
		const {routeInfo = {}} = params;
		child.#route = routeInfo.url === undefined ? '' : '/' + nameRoute(routeInfo);
		return child;
	}

	#find(max, timeWindow) {
		const {policy, ...others} = this.#options;
		const name = `${policy}/${max}/${timeWindow}ms${this.#route}`;
		const found = this.#limiters.get(name);
		if (found !== undefined)
			return found;
		if (this.#limiters.size >= LIMITS_MAX)
			throw new RangeError(`there are more than ${LIMITS_MAX} limits: max and timeWindow must not have a value for each client`);
		const limiter = new DistributedRateLimiter({...others, policy: name, maxRequests: max, timeWindowMs: timeWindow});
		this.#limiters.set(name, limiter);
		return limiter;
	}

	/* The plugin denies what is beyond max, whatever limit applies to the client. */
	#tell({allowed, remaining, retryAfterMs, resetAfterMs}, max) {
		return {current: allowed ? max - Math.min(remaining, max - 1) : max + 1, ttl: allowed ? resetAfterMs : retryAfterMs};
	}

	async #check(key, first, second) {
		const {max, timeWindow} = findLimits(this.#params, first, second);
		return max < 1 ? {current: 1, ttl: timeWindow} : this.#tell(await this.#find(max, timeWindow).check(readAnyKey(key)), max);
	}

	async #look(key, first, second) {
		const {max, timeWindow} = findLimits(this.#params, first, second);
		if (max < 1)
			return {current: 0, ttl: 0};
		const verdict = await this.#find(max, timeWindow).peek(readAnyKey(key));
		return verdict.allowed && verdict.remaining >= verdict.limit ? {current: 0, ttl: 0} : this.#tell(verdict, max);
	}

	incr(key, callback, first, second) {
		this.#check(key, first, second).then((told) => callback(null, told), (error) => callback(error));
	}

	/** Takes nothing. */
	read(key, callback, first, second) {
		this.#look(key, first, second).then((told) => callback(null, told), (error) => callback(error));
	}
}

/**
 * A store for @fastify/rate-limit, in all processes of all hosts: `{ store: makeFastifyRateLimitStore() }`.
 * @param {object} [options] as for DistributedRateLimiter, without maxRequests and timeWindowMs, which are the plugin's max and timeWindow;
 * policy: what the policies' names begin with, 1 to 30 characters, one for each pair of them and each route that has its own
 */
function makeFastifyRateLimitStore({policy = 'fastify-rate-limit', ...options} = {}) {
	const own = ['maxRequests', 'timeWindowMs'].find((name) => options[name] !== undefined);
	if (own !== undefined)
		throw new TypeError(`${own} is ${show(options[own])}, must be left out: it is the plugin's`);
	checkPolicy('policy', policy, NAME_MAX);
	checkOptions({...options, policy, maxRequests: 1, timeWindowMs: 60000}); // or each request would be told
	return class FastifyRateLimitStore extends CountingStore {
		constructor(params) {
			super(params, {...options, policy});
		}
	};
}

module.exports = {limitRequests, makeFastifyRateLimitStore, stint};
