/*
 * addon.js - loads the native addon, once, when it is needed first.
 */
'use strict';
const path = require('path');

const BUILT_IN = [path.join(__dirname, 'native'), path.join(__dirname, '..', '..', 'build')];

/* Places in a verdict's numbers, as addon.h has them; the others are read by verdict.js and agent.js. */
const SLOT = 13;
const STATUS = 14;

let addon;
const waiting = []; // by slot: what takes over the verdict of a check that waits

/* Runtimes that are like Node.js, but whose event loop is none of libuv's. */
function refuseOthers(versions) {
	const other = ['bun', 'deno'].find((name) => versions[name] !== undefined);
	if (other !== undefined)
		throw new Error(`stint: ${other} can't load this addon, which needs Node.js and its event loop (libuv); ` +
			'with a cacheClient the limiter works without it');
}

function find() {
	const faults = [];
	for (const folder of BUILT_IN) {
		try {
			return require(path.join(folder, 'stint.node'));
		} catch (error) {
			faults.push(error.message.split('\n')[0]);
		}
	}
	throw new Error('stint: the native addon is not built (in the checkout: make; installed: npm rebuild stint): ' +
		faults.join('; '));
}

/* The addon calls it when `settled` holds the verdicts of `count` checks that have waited. */
function settle(count) {
	const {settled, fields} = addon;
	for (let at = 0; at < count * fields; at += fields) {
		const slot = settled[at + SLOT];
		const check = waiting[slot];
		waiting[slot] = undefined;
		if (check !== undefined) // whoever began it had no room on the stack to wait
			check.settle(settled[at + STATUS], settled, at);
	}
}

/** Returns the addon's functions, and {makeLimiter, verdict, settled, fields}. */
function load() {
	if (addon === undefined) {
		refuseOthers(process.versions);
		const native = find();
		addon = {...native, ...native.start(settle)};
	}
	return addon;
}

/** The check in this slot waits: `check.settle(status, numbers, at)` runs when it is decided. */
function wait(slot, check) {
	waiting[slot] = check;
}

module.exports = {load, wait};
