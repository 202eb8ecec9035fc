/*
 * test_install.js - what `make install` puts where node looks.
 */
'use strict';
const assert = require('assert');
const {execFileSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {test} = require('node:test');
const {BUILD, ROOT, folder, startAgent} = require('./support.js');

const USE = `
	const {DistributedRateLimiter} = require('stint');
	for (const part of ['express', 'fastify', 'hono', 'rate-limiter-flexible'])
		require('stint/' + part);
	new DistributedRateLimiter({maxRequests: 3, timeWindowMs: 600000, timeoutMs: 30000}).check('a').then((v) => console.log(v.allowed, v.source));
`;

/* This make is told nothing of the one that called. */
const make = (...args) => execFileSync('make', ['-s', '--no-print-directory', `BUILD=${path.relative(ROOT, BUILD)}`, 'install', ...args],
	{cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'],
		env: {...process.env, MAKEFLAGS: undefined, MFLAGS: undefined, MAKELEVEL: undefined, NODE: process.execPath}});

test('make install: from there it is required, with nothing of the checkout beside it', async () => {
	const tree = path.join(folder, 'tree');
	make(`DESTDIR=${tree}`, 'PREFIX=/opt/prefix');
	const modules = path.join(tree, 'opt', 'prefix', 'lib', 'node_modules');
	const agent = await startAgent();
	const output = execFileSync(process.execPath, ['-e', USE], {cwd: folder, encoding: 'utf8',
		env: {...process.env, NODE_PATH: modules, STINT_SOCKET: agent.socketPath}});
	assert.strictEqual(output, 'true database\n');
	const addon = fs.readFileSync(path.join(modules, 'stint', 'native', 'stint.node'));
	assert.ok(addon.equals(fs.readFileSync(path.join(BUILD, 'stint.node'))));
	const {files} = JSON.parse(fs.readFileSync(path.join(modules, 'stint', 'package.json'), 'utf8'));
	assert.ok(files.includes('*.js'));
});

test('make install: it is left out when it shall be', () => {
	const said = make('-n', 'NODE_MODULESDIR=', 'NGINX_MODULESDIR=');
	assert.match(said, /stintd/);
	assert.doesNotMatch(said, /native/);
	assert.doesNotMatch(said, /install .*ngx_http_stint_module/);
});

test('make install: where this node looks, if that is below PREFIX', () => {
	const looked = require('module').globalPaths.find((place) => /^\/[^/]+\/lib\//.test(place));
	const prefix = looked && /^\/[^/]+/.exec(looked)[0];
	if (prefix !== undefined && looked === require('module').globalPaths.find((place) => place.startsWith(prefix + '/lib/')))
		assert.ok(make('-n', `PREFIX=${prefix}`).includes(`install -d '${looked}/stint/native'`));
});
