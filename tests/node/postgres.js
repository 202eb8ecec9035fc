/*
 * postgres.js - a private PostgreSQL with stint's schema, and a Pool of pg on it.
 */
'use strict';
const {execFile} = require('child_process');
const path = require('path');
const {promisify} = require('util');
const {BUILD, ROOT, SLOW_MS, cleanups, folder} = require('./support.js');
const {requireFrom} = require('./redis.js');

const start = promisify(execFile);
const pgCluster = (...args) => start(path.join(ROOT, 'tests', 'support', 'pg-cluster'), args);

/** {conninfo, pool, pgCluster}, or undefined when there is no server, or no pg. */
async function startPostgres() {
	const pg = requireFrom('pg');
	if (pg === undefined)
		return undefined;
	let conninfo;
	try {
		conninfo = (await pgCluster('start', folder)).stdout.trim();
	} catch {
		return undefined;
	}
	cleanups.push(() => pgCluster('remove', folder));
	await start(path.join(BUILD, 'stint'), ['db', 'init'], {env: {...process.env, STINT_DATABASE: conninfo}});
	const of = Object.fromEntries(conninfo.split(' ').map((word) => word.split('=')));
	const pool = new pg.Pool({host: of.host, port: Number(of.port), database: of.dbname, user: of.user, max: 8, connectionTimeoutMillis: SLOW_MS});
	pool.on('error', () => {});
	cleanups.push(() => pool.end());
	return {conninfo, pool, pgCluster: (command) => pgCluster(command, folder)};
}

module.exports = {startPostgres};
