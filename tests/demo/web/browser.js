/*
 * browser.js - a headless Chromium and one page in it, told what to do through pipes (the DevTools protocol, of which each message
 * is JSON and ends with a NUL).
 */
'use strict';
const {spawn} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const ANSWER_MS = 60000;

class Browser {
	#process;
	#ended; // resolves when it has
	#folder;
	#waiting = new Map();
	#last = 0;
	#rest = '';
	#session;
	problems = []; // what the page complains of
	requests = []; // their addresses

	/** Where it is; undefined: nowhere. $CHROMIUM names another one. */
	static find() {
		const names = process.env.CHROMIUM ? [process.env.CHROMIUM] : ['chromium', 'chromium-browser', 'google-chrome'];
		const folders = ['', ...(process.env.PATH ?? '').split(':')];
		return names.flatMap((name) => folders.map((folder) => path.join(folder, name))).find((file) => path.isAbsolute(file) && fs.existsSync(file));
	}

	async open(url, {width = 1120, height = 900} = {}) {
		this.#folder = fs.mkdtempSync(path.join(os.tmpdir(), 'stint-browser-'));
		this.#process = spawn(Browser.find(), [
			'--headless=new', '--remote-debugging-pipe', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run',
			'--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-extensions', '--hide-scrollbars',
			`--user-data-dir=${this.#folder}`, `--window-size=${width},${height}`,
			'--no-sandbox', // root has none, nor has a container; and the page is our own
			'about:blank',
		], {stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], env: {...process.env, HOME: this.#folder, TMPDIR: this.#folder}});
		this.#ended = new Promise((resolve) => this.#process.once('error', resolve).once('exit', resolve));
		this.#ended.then(() => this.#giveUp('the browser has ended'));
		this.#process.stdio[3].on('error', () => {});
		this.#process.stdio[4].on('data', (data) => this.#read(data)).on('error', () => {});
		const {targetInfos} = await this.#send('Target.getTargets');
		const page = targetInfos.find(({type}) => type === 'page');
		const {sessionId} = await this.#send('Target.attachToTarget', {targetId: page.targetId, flatten: true});
		this.#session = sessionId;
		for (const domain of ['Page', 'Runtime', 'Log', 'Network'])
			await this.send(`${domain}.enable`);
		await this.send('Emulation.setDeviceMetricsOverride', {width, height, deviceScaleFactor: 1, mobile: false});
		await this.send('Page.navigate', {url});
	}

	/** A command to the page. */
	send(method, params) {
		return this.#send(method, params, this.#session);
	}

	#send(method, params = {}, sessionId) {
		const id = ++this.#last;
		this.#process.stdio[3].write(JSON.stringify({id, method, params, sessionId}) + '\0');
		return new Promise((resolve, reject) => {
			const timer = setTimeout(() => reject(new Error(`${method}: no answer`)), ANSWER_MS);
			this.#waiting.set(id, {resolve, reject, timer});
		});
	}

	#read(data) {
		const messages = (this.#rest + data).split('\0');
		this.#rest = messages.pop();
		for (const text of messages)
			this.#take(JSON.parse(text));
	}

	#take({id, error, result, method, params}) {
		const waiting = this.#waiting.get(id);
		if (waiting) {
			clearTimeout(waiting.timer);
			this.#waiting.delete(id);
			return error ? waiting.reject(new Error(error.message)) : waiting.resolve(result);
		}
		if (method === 'Network.requestWillBeSent')
			this.requests.push(params.request.url);
		if (method === 'Runtime.exceptionThrown')
			this.problems.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
		if (method === 'Log.entryAdded' && params.entry.level === 'error')
			this.problems.push(params.entry.text);
	}

	/* Nothing that is awaited comes any more. */
	#giveUp(reason) {
		for (const {reject, timer} of this.#waiting.values()) {
			clearTimeout(timer);
			reject(new Error(reason));
		}
		this.#waiting.clear();
	}

	/** The value of an expression in the page. */
	async evaluate(expression) {
		const {result, exceptionDetails} = await this.send('Runtime.evaluate', {expression, returnByValue: true});
		if (exceptionDetails)
			throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
		return result.value;
	}

	/** 'light' or 'dark'. */
	setScheme(scheme) {
		return this.send('Emulation.setEmulatedMedia', {features: [{name: 'prefers-color-scheme', value: scheme}]});
	}

	/** A picture of the whole page, a PNG. */
	async capture() {
		const [width, height] = await this.evaluate('[document.body.scrollWidth, document.body.getBoundingClientRect().height]');
		const {data} = await this.send('Page.captureScreenshot', {format: 'png', captureBeyondViewport: true,
			clip: {x: 0, y: 0, width, height, scale: 1}});
		return Buffer.from(data, 'base64');
	}

	/** Whether it was opened, or not, or has ended by itself. */
	async close() {
		this.#process?.kill('SIGKILL');
		await this.#ended;
		if (this.#folder)
			fs.rmSync(this.#folder, {recursive: true, force: true, maxRetries: 20, retryDelay: 50});
	}
}

module.exports = {Browser};
