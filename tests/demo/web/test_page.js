/*
 * test_page.js - what the page's server makes of what nginx logs, and how it ends. As TAP.
 *
 *     node test_page.js
 */
'use strict';
const {spawn} = require('child_process');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');

const WAIT_MS = 30000;
let checks = 0, failures = 0;

function check(passed, what) {
	console.log(`${passed ? 'ok' : 'not ok'} ${++checks} - ${what}`);
	failures += !passed;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const findPort = () => new Promise((resolve) => {
	const server = net.createServer().listen(0, '127.0.0.1', () => {
		const {port} = server.address();
		server.close(() => resolve(port));
	});
});

/* What it tells of an event; the connection stays open. */
function hear(port, event, isRight) {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(new Error(`no such ${event}`)), WAIT_MS);
		http.get({host: '127.0.0.1', port, path: '/events'}, (response) => {
			let rest = '';
			response.setEncoding('utf8').on('error', () => {}).on('data', (text) => {
				const parts = (rest + text).split('\n\n');
				rest = parts.pop();
				for (const part of parts) {
					const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(part);
					if (name === event && isRight(JSON.parse(data))) {
						clearTimeout(timer);
						resolve(JSON.parse(data));
					}
				}
			});
		}).on('error', reject);
	});
}

async function untilListening(port) {
	for (const end = Date.now() + WAIT_MS; Date.now() < end; await sleep(20)) {
		const listens = await new Promise((resolve) => {
			const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
			socket.on('error', () => resolve(false));
		});
		if (listens)
			return;
	}
	throw new Error('it does not listen');
}

const log = (statuses) => statuses.map((status) => `${(Date.now() / 1000).toFixed(3)} /nginx alice ${status}\n`).join('');

async function play(folder) {
	const state = path.join(folder, 'state.json'), access = path.join(folder, 'access.log'), port = await findPort();
	fs.writeFileSync(access, log([200, 200, 200, 429, 429, 500, 502, 504, 499]));
	fs.appendFileSync(access, `${Date.now() / 1000} /nginx nobody 200\n`);
	fs.writeFileSync(state, JSON.stringify({windowMs: 60000, clients: ['alice', 'bob'], runtimes: ['nginx'], hosts: [{name: 'a', log: access}]}));
	const page = spawn(process.execPath, [path.join(__dirname, 'page.js'), state, String(port)], {stdio: ['ignore', 'inherit', 'inherit']});
	const ended = new Promise((resolve) => page.once('exit', (code, signal) => resolve(signal ?? code)));
	try {
		await untilListening(port);
		const {total, clients} = await hear(port, 'now', ({clients}) => clients[0][0][0] === 3);
		check(`${total}` === '3,2,4', `admitted, denied, and neither: ${total}`);
		check(`${clients[0]}` === '3,2', `in the last window, of alice: ${clients[0]}`);
		fs.appendFileSync(access, log([200]));
		const later = await hear(port, 'now', ({clients}) => clients[0][0][0] === 4);
		check(later.total[0] === 4, 'what is logged later is counted, too');
		page.kill('SIGTERM');
		check(await Promise.race([ended, sleep(WAIT_MS)]) === 0, 'it ends in order, though somebody listens');
	} finally {
		page.kill('SIGKILL');
	}
}

async function main() {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stint-page-'));
	try {
		await play(folder);
	} catch (error) {
		check(false, error.message);
	}
	fs.rmSync(folder, {recursive: true, force: true});
	console.log(`1..${checks}`);
	process.exit(failures > 0 ? 1 : 0);
}

main();
