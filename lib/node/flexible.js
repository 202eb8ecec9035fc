/*
 * flexible.js - a limiter with the interface of rate-limiter-flexible.
 */
'use strict';
const {Admissions} = require('./admissions.js');
const {readKey} = require('./client_id.js');
const {DistributedRateLimiter} = require('./limiter.js');
const {demand, makeOperator} = require('./operator.js');
const {MAX_REQUESTS_MAX, checkInteger, show} = require('./options.js');

const BLOCK_MAX_S = 31536000; // a year
const LOOK_EVERY_MS = 10;

/* Options of rate-limiter-flexible's that would change who is admitted, and what is to be said about them. */
const REFUSED = {
	blockDuration: 'denied clients wait for as long as msBeforeNext says',
	execEvenly: 'nobody is delayed',
	execEvenlyMinDelayMs: 'nobody is delayed',
	insuranceLimiter: 'fallbackMaxRequests and onError say what is admitted while database or agent is away',
	storeClient: 'cacheClient says who decides',
};

/** What a limiter of rate-limiter-flexible resolves to, and rejects with on a denial. */
class RateLimiterRes {
	constructor(remainingPoints = 0, msBeforeNext = 0, consumedPoints = 0, isFirstInDuration = false) {
		this.remainingPoints = remainingPoints;
		this.msBeforeNext = msBeforeNext;
		this.consumedPoints = consumedPoints;
		this.isFirstInDuration = isFirstInDuration;
	}

	toJSON() {
		return {...this};
	}

	toString() {
		return JSON.stringify(this);
	}
}

function checkRefused(options) {
	for (const [name, why] of Object.entries(REFUSED))
		if (options[name])
			throw new TypeError(`${name} is ${show(options[name])}, must be left out: ${why}`);
}

/* Options of DistributedRateLimiter's; what rate-limiter-flexible calls otherwise has its name in errors. */
function translate({points, duration, keyPrefix, ...others}) {
	checkRefused(others);
	checkInteger('points', points, 1, MAX_REQUESTS_MAX);
	if (typeof duration !== 'number' || !(duration >= 0.1 && duration <= 2678400))
		throw new RangeError(`duration is ${show(duration)}, must be 0.1 to 2678400 s`);
	for (const name of Object.keys(REFUSED))
		delete others[name];
	return {...others, policy: keyPrefix === '' ? undefined : keyPrefix, maxRequests: points, timeWindowMs: Math.round(duration * 1000)};
}

/* In s, as theirs; 0: until it is ended. */
function checkBlock(duration) {
	if (typeof duration !== 'number' || !(duration === 0 || (duration >= 0.001 && duration <= BLOCK_MAX_S)))
		throw new RangeError(`secDuration is ${show(duration)}, must be 0, or 0.001 to ${BLOCK_MAX_S} s`);
}

function checkCustomDuration(options) {
	if (options && options.customDuration !== undefined)
		throw new TypeError(`customDuration is ${show(options.customDuration)}, must be left out: a limiter has one duration`);
}

/** Consumes points as rate-limiter-flexible's limiters do, in all processes of all hosts. */
class RateLimiterStint {
	#limiter;
	#admissions;
	#operator;

	/**
	 * @param {object} options points, duration (s), keyPrefix (the policy); operator, a Pool of pg with the role stint_operator, for block()
	 * and delete(); and further ones of DistributedRateLimiter's
	 */
	constructor(options) {
		if (typeof options !== 'object' || options === null)
			throw new TypeError(`options is ${show(options)}, must be an object with points and duration`);
		const {operator, ...others} = options;
		this.#operator = makeOperator(operator, others.cacheClient);
		this.#limiter = new DistributedRateLimiter(translate(others));
		this.#admissions = new Admissions(this.#limiter.options.timeWindowMs);
	}

	get points() {
		return this.#limiter.options.maxRequests;
	}

	get duration() {
		return this.#limiter.options.timeWindowMs / 1000;
	}

	get keyPrefix() {
		return this.#limiter.options.policy;
	}

	/* What a denial did not take is told as if it had been, as theirs do. */
	#tell({allowed, limit, remaining, retryAfterMs, resetAfterMs}, points) {
		const consumed = Math.max(0, limit - remaining);
		return new RateLimiterRes(remaining, allowed ? resetAfterMs : retryAfterMs, allowed ? consumed : Math.max(limit + 1, consumed + points),
			allowed && consumed === points);
	}

	/** Rejects with a RateLimiterRes on a denial, with an Error for wrong use. */
	async consume(key, points = 1, options = undefined) {
		checkCustomDuration(options);
		checkInteger('pointsToConsume', points, 1, MAX_REQUESTS_MAX);
		const id = readKey(key);
		const verdict = await this.#limiter.check(id, {cost: points});
		const told = this.#tell(verdict, points);
		if (!verdict.allowed)
			throw told;
		this.#admissions.note(id, verdict, points);
		return told;
	}

	/* Who is blocked, and has a limit of 0, is told to have consumed more than that. */
	async #look(id) {
		const {limit, remaining, allowed, retryAfterMs, resetAfterMs} = await this.#limiter.peek(id);
		return new RateLimiterRes(remaining, allowed ? resetAfterMs : retryAfterMs, Math.max(allowed ? 0 : 1, limit - remaining));
	}

	/** @returns {Promise<RateLimiterRes|null>} null: the key has consumed nothing */
	async get(key) {
		const told = await this.#look(readKey(key));
		return told.consumedPoints === 0 ? null : told;
	}

	/** Counts points, beyond the limit if need be. */
	async penalty(key, points = 1, options = undefined) {
		checkCustomDuration(options);
		checkInteger('points', points, 1, MAX_REQUESTS_MAX);
		const id = readKey(key);
		const {remainingPoints, consumedPoints, msBeforeNext} = await this.#look(id); // the agent hears of charges only after a question
		if (!this.#limiter.charge(id, {cost: points}))
			throw new Error('stint: nothing was counted: the agent is away');
		return new RateLimiterRes(Math.max(0, remainingPoints - points), msBeforeNext, consumedPoints + points);
	}

	/** Gives back points that this process has consumed of late. */
	async reward(key, points = 1, options = undefined) {
		checkCustomDuration(options);
		checkInteger('points', points, 1, MAX_REQUESTS_MAX);
		const id = readKey(key);
		if (this.#giveBack(id, points) === points)
			throw new Error('stint: nothing was given back: it must be what this process has consumed shortly before');
		return this.#look(id);
	}

	/* Returns how many of the points were not given back. */
	#giveBack(id, points) {
		for (let left = points; ;) {
			const admission = this.#admissions.take(id);
			if (admission === undefined)
				return left;
			const cost = Math.min(left, admission.cost);
			if (this.#limiter.refund(admission.verdict, {cost}) && (left -= cost) === 0)
				return 0;
		}
	}

	/* Until this host has heard of it, a moment after the database has, or for timeoutMs: other hosts may hear later in any case. */
	async #hear(id, isBlocked) {
		const end = Date.now() + this.#limiter.options.timeoutMs;
		while (((await this.#limiter.peek(id)).limit === 0) !== isBlocked && Date.now() < end)
			await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
	}

	/** Denies a key for so many seconds, 0: until delete(), on all hosts. */
	async block(key, secDuration) {
		checkBlock(secDuration);
		const id = readKey(key), operator = demand(this.#operator, '`stint client block` is an operator\'s');
		const ms = Math.ceil(secDuration * 1000);
		await this.#limiter.peek(id); // after that the policy is declared
		await operator.block(this.keyPrefix, id, ms || null);
		await this.#hear(id, true);
		return new RateLimiterRes(0, ms || -1, this.points + 1);
	}

	/**
	 * Ends a block, and forgets what was consumed. (What hosts may hold of it is forgotten when they have heard of that, within seconds.)
	 * @returns {Promise<boolean>} whether there was anything
	 */
	async delete(key) {
		const id = readKey(key), operator = demand(this.#operator, '`stint client reset` is an operator\'s');
		const {consumedPoints} = await this.#look(id); // after that the policy is declared
		await operator.unblock(this.keyPrefix, id);
		await operator.reset(this.keyPrefix, id);
		await this.#hear(id, false);
		return consumedPoints > 0;
	}

	async set() {
		throw new Error('stint: what a client has consumed can\'t be set; penalty() and reward() change it');
	}

	close() {
		this.#limiter.close();
	}
}

module.exports = {RateLimiterRes, RateLimiterStint};
