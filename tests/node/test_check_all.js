/*
 * test_check_all.js - several limits at once: all of them admit, or none is charged.
 */
'use strict';
const assert = require('assert');
const {test} = require('node:test');
const {LIBRARY, startAgent} = require('./support.js');
const {closeWhileItWaits, make} = require('./limiters.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);

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
	const [verdict] = await closeWhileItWaits(own, limiters, () => [DistributedRateLimiter.checkAll(limiters.map((limiter) => ({limiter, clientId: 'a'})))]);
	assert.strictEqual(verdict.allowed, false);
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
