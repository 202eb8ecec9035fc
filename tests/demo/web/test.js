/*
 * test.js - the demo as a browser sees it: numbers move, the database goes away and comes back, the promise is kept. As TAP.
 *
 *     node test.js [PICTURE]      PICTURE: a PNG of the page after the database's return is written there
 *
 * The test says when the demo goes on, so that no machine is too slow for it.
 */
'use strict';
const {spawn, spawnSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {Browser} = require('./browser.js');

const picture = process.argv[2];
const WAIT_MS = 60000;
const LOOK_MS = 50;
const END_MS = 60000; // the demo removes its database and its folder
const SETTLE_MS = picture ? 12000 : 0; // a picture shows some time of each part
const browser = new Browser();
let demo, demoEnded, said = '', checks = 0, failures = 0;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function check(passed, what) {
	console.log(`${passed ? 'ok' : 'not ok'} ${++checks} - ${what}`);
	failures += !passed;
}

/* Waits until `condition` gives something true, and gives that. */
async function until(condition, what) {
	for (const end = Date.now() + WAIT_MS; Date.now() < end; await sleep(LOOK_MS)) {
		const value = await condition();
		if (value)
			return value;
		if (demo.exitCode !== null || demo.signalCode !== null)
			break;
	}
	throw new Error(`in vain: ${what}; the demo said:\n${said}`);
}

function startDemo() {
	demo = spawn(path.join(__dirname, 'run'), {stdio: ['pipe', 'pipe', 'inherit'], env: {...process.env, STINT_DEMO_STEP: '1'}});
	demo.stdout.setEncoding('utf8').on('data', (text) => {
		said += text;
	});
	demo.stdin.on('error', () => {});
	demoEnded = new Promise((resolve) => demo.once('error', resolve).once('exit', (code, signal) => resolve(signal ?? code)));
}

/* Ends what was started: the demo clears away what it has started itself. */
async function end() {
	await browser.close();
	demo?.kill('SIGTERM');
	if (await Promise.race([demoEnded, sleep(END_MS).then(() => 'late')]) === 'late')
		demo.kill('SIGKILL');
}

const goOn = () => demo.stdin.write('\n');

const text = (id) => browser.evaluate(`document.getElementById('${id}').textContent`);
const number = async (id) => Number((await text(id)).replaceAll(',', ''));
/* What each client was admitted in the last window, by the page. */
const admitted = () => browser.evaluate(`[...document.querySelectorAll('.client .admitted')].map((e) => parseInt(e.textContent))`);
const states = () => browser.evaluate(`[...document.querySelectorAll('#hosts .state')].map((e) => e.textContent)`);

async function lookUp() {
	await until(async () => await number('admitted') > 0 && await number('denied') > 0, 'requests are shown');
	check(await text('database') === 'up', 'PostgreSQL is up');
	const before = await number('admitted');
	await until(async () => await number('admitted') > before, 'the number of those admitted moves');
	check(true, 'numbers move');
	const clients = await until(async () => (await admitted())[0] > 50 && admitted(), 'the busiest client is near its limit');
	check(clients.length === 5, `five clients are shown: ${clients}`);
	const runtimes = await browser.evaluate(`[...document.querySelectorAll('#runtimes tr')].slice(1).map((r) => [...r.cells].map((c) => c.textContent))`);
	const isLeftOut = said.includes('left out     Python');
	check(runtimes.length === (isLeftOut ? 2 : 3) && runtimes.every((row) => row.length === 5),
		`and who decided: ${runtimes.map((row) => row[0])}${isLeftOut ? '; Python is left out, and the demo says so' : ''}`);
	check(await browser.evaluate(`document.getElementById('failed').parentNode.hidden`), 'no answer was neither an admission nor a denial');
	check((await browser.evaluate(`document.querySelectorAll('.client svg .area-a').length`)) === 5, 'each has a plot');
}

async function lookAway() {
	await until(async () => await text('database') === 'away', 'PostgreSQL is away');
	await until(async () => (await states()).every((state) => state === 'on its own'), 'both hosts are on their own');
	check(true, 'the database is away, and both hosts are on their own');
	const before = await number('admitted');
	await until(async () => await number('admitted') > before, 'requests are admitted without it');
	check((await browser.evaluate(`document.querySelectorAll('.client svg .out').length`)) === 5, 'the plots show when that was');
}

async function lookBack() {
	await until(async () => await text('database') === 'up', 'PostgreSQL is up again');
	await until(async () => (await states()).every((state) => state === 'in step'), 'both hosts are in step');
	check(true, 'it has come back, and both hosts are in step');
}

async function lookAtSchemes() {
	const colour = () => browser.evaluate('getComputedStyle(document.body).backgroundColor');
	await browser.setScheme('dark');
	const dark = await colour();
	await browser.setScheme('light');
	check(dark !== await colour(), `dark (${dark}) and light are two`);
}

async function lookAtEnd() {
	const end = await until(async () => (await browser.evaluate(`!document.getElementById('verdict').hidden`)) && text('verdict'), 'the verdict');
	check(end.startsWith('The promise was kept.'), `the page says: ${end.slice(0, 24)}`);
	goOn();
	const status = await Promise.race([demoEnded, sleep(END_MS).then(() => 'late')]);
	check(status === 0 && said.includes('The promise was kept.'), 'and so does the demo');
}

async function play() {
	startDemo();
	const [url] = await until(() => /http:\/\/127\.0\.0\.1:\d+\//.exec(said), 'the address of the page');
	await browser.open(url);
	await until(() => browser.evaluate(`document.querySelectorAll('.client').length`), 'the page has something to show');
	await lookUp();
	await sleep(SETTLE_MS);
	goOn();
	await lookAway();
	await sleep(SETTLE_MS / 2);
	goOn();
	await lookBack();
	await lookAtSchemes();
	await sleep(SETTLE_MS);
	if (picture)
		fs.writeFileSync(picture, await browser.capture());
	goOn();
	await lookAtEnd();
	check(browser.requests.length > 0 && browser.requests.every((address) => address.startsWith(url) || address.startsWith('data:')),
		'nothing was asked for elsewhere');
	check(browser.problems.length === 0, `the page has no problems${browser.problems.map((problem) => `: ${problem}`)}`);
}

/* What this machine lacks; undefined: nothing. */
function findMissing() {
	const build = path.resolve(process.env.STINT_BUILD || 'build');
	if (!Browser.find())
		return 'there is no chromium';
	if (spawnSync('sh', ['-c', 'command -v wrk']).status !== 0)
		return 'there is no wrk';
	if (!fs.existsSync('/usr/sbin/nginx') || !fs.existsSync(path.join(build, 'ngx_http_stint_module.so')))
		return 'nginx, or nginx-dev for the module, is not installed';
	if (!fs.existsSync(path.join(build, 'stint.node')))
		return 'the addon of lib/node was not built';
	return undefined;
}

async function main() {
	for (const [signal, number] of [['SIGHUP', 1], ['SIGINT', 2], ['SIGTERM', 15]])
		process.once(signal, () => end().finally(() => process.exit(128 + number)));
	const missing = findMissing();
	if (missing) {
		console.log(`1..0 # SKIP ${missing}`);
		return;
	}
	try {
		await play();
	} catch (error) {
		check(false, error.message.replaceAll('\n', '\n# '));
	}
	await end();
	console.log(`1..${checks}`);
	process.exit(failures > 0 ? 1 : 0);
}

main();
