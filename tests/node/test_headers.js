/*
 * test_headers.js - the fields of a response, made of a verdict.
 */
'use strict';
const assert = require('assert');
const {test} = require('node:test');
const {until} = require('./support.js');
const {away, make} = require('./limiters.js');

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
