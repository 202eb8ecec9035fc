/*
 * test_arguments.js - what the class and its functions take, and what they refuse: names, ids, options, costs, addresses.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {test} = require('node:test');
const {LIBRARY, ROOT} = require('./support.js');
const {STORE, away, make} = require('./limiters.js');
const {DistributedRateLimiter, connect, ipClient} = require(LIBRARY);

test('without a name: one that the same limits have in every language', () => {
	const toCamel = (name) => name.replace(/_./g, (pair) => pair[1].toUpperCase());
	for (const {options, name} of require(path.join(ROOT, 'tests', 'support', 'policy_names.json'))) {
		const own = Object.fromEntries(Object.entries(options).map(([key, value]) => [toCamel(key), value]));
		const limiter = make({timeWindowMs: 60000, cacheClient: away, ...own});
		assert.strictEqual(limiter.options.policy, name, JSON.stringify(options));
		limiter.close();
	}
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
