/*
 * cache.js - a limiter that counts by a store's get, incrementAndGet and decrementAndGet alone.
 *
 * Time is cut into windows of timeWindowMs, and each client has a count in each. A request adds its cost to the present
 * count first and looks at the sum then: so of any number of processes that do this at once, no two are told the same
 * count, and nothing is read before it is written. The window before counts by the part of it that a window which ends now
 * still covers. What is denied is taken back.
 *
 * When the store fails, or is slower than timeoutMs, the limit inside this process decides, and the store is asked no more
 * until it has answered a probe. Counts of which nobody knows whether they came to be are left: they count as spent.
 */
'use strict';
const {performance} = require('perf_hooks');
const {findFault} = require('./client_id.js');
const {admitShadow, decideByWord, makeLocalLimit} = require('./local.js');
const {checkInteger, show, toError} = require('./options.js');
const {OTHERS_VERDICT, RULE_OF_VERDICT} = require('./verdict.js');

const TIMEOUT_MS = 1000;
const PROBE_EVERY_MS = 500;
const SLACK_MS = 60000; // how much longer than needed counts are kept: hosts' clocks differ
const CLIENTS_MAX = 65536; // whose count of the window before is remembered
const WAITING_MAX = 65536;

const signed = new WeakMap(); // by verdict: {owner, cost, taking}

/* What the client promised, whatever it does. */
const call = async (client, name, ...args) => client[name](...args);

/* Rejects when it takes too long. */
function within(timeoutMs, promise) {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`cacheClient: no answer within ${timeoutMs} ms`)), timeoutMs);
		promise.then(resolve, reject).finally(() => clearTimeout(timer));
	});
}

/* A count as clients return it: a number, or its digits. */
function readCount(value, name) {
	const count = Number(value);
	if (!Number.isFinite(count))
		throw new Error(`cacheClient.${name} returned ${String(value)}, must be a number`);
	return count;
}

/** Knows whether the store can be asked; while it can't, tries it now and then. */
class Store {
	#client;
	#timeoutMs;
	#probeKey;
	#away = false;
	#nextProbe = 0;

	constructor(client, timeoutMs, probeKey) {
		this.#client = client;
		this.#timeoutMs = timeoutMs;
		this.#probeKey = probeKey;
	}

	get(key) {
		return call(this.#client, 'get', key);
	}

	async increment(key, expiryMs) {
		const count = readCount(await call(this.#client, 'incrementAndGet', key, expiryMs), 'incrementAndGet');
		if (count < 1)
			throw new Error(`cacheClient.incrementAndGet returned ${count}, must be 1 or more`);
		return count;
	}

	/* Fails in silence: then the count stays too high until it expires. */
	decrement(key) {
		call(this.#client, 'decrementAndGet', key).catch(() => {});
	}

	fail() {
		this.#away = true;
		this.#nextProbe = performance.now() + PROBE_EVERY_MS;
	}

	async #probe() {
		this.#nextProbe = Infinity;
		try {
			await within(this.#timeoutMs, this.get(this.#probeKey));
			this.#away = false;
		} catch {
			this.fail();
		}
	}

	/** No request waits for a probe. */
	isAway() {
		if (this.#away && performance.now() >= this.#nextProbe)
			this.#probe();
		return this.#away;
	}
}

/** The counts of the window before, which don't change any more. Those of the window before that are forgotten. */
class PreviousCounts {
	#window = -1;
	#counts = new Map();

	#turn(window) {
		if (window === this.#window)
			return;
		this.#window = window;
		this.#counts = new Map();
	}

	find(window, clientId) {
		this.#turn(window);
		return this.#counts.get(clientId);
	}

	keep(window, clientId, count) {
		if (window === this.#window && this.#counts.size < CLIENTS_MAX)
			this.#counts.set(clientId, count);
	}

	get size() {
		return this.#counts.size;
	}
}

class CacheBackend {
	#options;
	#timeoutMs;
	#store;
	#local;
	#previous = new PreviousCounts();
	#clock;
	#waiting = 0;
	#closed = false;

	/** `clock` returns the milliseconds of the day that hosts agree about. */
	constructor(options, client, clock = Date.now) {
		this.#options = options;
		this.#timeoutMs = options.timeoutMs || TIMEOUT_MS;
		this.#store = new Store(client, this.#timeoutMs, this.#key(0, 'probe'));
		this.#local = makeLocalLimit(options);
		this.#clock = clock;
	}

	/* No policy has a bar in its name, so no two clients share a key. */
	#key(window, clientId) {
		const {policy, timeWindowMs} = this.#options;
		return `stint|${policy}|${timeWindowMs}|${window}|${clientId}`;
	}

	/* ---- The store's answer -------------------------------------------------------- */

	/* Late increments of the window before come within a timeout of its end; from then on its count only falls, below 0 where the store has lost it. */
	async #findPrevious(window, elapsedMs, clientId) {
		if (this.#options.algorithm === 'fixed_window')
			return 0;
		const known = this.#previous.find(window, clientId);
		if (known !== undefined)
			return known;
		const count = Math.max(0, readCount(await this.#store.get(this.#key(window - 1, clientId)) || 0, 'get'));
		if (elapsedMs > this.#timeoutMs)
			this.#previous.keep(window, clientId, count);
		return count;
	}

	#judge({previous, count, elapsedMs, cost}) {
		const {maxRequests, timeWindowMs, policy} = this.#options;
		const weighed = previous * (1 - elapsedMs / timeWindowMs);
		const allowed = weighed + count <= maxRequests;
		const others = count - cost;
		return {
			allowed,
			shadowDenied: false,
			limit: maxRequests,
			remaining: Math.max(0, Math.floor(maxRequests - weighed - (allowed ? count : others))),
			retryAfterMs: allowed ? 0 : this.#findRetry(previous, others, elapsedMs, cost),
			resetAfterMs: Math.ceil(2 * timeWindowMs - elapsedMs),
			timeWindowMs,
			source: 'cache',
			policy,
			reason: allowed ? 'admitted' : 'over_limit',
		};
	}

	/* When enough of the window before has passed; or of this one, in the next. */
	#findRetry(previous, others, elapsedMs, cost) {
		const {maxRequests, timeWindowMs} = this.#options;
		const room = maxRequests - cost;
		const inThis = others <= room;
		const [count, base] = inThis ? [previous, room - others] : [others, room];
		const at = (inThis ? 0 : timeWindowMs) + (count > base ? timeWindowMs * (1 - base / count) : 0);
		return Math.max(1, Math.ceil(at - elapsedMs));
	}

	/* Counts as often as it costs. The largest sum is the one with all of them. */
	async #count(taking) {
		const {key, cost, expiryMs} = taking;
		const one = async () => {
			const count = await this.#store.increment(key, expiryMs);
			taking.taken++;
			if (taking.refused)
				this.#takeBack(taking);
			return count;
		};
		const counts = await Promise.all(Array.from({length: cost}, one));
		return Math.max(...counts);
	}

	/* Not when the key may be gone: some stores would make it anew, for ever. */
	#takeBack(taking) {
		taking.refused = true;
		for (; taking.taken > 0; taking.taken--)
			if (this.#clock() < taking.endsMs)
				this.#store.decrement(taking.key);
	}

	/* What one request takes of a client's count in the present window. */
	#beginTaking(clientId, cost) {
		const {timeWindowMs} = this.#options;
		const now = this.#clock();
		const window = Math.floor(now / timeWindowMs);
		return {window, elapsedMs: now - window * timeWindowMs, cost, taken: 0, refused: false, key: this.#key(window, clientId),
			endsMs: (window + 2) * timeWindowMs, expiryMs: 2 * timeWindowMs + SLACK_MS};
	}

	async #ask(clientId, taking) {
		const {window, elapsedMs, cost} = taking;
		const [count, previous] = await Promise.all([this.#count(taking), this.#findPrevious(window, elapsedMs, clientId)]);
		return this.#judge({previous, count, elapsedMs, cost});
	}

	/* ---- Without it ----------------------------------------------------------------- */

	#decideAlone(clientId, cost, thrown) {
		const {onError = 'local', policy} = this.#options;
		const verdict = onError === 'local' ? this.#local.check(clientId, cost, policy) : decideByWord(this.#options, onError);
		const {message = `cacheClient has thrown ${show(thrown)}`} = toError('cacheClient', thrown);
		return {...verdict, error: `stint: ${message}`};
	}

	/* ---- Checks ------------------------------------------------------------------------ */

	async #decide(clientId, cost) {
		const taking = this.#beginTaking(clientId, cost);
		let verdict;
		this.#waiting++;
		try {
			verdict = await within(this.#timeoutMs, this.#ask(clientId, taking));
		} catch (error) {
			this.#store.fail();
			verdict = this.#decideAlone(clientId, cost, error);
		} finally {
			this.#waiting--;
		}
		if (!verdict.allowed || verdict.shadowDenied)
			this.#takeBack(taking);
		return this.#sign(verdict, cost, verdict.allowed && verdict.source === 'cache' ? taking : undefined);
	}

	/* What refund() needs of a verdict. */
	#sign(found, cost, taking) {
		const verdict = admitShadow(this.#options, found);
		signed.set(verdict, {owner: this, cost, taking});
		return verdict;
	}

	#refuse() {
		const {maxRequests, timeWindowMs, policy} = this.#options;
		return {allowed: false, shadowDenied: false, limit: maxRequests, remaining: 0, retryAfterMs: timeWindowMs, resetAfterMs: timeWindowMs, timeWindowMs, source: 'cache',
			policy, reason: 'cost_above_limit'};
	}

	#findMisuse(clientId) {
		return this.#closed ? new TypeError('this limiter is closed') : findFault(clientId);
	}

	async check(clientId, cost) {
		const misuse = this.#findMisuse(clientId);
		if (misuse !== undefined)
			throw misuse;
		if (cost > this.#options.maxRequests)
			return this.#sign(this.#refuse(), cost);
		if (this.#store.isAway())
			return this.#sign(this.#decideAlone(clientId, cost, new Error('cacheClient is away')), cost);
		if (this.#waiting >= WAITING_MAX)
			return this.#sign(this.#decideAlone(clientId, cost, new Error(`${WAITING_MAX} checks wait for cacheClient`)), cost);
		return this.#decide(clientId, cost);
	}

	async isAllowed(clientId) {
		return (await this.check(clientId, 1)).allowed;
	}

	/** The store is always asked. */
	tryCheck(clientId) {
		const misuse = this.#findMisuse(clientId);
		if (misuse !== undefined)
			throw misuse;
		return undefined;
	}

	/** Whether it was given back: in the window in which it was counted. */
	refund(verdict, cost) {
		const admission = signed.get(verdict);
		if (admission === undefined)
			throw new TypeError(`verdict is ${show(verdict)}, ${RULE_OF_VERDICT}`);
		if (admission.owner !== this)
			throw new TypeError(OTHERS_VERDICT);
		if (cost !== undefined)
			checkInteger('cost', cost, 1, admission.cost);
		const {taking} = admission;
		admission.taking = undefined;
		return taking !== undefined && this.#giveBack(taking, cost === undefined ? admission.cost : cost);
	}

	#giveBack(taking, cost) {
		if (this.#closed || Math.floor(this.#clock() / this.#options.timeWindowMs) !== taking.window)
			return false;
		for (let i = 0; i < cost; i++)
			this.#store.decrement(taking.key);
		return true;
	}

	close() {
		this.#closed = true;
	}

	/** How many clients it remembers at present. */
	get size() {
		return this.#previous.size + this.#local.size;
	}
}

module.exports = {CLIENTS_MAX, CacheBackend};
