/*
 * test_ends.js - however the test in the browser goes wrong, it ends, says so, and leaves no process behind. As TAP.
 *
 *     node test_ends.js
 */
'use strict';
const {spawn} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const LIMIT_MS = 75000;
let checks = 0, failures = 0;

function check(passed, what) {
	console.log(`${passed ? 'ok' : 'not ok'} ${++checks} - ${what}`);
	failures += !passed;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* The processes whose environment has this word; none of them is this one. */
function findMarked(mark) {
	return fs.readdirSync('/proc').filter((pid) => {
		try {
			return /^\d+$/.test(pid) && fs.readFileSync(`/proc/${pid}/environ`, 'latin1').includes(mark);
		} catch {
			return false; // it has ended, or is somebody else's
		}
	});
}

/* Runs the test with these variables, and says how it ended. `stop`: a signal, once it has started its demo. */
async function run(what, variables, {stop, status}) {
	const mark = `STINT_TEST_MARK=${process.pid}.${checks}`;
	const env = {...process.env, ...variables, STINT_TEST_MARK: mark.split('=')[1]};
	const test = spawn(process.execPath, [path.join(__dirname, 'test.js')], {env, stdio: ['ignore', 'pipe', 'ignore']});
	const ended = new Promise((resolve) => test.once('exit', (code, signal) => resolve(signal ?? code)));
	let said = '';
	test.stdout.setEncoding('utf8').on('data', (text) => { said += text; });
	if (stop) {
		for (const end = Date.now() + LIMIT_MS; findMarked(mark).length < 2 && Date.now() < end;)
			await sleep(20);
		test.kill(stop);
	}
	const end = await Promise.race([ended, sleep(LIMIT_MS).then(() => 'too late')]);
	check(end === status, `${what}: it ends with ${end}`);
	check(stop || /^1\.\.\d+$/m.test(said), `${what}: and says how many checks there were`);
	for (const until = Date.now() + LIMIT_MS; findMarked(mark).length > 0 && Date.now() < until;)
		await sleep(50);
	const left = findMarked(mark);
	check(left.length === 0, `${what}: ${left.length} processes are left`);
	for (const pid of left)
		process.kill(Number(pid), 'SIGKILL');
}

async function main() {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stint-ends-'));
	const dies = path.join(folder, 'dies');
	fs.writeFileSync(dies, '#!/bin/sh\nkill -9 $$\n', {mode: 0o755});
	await run('the demo refuses to start', {CHROMIUM: '/bin/true', STINT_DEMO_SECONDS: '1'}, {status: 1});
	await run('the browser is killed', {CHROMIUM: dies}, {status: 1});
	await run('it is told to end', {CHROMIUM: '/bin/true'}, {stop: 'SIGTERM', status: 143});
	fs.rmSync(folder, {recursive: true, force: true});
	console.log(`1..${checks}`);
	process.exitCode = failures > 0 ? 1 : 0;
}

main();
