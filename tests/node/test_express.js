/*
 * test_express.js - the middleware in a real express, and the store in a real express-rate-limit.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {test} = require('node:test');
const {LIBRARY, sleep, startAgent, until} = require('./support.js');
const {requireFrom} = require('./redis.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);
const {ADMISSIONS_MAX, Admissions, DENIED_KEYS_MAX} = require(path.join(LIBRARY, 'admissions.js'));
const {ExpressRateLimitStore, limitRequests} = require(path.join(LIBRARY, 'express.js'));

const express = requireFrom('express');
const {rateLimit} = requireFrom('express-rate-limit') || {};
const WINDOW_MS = 600000;
const skip = (express === undefined || rateLimit === undefined) && 'there is no express: is the package registry in reach?';

/* Serves while `body` runs, which gets a function that asks: {status, headers, text}. */
async function serve(app, body) {
	const server = app.listen(0, '127.0.0.1');
	await new Promise((resolve) => server.once('listening', resolve));
	try {
		return await body(async (headers = {}, where = '/') => {
			const response = await fetch(`http://127.0.0.1:${server.address().port}${where}`, {headers: {...headers, connection: 'close'}});
			return {status: response.status, headers: response.headers, text: await response.text()};
		});
	} finally {
		server.close();
	}
}

function makeApp(...handlers) {
	const app = express();
	app.set('env', 'test');
	app.set('trust proxy', 1);
	app.use(...handlers);
	app.get('/', (request, response) => response.send('served'));
	app.get('/fails', (request, response) => response.status(500).send('failed'));
	return app;
}

test('the middleware', {skip}, async () => {
	const agent = await startAgent();
	const limiter = new DistributedRateLimiter({policy: 'express', maxRequests: 3, timeWindowMs: WINDOW_MS, cacheClient: connect(agent.socketPath)});
	await serve(makeApp(limitRequests(limiter, {headers: {xRateLimit: true}})), async (ask) => {
		for (let left = 2; left >= 0; left--) {
			const {status, headers, text} = await ask();
			assert.deepStrictEqual([status, text], [200, 'served']);
			assert.strictEqual(headers.get('ratelimit-policy'), '"express";q=3;w=600');
			assert.match(headers.get('ratelimit'), new RegExp(`^"express";r=${left};t=`));
			assert.strictEqual(headers.get('x-ratelimit-remaining'), String(left));
		}
		const denied = await ask();
		assert.strictEqual(denied.status, 429);
		assert.ok(Number(denied.headers.get('retry-after')) > 0);
		assert.strictEqual((await ask({'x-forwarded-for': '198.51.100.7'})).status, 200);
		for (let i = 0; i < 3; i++)
			await ask({'x-forwarded-for': `2001:db8::${i}`});
		assert.strictEqual((await ask({'x-forwarded-for': '2001:db8::ffff'})).status, 429);
	});
	limiter.close();
});

test('the middleware: ids, costs and denials of the app\'s own', {skip}, async () => {
	const agent = await startAgent();
	const limiter = new DistributedRateLimiter({policy: 'own', maxRequests: 3, timeWindowMs: WINDOW_MS, cacheClient: connect(agent.socketPath)});
	const options = {clientId: async (request) => request.get('x-key'), cost: (request) => Number(request.get('x-cost') || 1), headers: false,
		onDenied: (request, response, next, verdict) => response.status(503).send(verdict.reason)};
	await serve(makeApp(limitRequests(limiter, options)), async (ask) => {
		for (let i = 0; i < 5; i++)
			assert.strictEqual((await ask()).status, 200);
		const first = await ask({'x-key': 'a', 'x-cost': '2'});
		assert.deepStrictEqual([first.status, first.headers.get('ratelimit')], [200, null]);
		const denied = await ask({'x-key': 'a', 'x-cost': '2'});
		assert.deepStrictEqual([denied.status, denied.text], [503, 'over_limit']);
		assert.strictEqual((await ask({'x-key': 'x'.repeat(256)})).status, 400);
	});
	limiter.close();
	assert.throws(() => limitRequests({}), /^TypeError: limiter is an object, must be a DistributedRateLimiter$/);
});

test('two middlewares, one after the other', {skip}, async () => {
	const agent = await startAgent();
	const [wide, narrow] = [['wide', 9], ['narrow', 1]].map(([policy, maxRequests]) => new DistributedRateLimiter({policy, maxRequests, timeWindowMs: WINDOW_MS,
		cacheClient: connect(agent.socketPath)}));
	const app = makeApp(...[wide, narrow].map((limiter) => limitRequests(limiter, {headers: {xRateLimit: true}})));
	await serve(app, async (ask) => {
		for (const [left, status] of [[8, 200], [7, 429]]) {
			const {headers, status: told} = await ask();
			assert.strictEqual(told, status);
			assert.strictEqual(headers.get('ratelimit-policy'), '"wide";q=9;w=600, "narrow";q=1;w=600');
			assert.match(headers.get('ratelimit'), new RegExp(`^"wide";r=${left};t=[0-9]+, "narrow";r=0;t=[0-9]+$`));
			assert.strictEqual(headers.get('x-ratelimit-limit'), '1');
			assert.match(String(headers.get('retry-after')), status === 429 ? /^[0-9]+$/ : /^null$/);
		}
	});
	wide.close();
	narrow.close();
});

test('the middleware: an address that is none is the sender\'s fault', {skip}, async () => {
	const limiter = new DistributedRateLimiter({policy: 'address', maxRequests: 3, timeWindowMs: WINDOW_MS, cacheClient: connect('/nowhere/at/all')});
	const app = makeApp(limitRequests(limiter));
	app.set('trust proxy', true);
	await serve(app, async (ask) => assert.strictEqual((await ask({'x-forwarded-for': 'nonsense'})).status, 400));
	limiter.close();
});

test('the middleware: whatever an app\'s function throws, the request doesn\'t pass', {skip}, async () => {
	const agent = await startAgent();
	const limiter = new DistributedRateLimiter({policy: 'throws', maxRequests: 1, timeWindowMs: WINDOW_MS, cacheClient: connect(agent.socketPath)});
	await limiter.isAllowed('spent');
	for (const thrown of [undefined, null, '', 'route', 0, {}, new Error('mine')]) {
		const fail = async () => {
			throw thrown;
		};
		for (const options of [{clientId: fail}, {cost: fail}, {clientId: () => 'spent', onDenied: fail}]) {
			const app = makeApp(limitRequests(limiter, options));
			app.use((error, request, response, next) => response.status(500).send('a fault')); // eslint-disable-line no-unused-vars
			await serve(app, async (ask) => assert.strictEqual((await ask()).status, 500, String(thrown)));
		}
	}
	limiter.close();
});

test('the middleware: a fault of `counts` is a warning, whatever is thrown', {skip}, async () => {
	const agent = await startAgent();
	const limiter = new DistributedRateLimiter({policy: 'faulty', maxRequests: 100, timeWindowMs: WINDOW_MS, cacheClient: connect(agent.socketPath)});
	const faults = [new Error('mine'), 'words', null, {code: 5}];
	const warnings = [];
	const note = (warning) => warnings.push(warning.message);
	process.on('warning', note);
	await serve(makeApp(limitRequests(limiter, {counts: () => { throw faults[warnings.length]; }})), async (ask) => {
		for (let i = 0; i < faults.length; i++) {
			assert.strictEqual((await ask()).status, 200);
			await until(() => warnings.length > i, 'a warning');
		}
	});
	process.off('warning', note);
	assert.deepStrictEqual(warnings, ['mine', 'counts has thrown "words"', 'counts has thrown null', 'counts has thrown an object']);
	limiter.close();
});

test('express-rate-limit: two of them on one host count together', {skip}, async () => {
	const agent = await startAgent();
	const stores = [0, 1].map(() => new ExpressRateLimitStore({cacheClient: connect(agent.socketPath), policy: 'store'}));
	const apps = stores.map((store) => makeApp(rateLimit({windowMs: WINDOW_MS, limit: 4, standardHeaders: 'draft-8', store})));
	await serve(apps[0], (askFirst) => serve(apps[1], async (askSecond) => {
		const statuses = [];
		for (let i = 0; i < 6; i++)
			statuses.push((await (i % 2 ? askSecond() : askFirst())).status);
		assert.deepStrictEqual(statuses, [200, 200, 200, 200, 429, 429]);
	}));
	const {totalHits, resetTime} = await stores[0].get('new');
	assert.strictEqual(totalHits, 0);
	assert.ok(resetTime instanceof Date);
	await assert.rejects(stores[0].resetKey('new'), /^TypeError: operator is undefined, must be a Pool of pg .*stint client reset/);
	for (const store of stores)
		store.shutdown();
});

test('express-rate-limit: several of them, each with its limit, before one request', {skip}, async (t) => {
	const agent = await startAgent();
	const faults = t.mock.method(console, 'error', () => {});
	const make = (limit, options) => rateLimit({windowMs: WINDOW_MS, limit, store: new ExpressRateLimitStore({cacheClient: connect(agent.socketPath), ...options})});
	await serve(makeApp(make(9), make(7), make(3, {policy: 'own'})), async (ask) => {
		const statuses = [];
		for (let i = 0; i < 5; i++)
			statuses.push((await ask()).status);
		assert.deepStrictEqual(statuses, [200, 200, 200, 429, 429]);
		const {headers} = await ask();
		assert.strictEqual(headers.get('x-ratelimit-limit'), '3');
	});
	const others = new ExpressRateLimitStore({cacheClient: connect(agent.socketPath)});
	others.init({windowMs: WINDOW_MS, limit: 9});
	assert.match((await others.get('::ffff:127.0.0.1')).totalHits + ' ' + (await others.get('127.0.0.1')).totalHits, /\b6\b/);
	others.shutdown();
	assert.deepStrictEqual(faults.mock.calls.map((call) => String(call.arguments[0])), []);
});

test('express-rate-limit: what stint denies is denied, whatever limit express-rate-limit has', {skip}, async () => {
	const agent = await startAgent();
	for (const [policy, limit] of [['narrow', 4], ['by-request', () => 4]]) {
		const store = new ExpressRateLimitStore({cacheClient: connect(agent.socketPath), policy, maxRequests: 2});
		await serve(makeApp(rateLimit({windowMs: WINDOW_MS, limit, store})), async (ask) => {
			const statuses = [];
			for (let i = 0; i < 4; i++)
				statuses.push((await ask()).status);
			assert.deepStrictEqual(statuses, [200, 200, 429, 429]);
		});
		store.shutdown();
	}
	// The other way round: what stint admits is admitted.
	const store = new ExpressRateLimitStore({cacheClient: connect(agent.socketPath), policy: 'wide', maxRequests: 9});
	await serve(makeApp(rateLimit({windowMs: WINDOW_MS, limit: 2, store})), async (ask) => {
		for (let i = 0; i < 10; i++)
			assert.strictEqual((await ask()).status, i < 9 ? 200 : 429);
	});
	store.shutdown();
});

/* How many of 20 requests are counted, every second of which fails; of a client whom the table has answers for. */
async function countRequests(limiter, ask) {
	for (let i = 0; i < 5; i++)
		await limiter.check('a', {cost: 10});
	const {remaining} = await limiter.peek('a');
	for (let i = 0; i < 20; i++) {
		await ask({'x-key': 'a'}, i % 2 ? '/fails' : '/');
		await sleep(5);
	}
	return remaining - (await limiter.peek('a')).remaining;
}

test('what does not count is given back: by the middleware, and by the store\'s decrement', {skip}, async () => {
	const agent = await startAgent();
	const options = {policy: 'counts', maxRequests: 100000, timeWindowMs: WINDOW_MS, cacheClient: connect(agent.socketPath)};
	const limiter = new DistributedRateLimiter(options);
	const clientId = (request) => request.get('x-key');
	const middleware = limitRequests(limiter, {clientId, counts: (request, response) => response.statusCode < 400});
	const [failed, successful] = ['skipFailedRequests', 'skipSuccessfulRequests'].map((skips) => rateLimit({windowMs: WINDOW_MS, limit: 100000,
		[skips]: true, keyGenerator: clientId, store: new ExpressRateLimitStore(options)}));
	for (const handler of [middleware, failed, successful]) {
		const counted = await serve(makeApp(handler), (ask) => countRequests(limiter, ask));
		assert.ok(counted >= 10 && counted < 20, `${counted} are counted`);
	}
	limiter.close();
});

test('express-rate-limit: denials give nothing back', {skip}, async () => {
	const agent = await startAgent();
	const store = new ExpressRateLimitStore({cacheClient: connect(agent.socketPath), policy: 'denials'});
	await serve(makeApp(rateLimit({windowMs: WINDOW_MS, limit: 20, skipFailedRequests: true, store})), async (ask) => {
		let served = 0;
		for (let i = 0; i < 60; i++)
			served += (await ask()).status === 200;
		assert.strictEqual(served, 20);
	});
	store.shutdown();
});

test('what stores remember to give back is bounded, and goes with its window', async () => {
	const admitted = {allowed: true};
	const short = new Admissions(50);
	short.note('a', admitted);
	await sleep(60);
	assert.strictEqual(short.take('a'), undefined);
	short.note('b', admitted);
	assert.strictEqual(short.size, 1);
	const admissions = new Admissions(WINDOW_MS);
	for (let i = 0; i < 1.5 * ADMISSIONS_MAX; i++)
		admissions.note(`key-${i % 2 ? i : 0}`, admitted);
	assert.ok(admissions.size > ADMISSIONS_MAX / 2 && admissions.size <= ADMISSIONS_MAX);
	admissions.note('a', admitted, 3);
	assert.deepStrictEqual(admissions.take('a'), {verdict: admitted, cost: 3});
	assert.strictEqual(admissions.take('a'), undefined);
	for (let i = 0; i < 1.5 * ADMISSIONS_MAX; i++) {
		admissions.note(`given-back-${i}`, admitted);
		admissions.take(`given-back-${i}`);
	}
	assert.ok(admissions.keys <= ADMISSIONS_MAX, `${admissions.keys}`);
});

test('denials give nothing back, however many there are, and whatever else is forgotten', async () => {
	const [admitted, denied] = [{allowed: true}, {allowed: false, retryAfterMs: WINDOW_MS}];
	const admissions = new Admissions(20);
	const isGivenBack = (key) => admissions.takeUnlessDenied(key) !== undefined;
	admissions.note('a', denied);
	admissions.note('a', denied);
	await sleep(30);
	// Its window is over, but it may still be taken back.
	const patient = new Admissions(WINDOW_MS);
	for (const each of [admissions, patient])
		each.note('a', admitted);
	assert.deepStrictEqual([isGivenBack('a'), isGivenBack('a')], [false, false]);
	patient.note('a', denied);
	for (let i = 0; i < ADMISSIONS_MAX; i++)
		patient.note(`key-${i}`, admitted);
	patient.note('a', admitted);
	assert.strictEqual(patient.takeUnlessDenied('a'), undefined);
	assert.notStrictEqual(patient.takeUnlessDenied('a'), undefined);
	for (let i = 0; i <= DENIED_KEYS_MAX; i++)
		patient.note(`key-${i}`, denied);
	patient.note('b', admitted);
	assert.strictEqual(patient.takeUnlessDenied('b'), undefined);
	assert.ok(patient.size <= ADMISSIONS_MAX + DENIED_KEYS_MAX);
});

test('express-rate-limit: a sender who chooses the key is limited, whatever it is', {skip}, async () => {
	const agent = await startAgent();
	const store = new ExpressRateLimitStore({cacheClient: connect(agent.socketPath)});
	const options = {windowMs: WINDOW_MS, limit: 2, store, passOnStoreError: true, keyGenerator: (request) => request.get('x-key')};
	await serve(makeApp(rateLimit(options)), async (ask) => {
		for (const headers of [{'x-key': 'x'.repeat(1000)}, {'x-key': ''}, {}]) {
			const statuses = [];
			for (let i = 0; i < 4; i++)
				statuses.push((await ask(headers)).status);
			assert.deepStrictEqual(statuses, [200, 200, 429, 429]);
		}
	});
	store.shutdown();
});

test('express-rate-limit: what it can\'t do is refused', {skip}, () => {
	const store = new ExpressRateLimitStore({cacheClient: connect('/nowhere/at/all')});
	assert.throws(() => store.init({windowMs: WINDOW_MS, limit: () => 5}), /^TypeError: maxRequests is undefined/);
	new ExpressRateLimitStore({cacheClient: connect('/nowhere/at/all')}).init({windowMs: WINDOW_MS, max: 5});
	assert.throws(() => new ExpressRateLimitStore({operator: 5}), /^TypeError: operator is 5, must be a Pool of pg$/);
	const cacheClient = {get() {}, set() {}, incrementAndGet() {}, decrementAndGet() {}};
	assert.throws(() => new ExpressRateLimitStore({operator: {query() {}}, cacheClient}), /^TypeError: operator needs this host's agent/);
	// express-rate-limit only logs what init() throws.
	return assert.rejects(store.increment('a'), /^TypeError: maxRequests is undefined/);
});

test('express-rate-limit: a limit of 0 denies everybody', {skip}, async () => {
	for (const passOnStoreError of [false, true]) {
		const store = new ExpressRateLimitStore({cacheClient: connect('/nowhere/at/all')});
		const limit = rateLimit({windowMs: WINDOW_MS, limit: 0, store, passOnStoreError});
		await serve(makeApp(limit), async (ask) => {
			for (let i = 0; i < 2; i++)
				assert.strictEqual((await ask()).status, 429);
		});
		assert.strictEqual((await limit.getKey('a')).totalHits, 0);
		await store.decrement('a');
		store.shutdown();
	}
});

test('the agent away: nobody gets a 500', {skip}, async () => {
	const store = new ExpressRateLimitStore({cacheClient: connect('/nowhere/at/all'), policy: 'away', timeoutMs: 50});
	await serve(makeApp(rateLimit({windowMs: WINDOW_MS, limit: 2, store})), async (ask) => {
		for (let i = 0; i < 3; i++)
			assert.ok([200, 429].includes((await ask()).status));
	});
	store.shutdown();
});
