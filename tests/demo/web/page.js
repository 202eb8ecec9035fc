/*
 * page.js - serves the demo's page on loopback, and tells it five times a second what goes on: what nginx on each host has
 * logged in the last window, and what the demo writes to its state file.
 *
 *     node page.js STATE_FILE PORT
 */
'use strict';
const fs = require('fs');
const http = require('http');
const path = require('path');

const [stateFile, port] = process.argv.slice(2);
const EVERY_MS = 200;
const LATE_MS = 150; // until then nginx has logged what it has answered
const HISTORY_MS = 90000;

const HEADERS = {
	'Cache-Control': 'no-store',
	'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:",
	'X-Content-Type-Options': 'nosniff',
};

/* ---- What nginx logs ------------------------------------------------------------ */

/* Gives the lines that were added to a file since the last call. */
class Tail {
	#path;
	#fd;
	#rest = '';
	#buffer = Buffer.alloc(65536);

	constructor(file) {
		this.#path = file;
	}

	read() {
		if (this.#fd === undefined) {
			if (!fs.existsSync(this.#path))
				return [];
			this.#fd = fs.openSync(this.#path, 'r');
		}
		let text = this.#rest;
		for (let got; (got = fs.readSync(this.#fd, this.#buffer)) > 0;)
			text += this.#buffer.toString('latin1', 0, got);
		const lines = text.split('\n');
		this.#rest = lines.pop();
		return lines;
	}
}

/* How many things happened in the last window. */
class Window {
	#times = [];
	#first = 0;
	total = 0;

	add(ms) {
		this.#times.push(ms);
		this.total++;
	}

	count(from, to) {
		while (this.#first < this.#times.length && this.#times[this.#first] < from)
			this.#first++;
		if (this.#first > 10000)
			this.#times.splice(0, this.#first), this.#first = 0;
		let end = this.#times.length;
		while (end > this.#first && this.#times[end - 1] >= to)
			end--;
		return end - this.#first;
	}
}

class Host {
	constructor({log}, clients, runtimes) {
		const windows = () => ({admitted: new Window(), denied: new Window(), failed: new Window()});
		this.tail = new Tail(log);
		this.clients = new Map(clients.map((name) => [name, windows()]));
		this.runtimes = new Map(runtimes.map((name) => [name, windows()]));
	}

	/* "1700000000.123 /node alice 200" */
	read() {
		for (const line of this.tail.read()) {
			const [seconds, uri, client, status] = line.split(' ');
			const ms = Math.round(Number(seconds) * 1000);
			const what = {200: 'admitted', 429: 'denied'}[status] ?? 'failed';
			this.clients.get(client)?.[what].add(ms);
			if (this.clients.has(client))
				this.runtimes.get(uri.slice(1))?.[what].add(ms);
		}
	}
}

/* ---- What is told ---------------------------------------------------------------- */

let hosts, last, history = [];
const listeners = new Set();

function readState() {
	try {
		return JSON.parse(fs.readFileSync(stateFile, 'utf8'));
	} catch {
		return last?.state; // not there yet
	}
}

function look() {
	const state = readState();
	if (!state)
		return undefined;
	hosts ??= state.hosts.map((host) => new Host(host, state.clients, state.runtimes));
	const to = Date.now() - LATE_MS, from = to - state.windowMs;
	for (const host of hosts)
		host.read();
	const count = (windows) => [windows.admitted.count(from, to), windows.denied.count(from, to)];
	return {
		at: to,
		state,
		clients: state.clients.map((name) => hosts.map((host) => count(host.clients.get(name)))),
		runtimes: hosts.map((host) => state.runtimes.map((name) => count(host.runtimes.get(name)))),
		total: ['admitted', 'denied', 'failed'].map((what) => hosts.reduce((sum, host) =>
			[...host.clients.values()].reduce((of, windows) => of + windows[what].total, sum), 0)),
	};
}

const write = (response, event, data) => response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);

setInterval(() => {
	const now = look();
	if (!now)
		return;
	last = now;
	history.push([now.at, now.clients.map((of) => of.map(([admitted]) => admitted))]);
	history = history.filter(([at]) => at > now.at - HISTORY_MS);
	for (const response of listeners)
		write(response, 'now', now);
}, EVERY_MS);

/* ---- The server -------------------------------------------------------------------- */

function listen(request, response) {
	response.writeHead(200, {...HEADERS, 'Content-Type': 'text/event-stream'});
	write(response, 'history', history);
	if (last)
		write(response, 'now', last);
	listeners.add(response);
	request.on('close', () => listeners.delete(response));
}

const server = http.createServer((request, response) => {
	if (request.url === '/events')
		return listen(request, response);
	if (request.url !== '/')
		return response.writeHead(404, HEADERS).end();
	response.writeHead(200, {...HEADERS, 'Content-Type': 'text/html; charset=utf-8'});
	response.end(fs.readFileSync(path.join(__dirname, 'page.html')));
});
server.listen(Number(port), '127.0.0.1');

process.on('SIGTERM', () => {
	for (const response of listeners)
		response.end();
	server.close(() => process.exit());
	server.closeIdleConnections?.();
	setTimeout(() => process.exit(), 1000).unref();
});
