/*
 * test_refund.js - what is given back: how much, until when, and by whom.
 */
'use strict';
const assert = require('assert');
const {test} = require('node:test');
const {LIBRARY, sleep, startAgent, until} = require('./support.js');
const {away, closeWhileItWaits, make} = require('./limiters.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);

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
	const [word] = await closeWhileItWaits(own, [waits], () => [waits.check('a')]);
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
