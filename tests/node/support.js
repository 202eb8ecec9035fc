/*
 * support.js - agents and scripts for the tests of lib/node. What is started here ends with the test.
 */
'use strict';
const {execFile, spawn} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {after} = require('node:test');

const ROOT = path.resolve(__dirname, '..', '..');
const BUILD = process.env.STINT_BUILD || path.join(ROOT, 'build');
const LIBRARY = path.join(ROOT, 'lib', 'node');
const SLOW_MS = 60000; // what takes longer has failed, on any machine

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stint-node-'));
let agents = 0;
const cleanups = [];

after(async () => {
	for (const cleanup of cleanups.reverse())
		await cleanup();
	fs.rmSync(folder, {recursive: true, force: true});
});

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until `condition` holds. */
async function until(condition, what) {
	const end = Date.now() + SLOW_MS;
	while (!await condition()) {
		if (Date.now() > end)
			throw new Error(`in vain: ${what}`);
		await sleep(20);
	}
}

/* By itself, or by a signal. */
const hasEnded = (child) => child.exitCode !== null || child.signalCode !== null;

/* The end of a process. */
const ended = (child) => new Promise((resolve) => {
	if (hasEnded(child))
		resolve();
	child.once('exit', resolve);
});

class TestAgent {
	constructor(database) {
		const name = `${path.basename(folder)}-${++agents}`;
		this.socketPath = path.join(folder, `${agents}.sock`);
		this.shm = '/' + name;
		this.log = path.join(folder, `${agents}.log`);
		this.conf = path.join(folder, `${agents}.conf`);
		fs.writeFileSync(this.conf, `[stint]\nsocket = ${this.socketPath}\nshm = ${this.shm}\ndatabase = ${database}\n` +
			`host = ${name}\nmax_clients = 20000\n`);
	}

	async start() {
		const log = fs.openSync(this.log, 'w');
		this.process = spawn(path.join(BUILD, 'stintd'), ['-c', this.conf],
			{stdio: ['ignore', log, log], env: {...process.env, STINT_SOCKET: undefined}});
		fs.closeSync(log);
		const says = () => fs.readFileSync(this.log, 'utf8');
		await until(() => says().includes('room for') || hasEnded(this.process), 'the agent is there');
		if (hasEnded(this.process))
			throw new Error(`the agent has ended (${this.process.exitCode || this.process.signalCode}): ${says()}`);
		return this;
	}

	signal(name) {
		this.process.kill(name);
	}

	async stop() {
		this.signal('SIGCONT');
		this.signal('SIGTERM');
		await ended(this.process);
	}

	async remove() {
		await this.stop();
		for (const part of ['table', 'directory'])
			fs.rmSync(`/dev/shm${this.shm}.${part}`, {force: true});
	}
}

/** Starts an agent, without a database unless one is named; it goes with the test's file. */
async function startAgent(database = 'memory:') {
	const agent = new TestAgent(database);
	cleanups.push(() => agent.remove());
	return agent.start();
}

/** Runs a script in a node of its own: {status, signal, output}. STINT is where the library is. */
function run(script, {args = [], env = {}} = {}) {
	return new Promise((resolve) => {
		const options = {timeout: SLOW_MS, killSignal: 'SIGKILL', env: {...process.env, ...env, STINT: LIBRARY}};
		const child = execFile(process.execPath, ['--expose-gc', ...args, '-e', script], options, (error, stdout, stderr) =>
			resolve({status: child.exitCode, signal: child.signalCode, output: stdout + stderr}));
	});
}

/** How many descriptors this process has. */
const countDescriptors = () => fs.readdirSync('/proc/self/fd').length;

/** Lets go of what nobody has any more. */
async function collect() {
	for (let i = 0; i < 5; i++) {
		global.gc();
		await sleep(5);
	}
}

module.exports = {BUILD, LIBRARY, ROOT, SLOW_MS, cleanups, collect, countDescriptors, ended, folder, run, sleep, startAgent, until};
