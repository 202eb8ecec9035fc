/*
 * test_life.js - environments that begin and end: processes, workers, contexts, reloads; and what is left of them.
 */
'use strict';
const assert = require('assert');
const {before, test} = require('node:test');
const vm = require('vm');
const {Worker} = require('worker_threads');
const {LIBRARY, collect, countDescriptors, run, startAgent, until} = require('./support.js');
const {DistributedRateLimiter, connect} = require(LIBRARY);

const MAKE = `
	const {DistributedRateLimiter, connect} = require(process.env.STINT);
	const make = (options) => new DistributedRateLimiter({policy: 'life', maxRequests: 100000, timeWindowMs: 600000, timeoutMs: 30000,
		cacheClient: connect(process.env.STINT_SOCKET), ...options});
	let turn = 0;
	const newId = () => 'client-' + process.pid + '-' + Math.random();
`;
let agent;

before(async () => {
	agent = await startAgent();
	process.env.STINT_SOCKET = agent.socketPath;
});

/* While the agent stands still, what it is asked waits. */
async function whileItStands(body) {
	agent.signal('SIGSTOP');
	try {
		return await body();
	} finally {
		agent.signal('SIGCONT');
	}
}

function assertQuiet(result, status = 0, output = /^$/) {
	assert.deepStrictEqual([result.status, result.signal], [status, null], result.output);
	assert.match(result.output, output);
}

test('a process with a limiter ends by itself', async () => {
	assertQuiet(await run(MAKE + 'const limiter = make(); limiter.isAllowed("a").then(() => console.log("answered"));'), 0, /^answered\n$/);
	assertQuiet(await run(MAKE + 'make(); make({cacheClient: connect("/nowhere/at/all")});'));
});

test('a check that waits keeps its process until it is decided', async () => {
	const script = MAKE + 'make({timeoutMs: 300, onError: "deny"}).check(newId()).then((v) => console.log(v.allowed, v.reason));';
	assertQuiet(await whileItStands(() => run(script)), 0, /^false unavailable\n$/);
});

test('exit with checks that wait: at once, later, by an exception, by a signal', async () => {
	const wait = MAKE + 'const limiter = make(); for (let i = 0; i < 200; i++) limiter.isAllowed(newId());';
	await whileItStands(async () => {
		assertQuiet(await run(wait + 'process.exit(7);'), 7);
		assertQuiet(await run(wait + 'setTimeout(() => process.exit(7), 20);'), 7);
		assertQuiet(await run(wait + 'setImmediate(() => { throw new Error("mine"); });'), 1, /Error: mine/);
		const killed = await run(wait + 'setTimeout(() => process.kill(process.pid, "SIGTERM"), 20);');
		assert.strictEqual(killed.signal, 'SIGTERM');
	});
});

test('exit at any moment of checks under way', async () => {
	const load = MAKE + `const limiter = make();
		const go = async () => { for (;;) { await limiter.isAllowed(newId()); await limiter.isAllowed('hot'); } };
		for (let i = 0; i < 20; i++) go();`;
	for (let ms = 0; ms < 40; ms += 8)
		assertQuiet(await run(load + `setTimeout(() => process.exit(3), ${ms});`), 3);
});

const IN_WORKER = MAKE + `
	const {parentPort, workerData} = require('worker_threads');
	(async () => {
		const limiter = make();
		let allowed = 0;
		for (let i = 0; i < 50; i++)
			allowed += await limiter.isAllowed('from-workers-' + workerData);
		parentPort.postMessage(allowed);
		if (workerData === 'forever')
			for (;;)
				await Promise.all([limiter.isAllowed(newId()), limiter.isAllowed('hot'), limiter.check(newId())]);
	})();
`;

function startWorker(workerData) {
	return new Worker(IN_WORKER, {eval: true, workerData, env: {...process.env, STINT: LIBRARY}});
}

const nextOf = (worker, event) => new Promise((resolve, reject) => {
	worker.once(event, resolve);
	worker.once('error', reject);
});

test('workers: each has an environment of its own, and ends by itself', async () => {
	const workers = Array.from({length: 4}, () => startWorker('together'));
	const told = await Promise.all(workers.map(async (worker) => {
		const end = nextOf(worker, 'exit');
		const allowed = await nextOf(worker, 'message');
		assert.strictEqual(await end, 0);
		return allowed;
	}));
	assert.deepStrictEqual(told, [50, 50, 50, 50]);
});

test('workers that are ended while checks are under way, and while they wait', async () => {
	const before = countDescriptors();
	for (let i = 0; i < 6; i++) {
		const workers = [startWorker('forever'), startWorker('forever')];
		await Promise.all(workers.map((worker) => nextOf(worker, 'message')));
		if (i % 2 === 0)
			await Promise.all(workers.map((worker) => worker.terminate()));
		else
			await whileItStands(() => Promise.all(workers.map((worker) => worker.terminate())));
	}
	await until(() => countDescriptors() <= before, `no more descriptors than the ${before} of before`);
});

test('a process whose workers are under way exits', async () => {
	const script = MAKE + `const {Worker} = require('worker_threads');
		for (let i = 0; i < 3; i++)
			new Worker(process.env.IN_WORKER, {eval: true, workerData: 'forever'}).once('message', () => i === 2 && process.exit(5));`;
	for (let i = 0; i < 3; i++)
		assertQuiet(await run(script, {env: {IN_WORKER}}), 5);
});

test('loaded again after the cache was emptied: the old limiter and the new one', async () => {
	const load = (addonToo) => {
		for (const file of Object.keys(require.cache))
			if (file.startsWith(LIBRARY) || addonToo && file.endsWith('stint.node'))
				delete require.cache[file];
		return require(LIBRARY);
	};
	const counts = [];
	for (let i = 0; i < 30; i++) {
		const {DistributedRateLimiter: Again} = load(i % 2 === 0);
		assert.notStrictEqual(Again, DistributedRateLimiter);
		const limiter = new Again({policy: 'reload', maxRequests: 15, timeWindowMs: 600000});
		counts.push(await limiter.isAllowed('a'));
		await collect();
	}
	assert.strictEqual(counts.filter((allowed) => allowed).length, 15);
	await until(async () => {
		await collect();
		return countDescriptors() < 60;
	}, 'attachments of limiters that nobody has are closed');
});

test('used from other contexts', async () => {
	const limiter = new DistributedRateLimiter({policy: 'vm', maxRequests: 3, timeWindowMs: 600000});
	const context = vm.createContext({limiter, console});
	const told = await vm.runInContext(`(async () => [await limiter.isAllowed('a'), (await limiter.check('a')).remaining,
		limiter.tryCheck('b'), await limiter.isAllowed('a'), await limiter.isAllowed('a'), await limiter.isAllowed('new')])()`, context);
	assert.deepStrictEqual([...told], [true, 1, undefined, true, false, true]);
	limiter.close();
});

test('limiters that nobody has any more are collected, with their memory and descriptors', async () => {
	const make = async (i) => {
		const limiter = new DistributedRateLimiter({policy: 'gc', maxRequests: 1000000, timeWindowMs: 600000});
		await Promise.all([limiter.isAllowed('a'), limiter.isAllowed('gc-' + i)]);
	};
	const round = async () => {
		for (let i = 0; i < 400; i++)
			await make(i);
		await collect();
	};
	await round();
	await round();
	const before = process.memoryUsage().rss;
	const descriptors = countDescriptors();
	for (let i = 0; i < 5; i++)
		await round();
	assert.ok(process.memoryUsage().rss - before < 30e6, `${(process.memoryUsage().rss - before) / 1e6} MB more`);
	assert.ok(countDescriptors() <= descriptors);
});

test('many limiters: each decides by its own limit, also after others were closed and collected', async () => {
	const make = (maxRequests) => new DistributedRateLimiter({maxRequests, timeWindowMs: 600000});
	const assertOwn = async (limiters) => {
		for (const limiter of limiters) {
			const {maxRequests} = limiter.options;
			await limiter.isAllowed('a');
			assert.strictEqual((await limiter.check('a')).limit, maxRequests);
			const tried = limiter.tryCheck('a');
			assert.ok(tried === undefined || tried.limit === maxRequests);
			assert.strictEqual(await limiter.isAllowed('\ud800').catch(({name}) => name), 'RangeError');
		}
	};
	const makeSome = (first, count) => Array.from({length: count}, (_, i) => make(first + i));
	let limiters = makeSome(1000, 40);
	await assertOwn(limiters);
	const closed = limiters.filter((_, i) => i % 4 === 0);
	closed.forEach((limiter) => limiter.close());
	limiters = limiters.filter((_, i) => i % 4 === 3); // the others are nobody's
	await collect();
	const others = makeSome(2000, 60);
	await assertOwn([...limiters, ...others]);
	for (const limiter of closed) {
		assert.throws(() => limiter.tryCheck('a'), {name: 'TypeError', message: /closed/});
		limiter.close();
	}
	await assert.rejects(DistributedRateLimiter.checkAll([{limiter: limiters[0], clientId: 'a'}, {limiter: closed[0], clientId: 'a'}]),
		{name: 'TypeError', message: /closed/});
	const {part, limit} = await DistributedRateLimiter.checkAll([{limiter: others[0], clientId: 'a'}, {limiter: limiters[0], clientId: 'a'}]);
	assert.strictEqual(limit, part === 0 ? 2000 : limiters[0].options.maxRequests);
});

test('a limiter whose check waits is not collected', async () => {
	let waiting;
	await whileItStands(async () => {
		waiting = new DistributedRateLimiter({policy: 'gc-waits', maxRequests: 1, timeWindowMs: 600000, timeoutMs: 60000}).check('a');
		await collect();
	});
	assert.strictEqual((await waiting).source, 'database');
});

test('Bun and Deno are told', async () => {
	for (const name of ['bun', 'deno'])
		assertQuiet(await run(`Object.defineProperty(process.versions, '${name}', {value: '1.0.0'});` + MAKE + 'make();'), 1,
			new RegExp(`Error: stint: ${name} can't load this addon`));
});
