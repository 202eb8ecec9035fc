/*
 * test_adapters.js - the plugin, the hook and the middleware in a real fastify and a real hono; the store in a real @fastify/rate-limit.
 */
'use strict';
const assert = require('assert');
const path = require('path');
const {before, test} = require('node:test');
const {LIBRARY, startAgent} = require('./support.js');
const {requireFrom} = require('./redis.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);
const {makeFastifyRateLimitStore, stint, limitRequests: limitFastify} = require(path.join(LIBRARY, 'fastify.js'));
const {limitRequests: limitHono} = require(path.join(LIBRARY, 'hono.js'));

const isOld = parseInt(process.versions.node) < 20; // for the latest fastify and @hono/node-server
const FASTIFIES = [['fastify-4', 'fastify-rate-limit-9'], ...(isOld ? [] : [['fastify', '@fastify/rate-limit']])]
	.map(([name, plugin]) => ({name, fastify: requireFrom(name), rateLimit: requireFrom(plugin)}));
const {Hono} = requireFrom('hono') || {};
const missing = 'is the package registry in reach?';
const noFastify = FASTIFIES.some(({fastify, rateLimit}) => fastify === undefined || rateLimit === undefined) && `there is no fastify: ${missing}`;
const noHono = Hono === undefined && `there is no hono: ${missing}`;

const WINDOW_MS = 600000;
let agent;

before(async () => {
	agent = await startAgent();
});

const make = (policy, options) => new DistributedRateLimiter({policy, maxRequests: 3, timeWindowMs: WINDOW_MS,
	cacheClient: connect(agent.socketPath), ...options});

const statusOf = ({statusCode}) => statusCode;

/* Until all that the response brings about has run. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

/* How many requests of a client are counted, of a limiter whose table has answers for it: what `ask` says is not to count is given back. */
async function countWithRefunds(limiter, ask) {
	for (let i = 0; i < 5; i++)
		await limiter.check('a', {cost: 10});
	const {remaining} = await limiter.peek('a');
	for (let i = 0; i < 20; i++) {
		await ask('a', i % 2 ? '/fails' : '/');
		await settle();
	}
	return remaining - (await limiter.peek('a')).remaining;
}

/* What agents are told of at the wrong moment stays counted: all that fails, in the worst case; but more than one is given back. */
function assertRefunded(counted) {
	assert.ok(counted >= 10 && counted < 20, `${counted} are counted`);
}

/* ---- fastify ---------------------------------------------------------------------------- */

/* Runs `body` with a function that asks. */
async function serve(fastify, setUp, body) {
	const app = fastify({trustProxy: true});
	await setUp(app);
	app.get('/', async () => 'served');
	app.get('/fails', async (request, reply) => reply.code(500).send('failed'));
	try {
		return await body((headers = {}, url = '/') => app.inject({url, headers}));
	} finally {
		await app.close();
	}
}

/* A test for each version: what it runs gets one that serves, the other's plugin, and a prefix for policies. */
function testFastify(what, body) {
	for (const {name, fastify, rateLimit} of FASTIFIES)
		test(`${name}: ${what}`, {skip: noFastify}, () => body((...args) => serve(fastify, ...args), name, rateLimit));
}

testFastify('the plugin', async (withFastify, name) => {
	const limiter = make(name);
	await withFastify((app) => app.register(stint, {limiter, headers: {xRateLimit: true}}), async (ask) => {
		for (let left = 2; left >= 0; left--) {
			const {statusCode, headers, body} = await ask();
			assert.deepStrictEqual([statusCode, body], [200, 'served']);
			assert.strictEqual(headers['ratelimit-policy'], `"${name}";q=3;w=600`);
			assert.match(headers.ratelimit, new RegExp(`^"${name}";r=${left};t=`));
			assert.strictEqual(headers['x-ratelimit-remaining'], String(left));
		}
		const denied = await ask();
		assert.deepStrictEqual([denied.statusCode, denied.body], [429, 'Too many requests\n']);
		assert.ok(Number(denied.headers['retry-after']) > 0);
		assert.strictEqual((await ask({'x-forwarded-for': '198.51.100.7'})).statusCode, 200);
		for (let i = 0; i < 3; i++)
			await ask({'x-forwarded-for': `2001:db8::${i}`});
		assert.strictEqual((await ask({'x-forwarded-for': '2001:db8::ffff'})).statusCode, 429);
		assert.strictEqual((await ask({'x-forwarded-for': 'nonsense'})).statusCode, 400);
	});
	limiter.close();
});

testFastify('a hook of one route, ids, costs and denials of the app\'s own', async (withFastify, name) => {
	const limiter = make(`${name}-own`);
	const options = {clientId: async (request) => request.headers['x-key'], cost: (request) => Number(request.headers['x-cost'] || 1), headers: false,
		onDenied: (request, reply, verdict) => {
			throw Object.assign(new Error(verdict.reason), {statusCode: 503});
		}};
	const addRoute = (app) => app.get('/limited', {onRequest: limitFastify(limiter, options)}, async (request) => request.rateLimit || 'not limited');
	await withFastify(addRoute, async (ask) => {
		for (let i = 0; i < 5; i++)
			assert.strictEqual((await ask({'x-key': 'a'})).statusCode, 200);
		assert.strictEqual((await ask({}, '/limited')).body, 'not limited');
		const first = await ask({'x-key': 'a', 'x-cost': '2'}, '/limited');
		assert.deepStrictEqual([first.statusCode, first.json().remaining, first.headers.ratelimit], [200, 1, undefined]);
		const denied = await ask({'x-key': 'a', 'x-cost': '2'}, '/limited');
		assert.deepStrictEqual([denied.statusCode, denied.json().message], [503, 'over_limit']);
		assert.strictEqual((await ask({'x-key': 'x'.repeat(256)}, '/limited')).statusCode, 400);
	});
	limiter.close();
});

testFastify('two limiters, one after the other', async (withFastify, name) => {
	const [wide, narrow] = [make(`${name}-wide`, {maxRequests: 9}), make(`${name}-narrow`)];
	await withFastify((app) => {
		app.addHook('onRequest', limitFastify(wide));
		app.addHook('onRequest', limitFastify(narrow));
	}, async (ask) => {
		const {headers} = await ask();
		assert.strictEqual(headers['ratelimit-policy'], `"${name}-wide";q=9;w=600, "${name}-narrow";q=3;w=600`);
		await ask();
		await ask();
		assert.strictEqual((await ask()).statusCode, 429);
	});
	wide.close();
	narrow.close();
});

testFastify('what does not count is given back', async (withFastify, name) => {
	const limiter = make(`${name}-counts`, {maxRequests: 100000});
	const options = {clientId: (request) => request.headers['x-key'], counts: (request, reply) => reply.statusCode < 500};
	await withFastify((app) => app.register(stint, {limiter, ...options}), async (ask) =>
		assertRefunded(await countWithRefunds(limiter, (key, url) => ask({'x-key': key}, url))));
	limiter.close();
});

test('options that are none are refused', () => {
	const limiter = make('refused');
	for (const limit of [limitFastify, limitHono]) {
		assert.throws(() => limit({}), /^TypeError: limiter is an object, must be a DistributedRateLimiter$/);
		assert.throws(() => limit(limiter, {keyGenerator: String}), /^TypeError: option "keyGenerator" is unknown, must be one of clientId, cost,/);
		assert.throws(() => limit(limiter, {clientId: 'ip'}), /^TypeError: clientId is "ip", must be a function$/);
		assert.throws(() => limit(limiter, {headers: true}), /^TypeError: headers is true, must be false, or an object/);
		assert.throws(() => limit(limiter, {headers: {version: 'draft-6'}}), /^RangeError: version is "draft-6", must be one of "draft-11", "none"$/);
		assert.throws(() => limit(limiter, {headers: {xRatelimit: true}}),
			/^TypeError: option "xRatelimit" of headers is unknown, must be one of version, xRateLimit$/);
		assert.throws(() => limit(limiter, {headers: {xRateLimit: 'no'}}), /^TypeError: xRateLimit is "no", must be true or false$/);
	}
	limiter.close();
});

/* ---- @fastify/rate-limit ------------------------------------------------------------------- */

const storeOptions = (more) => ({cacheClient: connect(agent.socketPath), ...more});

testFastify('its rate-limit: its instances count together', async (withFastify, name, rateLimit) => {
	const setUp = (app) => app.register(rateLimit, {max: 4, timeWindow: WINDOW_MS, store: makeFastifyRateLimitStore(storeOptions({policy: `${name}-store`}))});
	await withFastify(setUp, (askFirst) => withFastify(setUp, async (askSecond) => {
		const told = [];
		for (let i = 0; i < 6; i++)
			told.push(await (i % 2 ? askSecond() : askFirst()));
		assert.deepStrictEqual(told.map(statusOf), [200, 200, 200, 200, 429, 429]);
		assert.deepStrictEqual(told.map(({headers}) => headers['x-ratelimit-remaining']), ['3', '2', '1', '0', '0', '0']);
		assert.ok(Number(told[5].headers['retry-after']) > 0);
		assert.strictEqual(told[0].headers['x-ratelimit-limit'], '4');
	}));
});

testFastify('its rate-limit: routes of their own, groups, limits by request', async (withFastify, name, rateLimit) => {
	const setUp = async (app) => {
		await app.register(rateLimit, {max: 2, timeWindow: '10 minutes', store: makeFastifyRateLimitStore(storeOptions({policy: `${name}-routes`})),
			keyGenerator: (request) => request.headers['x-key']});
		const route = (url, config) => app.get(url, {config: {rateLimit: config}}, async () => 'served');
		route('/own', {max: 1});
		route('/other', {max: 1});
		route('/short', {max: 1, timeWindow: 300000});
		route('/nobody', {max: 0});
		route('/by-key', {max: (request, key) => (key === 'vip' ? 3 : 1), timeWindow: 300000});
		route('/free', false);
	};
	await withFastify(setUp, async (ask) => {
		const statuses = async (key, url, count) => {
			const told = [];
			for (let i = 0; i < count; i++)
				told.push((await ask({'x-key': key}, url)).statusCode);
			return told;
		};
		for (const url of ['/own', '/other', '/short'])
			assert.deepStrictEqual(await statuses('a', url, 2), [200, 429], url);
		assert.deepStrictEqual(await statuses('a', '/', 3), [200, 200, 429]);
		assert.deepStrictEqual(await statuses('a', '/nobody', 1), [429]);
		assert.deepStrictEqual(await statuses('vip', '/by-key', 4), [200, 200, 200, 429]);
		assert.deepStrictEqual(await statuses('b', '/by-key', 2), [200, 429]);
		assert.deepStrictEqual(await statuses('a', '/free', 3), [200, 200, 200]);
		assert.deepStrictEqual(await statuses('x'.repeat(256), '/', 3), [200, 200, 429]);
	});
});

test('@fastify/rate-limit: read takes nothing', async () => {
	const Store = makeFastifyRateLimitStore(storeOptions({policy: 'read'}));
	const store = new Store({});
	const call = (name, max = 3, key = 'a') => new Promise((resolve, reject) =>
		store[name](key, (error, told) => (error ? reject(error) : resolve(told)), WINDOW_MS, max));
	assert.deepStrictEqual(await call('read'), {current: 0, ttl: 0});
	for (let current = 1; current <= 3; current++) {
		assert.strictEqual((await call('incr')).current, current);
		assert.strictEqual((await call('read')).current, current === 3 ? 4 : current);
	}
	assert.strictEqual((await call('incr')).current, 4);
	assert.deepStrictEqual(await call('read', 0), {current: 0, ttl: 0});
	assert.deepStrictEqual([(await call('incr', 3, 42)).current, (await call('read', 3, '42')).current], [1, 1]);
	for (let max = 10; max < 10 + 256; max++)
		await call('incr', max).catch((error) => assert.match(error.message, /more than 256 limits/));
	await assert.rejects(call('incr', 1000), /^RangeError: there are more than 256 limits/);
});

testFastify('its rate-limit: a sender who chooses the key is limited, whatever it is', async (withFastify, name, rateLimit) => {
	const options = {max: 2, timeWindow: WINDOW_MS, skipOnError: true, keyGenerator: (request) => request.headers['x-key'],
		store: makeFastifyRateLimitStore(storeOptions({policy: `${name}-keys`}))};
	await withFastify((app) => app.register(rateLimit, options), async (ask) => {
		for (const headers of [{'x-key': 'x'.repeat(1000)}, {'x-key': ''}, {}])
			assert.deepStrictEqual([await ask(headers), await ask(headers), await ask(headers)].map(statusOf), [200, 200, 429]);
	});
});

testFastify('its rate-limit: what it can\'t do is refused', async (withFastify, name, rateLimit) => {
	const store = makeFastifyRateLimitStore(storeOptions({policy: `${name}-refused`}));
	const longest = makeFastifyRateLimitStore(storeOptions({policy: 'x'.repeat(30)}));
	const rateLimitOfRoute = {config: {rateLimit: {max: 1000000000, timeWindow: 2678400000}}};
	await withFastify(async (app) => {
		await app.register(rateLimit, {max: 4, store: longest});
		app.get('/longest', rateLimitOfRoute, async () => 'served');
	}, async (ask) => assert.strictEqual(statusOf(await ask(undefined, '/longest')), 200));
	const wrong = [[{continueExceeding: true}, /^TypeError: continueExceeding must be left out/],
		...(name === 'fastify-4' ? [] : [[{exponentialBackoff: true}, /^TypeError: exponentialBackoff must be left out/]]), [{ban: 2}, /^TypeError: ban is 2, must be left out, or 0/]];
	for (const [options, message] of wrong)
		await assert.rejects(withFastify((app) => app.register(rateLimit, {max: 4, store, ...options}), () => {}), message);
	assert.throws(() => makeFastifyRateLimitStore({maxRequests: 5}), /^TypeError: maxRequests is 5, must be left out: it is the plugin's$/);
	assert.throws(() => makeFastifyRateLimitStore({mode: 'lax'}), /^RangeError: mode is "lax"/);
	assert.throws(() => makeFastifyRateLimitStore({policy: 'x'.repeat(31)}), /^RangeError: policy is "x+", must be 1 to 30 characters of/);
	await withFastify((app) => app.register(rateLimit, {max: 1, ban: 0, timeWindow: WINDOW_MS, store}), async (ask) => {
		assert.deepStrictEqual([await ask(), await ask()].map(statusOf), [200, 403]);
	});
});

/* ---- hono ---------------------------------------------------------------------------------- */

function makeHono(...handlers) {
	const app = new Hono();
	app.use(...handlers);
	app.get('/', (context) => context.text('served'));
	app.get('/raw', () => new Response('raw'));
	app.get('/fails', () => {
		throw new Error('mine');
	});
	app.onError((error, context) => (error.getResponse ? error.getResponse() : context.text('failed', 500)));
	return app;
}

test('hono: the middleware, behind @hono/node-server', {skip: noHono}, async () => {
	const limiter = make('hono');
	const {serve} = requireFrom(isOld ? 'hono-node-server-1' : '@hono/node-server');
	const server = serve({fetch: makeHono(limitHono(limiter)).fetch, port: 0, hostname: '127.0.0.1'});
	await new Promise((resolve) => server.once('listening', resolve));
	try {
		for (let left = 2; left >= -1; left--) {
			const response = await fetch(`http://127.0.0.1:${server.address().port}${left % 2 ? '/raw' : '/'}`, {headers: {connection: 'close'}});
			assert.strictEqual(response.status, left < 0 ? 429 : 200);
			assert.strictEqual(await response.text(), left < 0 ? 'Too many requests\n' : left % 2 ? 'raw' : 'served');
			assert.strictEqual(response.headers.get('ratelimit-policy'), '"hono";q=3;w=600');
			assert.match(response.headers.get('ratelimit'), new RegExp(`^"hono";r=${Math.max(left, 0)};t=`));
			assert.strictEqual(response.headers.get('retry-after') > 0, left < 0);
		}
		assert.strictEqual((await limiter.peek('127.0.0.1')).allowed, false);
	} finally {
		server.close();
	}
	limiter.close();
});

test('hono: ids, costs and denials of the app\'s own', {skip: noHono}, async () => {
	const limiter = make('hono-own');
	const options = {clientId: async (context) => context.req.header('x-key'), cost: (context) => Number(context.req.header('x-cost') || 1),
		headers: false, onDenied: (context, verdict) => context.text(verdict.reason, 503)};
	const app = makeHono(limitHono(limiter, options));
	app.get('/verdict', (context) => context.json(context.get('rateLimit') || 'not limited'));
	const ask = async (headers = {}, url = '/verdict') => {
		const response = await app.request(url, {headers});
		return {status: response.status, headers: response.headers, text: await response.text()};
	};
	for (let i = 0; i < 5; i++)
		assert.deepStrictEqual((await ask()).text, '"not limited"');
	const first = await ask({'x-key': 'a', 'x-cost': '2'});
	assert.deepStrictEqual([first.status, JSON.parse(first.text).remaining, first.headers.get('ratelimit')], [200, 1, null]);
	const denied = await ask({'x-key': 'a', 'x-cost': '2'});
	assert.deepStrictEqual([denied.status, denied.text], [503, 'over_limit']);
	const wrong = await ask({'x-key': 'x'.repeat(256)});
	assert.deepStrictEqual([wrong.status, wrong.text], [400, 'Bad request\n']);
	assert.strictEqual((await makeHono(limitHono(limiter)).request('/')).status, 500);
	limiter.close();
});

test('hono: what does not count is given back', {skip: noHono}, async () => {
	const limiter = make('hono-counts', {maxRequests: 100000});
	const app = makeHono(limitHono(limiter, {clientId: (context) => context.req.header('x-key'), counts: (context) => context.res.status < 500}));
	assertRefunded(await countWithRefunds(limiter, (key, url) => app.request(url, {headers: {'x-key': key}})));
	limiter.close();
});

test('hono: two limiters, one after the other; a field of the app\'s own stays', {skip: noHono}, async () => {
	const [wide, narrow] = [make('hono-wide', {maxRequests: 9}), make('hono-narrow', {maxRequests: 1})];
	const options = {clientId: () => 'a', headers: {xRateLimit: true}};
	const onDenied = (context) => context.text('later', 429, {'Retry-After': '7'});
	const app = makeHono(limitHono(wide, options), limitHono(narrow, {...options, onDenied}));
	for (const [left, status, retryAfter] of [[8, 200, null], [7, 429, '7']]) {
		const {headers, status: told} = await app.request('/');
		assert.strictEqual(told, status);
		assert.strictEqual(headers.get('ratelimit-policy'), '"hono-narrow";q=1;w=600, "hono-wide";q=9;w=600');
		assert.match(headers.get('ratelimit'), new RegExp(`^"hono-narrow";r=0;t=[0-9]+, "hono-wide";r=${left};t=[0-9]+$`));
		assert.deepStrictEqual([headers.get('x-ratelimit-limit'), headers.get('retry-after')], ['1', retryAfter]);
	}
	wide.close();
	narrow.close();
});

test('hono: a fault of `counts` is a warning, the answer stays', {skip: noHono}, async () => {
	const limiter = make('hono-faulty');
	const app = makeHono(limitHono(limiter, {clientId: () => 'a', counts: () => { throw new Error('mine'); }}));
	const warning = new Promise((resolve) => process.once('warning', resolve));
	const response = await app.request('/');
	assert.deepStrictEqual([response.status, await response.text()], [200, 'served']);
	assert.strictEqual((await warning).message, 'mine');
	limiter.close();
});

test('hono: whatever an app\'s function throws, the request doesn\'t pass; an answer that it throws is given', {skip: noHono}, async () => {
	const limiter = make('hono-throws');
	const ask = async (thrown) => {
		const app = makeHono(limitHono(limiter, {clientId: async () => { throw thrown; }}));
		app.onError((error, context) => (error.getResponse ? error.getResponse() : context.text(error.message, 500)));
		const response = await app.request('/');
		return [response.status, await response.text()];
	};
	for (const thrown of [undefined, null, 'words'])
		assert.deepStrictEqual(await ask(thrown), [500, `clientId or cost has thrown ${JSON.stringify(thrown)}`]);
	const own = Object.assign(new Error('mine'), {status: 400, getResponse: () => new Response('own', {status: 400})});
	assert.deepStrictEqual(await ask(own), [400, 'own']);
	limiter.close();
});

test('hono: an address that is none is the sender\'s fault', {skip: noHono}, async () => {
	const limiter = make('hono-address');
	const env = {incoming: {socket: {remoteAddress: 'nonsense'}}};
	assert.strictEqual((await makeHono(limitHono(limiter)).request('/', {}, env)).status, 400);
	limiter.close();
});
