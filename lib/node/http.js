/*
 * http.js - addresses as clients' ids, and verdicts as header fields. The library does both, for all languages alike.
 */
'use strict';
const addon = require('./addon.js');
const {checkInteger, checkNames, checkObject, show} = require('./options.js');
const {REASONS, SOURCES} = require('./verdict.js');

const VERSIONS = ['draft-11', 'none'];
const HEADER_OPTIONS = ['version', 'xRateLimit'];
const PREFIXES = ['ipv4Prefix', 'ipv6Prefix'];

/**
 * An address as a client's id: IPv4 addresses that are wrapped in IPv6 are unwrapped, and IPv6 is cut to a prefix, since whoever has one
 * address has 2^64 of them.
 * @param {string} address like 192.0.2.1, 2001:db8::1, with or without a port, brackets or a zone
 * @returns {string} like 192.0.2.1 or 2001:db8::/64
 */
function ipClient(address, options = {}) {
	checkObject('the second argument', options, '{ ipv6Prefix: 48 }');
	checkNames(options, PREFIXES);
	const {ipv4Prefix = 32, ipv6Prefix = 64} = options;
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

/** For a middleware: what is passed once, for all requests, is checked at once. */
function checkHeaderOptions(options) {
	checkNames(options, HEADER_OPTIONS, ' of headers');
	const {version = 'draft-11', xRateLimit = false} = options;
	if (!VERSIONS.includes(version))
		throw new RangeError(`version is ${show(version)}, must be one of ${VERSIONS.map(show).join(', ')}`);
	if (typeof xRateLimit !== 'boolean')
		throw new TypeError(`xRateLimit is ${show(xRateLimit)}, must be true or false`);
}

function checkVerdict(verdict) {
	if (typeof verdict !== 'object' || verdict === null || typeof verdict.policy !== 'string' || typeof verdict.allowed !== 'boolean')
		throw new TypeError(`verdict is ${show(verdict)}, must be what check() or tryCheck() has returned`);
}

/** Pairs of name and value. version: 'draft-11' or 'none'. */
function makeHeaders(verdict, {timeWindowMs, fallbackTimeWindowMs}, options = {}) {
	checkVerdict(verdict);
	checkObject('the second argument', options, '{ version, xRateLimit }');
	checkHeaderOptions(options);
	const {version = 'draft-11', xRateLimit = false} = options;
	const native = addon.load();
	const flat = native.httpHeaders({policy: verdict.policy, timeWindowMs, fallbackTimeWindowMs, version: VERSIONS.indexOf(version),
		xRateLimit: Number(xRateLimit)}, toNumbers(verdict));
	if (typeof flat === 'number')
		throw new RangeError(native.describe(flat).join(': '));
	return flat.flatMap((name, i) => i % 2 === 0 ? [[name, flat[i + 1]]] : []);
}

module.exports = {checkHeaderOptions, ipClient, makeHeaders};
