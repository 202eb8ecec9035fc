/*
 * flexible.js - a limiter with the interface of rate-limiter-flexible.
 */
'use strict';
const {Admissions} = require('./admissions.js');
const {Blocks} = require('./blocks.js');
const {readKey} = require('./client_id.js');
const {DistributedRateLimiter} = require('./limiter.js');
const {demand, isUnknown, makeOperator} = require('./operator.js');
const {MAX_REQUESTS_MAX, checkInteger, checkPolicy, show} = require('./options.js');

const BLOCK_MAX_S = 31536000; // a year
const LOOK_MS = 10; // at first, then less often
const LOOK_MS_MAX = 160;
const HEARD_MS = 5000; // what an agent needs that is busy, or hears of changes by looking for them, each second
const DROPPED_MS = 20000; // what hosts need to say that they have dropped what they held: with a heartbeat, of which there is one in six seconds
const BLOCK_MIN_S = 15; // in that time, mostly, they do

/* Options that would change who is admitted, or say what others do, and what is to be said about them. */
const REFUSED = {
	blockOnConsumed: 'a denial takes nothing, so blockDuration is for the first',
	inMemoryBlockOnConsumed: 'who is denied is denied from memory',
	inMemoryBlockDuration: 'who is denied is denied from memory',
	execEvenly: 'nobody is delayed',
	execEvenlyMinDelayMs: 'nobody is delayed',
	insuranceLimiter: 'fallbackMaxRequests and onError say what is admitted while database or agent is away',
	storeClient: 'cacheClient says who decides',
	policy: 'it is keyPrefix',
	maxRequests: 'it is points',
	timeWindowMs: 'it is duration',
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

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
	const policy = keyPrefix === '' ? undefined : keyPrefix;
	checkPolicy('keyPrefix', policy);
	return {...others, policy, maxRequests: points, timeWindowMs: Math.round(duration * 1000)};
}

/* In s, as theirs. */
function checkBlock(name, duration, least, why = '') {
	if (typeof duration !== 'number' || !(duration === 0 || (duration >= least && duration <= BLOCK_MAX_S)))
		throw new RangeError(`${name} is ${show(duration)}, must be 0, or ${least} to ${BLOCK_MAX_S} s${why}`);
}

/*
 * When a block of theirs ends, all points are free. Here what was consumed before still counts unless it has left the window by then, which it
 * has after three: what a lease spends may be charged to a time as late as one window after it, and counts for one more. Or it is forgotten;
 * but that takes a while, and denials that come before would block again.
 */
const outlastsAll = (blockDuration, duration) => blockDuration >= 3 * duration;

function checkBlockDuration(blockDuration, duration, operator) {
	const least = Math.min(BLOCK_MIN_S, 3 * duration);
	checkBlock('blockDuration', blockDuration, least, least === BLOCK_MIN_S ? ': before that hosts may hold what was consumed' : ': three windows');
	if (blockDuration > 0)
		demand(operator, `blockDuration is ${blockDuration}, and blocks are an operator's`);
}

/*
 * Whether it was too much, as far as all hosts together know: not while database or agent is away, or nobody can tell; nor where so much is left,
 * though in several leases.
 */
function isBeyond({source, reason, remaining}, points) {
	return (source === 'lease' || source === 'database') && (reason === 'over_limit' || reason === 'cost_above_limit') && remaining < points;
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
	#blockDuration; // in s
	#blocks; // with a blockDuration

	/**
	 * @param {object} options points, duration (s), keyPrefix (the policy); operator, a Pool of pg with the role stint_operator, for block(),
	 * delete(), set() and blockDuration (s); and further ones of DistributedRateLimiter's
	 */
	constructor(options) {
		if (typeof options !== 'object' || options === null)
			throw new TypeError(`options is ${show(options)}, must be an object with points and duration`);
		const {operator, blockDuration = 0, ...others} = options;
		this.#operator = makeOperator(operator, others.cacheClient);
		const translated = translate(others);
		checkBlockDuration(blockDuration, others.duration, this.#operator);
		this.#blockDuration = blockDuration;
		this.#limiter = new DistributedRateLimiter(translated);
		this.#admissions = new Admissions(this.#limiter.options.timeWindowMs);
		if (blockDuration > 0)
			this.#blocks = new Blocks(this.#blockMs, (id) => this.#blockDenied(id), `policy ${this.keyPrefix}`);
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

	get blockDuration() {
		return this.#blockDuration;
	}

	/* Of their interface: nobody is delayed. */
	get execEvenly() {
		return false;
	}

	get #blockMs() {
		return Math.ceil(this.#blockDuration * 1000);
	}

	/*
	 * What a denial did not take is told as if it had been, as theirs do. Apps compare with `points`, whatever limit an operator has set, or
	 * a block is.
	 */
	#tell({allowed, limit, remaining, retryAfterMs, resetAfterMs}, points) {
		const consumed = Math.max(0, limit - remaining);
		return new RateLimiterRes(remaining, allowed ? resetAfterMs : retryAfterMs,
			allowed ? consumed : Math.max(limit + 1, this.points + 1, consumed + points), allowed && consumed === points);
	}

	/* What this process has denied is blocked, also while others don't know it yet: how that is told, or undefined. */
	#tellBlocked(id) {
		const msLeft = this.#blocks === undefined ? 0 : this.#blocks.msLeft(id);
		return msLeft > 0 ? new RateLimiterRes(0, msLeft, this.points + 1) : undefined;
	}

	/** Rejects with a RateLimiterRes on a denial, with an Error for wrong use. */
	async consume(key, points = 1, options = undefined) {
		checkCustomDuration(options);
		checkInteger('pointsToConsume', points, 1, MAX_REQUESTS_MAX);
		const id = readKey(key);
		const blocked = this.#tellBlocked(id);
		if (blocked !== undefined)
			throw blocked;
		const verdict = await this.#limiter.check(id, {cost: points});
		if (!verdict.allowed)
			throw this.#deny(id, verdict, points);
		this.#admissions.note(id, verdict, points);
		return this.#tell(verdict, points);
	}

	#deny(id, verdict, points) {
		const told = this.#tell(verdict, points);
		if (this.#blocks !== undefined && isBeyond(verdict, points))
			told.msBeforeNext = this.#blocks.ask(id) || told.msBeforeNext;
		return told;
	}

	async #blockDenied(id) {
		const isNew = await this.#operator.blockUnlessBlocked(this.keyPrefix, id, this.#blockMs);
		if (isNew && !outlastsAll(this.#blockDuration, this.duration))
			await this.#operator.reset(this.keyPrefix, id);
		await this.#hear(id, true, Math.min(this.#limiter.options.timeoutMs, this.#blockMs));
	}

	/* Who is blocked, and has a limit of 0, is told to have consumed more than that. */
	async #look(id) {
		const {limit, remaining, allowed, retryAfterMs, resetAfterMs} = await this.#limiter.peek(id);
		return new RateLimiterRes(remaining, allowed ? resetAfterMs : retryAfterMs, Math.max(allowed ? 0 : 1, limit - remaining));
	}

	/**
	 * What is told of a key that has nothing left is that of its next consume(), which would be denied: since a denial takes nothing, nobody
	 * ever has consumed more than `points`.
	 * @returns {Promise<RateLimiterRes|null>} null: the key has consumed nothing
	 */
	async get(key) {
		const id = readKey(key);
		const blocked = this.#tellBlocked(id);
		if (blocked !== undefined)
			return blocked;
		const verdict = await this.#limiter.peek(id);
		const told = this.#tell(verdict, 1);
		told.isFirstInDuration = false;
		if (verdict.allowed)
			told.consumedPoints = Math.min(told.consumedPoints, this.points);
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

	/** Gives back points that this process has consumed of late; those of other processes are out of its reach. */
	async reward(key, points = 1, options = undefined) {
		checkCustomDuration(options);
		checkInteger('points', points, 1, MAX_REQUESTS_MAX);
		const id = readKey(key);
		if (this.#giveBack(id, points) === points)
			throw new Error('stint: nothing was given back: it must be what this process has consumed shortly before; delete() forgets what all have');
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

	/* Looks until `holds(verdict)`, which may take this host a moment. Returns false if it doesn't within so many ms. */
	async #await(id, holds, forMs) {
		const end = Date.now() + forMs;
		for (let waitMs = LOOK_MS; !holds(await this.#limiter.peek(id)); waitMs = Math.min(2 * waitMs, LOOK_MS_MAX)) {
			if (Date.now() >= end)
				return false;
			await sleep(waitMs);
		}
		return true;
	}

	/* This host hears of a block, or of its end, a moment after the database; other hosts may hear later. */
	#hear(id, isBlocked, forMs = this.#limiter.options.timeoutMs) {
		return this.#await(id, ({limit}) => (limit === 0) === isBlocked, forMs);
	}

	/* A policy that no check has declared yet is unknown to the database. */
	async #withPolicy(id, act) {
		try {
			await act();
		} catch (error) {
			if (!isUnknown(error))
				throw error;
			await this.#limiter.peek(id);
			await act();
		}
	}

	/* A block that is under way for a key must not come after what the app asks for now. */
	async #forgive(id) {
		if (this.#blocks !== undefined)
			await this.#blocks.forgive(id);
	}

	/** Denies a key for so many seconds, 0: until delete(), on all hosts. */
	async block(key, secDuration) {
		checkBlock('secDuration', secDuration, 0.001);
		const id = readKey(key), operator = demand(this.#operator, '`stint client block` is an operator\'s');
		const ms = Math.ceil(secDuration * 1000);
		await this.#withPolicy(id, () => operator.block(this.keyPrefix, id, ms || null));
		await this.#hear(id, true);
		return new RateLimiterRes(0, ms || -1, this.points + 1);
	}

	/**
	 * Ends a block, and forgets what was consumed. (What hosts may hold of it is forgotten when they have heard of that, within seconds.)
	 * @returns {Promise<boolean>} whether there was anything
	 */
	async delete(key) {
		const id = readKey(key), operator = demand(this.#operator, '`stint client reset` is an operator\'s');
		await this.#forgive(id);
		const {consumedPoints} = await this.#look(id); // after that the policy is declared
		await operator.unblock(this.keyPrefix, id);
		await operator.reset(this.keyPrefix, id);
		await this.#hear(id, false);
		return consumedPoints > 0;
	}

	/* Returns false if anything is still counted after a while. */
	async #drop(id, operator) {
		await operator.reset(this.keyPrefix, id);
		const end = Date.now() + DROPPED_MS;
		while (await operator.counts(this.keyPrefix, id)) {
			if (Date.now() >= end)
				return false;
			await sleep(LOOK_MS_MAX);
		}
		return true;
	}

	/*
	 * Forgets what was consumed, and what hosts hold unspent: that must not be what points are taken from which are set then. So the key is blocked
	 * meanwhile, and gets nothing.
	 */
	async #forget(id, operator) {
		const tell = (why) => new Error(`stint: nothing was set: ${why}`);
		await this.#withPolicy(id, () => operator.block(this.keyPrefix, id, HEARD_MS + 2 * DROPPED_MS)); // should this process end in between
		try {
			if (!await this.#hear(id, true, HEARD_MS))
				throw tell(`this host has not heard within ${HEARD_MS} ms that the key gets nothing`);
			if (!await this.#drop(id, operator))
				throw tell(`not all hosts have said within ${DROPPED_MS} ms that they hold nothing of the key`);
		} finally {
			await operator.unblock(this.keyPrefix, id);
		}
		await this.#hear(id, false, HEARD_MS);
	}

	/* Points beyond the limit would be a debt to this host, which no reset of others' reaches. */
	async #charge(id, points) {
		const tell = (why) => new Error(`stint: what was counted is forgotten, but no points are counted: ${why}`);
		const {limit} = await this.#limiter.peek(id);
		const cost = Math.min(points, limit);
		if (limit === 0)
			throw tell('the key has been blocked meanwhile');
		if (!this.#limiter.charge(id, {cost}))
			throw tell('the agent is away');
		await this.#await(id, ({remaining}) => remaining <= limit - cost, HEARD_MS);
	}

	/**
	 * Ends a block, and makes so many points what the key has consumed in the present window: points more than the limit have the effect of the
	 * limit. Takes as long as hosts need to drop what they held of the key, some seconds, in which it is denied. Rejects if one doesn't say so.
	 */
	async set(key, points, secDuration = this.duration) {
		checkInteger('points', points, 0, MAX_REQUESTS_MAX);
		if (secDuration !== this.duration)
			throw new RangeError(`secDuration is ${show(secDuration)}, must be left out, or ${this.duration}: a limiter has one duration; block() denies for any`);
		const id = readKey(key), operator = demand(this.#operator, '`stint client reset` is an operator\'s');
		await this.#forgive(id);
		await this.#forget(id, operator);
		if (points > 0)
			await this.#charge(id, points);
		return new RateLimiterRes(Math.max(0, this.points - points), this.#limiter.options.timeWindowMs, points);
	}

	close() {
		if (this.#blocks !== undefined)
			this.#blocks.close();
		this.#limiter.close();
	}
}

module.exports = {RateLimiterRes, RateLimiterStint};
