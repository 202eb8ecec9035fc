/*
 * agent_backend.js - a limiter that this host's agent decides for: mostly from the table, at once. It needs the addon: whoever loads this file
 * needs that.
 */
'use strict';
const addon = require('./addon.js');
const {findFault} = require('./client_id.js');
const {FLAGS, WORDS} = require('./options.js');
const {decideByWord} = require('./local.js');
const {makeVerdict, readVerdict, refund} = require('./verdict.js');

/* Constants, so that V8 knows what is called, and where the numbers are: also where an app has several limiters. */
const {check: nativeCheck, peek: nativePeek, try: nativeTry, alone: nativeAlone, peekAlone: nativePeekAlone, charge: nativeCharge, refund: nativeRefund,
	close: nativeClose, checkAll: nativeCheckAll, makeLimiter, describe, numbers} = addon.load();

/* As the addon has them. */
const ALLOWED = 1;
const NONE = 2;
const PENDING = 2;
const PART = 12;
const ANSWER = 0;
const RECEIPT_LOW = 7;
const RECEIPT_HIGH = 8;
const LIMITER = 15;
const COST = 16;
const DENY = -1; // STINT_DENY
const ERROR_ERANGE = -1;
const ERROR_ECLIENT = -2;
const ERROR_IDS = [ERROR_ECLIENT, -100, -101, -103];
const ERROR_EAGENT = -7;
const ERROR_EBUSY = -13;
const ERROR_CANCELED = -14;
const ERROR_CLOSED = -102;

const CLOSED = 'this limiter is closed';

/* How a check differs from check(). */
const AS_BOOLEAN = {asBoolean: true};
const LOOKS = {looks: true}; // it takes nothing

/* An await of a promise that is there already costs less than one of a new one. */
const ADMITTED = Promise.resolve(true);
const DENIED = Promise.resolve(false);

/* A check that waits, and what its promise is told. */
class WaitingCheck {
	constructor(backend, clientId, cost, asBoolean, looks) {
		this.backend = backend;
		this.clientId = clientId;
		this.cost = cost;
		this.asBoolean = asBoolean;
		this.looks = looks; // it takes nothing
		this.promise = new Promise((resolve) => {
			this.resolve = resolve;
		});
	}

	settle(status, numbers, at) {
		const {backend} = this;
		const verdict = status === 0 ? readVerdict(numbers, at, backend, this.clientId, this.cost) :
			backend.decideAlone(status, explain(status, at), this);
		this.resolve(this.asBoolean ? verdict.allowed : verdict);
	}
}

/* Of several limiters whose onError decides, the number of the one that tells: the first that denies, or would if it weren't a shadow; else the first. */
function findTold(parts) {
	const denies = ({backend}) => backend.options.onError !== 'allow';
	const first = parts.findIndex((part) => denies(part) && !part.backend.options.shadow);
	return first >= 0 ? first : Math.max(parts.findIndex(denies), 0);
}

/* A check of several limiters. */
class WaitingAll {
	constructor(parts) {
		this.parts = parts;
		this.promise = new Promise((resolve, reject) => {
			this.resolve = resolve;
			this.reject = reject;
		});
	}

	settle(status, numbers, at) {
		if (status !== 0)
			return this.fail(status, explain(status, at));
		const part = numbers[at + PART];
		return this.resolve(this.#tell(part, ({backend, clientId, cost}) => readVerdict(numbers, at, backend, clientId, cost)));
	}

	#tell(part, make) {
		return Object.assign(make(this.parts[part]), {part});
	}

	/* Without the agent nothing can be taken of all or of none: everybody passes only if each limiter says so. */
	fail(status, error) {
		const misuse = status === ERROR_CLOSED ? new TypeError(CLOSED) : this.parts.map(({clientId}) => findFault(clientId)).find((fault) => fault);
		if (misuse !== undefined || status === ERROR_ERANGE)
			return this.reject(misuse || new RangeError(error));
		return this.resolve(this.#tell(findTold(this.parts), ({backend, clientId, cost}) =>
			makeVerdict({...decideByWord(backend.options, backend.options.onError), error}, backend, clientId, cost)));
	}
}

/* Words and flags as numbers, as stint.h has them. */
function toNative(options) {
	const native = {...options};
	for (const [name, words] of Object.entries(WORDS))
		native[name] = options[name] === undefined ? 0 : words.indexOf(options[name]);
	for (const name of FLAGS)
		native[name] = options[name] ? 1 : 0;
	if (options.localMaxRequests === 0)
		native.localMaxRequests = DENY;
	return native;
}

/* What went wrong in the last call, or with the check that has waited whose numbers begin `at` there. The detail may say the sentence itself. */
function explain(status, at) {
	const [sentence, detail] = describe(status, at);
	const told = detail.includes(sentence) ? detail : [sentence, detail].filter((text) => text !== '').join(': ');
	return `stint: ${told}`;
}

/* Which limiter the next call is for, and what it costs: as numbers that both sides see, which takes less than arguments. */
function select(number, cost) {
	numbers[LIMITER] = number;
	numbers[COST] = cost;
}

class AgentBackend {
	#number = 0; // never anything but an integer: V8 then reads it as one
	#handle; // whose end is the native limiter's

	constructor(options, agent) {
		const handle = makeLimiter(agent.socketPath, toNative(options));
		if (typeof handle === 'number')
			throw new Error(explain(handle));
		this.options = options;
		this.policy = options.policy;
		this.#number = numbers[LIMITER];
		this.#handle = handle;
	}

	/** Decides when agent and library can't: errors of theirs are no verdicts. */
	decideAlone(status, error, {clientId, cost, looks}) {
		// What is cancelled may have been admitted; where too many wait, the agent is there: no other limit beside its own.
		const isOurs = status !== ERROR_CANCELED && status !== ERROR_EBUSY;
		if (isOurs) {
			select(this.#number, cost);
			(looks ? nativePeekAlone : nativeAlone)(clientId);
		}
		const answer = isOurs ? numbers[ANSWER] : status;
		const verdict = answer === ALLOWED || answer === 0 ? readVerdict(numbers, 0, this, clientId, cost) :
			makeVerdict(decideByWord(this.options, this.options.onError), this, clientId, cost);
		return Object.assign(verdict, {error});
	}

	/* What is wrong with the call itself, or undefined. */
	#findMisuse(answer, clientId) {
		if (answer === ERROR_CLOSED)
			return new TypeError(CLOSED);
		return ERROR_IDS.includes(answer) ? findFault(clientId) : undefined;
	}

	#wait(answer, clientId, cost, asBoolean, looks) {
		const check = new WaitingCheck(this, clientId, cost, asBoolean, looks);
		addon.wait(answer - PENDING, check);
		return check.promise;
	}

	#fail(answer, clientId, cost, asBoolean, looks) {
		const misuse = this.#findMisuse(answer, clientId);
		if (misuse !== undefined)
			return Promise.reject(misuse);
		const verdict = this.decideAlone(answer, explain(answer), {clientId, cost, looks});
		return Promise.resolve(asBoolean ? verdict.allowed : verdict);
	}

	#later(answer, clientId, cost, {asBoolean = false, looks = false} = {}) {
		return (answer < 0 ? this.#fail(answer, clientId, cost, asBoolean, looks) : this.#wait(answer, clientId, cost, asBoolean, looks));
	}

	isAllowed(clientId) {
		select(this.#number, 1);
		nativeCheck(clientId);
		const answer = numbers[ANSWER];
		if (answer === ALLOWED)
			return ADMITTED;
		return answer === 0 ? DENIED : this.#later(answer, clientId, 1, AS_BOOLEAN);
	}

	check(clientId, cost) {
		select(this.#number, cost);
		nativeCheck(clientId);
		const answer = numbers[ANSWER];
		if (answer === ALLOWED || answer === 0)
			return Promise.resolve(readVerdict(numbers, 0, this, clientId, cost));
		return this.#later(answer, clientId, cost);
	}

	tryCheck(clientId, cost) {
		select(this.#number, cost);
		nativeTry(clientId);
		const answer = numbers[ANSWER];
		if (answer === ALLOWED || answer === 0)
			return readVerdict(numbers, 0, this, clientId, cost);
		if (answer === NONE)
			return undefined;
		const misuse = this.#findMisuse(answer, clientId);
		if (misuse !== undefined)
			throw misuse;
		return undefined;
	}

	peek(clientId, cost) {
		select(this.#number, cost);
		nativePeek(clientId);
		const answer = numbers[ANSWER];
		if (answer === ALLOWED || answer === 0)
			return Promise.resolve(readVerdict(numbers, 0, this, clientId, cost));
		return this.#later(answer, clientId, cost, LOOKS);
	}

	/** Whether it was counted: it wasn't when the agent is away. */
	charge(clientId, cost) {
		select(this.#number, cost);
		nativeCharge(clientId);
		const status = numbers[ANSWER];
		const misuse = this.#findMisuse(status, clientId);
		if (misuse !== undefined)
			throw misuse;
		if (status < 0 && status !== ERROR_EAGENT)
			throw new Error(explain(status));
		return status === 0;
	}

	/** Whether it was given back. Of a closed limiter nothing is. */
	refund(verdict, cost) {
		return refund(verdict, cost, this, (clientId, taken, low, high) => {
			select(this.#number, taken);
			numbers[RECEIPT_LOW] = low;
			numbers[RECEIPT_HIGH] = high;
			nativeRefund(clientId);
			return numbers[ANSWER] === 1;
		});
	}

	/** Of limiters of one agent: `parts` are {backend, clientId, cost}. */
	checkAll(parts) {
		nativeCheckAll(...parts.flatMap(({backend, clientId, cost}) => [backend.#number, clientId, cost]));
		const answer = numbers[ANSWER];
		const check = new WaitingAll(parts);
		if (answer === ALLOWED || answer === 0)
			check.settle(0, numbers, 0);
		else if (answer >= PENDING)
			addon.wait(answer - PENDING, check);
		else
			check.fail(answer, explain(answer));
		return check.promise;
	}

	close() {
		numbers[LIMITER] = this.#number;
		nativeClose();
	}
}

module.exports = {AgentBackend};
