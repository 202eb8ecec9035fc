/*
 * http.js - addresses as clients' ids, and verdicts as header fields. The library does both, for all languages alike.
 */
'use strict';
const addon = require('./addon.js');
const {checkInteger, show} = require('./options.js');
const {REASONS, SOURCES} = require('./verdict.js');

/**
 * An address as a client's id: IPv4 addresses that are wrapped in IPv6 are unwrapped, and IPv6 is cut to a prefix, since whoever has one
 * address has 2^64 of them.
 * @param {string} address like 192.0.2.1, 2001:db8::1, with or without a port, brackets or a zone
 * @returns {string} like 192.0.2.1 or 2001:db8::/64
 */
function ipClient(address, {ipv4Prefix = 32, ipv6Prefix = 64} = {}) {
	checkInteger('ipv4Prefix', ipv4Prefix, 1, 32);
	checkInteger('ipv6Prefix', ipv6Prefix, 1, 128);
	const id = typeof address === 'string' ? addon.load().ipClient(address, ipv4Prefix, ipv6Prefix) : undefined;
	if (typeof id !== 'string')
		throw new TypeError(`address is ${show(address)}, must be an IPv4 or IPv6 address`);
	return id;
}

/* A verdict of a store's means the same as one of the table's. */
function toNumbers(verdict) {
	const source = SOURCES.indexOf(verdict.source);
	return {...verdict, allowed: Number(verdict.allowed), shadowDenied: Number(verdict.shadowDenied), source: source < 0 ? 1 : source, reason: REASONS.indexOf(verdict.reason)};
}

/** Pairs of name and value. version: 'draft-11' or 'none'. */
function makeHeaders(verdict, {timeWindowMs, fallbackTimeWindowMs}, {version = 'draft-11', xRateLimit = false} = {}) {
	const versions = ['draft-11', 'none'];
	if (!versions.includes(version))
		throw new RangeError(`version is ${show(version)}, must be one of ${versions.map(show).join(', ')}`);
	const native = addon.load();
	const flat = native.httpHeaders({policy: verdict.policy, timeWindowMs, fallbackTimeWindowMs, version: versions.indexOf(version),
		xRateLimit: Number(xRateLimit)}, toNumbers(verdict));
	if (typeof flat === 'number')
		throw new RangeError(native.describe(flat).join(': '));
	return flat.flatMap((name, i) => i % 2 === 0 ? [[name, flat[i + 1]]] : []);
}

module.exports = {ipClient, makeHeaders};
