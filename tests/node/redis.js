/*
 * redis.js - a Redis server for a test, on a socket of its own; and a cacheClient over ioredis, as lib/node/README.md has it.
 */
'use strict';
const {execFileSync, spawn} = require('child_process');
const path = require('path');
const {BUILD, cleanups, ended, folder, until} = require('./support.js');

/* Debian's redis-tools has the server without its service: it is the program that also repairs dumps. */
function findServer() {
	for (const name of ['redis-server', 'redis-check-rdb']) {
		try {
			return execFileSync('/bin/sh', ['-c', `command -v ${name}`], {encoding: 'utf8'}).trim();
		} catch {
			// the next
		}
	}
	return undefined;
}

class RedisServer {
	constructor() {
		this.socketPath = path.join(folder, 'redis.sock');
	}

	async start(client) {
		this.process = spawn(findServer(), ['--port', '0', '--unixsocket', this.socketPath, '--save', '', '--appendonly', 'no', '--dir', folder],
			{argv0: 'redis-server', stdio: 'ignore'});
		await until(async () => await client.ping().catch(() => '') === 'PONG', 'Redis answers');
	}

	async stop(signal = 'SIGTERM') {
		this.process.kill('SIGCONT');
		this.process.kill(signal);
		await ended(this.process);
	}
}

function makeCacheClient(redis) {
	const increment = `local count = redis.call('INCR', KEYS[1])
		if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
		return count`;
	return {
		get: (key) => redis.get(key),
		set: (key, value, expiryMs) => redis.set(key, value, 'PX', expiryMs),
		incrementAndGet: (key, expiryMs) => redis.eval(increment, 1, key, expiryMs),
		decrementAndGet: (key) => redis.decr(key),
	};
}

/** A client of the server that runs, or undefined when there is no server, or no ioredis. */
async function startRedis() {
	const Redis = requireFrom('ioredis');
	if (Redis === undefined || findServer() === undefined)
		return undefined;
	const server = new RedisServer();
	const client = new Redis(server.socketPath, {retryStrategy: () => 50, maxRetriesPerRequest: 0});
	client.on('error', () => {});
	await server.start(client);
	cleanups.push(() => {
		client.disconnect();
		return server.stop('SIGKILL');
	});
	return {server, client, cacheClient: makeCacheClient(client)};
}

/** A package that tests/node/install has installed; else undefined. */
function requireFrom(name) {
	try {
		return require(path.join(BUILD, 'tests', 'node', 'node_modules', name));
	} catch {
		return undefined;
	}
}

module.exports = {requireFrom, startRedis};
