/*
 * test_package.js - the package as npm makes and installs it; and its types.
 */
'use strict';
const assert = require('assert');
const {execFileSync, spawnSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {test} = require('node:test');
const {BUILD, LIBRARY, ROOT, folder, startAgent} = require('./support.js');

const USE = `
	const socketPath = process.env.STINT_SOCKET;
	const limiter = new DistributedRateLimiter({policy: 'package', maxRequests: 3, timeWindowMs: 600000, timeoutMs: 30000});
	(async () => {
		const told = [];
		for (let i = 0; i < 4; i++)
			told.push(await limiter.isAllowed('a'));
		console.log(told.join(' '), (await limiter.check('b')).source);
	})();
`;

/* Those runtimes of the registry that are installed: a machine of another kind than they are for has none. */
function installed(...names) {
	return names.map((name) => path.join(BUILD, 'tests', 'node', 'node_modules', name, 'bin', name.replace(/-.*/, '')))
		.filter((program) => fs.existsSync(program));
}

const PARTS = ['express', 'fastify', 'hono', 'rate-limiter-flexible', 'package.json'];

const npm = (args, cwd) => execFileSync('npm', [...args, '--no-audit', '--no-fund', '--loglevel=error'], {cwd, encoding: 'utf8',
	env: {...process.env, npm_config_cache: path.join(folder, 'npm-cache'), npm_config_update_notifier: 'false', npm_config_nodedir: undefined}});

function hasNpm() {
	try {
		execFileSync('npm', ['--version'], {stdio: 'ignore'});
		return true;
	} catch {
		return false;
	}
}

/* npm pack writes into the folder that it packs, so that is a copy. */
function pack() {
	const copy = path.join(folder, 'checkout');
	fs.mkdirSync(copy);
	fs.cpSync(path.join(ROOT, 'lib'), path.join(copy, 'lib'), {recursive: true});
	fs.copyFileSync(path.join(ROOT, 'LICENSE'), path.join(copy, 'LICENSE'));
	const [{filename, files}] = JSON.parse(npm(['pack', '--json', '--pack-destination', folder], path.join(copy, 'lib', 'node')));
	assert.ok(!fs.existsSync(path.join(copy, 'lib', 'node', 'libstint')), 'npm pack leaves nothing behind');
	return {tarball: path.join(folder, filename), names: files.map((file) => file.path)};
}

test('packed, installed without a network, built, used', async (t) => {
	if (!hasNpm())
		return t.skip('there is no npm');
	const {tarball, names} = pack();
	for (const name of ['LICENSE', 'README.md', 'index.js', 'index.mjs', 'index.d.ts', 'addon/addon.c', 'libstint/stint.h', 'libstint/check.c'])
		assert.ok(names.includes(name), `${name} is in the package`);
	const app = path.join(folder, 'app');
	fs.mkdirSync(app);
	fs.writeFileSync(path.join(app, 'package.json'), '{"name": "app", "private": true}');
	npm(['install', '--offline', '--foreground-scripts', tarball], app);

	const agent = await startAgent();
	const env = {...process.env, STINT_SOCKET: agent.socketPath};
	const nodes = [process.execPath, ...installed('node-18', 'node-24')];
	for (const [name, head] of [['use.cjs', 'const {DistributedRateLimiter} = require("stint");' + PARTS.map((part) => `require("stint/${part}");`).join('')],
		['use.mjs', 'import {DistributedRateLimiter} from "stint"; import {stint} from "stint/fastify"; import {RateLimiterStint} from "stint/rate-limiter-flexible"; ' +
			'import {limitRequests} from "stint/hono"; import {ExpressRateLimitStore} from "stint/express";']]) {
		for (const [i, node] of nodes.entries()) {
			fs.writeFileSync(path.join(app, name), head + USE.replace('\'package\'', `'${name}${i}'`));
			const output = execFileSync(node, [name], {cwd: app, env, encoding: 'utf8'});
			assert.strictEqual(output, 'true true true false database\n', node);
		}
	}
	const exported = execFileSync('nm', ['-D', '--defined-only', path.join(app, 'node_modules', 'stint', 'native', 'stint.node')], {encoding: 'utf8'});
	assert.deepStrictEqual(exported.trim().split('\n').map((line) => line.split(' ')[2]),
		['napi_register_module_v1', 'node_api_module_get_api_version_v1']);
});

test('Bun is told what it lacks, and that it can go without', (t) => {
	const [bun] = installed('bun');
	if (bun === undefined)
		return t.skip('there is no Bun: is the package registry in reach?');
	const run = (options) => spawnSync(bun, ['-e', `
		const {DistributedRateLimiter} = require(${JSON.stringify(LIBRARY)});
		const limiter = new DistributedRateLimiter({maxRequests: 2, timeWindowMs: 600000, ${options}});
		const told = [];
		for (let i = 0; i < 3; i++)
			told.push(await limiter.isAllowed('a'));
		console.log(told.join(' '));
	`], {encoding: 'utf8', timeout: 60000});
	const refused = run('');
	assert.strictEqual(refused.status, 1);
	assert.match(refused.stderr, /stint: bun can't load this addon, which needs Node\.js and its event loop \(libuv\); with a cacheClient/);
	const counts = 'cacheClient: {counts: {}, get(k) { return this.counts[k] ?? null; }, set() {}, ' +
		'incrementAndGet(k) { return this.counts[k] = (this.counts[k] ?? 0) + 1; }, decrementAndGet(k) { return --this.counts[k]; }}';
	assert.strictEqual(run(counts).stdout, 'true true false\n');
});

const TYPED = `
	import { ExpressRateLimitStore, limitRequests } from 'stint/express';
	import * as forFastify from 'stint/fastify';
	import * as forHono from 'stint/hono';
	import { RateLimiterRes, RateLimiterStint } from 'stint/rate-limiter-flexible';
	import { Agent, CacheClient, connect, DistributedRateLimiter, ipClient, PostgresCache, Verdict } from 'stint';
	const agent: Agent = connect('/run/stint/agent.sock');
	const limiter = new DistributedRateLimiter({ maxRequests: 1, timeWindowMs: 1000, cacheClient: agent, mode: 'relaxed', onError: 'deny' });
	const own: CacheClient = { get: async () => null, set() {}, incrementAndGet: (key: string, expiryMs: number) => expiryMs, decrementAndGet: async () => '0' };
	new DistributedRateLimiter({ maxRequests: 1, timeWindowMs: 1000, cacheClient: own });
	new DistributedRateLimiter({ maxRequests: 1, timeWindowMs: 1000, cacheClient: new PostgresCache({ query: async () => ({ rows: [] }) }) });
	export async function use(): Promise<number> {
		const allowed: boolean = await limiter.isAllowed('a');
		const verdict: Verdict = await limiter.check('a', { cost: 2 });
		const tried: Verdict | undefined = limiter.tryCheck('a');
		const all = await DistributedRateLimiter.checkAll([{ limiter, clientId: 'a' }, { limiter, clientId: 'b', cost: 2 }]);
		const told: boolean = limiter.charge('a', { cost: all.part }) && (await limiter.peek('a')).allowed;
		const given: boolean = limiter.refund(verdict, { cost: 1 });
		const fields: [string, string][] = limiter.headers(verdict, { xRateLimit: told && given });
		limitRequests(limiter, { clientId: (request) => ipClient(request.ip), headers: false });
		new ExpressRateLimitStore({ policy: fields[0][0] }).shutdown();
		forFastify.limitRequests(limiter, { clientId: (request) => request.ip, onDenied: (request, reply, denied) => reply.send(denied.reason) });
		forHono.limitRequests(limiter, { counts: (context) => context.res.status < 400, headers: { xRateLimit: true } });
		const flexible = new RateLimiterStint({ points: 5, duration: 60, keyPrefix: 'login', cacheClient: agent, blockDuration: 900,
			operator: { query: async () => ({ rows: [] }) } });
		const left: number = (await flexible.set('a', 3, 60)).remainingPoints + flexible.blockDuration + (await flexible.set('a', 0)).consumedPoints;
		const res: RateLimiterRes | null = await flexible.get((await flexible.consume('a', 2)).consumedPoints);
		limiter.close();
		limiter[Symbol.dispose]();
		return allowed && tried ? tried.remaining : verdict.retryAfterMs + left;
	}
	// @ts-expect-error
	forFastify.makeFastifyRateLimitStore({ maxRequests: 1 });
	// @ts-expect-error
	new RateLimiterStint({ points: 5 });
	const existing = new DistributedRateLimiter({ policy: 'api', mustExist: true });
	export const most: number | undefined = existing.options.maxRequests;
	// @ts-expect-error
	new DistributedRateLimiter({ mustExist: true });
	// @ts-expect-error
	new DistributedRateLimiter({ policy: 'api', mustExist: false });
	// @ts-expect-error
	new DistributedRateLimiter({ maxRequests: 1 });
	// @ts-expect-error
	new DistributedRateLimiter({ maxRequests: 1, timeWindowMs: 1000, mode: 'lax' });
	// @ts-expect-error
	limiter.isAllowed(1);
	// @ts-expect-error
	new DistributedRateLimiter({ maxRequests: 1, timeWindowMs: 1000, cacheClient: { get() {} } });
`;

/* With the others' own types. */
const TYPED_WITH_OTHERS = `
	import fastify from 'fastify';
	import fastifyRateLimit from '@fastify/rate-limit';
	import { Hono } from 'hono';
	import { rateLimit } from 'express-rate-limit';
	import { RateLimiterCompatibleAbstract, RLWrapperBlackAndWhite } from 'rate-limiter-flexible';
	import { DistributedRateLimiter } from 'stint';
	import { ExpressRateLimitStore } from 'stint/express';
	import { limitRequests as limitFastify, makeFastifyRateLimitStore, stint } from 'stint/fastify';
	import { limitRequests as limitHono } from 'stint/hono';
	import { RateLimiterStint } from 'stint/rate-limiter-flexible';
	const alike: RateLimiterCompatibleAbstract = new RateLimiterStint({ points: 1, duration: 1 });
	new RLWrapperBlackAndWhite({ limiter: alike, whiteList: ['a'], blackList: [], isWhiteListed: () => false, isBlackListed: () => false, runActionAnyway: false });
	const limiter = new DistributedRateLimiter({ maxRequests: 1, timeWindowMs: 1000 });
	rateLimit({ windowMs: 1000, limit: 1, store: new ExpressRateLimitStore({ operator: { query: async () => ({ rows: [] }) } }) });
	const app = fastify();
	app.register(stint, { limiter, clientId: (request) => request.ip });
	app.addHook('onRequest', limitFastify(limiter));
	app.register(fastifyRateLimit, { max: 1, timeWindow: 1000, store: makeFastifyRateLimitStore({ policy: 'api' }) });
	new Hono().use(limitHono(limiter, { clientId: (context) => context.req.header('x-key') }));
	{
		using briefly = new DistributedRateLimiter({ maxRequests: 1, timeWindowMs: 1000 });
		briefly.tryCheck('a');
	}
`;

test('the package has the library\'s version', () => {
	const header = fs.readFileSync(path.join(ROOT, 'lib', 'stint.h'), 'utf8');
	assert.strictEqual(require(path.join(LIBRARY, 'package.json')).version, /#define STINT_VERSION "(.*)"/.exec(header)[1]);
});

test('types, as tsc sees them', (t) => {
	const tsc = path.join(BUILD, 'tests', 'node', 'node_modules', 'typescript', 'bin', 'tsc');
	if (!fs.existsSync(tsc))
		return t.skip('there is no tsc: is the package registry in reach?');
	const app = path.join(folder, 'typed');
	fs.mkdirSync(path.join(app, 'node_modules'), {recursive: true});
	fs.symlinkSync(LIBRARY, path.join(app, 'node_modules', 'stint'));
	for (const name of ['fastify', '@fastify', 'hono', 'express-rate-limit', 'rate-limiter-flexible'])
		fs.symlinkSync(path.join(BUILD, 'tests', 'node', 'node_modules', name), path.join(app, 'node_modules', name));
	fs.writeFileSync(path.join(app, 'use.ts'), TYPED);
	fs.writeFileSync(path.join(app, 'others.ts'), TYPED_WITH_OTHERS);
	const compilerOptions = {noEmit: true, strict: true, module: 'node16', target: 'es2022', lib: ['es2022', 'dom'], types: []};
	const check = (file, more) => {
		fs.writeFileSync(path.join(app, 'tsconfig.json'), JSON.stringify({compilerOptions: {...compilerOptions, ...more}, files: [file]}));
		execFileSync(process.execPath, [tsc], {cwd: app, stdio: ['ignore', 'inherit', 'inherit']});
	};
	check('use.ts', {preserveSymlinks: true});
	check('others.ts', {skipLibCheck: true, lib: [...compilerOptions.lib, 'esnext.disposable']});
});
