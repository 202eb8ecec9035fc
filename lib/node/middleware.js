/*
 * middleware.js - what the middlewares for express, fastify and hono share. They differ in how a request is read and a denial sent.
 */
'use strict';
const {checkHeaderOptions, ipClient} = require('./http.js');
const {DistributedRateLimiter} = require('./limiter.js');
const {checkNames, show, toError} = require('./options.js');

const TOO_MANY = 'Too many requests\n';
const OPTIONS = ['clientId', 'cost', 'headers', 'counts', 'onDenied'];
const FUNCTIONS = ['clientId', 'cost', 'counts', 'onDenied'];

/* What came from outside and is no id is the sender's fault, not ours. */
function blameSender(error) {
	return error instanceof RangeError ? Object.assign(error, {status: 400, statusCode: 400, expose: false}) : toError('clientId or cost', error);
}

/** The client's id by default. Behind a proxy that is trusted an address may be anything that the sender has written. */
function findAddress(address) {
	try {
		return ipClient(address);
	} catch (error) {
		throw typeof address === 'string' ? new RangeError(error.message) : error;
	}
}

function checkMiddlewareOptions(options) {
	checkNames(options, OPTIONS);
	for (const name of FUNCTIONS)
		if (options[name] !== undefined && typeof options[name] !== 'function')
			throw new TypeError(`${name} is ${show(options[name])}, must be a function`);
	const {headers} = options;
	if (headers === undefined || headers === false)
		return;
	if (typeof headers !== 'object' || headers === null)
		throw new TypeError(`headers is ${show(headers)}, must be false, or an object like { version, xRateLimit }`);
	checkHeaderOptions(headers);
}

/** One limiter before requests. What `clientId` and `cost` get is the framework's request. */
class Gate {
	#limiter;
	#clientId;
	#cost;
	#headers;
	#counts;

	/** `address(request)` is the client's id by default. */
	constructor(limiter, options, address) {
		if (!(limiter instanceof DistributedRateLimiter))
			throw new TypeError(`limiter is ${show(limiter)}, must be a DistributedRateLimiter`);
		checkMiddlewareOptions(options);
		const {clientId = address, cost, headers = {}, counts} = options;
		this.#limiter = limiter;
		this.#clientId = clientId;
		this.#cost = cost;
		this.#headers = headers;
		this.#counts = counts;
	}

	/** @returns {Promise<object|undefined>} the verdict; undefined: this request isn't limited. Rejects with what is the sender's fault, too. */
	async decide(request) {
		try {
			const id = await this.#clientId(request);
			if (id === undefined || id === null)
				return undefined;
			return await this.#limiter.check(id, this.#cost && {cost: await this.#cost(request)});
		} catch (error) {
			throw blameSender(error);
		}
	}

	/** Header fields: {name, value, isList}. Another limiter may have set the same; a list has both. */
	fields(verdict) {
		if (this.#headers === false)
			return [];
		return this.#limiter.headers(verdict, this.#headers).map(([name, value]) => ({name, value, isList: name.startsWith('RateLimit')}));
	}

	/** Whether settle() must be called when the response is there. */
	get mayRefund() {
		return this.#counts !== undefined;
	}

	/** The response is there: gives back what the app says did not count. A fault of `counts` leaves it counted, and is a warning. Never rejects. */
	async settle(verdict, ...args) {
		try {
			if (this.#counts !== undefined && verdict.allowed && await this.#counts(...args) === false)
				this.#limiter.refund(verdict);
		} catch (error) {
			process.emitWarning(error instanceof Error ? error : `counts has thrown ${show(error)}`);
		}
	}
}

module.exports = {Gate, TOO_MANY, findAddress};
