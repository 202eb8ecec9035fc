/*
 * test_peers.js - @fastify/rate-limit's own tests, which its package brings, with our store in the place of its store in memory.
 *
 * Its tests wait for windows of a second or two, or set the clock. Here windows are 600 times as long, so that none ends while a test runs, and
 * are told as whole ones; tests of a window's end are left out.
 */
'use strict';
const assert = require('assert');
const {execFile} = require('child_process');
const fs = require('fs');
const path = require('path');
const {before, test} = require('node:test');
const {BUILD, LIBRARY, folder, startAgent} = require('./support.js');

const MODULES = path.join(BUILD, 'tests', 'node', 'node_modules');
const PACKAGE = path.join('@fastify', 'rate-limit');
const skip = parseInt(process.versions.node) < 20 ? 'fastify is for Node.js 20 and later' :
	!fs.existsSync(path.join(MODULES, PACKAGE, 'test')) && 'there is no @fastify/rate-limit: is the package registry in reach?';

const STORE = `
	const {connect} = require(process.env.STINT);
	const {makeFastifyRateLimitStore} = require(process.env.STINT + '/fastify.js');
	let count = 0;
	module.exports = function (continueExceeding, exponentialBackoff) {
		const Store = makeFastifyRateLimitStore({policy: 'peer-' + process.pid + '-' + ++count, timeoutMs: 60000, cacheClient: connect(process.env.STINT_SOCKET)});
		const long = (timeWindow) => (typeof timeWindow === 'number' ? Math.min(timeWindow * 600, 2678400000) : timeWindow);
		const lengthen = (store) => {
			for (const name of ['incr', 'read']) {
				const own = store[name];
				store[name] = (key, callback, timeWindow, max) => own.call(store, key, (error, told) => callback(error, told && {...told, ttl: timeWindow}),
					long(timeWindow), max);
			}
			const child = store.child;
			store.child = (params) => lengthen(child.call(store, {...params, timeWindow: long(params.timeWindow)}));
			return store;
		};
		return lengthen(new Store({continueExceeding, exponentialBackoff}));
	};
`;

const CLOCK = 'this test sets the clock';
const WITHOUT_CLOCK = `require('node:test').mock.timers.enable = () => {
	throw new Error('${CLOCK}');
};`;

/* What our store refuses, what only its own constructor is told, and what waits for a window's end. */
const REASONS = [CLOCK, 'continueExceeding must be left out', 'ban is 1, must be left out'];
const LEFT_OUT = ['With onBanReach option', 'With ban', 'With async/await keyGenerator', 'With multiple routes and custom groupId'];

let agent, place;

/* A copy with our store, beside all that it needs. */
function copyPackage() {
	const modules = path.join(folder, 'node_modules');
	fs.mkdirSync(path.join(modules, '@fastify'), {recursive: true});
	const link = (name) => fs.symlinkSync(path.join(MODULES, name), path.join(modules, name));
	for (const name of fs.readdirSync(MODULES).filter((name) => name !== '@fastify'))
		link(name);
	for (const name of fs.readdirSync(path.join(MODULES, '@fastify')).filter((name) => name !== 'rate-limit'))
		link(path.join('@fastify', name));
	place = path.join(modules, PACKAGE);
	fs.cpSync(path.join(MODULES, PACKAGE), place, {recursive: true});
	fs.writeFileSync(path.join(place, 'store', 'LocalStore.js'), STORE);
	fs.writeFileSync(path.join(folder, 'without_clock.js'), WITHOUT_CLOCK);
}

before(async () => {
	if (skip)
		return;
	agent = await startAgent();
	copyPackage();
});

/* Each test of a file: its name, and what was wrong, or undefined. */
function runTheirs(name) {
	const args = ['--require', path.join(folder, 'without_clock.js'), '--test-reporter=tap', path.join(place, 'test', `${name}.test.js`)];
	const options = {timeout: 60000, env: {...process.env, NODE_TEST_CONTEXT: undefined, STINT: LIBRARY, STINT_SOCKET: agent.socketPath}};
	return new Promise((resolve) => execFile(process.execPath, args, options, (error, output) => {
		const parts = output.split(/^(?=(?:not )?ok \d+ - )/m).slice(1);
		resolve(parts.map((part) => [/^(?:not )?ok \d+ - (.*)/.exec(part)[1], part.startsWith('not') ? part : undefined]));
	}));
}

test('theirs', {skip}, async () => {
	const files = [['global-rate-limit', 17], ['route-rate-limit', 28], ['group-rate-limit', 4], ['not-found-handler-rate-limited', 2]];
	const all = await Promise.all(files.map(([name]) => runTheirs(name)));
	files.forEach(([name, least], i) => {
		const faults = all[i].filter(([what, fault]) => fault !== undefined && !LEFT_OUT.includes(what) && !REASONS.some((reason) => fault.includes(reason)));
		assert.deepStrictEqual(faults, []);
		const passed = all[i].filter(([, fault]) => fault === undefined).length;
		assert.ok(passed >= least, `${name}: ${passed} pass`);
	});
});
