/*
 * test_cluster.js - the processes of a cluster, on one agent: never more than the limit, all together.
 */
'use strict';
const assert = require('assert');
const {test} = require('node:test');
const {run, startAgent} = require('./support.js');

const SCRIPT = `
	const cluster = require('cluster');
	const {DistributedRateLimiter} = require(process.env.STINT);

	async function work() {
		const limiter = new DistributedRateLimiter({policy: 'cluster', maxRequests: 500, timeWindowMs: 600000, timeoutMs: 30000});
		const counts = {hot: 0};
		const check = async (id) => {
			const allowed = await limiter.isAllowed(id);
			counts[id] = (counts[id] || 0) + allowed;
		};
		for (let i = 0; i < 300; i++)
			await Promise.all([check('hot'), check('hot'), check('client-' + i % 20), check('once-' + i)]);
		process.send(counts, () => process.disconnect());
	}

	function lead() {
		const sum = {};
		let left = 4;
		for (let i = 0; i < left; i++) {
			const worker = cluster.fork();
			worker.on('message', (counts) => {
				for (const [id, count] of Object.entries(counts))
					sum[id] = (sum[id] || 0) + count;
			});
			worker.on('exit', (status) => {
				if (status !== 0)
					process.exit(9);
				if (--left === 0)
					console.log(JSON.stringify(sum));
			});
		}
	}

	if (cluster.isPrimary)
		lead();
	else
		work();
`;

test('four processes, one agent', async () => {
	const agent = await startAgent();
	const file = require('path').join(require('./support.js').folder, 'cluster.js');
	require('fs').writeFileSync(file, SCRIPT);
	const {status, output} = await run(`require('child_process').spawnSync(process.execPath, [${JSON.stringify(file)}], {stdio: 'inherit'})`,
		{env: {STINT_SOCKET: agent.socketPath}});
	assert.strictEqual(status, 0, output);
	const sum = JSON.parse(output);
	assert.strictEqual(sum.hot, 500);
	for (let i = 0; i < 20; i++)
		assert.strictEqual(sum['client-' + i], 60);
	assert.strictEqual(sum['once-7'], 4);
});
