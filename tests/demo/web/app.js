/*
 * app.js - a Node.js cluster of the demo: two processes that limit each client by itself, at the same limit as all others.
 *
 *     node app.js AGENT_SOCKET LISTEN_SOCKET
 */
'use strict';
const cluster = require('cluster');
const http = require('http');
const path = require('path');

const [agent, listen] = process.argv.slice(2);
const PROCESSES = 2;

function serve() {
	const {DistributedRateLimiter, connect} = require(path.resolve(__dirname, '../../../lib/node'));
	const limiter = new DistributedRateLimiter({
		cacheClient: connect(agent), policy: 'api', maxRequests: 100, timeWindowMs: 2000, fallbackMaxRequests: 150, resolution: 10,
	});

	const server = http.createServer(async (request, response) => {
		const client = new URL(request.url, 'http://app').searchParams.get('k');
		const verdict = await limiter.check(client);
		response.setHeader('X-Source', verdict.source);
		for (const [name, value] of limiter.headers(verdict))
			response.setHeader(name, value);
		response.writeHead(verdict.allowed ? 200 : 429).end();
	});
	server.keepAliveTimeout = 0; // it is nginx that closes connections
	server.listen(listen);
}

if (cluster.isPrimary)
	for (let i = 0; i < PROCESSES; i++)
		cluster.fork();
else
	serve();
