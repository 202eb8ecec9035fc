/*
 * test_limiter.js - the class, on this host's agent: what it decides, and what it refuses.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {before, test} = require('node:test');
const {LIBRARY, ROOT, folder, sleep, startAgent, until} = require('./support.js');
const {DistributedRateLimiter, connect, ipClient} = require(LIBRARY);

const WINDOW_MS = 600000; // longer than the test
const away = connect(folder + '/nobody.sock');
const STORE = {get() {}, set() {}, incrementAndGet() {}, decrementAndGet() {}};
let agent;

before(async () => {
	agent = await startAgent();
	process.env.STINT_SOCKET = agent.socketPath;
});

/* Nothing runs meanwhile. */
const block = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

const make = (options) => new DistributedRateLimiter({maxRequests: 5, timeWindowMs: WINDOW_MS, ...options});

test('as many as the limit, not one more', async () => {
	const limiter = make({policy: 'plain'});
	const told = [];
	for (let i = 0; i < 8; i++)
		told.push(await limiter.isAllowed('a'));
	assert.deepStrictEqual(told, [true, true, true, true, true, false, false, false]);
	assert.strictEqual(await limiter.isAllowed('b'), true);
	limiter.close();
});

test('as many as the limit when all are asked at once', async () => {
	const limiter = make({policy: 'at-once', maxRequests: 50});
	const told = await Promise.all(Array.from({length: 300}, () => limiter.isAllowed('a')));
	assert.strictEqual(told.filter((allowed) => allowed).length, 50);
	limiter.close();
});

test('thousands of new clients at once: more than one batch of answers', async () => {
	const limiter = make({policy: 'crowd', maxRequests: 1, timeoutMs: 60000});
	const ids = Array.from({length: 2000}, (_, i) => 'client-' + i);
	const first = await Promise.all(ids.map((id) => limiter.check(id)));
	assert.ok(first.every((verdict) => verdict.allowed && verdict.remaining === 0 && verdict.source === 'database'));
	assert.ok((await Promise.all(ids.map((id) => limiter.isAllowed(id)))).every((allowed) => !allowed));
	limiter.close();
});

test('a verdict in full', async () => {
	const limiter = make({policy: 'verdict'});
	const {resetAfterMs, ...first} = await limiter.check('a', {cost: 2});
	assert.deepStrictEqual(first, {allowed: true, shadowDenied: false, limit: 5, remaining: 3, retryAfterMs: 0, timeWindowMs: WINDOW_MS, source: 'database', policy: 'verdict',
		reason: 'admitted'});
	assert.ok(resetAfterMs > 0);
	const denied = await limiter.check('a', {cost: 4});
	assert.strictEqual(denied.allowed, false);
	assert.strictEqual(denied.reason, 'over_limit');
	assert.ok(denied.retryAfterMs > 0);
	assert.strictEqual((await limiter.check('a', {cost: 6})).reason, 'cost_above_limit');
	assert.strictEqual((await limiter.check('a', {cost: 3})).remaining, 0);
	limiter.close();
});

test('the longest windows: times that 31 bits don\'t hold', async () => {
	const timeWindowMs = 2678400000;
	const limiter = make({policy: 'long', timeWindowMs, algorithm: 'fixed_window', maxRequests: 1});
	const first = await limiter.check('a');
	const {allowed, retryAfterMs, resetAfterMs} = await limiter.check('a');
	assert.deepStrictEqual([first.allowed, allowed], [true, false]);
	assert.ok(Number.isInteger(retryAfterMs) && retryAfterMs > 0 && retryAfterMs <= resetAfterMs && resetAfterMs <= 2 * timeWindowMs);
	const sliding = make({policy: 'long-sliding', timeWindowMs, maxRequests: 1});
	await sliding.isAllowed('a');
	const denied = await sliding.check('a');
	assert.strictEqual(denied.timeWindowMs, timeWindowMs);
	assert.ok(denied.retryAfterMs >= timeWindowMs && denied.resetAfterMs <= 3 * timeWindowMs, `${denied.retryAfterMs}`);
	limiter.close();
	sliding.close();
});

test('tryCheck: undefined where nobody knows, nothing taken; then the table\'s answer', async () => {
	const limiter = make({policy: 'try', maxRequests: 1000});
	assert.strictEqual(limiter.tryCheck('a'), undefined);
	let before = await limiter.check('a');
	assert.strictEqual(before.remaining, 999);
	let verdict;
	await until(async () => {
		before = await limiter.check('a');
		verdict = limiter.tryCheck('a');
		return verdict !== undefined;
	}, 'the table holds more than one credit');
	assert.strictEqual(verdict.allowed, true);
	assert.strictEqual(verdict.source, 'lease');
	assert.strictEqual(verdict.remaining, before.remaining - 1);
	limiter.close();
});

test('limiters of one policy count together, those of others don\'t', async () => {
	const limiters = [make({policy: 'shared'}), make({policy: 'shared'}), make({policy: 'own'})];
	for (let i = 0; i < 5; i++)
		assert.ok(await limiters[i % 2].isAllowed('a'));
	assert.strictEqual(await limiters[0].isAllowed('a'), false);
	assert.strictEqual(await limiters[1].isAllowed('a'), false);
	assert.strictEqual(await limiters[2].isAllowed('a'), true);
	for (const limiter of limiters)
		limiter.close();
});

test('without a name: one that the same limits have in every language', () => {
	const toCamel = (name) => name.replace(/_./g, (pair) => pair[1].toUpperCase());
	for (const {options, name} of require(path.join(ROOT, 'tests', 'support', 'policy_names.json'))) {
		const own = Object.fromEntries(Object.entries(options).map(([key, value]) => [toCamel(key), value]));
		const limiter = make({timeWindowMs: 60000, cacheClient: away, ...own});
		assert.strictEqual(limiter.options.policy, name, JSON.stringify(options));
		limiter.close();
	}
});

test('limits that the policy must have', async () => {
	const mustExist = {mustExist: true, maxRequests: undefined, timeWindowMs: undefined};
	const absent = make({policy: 'absent', onError: 'deny', ...mustExist});
	assert.strictEqual(await absent.isAllowed('a'), false);
	const denied = await absent.check('a');
	assert.deepStrictEqual([denied.allowed, denied.source, denied.reason], [false, 'local', 'unavailable']);
	assert.match(denied.error, /no such policy/);
	assert.strictEqual(absent.tryCheck('a'), undefined);
	absent.close();
	const declares = make({policy: 'present', maxRequests: 2});
	await declares.isAllowed('b');
	const present = new DistributedRateLimiter({policy: 'present', mustExist: true});
	const told = [await present.check('a'), await present.check('a'), await present.check('a')];
	assert.deepStrictEqual(told.map(({allowed, limit, timeWindowMs}) => [allowed, limit, timeWindowMs]),
		[[true, 2, WINDOW_MS], [true, 2, WINDOW_MS], [false, 2, WINDOW_MS]]);
	assert.strictEqual(present.headers(told[2])[0][1], '"present";q=2;w=600');
	const other = make({policy: 'present', maxRequests: 1, mustExist: true});
	assert.strictEqual((await other.check('c')).limit, 2);
	other.close();
	present.close();
	declares.close();
});

test('limits that the policy must have: what is denied when the limiter is closed may come again after a second', async () => {
	const own = await startAgent();
	const limiter = new DistributedRateLimiter({policy: 'present', mustExist: true, cacheClient: connect(own.socketPath), timeoutMs: 60000});
	await limiter.isAllowed('known');
	own.signal('SIGSTOP');
	const waiting = [limiter.check('a'), DistributedRateLimiter.checkAll([{limiter, clientId: 'b'}])];
	limiter.close();
	own.signal('SIGCONT');
	for (const {allowed, limit, retryAfterMs, resetAfterMs, timeWindowMs} of await Promise.all(waiting))
		assert.deepStrictEqual([allowed, limit, retryAfterMs, resetAfterMs, timeWindowMs], [false, 0, 1000, 1000, 0]);
	assert.deepStrictEqual(limiter.headers(await waiting[0], {xRateLimit: true}), [['Retry-After', '1']]); // a limit of 0 would be that of a blocked client
});

test('of several checks that fail at once each tells its own policy', async () => {
	const policies = ['absent-1', 'absent-2', 'absent-3'];
	const limiters = policies.map((policy) => new DistributedRateLimiter({policy, mustExist: true}));
	const ask = () => Promise.all(limiters.map((limiter) => limiter.check('a')));
	await ask();
	const waiting = ask();
	block(200); // so that the answers come together
	assert.deepStrictEqual((await waiting).map(({error}) => /policy "(.*)":/.exec(error)[1]), policies);
	for (const limiter of limiters)
		limiter.close();
});

test('peek takes nothing of the limit inside the process either', async () => {
	const limiter = new DistributedRateLimiter({policy: 'absent-peek', mustExist: true, localMaxRequests: 2, fallbackTimeWindowMs: 2678400000});
	for (let i = 0; i < 3; i++) {
		const peeked = await limiter.peek('a');
		assert.deepStrictEqual([peeked.allowed, peeked.remaining, limiter.refund(peeked)], [true, 1, false]);
	}
	assert.deepStrictEqual([await limiter.isAllowed('a'), await limiter.isAllowed('a'), await limiter.isAllowed('a')], [true, true, false]);
	assert.strictEqual((await limiter.peek('a')).allowed, false);
	limiter.close();
});

test('ids: each its own client, or refused', async () => {
	const limiter = make({policy: 'ids', maxRequests: 1});
	for (const id of ['a', 'a ', 'A', '\ufffd', '\ufffd\ufffd', 'é', 'e\u0301', '😀', 'x'.repeat(255), 'é'.repeat(127), '😀'.repeat(63)]) {
		assert.strictEqual(await limiter.isAllowed(id), true, id);
		assert.strictEqual(await limiter.isAllowed(id), false, id);
	}
	// Units whose lower halves are the same, and ids that end where a piece of them does.
	const alike = ['\u0141', '\u4141', '\u0141BC', 'A\u0142C', '\u0100', ...[15, 16, 17, 31, 32, 33, 254].map((length) => 'y'.repeat(length)), 'y'.repeat(15) + '\u0179'];
	for (const id of alike)
		assert.deepStrictEqual([await limiter.isAllowed(id), await limiter.isAllowed(id)], [true, false], id);
	assert.strictEqual(await limiter.isAllowed('ABC'), true);
	const wrong = [
		[undefined, TypeError, /^clientId is undefined, must be a string of 1 to 255 bytes/],
		[17, TypeError, /^clientId is 17,/],
		[{}, TypeError, /^clientId is an object,/],
		['', RangeError, /^clientId is empty,/],
		['x'.repeat(256), RangeError, /^clientId has 256 bytes,/],
		['é'.repeat(128), RangeError, /^clientId has 256 bytes,/],
		['😀'.repeat(100000), RangeError, /^clientId has 400000 bytes,/],
		['a\0b', RangeError, /NUL/],
		['\0', RangeError, /NUL/],
		['\ud800', RangeError, /lone surrogate/],
		['a\udc00b', RangeError, /lone surrogate/],
		['\udc00\ud800', RangeError, /lone surrogate/],
		['😀\ud83d', RangeError, /lone surrogate/],
	];
	for (const [id, Kind, message] of wrong) {
		const isRight = (error) => error.constructor === Kind && message.test(error.message);
		await assert.rejects(limiter.isAllowed(id), isRight);
		await assert.rejects(limiter.check(id), isRight);
		assert.throws(() => limiter.tryCheck(id), isRight);
	}
	limiter.close();
});

test('options: each error names the option, the value and its range', () => {
	const wrong = [
		[{maxRequests: undefined}, TypeError, 'maxRequests is undefined, must be an integer of 1 to 1000000000'],
		[{maxRequests: '5'}, TypeError, 'maxRequests is "5", must be an integer of 1 to 1000000000'],
		[{maxRequests: 5n}, TypeError, 'maxRequests is 5n, must be an integer of 1 to 1000000000'],
		[{maxRequests: 0}, RangeError, 'maxRequests is 0, must be an integer of 1 to 1000000000'],
		[{maxRequests: 1.5}, RangeError, 'maxRequests is 1.5, must be an integer of 1 to 1000000000'],
		[{maxRequests: NaN}, RangeError, 'maxRequests is NaN, must be an integer of 1 to 1000000000'],
		[{maxRequests: 1e10}, RangeError, 'maxRequests is 10000000000, must be an integer of 1 to 1000000000'],
		[{timeWindowMs: 99}, RangeError, 'timeWindowMs is 99, must be an integer of 100 to 2678400000'],
		[{timeWindowMs: null}, TypeError, 'timeWindowMs is null, must be an integer of 100 to 2678400000'],
		[{fallbackMaxRequests: -1}, RangeError, 'fallbackMaxRequests is -1, must be an integer of 1 to 2000000000'],
		[{fallbackTimeWindowMs: 1}, RangeError, 'fallbackTimeWindowMs is 1, must be an integer of 100 to 2678400000'],
		[{localMaxRequests: -1}, RangeError, 'localMaxRequests is -1, must be an integer of 0 to 2000000000'],
		[{resolution: 61}, RangeError, 'resolution is 61, must be an integer of 1 to 60'],
		[{timeWindowMs: 100, resolution: 60}, RangeError, 'timeWindowMs / resolution is 2, must be 10 or more'],
		[{timeoutMs: 60001}, RangeError, 'timeoutMs is 60001, must be an integer of 1 to 60000'],
		[{mode: 'lax'}, RangeError, 'mode is "lax", must be one of "strict", "relaxed"'],
		[{algorithm: 1}, TypeError, 'algorithm is 1, must be one of "sliding_window", "fixed_window"'],
		[{onError: 'panic'}, RangeError, 'onError is "panic", must be one of "local", "deny", "allow"'],
		[{policy: ''}, RangeError, 'policy is "", must be 1 to 63 characters of A-Z, a-z, 0-9 and _.:/-'],
		[{policy: 'a b'}, RangeError, 'policy is "a b", must be 1 to 63 characters of A-Z, a-z, 0-9 and _.:/-'],
		[{shadow: 1}, TypeError, 'shadow is 1, must be true or false'],
		[{mustExist: 'yes', policy: 'a'}, TypeError, 'mustExist is "yes", must be true or false'],
		[{mustExist: true}, TypeError, 'policy is undefined, must be the name of a policy with mustExist'],
		[{mustExist: true, policy: 'a', maxRequests: 0}, RangeError, 'maxRequests is 0, must be an integer of 1 to 1000000000'],
		[{mustExist: true, policy: 'a', cacheClient: STORE}, TypeError, 'mustExist is for the agent, must be left out with a cacheClient'],
		[{maxRequest: 5}, TypeError, /^option "maxRequest" is unknown, must be one of maxRequests, /],
		[{cacheClient: {}}, TypeError, /^cacheClient /],
	];
	for (const [options, Kind, message] of wrong)
		assert.throws(() => make(options), {name: Kind.name, message});
	assert.throws(() => new DistributedRateLimiter(), TypeError);
	assert.throws(() => connect(''), TypeError);
	for (const socketPath of ['/run/stint\0/agent.sock', '/run/\ud800.sock'])
		assert.throws(() => connect(socketPath), /^TypeError: socketPath is ".*, must be a path of 1 to 107 bytes, without a NUL or a lone surrogate$/);
	for (const [socketPath, bytes] of [['/' + 'x'.repeat(107), 108], ['x'.repeat(5000), 5000], ['/' + '\u00e4'.repeat(60), 121]])
		assert.throws(() => connect(socketPath), {name: 'RangeError', message: `socketPath has ${bytes} bytes, must be a path of 1 to 107 bytes, without a NUL or a lone surrogate`});
	make({cacheClient: connect('/' + 'x'.repeat(106))}).close();
});

test('costs: refused when they are none', async () => {
	const limiter = make({policy: 'costs'});
	for (const cost of [0, -1, 1.5, NaN, 1000000001, '1', null])
		await assert.rejects(limiter.check('a', {cost}), /^(Range|Type)Error: cost is .*, must be an integer of 1 to 1000000000$/);
	assert.throws(() => limiter.tryCheck('a', 3), TypeError);
	assert.throws(() => limiter.tryCheck('a', {costs: 3}), {name: 'TypeError', message: 'option "costs" is unknown, must be cost'});
	assert.strictEqual((await limiter.check('a', {})).remaining, 4);
	limiter.close();
});

test('no agent: a lenient limit inside the process; or all, or none', async () => {
	const limiter = make({policy: 'away', cacheClient: away, fallbackMaxRequests: 7, timeoutMs: 50});
	let allowed = 0;
	for (let i = 0; i < 20; i++)
		allowed += await limiter.isAllowed('a');
	assert.strictEqual(allowed, 7);
	assert.strictEqual((await limiter.check('a')).source, 'local');
	limiter.close();
	for (const localMaxRequests of [0, 3]) {
		const other = make({policy: 'away', cacheClient: away, localMaxRequests, timeoutMs: 50});
		let local = 0;
		for (let i = 0; i < 20; i++)
			local += await other.isAllowed('a');
		assert.strictEqual(local, localMaxRequests);
		other.close();
	}
	for (const [onError, wanted] of [['allow', true], ['deny', false]]) {
		const other = make({policy: 'away', cacheClient: away, onError, timeoutMs: 50});
		for (let i = 0; i < 20; i++)
			assert.strictEqual(await other.isAllowed('a'), wanted);
		other.close();
	}
});

test('an agent that comes, goes and comes again', async () => {
	const own = await startAgent();
	const limiter = make({policy: 'again', cacheClient: connect(own.socketPath), maxRequests: 1000, timeoutMs: 100});
	assert.strictEqual((await limiter.check('a')).source, 'database');
	await own.stop();
	await until(async () => (await limiter.check('b' + Math.random())).source === 'local', 'the process decides by itself');
	await own.start();
	await until(async () => (await limiter.check('c' + Math.random())).source === 'database', 'the agent decides again');
	limiter.close();
});

test('close: what waits is denied at once, or allowed; nothing is decided after it', async () => {
	const own = await startAgent();
	for (const [onError, wanted] of [[undefined, false], ['deny', false], ['allow', true]]) {
		const limiter = make({policy: 'close', cacheClient: connect(own.socketPath), onError, timeoutMs: 60000});
		await limiter.isAllowed('known');
		own.signal('SIGSTOP');
		const waiting = [limiter.isAllowed('a' + onError), limiter.check('b' + onError)];
		limiter.close();
		limiter.close();
		const [allowed, verdict] = await Promise.all(waiting);
		own.signal('SIGCONT');
		assert.strictEqual(allowed, wanted);
		assert.strictEqual(verdict.allowed, wanted);
		assert.match(verdict.error, /cancelled/);
		await assert.rejects(limiter.isAllowed('a'), /^TypeError: this limiter is closed$/);
		assert.throws(() => limiter.tryCheck('a'), /^TypeError: this limiter is closed$/);
	}
});

test('peek takes nothing, charge goes beyond the limit', async () => {
	const limiter = make({policy: 'beside'});
	assert.strictEqual(limiter.charge('a'), false);
	assert.strictEqual((await limiter.check('a', {cost: 2})).remaining, 3);
	for (let i = 0; i < 3; i++)
		assert.strictEqual((await limiter.peek('a', {cost: 3})).allowed, true);
	assert.strictEqual((await limiter.peek('a', {cost: 4})).allowed, false);
	assert.strictEqual(limiter.charge('a', {cost: 5}), true);
	await until(async () => !(await limiter.peek('a')).allowed, 'the client is in debt');
	assert.strictEqual(await limiter.isAllowed('a'), false);
	await assert.rejects(limiter.peek(''), RangeError);
	assert.throws(() => limiter.charge('a\0'), RangeError);
	limiter.close();
	await assert.rejects(limiter.peek('a'), /closed/);
	assert.throws(() => limiter.charge('a'), /closed/);
	const store = new DistributedRateLimiter({maxRequests: 1, timeWindowMs: 1000, cacheClient: STORE});
	assert.throws(() => store.charge('a'), /^TypeError: charge needs this host's agent/);
});

/* An admission that the table decided. */
async function takeLeased(limiter, id, cost = 1) {
	let verdict;
	await until(async () => {
		verdict = await limiter.check(id, {cost});
		return verdict.source === 'lease' && verdict.allowed;
	}, 'the table decides');
	return verdict;
}

/* What is given back just when the agent tells the database of it stays counted: then another try. */
async function refundOne(limiter, id, cost, options) {
	let verdict;
	await until(async () => {
		verdict = await takeLeased(limiter, id, cost);
		return limiter.refund(verdict, options);
	}, 'the lease takes it back');
	return verdict;
}

test('refund: once, all of it or a part', async () => {
	const limiter = make({policy: 'refund', maxRequests: 100000});
	const left = async () => (await limiter.peek('a')).remaining;
	const verdict = await refundOne(limiter, 'a', 4);
	assert.strictEqual(await left(), verdict.remaining + 4);
	for (let i = 0; i < 3; i++)
		assert.strictEqual(limiter.refund(verdict), false);
	assert.strictEqual(await left(), verdict.remaining + 4);
	const part = await refundOne(limiter, 'a', 4, {cost: 1});
	assert.strictEqual(limiter.refund(part, {cost: 1}), false);
	assert.strictEqual(await left(), part.remaining + 1);
	let tried;
	await until(async () => {
		tried = limiter.tryCheck('a');
		return tried !== undefined && limiter.refund(tried);
	}, 'the lease takes it back');
	assert.strictEqual(await left(), tried.remaining + 1);
	limiter.close();
});

test('refund: as many as the limit count, however many are given back', async () => {
	const limiter = make({policy: 'refund-many', maxRequests: 20});
	let counted = 0;
	for (let i = 0; i < 300; i++) {
		const verdict = await limiter.check('a');
		counted += verdict.allowed && !(i % 2 && limiter.refund(verdict));
	}
	assert.strictEqual(counted, 20);
	limiter.close();
});

test('refund: not after the window', async () => {
	const limiter = make({policy: 'refund-late', maxRequests: 1000, timeWindowMs: 200});
	const verdict = await takeLeased(limiter, 'a');
	for (let i = 0; i < 3; i++) {
		await sleep(450);
		await takeLeased(limiter, 'a');
	}
	assert.strictEqual(limiter.refund(verdict), false);
	limiter.close();
});

test('refund: what was not taken, and what is not its own', async () => {
	const limiter = make({policy: 'refund-wrong'});
	const other = make({policy: 'refund-wrong'});
	const first = await limiter.check('a');
	assert.strictEqual(first.source, 'database');
	assert.strictEqual(limiter.refund(first), false);
	assert.strictEqual(limiter.refund(await limiter.peek('a')), false);
	const verdict = await takeLeased(limiter, 'a');
	assert.throws(() => other.refund(verdict), /^TypeError: verdict is another limiter's, must be of the limiter/);
	for (const copy of [undefined, null, true, {...verdict}, JSON.parse(JSON.stringify(verdict)), Object.create(verdict)])
		assert.throws(() => limiter.refund(copy), /^TypeError: verdict is .*, must be what check\(\) or tryCheck\(\) has returned, not a copy$/);
	for (const cost of [0, 2, 1.5, -1])
		assert.throws(() => limiter.refund(verdict, {cost}), /^RangeError: cost is .*, must be an integer of 1 to /);
	assert.throws(() => limiter.refund(verdict, 1), /^TypeError: the second argument is 1/);
	const denied = await limiter.check('a', {cost: 5});
	assert.strictEqual(denied.allowed, false);
	assert.strictEqual(limiter.refund(denied), false);
	assert.deepStrictEqual(Object.keys(verdict).sort(), ['allowed', 'limit', 'policy', 'reason', 'remaining', 'resetAfterMs', 'retryAfterMs',
		'shadowDenied', 'source', 'timeWindowMs']);
	limiter.close();
	assert.strictEqual(limiter.refund(verdict), false);
	other.close();
});

test('refund: the agent away, and decided by a word', async () => {
	const limiter = make({policy: 'refund-away', cacheClient: away, timeoutMs: 50});
	const verdict = await limiter.check('a', {cost: 2});
	assert.strictEqual(verdict.source, 'local');
	const before = (await limiter.check('a')).remaining;
	assert.strictEqual(limiter.refund(verdict), verdict.allowed);
	assert.strictEqual((await limiter.check('a')).remaining, before + (verdict.allowed ? 1 : 0));
	limiter.close();
	const own = await startAgent();
	const waits = make({policy: 'refund-word', cacheClient: connect(own.socketPath), onError: 'allow', timeoutMs: 60000});
	await waits.isAllowed('known');
	own.signal('SIGSTOP');
	const waiting = waits.check('a');
	waits.close();
	own.signal('SIGCONT');
	const word = await waiting;
	assert.strictEqual(word.allowed, true);
	assert.strictEqual(waits.refund(word), false);
});

test('checkAll: the part that the verdict names is given back', async () => {
	const [user, address] = ['refund-user', 'refund-address'].map((policy) => make({policy, maxRequests: 100000}));
	let verdict;
	await until(async () => {
		await takeLeased(user, 'a', 2);
		verdict = await DistributedRateLimiter.checkAll([{limiter: user, clientId: 'a', cost: 2}, {limiter: address, clientId: 'b'}]);
		assert.deepStrictEqual([verdict.allowed, verdict.part], [true, 0]);
		assert.throws(() => address.refund(verdict), /another limiter's/);
		return user.refund(verdict);
	}, 'the lease takes it back');
	assert.strictEqual((await user.peek('a')).remaining, verdict.remaining + 2);
	user.close();
	address.close();
});

test('a shadow denies nobody, and tells whom it would', async () => {
	const limiter = make({policy: 'shadow', maxRequests: 2, shadow: true});
	const told = [];
	for (let i = 0; i < 5; i++)
		told.push(await limiter.check('a'));
	assert.ok(told.every(({allowed}) => allowed));
	assert.deepStrictEqual(told.map(({shadowDenied}) => shadowDenied), [false, false, true, true, true]);
	const last = told[4];
	assert.deepStrictEqual([last.reason, last.remaining, last.retryAfterMs > 0, limiter.refund(last)], ['over_limit', 0, true, false]);
	assert.strictEqual(await limiter.isAllowed('a'), true);
	assert.strictEqual((await limiter.check('a', {cost: 3})).reason, 'cost_above_limit');
	assert.ok(!limiter.headers(last).some(([name]) => name === 'Retry-After'));
	const strict = make({policy: 'not-shadow', maxRequests: 2});
	const checkAll = () => DistributedRateLimiter.checkAll([{limiter, clientId: 'a'}, {limiter: strict, clientId: 'a'}]);
	const all = [await checkAll(), await checkAll(), await checkAll()];
	assert.deepStrictEqual(all.map(({allowed, shadowDenied, part}) => [allowed, shadowDenied, part]), [[true, true, 0], [true, true, 0], [false, false, 1]]);
	limiter.close();
	strict.close();
	const nobody = make({policy: 'shadow-away', cacheClient: away, shadow: true, onError: 'deny', timeoutMs: 50});
	for (let i = 0; i < 3; i++) {
		const {allowed, shadowDenied} = await nobody.check('a');
		assert.deepStrictEqual([allowed, shadowDenied], [true, true]);
	}
	nobody.close();
	const own = await startAgent();
	const waits = make({policy: 'shadow-close', cacheClient: connect(own.socketPath), shadow: true, timeoutMs: 60000});
	await waits.isAllowed('known');
	own.signal('SIGSTOP');
	const waiting = [waits.check('a'), DistributedRateLimiter.checkAll([{limiter: waits, clientId: 'b'}])];
	waits.close();
	own.signal('SIGCONT');
	assert.deepStrictEqual((await Promise.all(waiting)).map(({allowed, shadowDenied}) => [allowed, shadowDenied]), [[true, true], [true, true]]);
});

test('checkAll: all or nothing', async () => {
	const user = make({policy: 'user', maxRequests: 3});
	const address = make({policy: 'address', maxRequests: 5});
	const checkAll = (id, costs = [1, 1]) => DistributedRateLimiter.checkAll([{limiter: user, clientId: id, cost: costs[0]},
		{limiter: address, clientId: '192.0.2.1', cost: costs[1]}]);
	const first = await checkAll('a', [2, 1]);
	assert.deepStrictEqual([first.allowed, first.part, first.policy, first.remaining], [true, 0, 'user', 1]);
	const denied = await checkAll('a', [2, 1]);
	assert.deepStrictEqual([denied.allowed, denied.part, denied.policy], [false, 0, 'user']);
	assert.strictEqual((await address.peek('192.0.2.1')).remaining, 4);
	for (const id of ['b', 'c', 'd', 'e'])
		assert.strictEqual((await checkAll(id)).allowed, true);
	const other = await checkAll('b');
	assert.deepStrictEqual([other.allowed, other.part, other.policy], [false, 1, 'address']);
	assert.strictEqual((await user.peek('b')).remaining, 2);
	for (const count of [0, 17])
		await assert.rejects(DistributedRateLimiter.checkAll(new Array(count).fill({limiter: user, clientId: 'a'})),
			{name: 'TypeError', message: `parts is an array of ${count}, must be an array of 1 to 16 like { limiter, clientId, cost }`});
	for (const part of [undefined, null, 'a'])
		await assert.rejects(DistributedRateLimiter.checkAll([{limiter: user, clientId: 'a'}, part]),
			{name: 'TypeError', message: `a part is ${JSON.stringify(part)}, must be an object like { limiter, clientId, cost }`});
	await assert.rejects(DistributedRateLimiter.checkAll([{limiter: user, clientId: 'a', costs: 2}]),
		{name: 'TypeError', message: 'option "costs" of a part is unknown, must be one of limiter, clientId, cost'});
	await assert.rejects(DistributedRateLimiter.checkAll([{limiter: {}, clientId: 'a'}]), /^TypeError: limiter is an object, must be a DistributedRateLimiter/);
	await assert.rejects(checkAll(''), /^RangeError: clientId is empty/);
	await assert.rejects(DistributedRateLimiter.checkAll([{limiter: user, clientId: 'a'}, {limiter: user, clientId: 'a'}]), RangeError);
	user.close();
	await assert.rejects(checkAll('a'), /closed/);
	address.close();
});

test('checkAll that waits when its limiters are closed', async () => {
	const own = await startAgent();
	const limiters = ['one', 'two'].map((policy) => make({policy, cacheClient: connect(own.socketPath), timeoutMs: 60000}));
	await limiters[0].isAllowed('known');
	own.signal('SIGSTOP');
	const waiting = DistributedRateLimiter.checkAll(limiters.map((limiter) => ({limiter, clientId: 'a'})));
	for (const limiter of limiters)
		limiter.close();
	assert.strictEqual((await waiting).allowed, false);
	own.signal('SIGCONT');
});

test('checkAll without the agent: the first that denies tells, or would if it were no shadow', async () => {
	const cases = [
		[['allow', 'allow'], [true, false, 0]],
		[['allow', 'deny', 'allow'], [false, false, 1]],
		[['allow', 'allow', 'local', 'deny'], [false, false, 2]],
		[['allow', 'shadow', 'allow'], [true, true, 1]],
		[['shadow', 'deny', 'allow'], [false, false, 1]],
	];
	for (const [words, wanted] of cases) {
		const limiters = words.map((word, i) => new DistributedRateLimiter({policy: `absent-part-${i}`, mustExist: true,
			onError: word === 'shadow' ? 'deny' : word, shadow: word === 'shadow'}));
		const {allowed, shadowDenied, part} = await DistributedRateLimiter.checkAll(limiters.map((limiter) => ({limiter, clientId: 'a'})));
		assert.deepStrictEqual([allowed, shadowDenied, part], wanted, words.join());
		for (const limiter of limiters)
			limiter.close();
	}
});

test('addresses as ids', () => {
	assert.strictEqual(ipClient('192.0.2.1'), '192.0.2.1');
	assert.strictEqual(ipClient('::ffff:192.0.2.1'), '192.0.2.1');
	assert.strictEqual(ipClient('2001:db8::1234:5'), '2001:db8::/64');
	assert.strictEqual(ipClient('2001:db8::1', {ipv6Prefix: 48}), '2001:db8::/48');
	assert.strictEqual(ipClient('192.0.2.1', {ipv4Prefix: 24}), '192.0.2.0/24');
	for (const address of ['', 'nonsense', undefined, '1.2.3.4.5', 'x'.repeat(1000), '192.0.2.1\0', '2001:db8::1\0x'])
		assert.throws(() => ipClient(address), /^TypeError: address is .*, must be an IPv4 or IPv6 address$/);
	assert.throws(() => ipClient('2001:db8::1', {ipv6prefix: 48}),
		{name: 'TypeError', message: 'option "ipv6prefix" is unknown, must be one of ipv4Prefix, ipv6Prefix'});
	for (const options of [null, 48])
		assert.throws(() => ipClient('2001:db8::1', options), /^TypeError: the second argument is .*, must be an object like { ipv6Prefix: 48 }$/);
	assert.throws(() => ipClient('192.0.2.1', {ipv6Prefix: 129}), /^RangeError: ipv6Prefix is 129, must be an integer of 1 to 128$/);
});

test('header fields', async () => {
	const limiter = make({policy: 'fields', maxRequests: 2});
	const verdict = await limiter.check('a');
	const fields = Object.fromEntries(limiter.headers(verdict, {xRateLimit: true}));
	assert.strictEqual(fields['RateLimit-Policy'], '"fields";q=2;w=600');
	assert.match(fields.RateLimit, /^"fields";r=1;t=[0-9]+$/);
	assert.strictEqual(fields['X-RateLimit-Remaining'], '1');
	assert.deepStrictEqual(limiter.headers(verdict, {version: 'none'}), []);
	await limiter.isAllowed('a');
	const denied = await limiter.check('a');
	assert.strictEqual(Number(Object.fromEntries(limiter.headers(denied))['Retry-After']), Math.ceil(denied.retryAfterMs / 1000));
	const alone = make({policy: 'fields-alone', cacheClient: away, fallbackTimeWindowMs: 7000, timeoutMs: 50});
	await until(async () => (await alone.check('a')).allowed, 'the process decides');
	const local = await alone.check('b');
	assert.strictEqual(local.timeWindowMs, 7000);
	assert.strictEqual(Object.fromEntries(alone.headers(local))['RateLimit-Policy'], '"fields-alone";q=10;w=7');
	alone.close();
	assert.throws(() => limiter.headers(), {name: 'TypeError', message: 'verdict is undefined, must be what check() or tryCheck() has returned'});
	assert.throws(() => limiter.headers(verdict, {xRatelimit: true}), /^TypeError: option "xRatelimit" of headers is unknown, must be one of version,/);
	assert.throws(() => limiter.headers(verdict, {xRateLimit: 'no'}), /^TypeError: xRateLimit is "no", must be true or false$/);
	for (const options of [null, true])
		assert.throws(() => limiter.headers(verdict, options), /^TypeError: the second argument is .*, must be an object like { version, xRateLimit }$/);
	assert.throws(() => limiter.headers({...verdict, policy: 'fields\0'}), /^RangeError: policy is not 1 to 63 bytes/);
	for (const limit of [NaN, Infinity, -Infinity, undefined, -1, -1e300])
		assert.match(limiter.headers({...verdict, limit})[0][1], /^"fields";q=0;/);
	assert.match(limiter.headers({...verdict, limit: 1e300})[0][1], /^"fields";q=9{15};/);
	assert.throws(() => limiter.headers(verdict, {version: 'draft-1'}), /^RangeError: version is "draft-1", must be one of/);
	limiter.close();
});

test('Symbol.dispose, where there is one, is close', () => {
	const limiter = make({policy: 'dispose'});
	if (Symbol.dispose !== undefined)
		limiter[Symbol.dispose]();
	else
		limiter.close();
	assert.throws(() => limiter.tryCheck('a'), /closed/);
});

test('as an ES module: the same classes', async () => {
	const stint = await import(LIBRARY + '/index.mjs');
	assert.strictEqual(stint.DistributedRateLimiter, DistributedRateLimiter);
	assert.strictEqual(stint.default.connect, connect);
});
