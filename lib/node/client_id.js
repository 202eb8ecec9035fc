/*
 * client_id.js - what a client's id may be, and the error for what it may not.
 */
'use strict';
const {createHash} = require('crypto');
const {show} = require('./options.js');

const CLIENT_ID_BYTES_MAX = 255;
const RULE = `must be a string of 1 to ${CLIENT_ID_BYTES_MAX} bytes in UTF-8, without a NUL or a lone surrogate`;
const UNUSUAL = /[^ -~]/; // a key without it needs no further look
const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

/** Returns what is wrong with an id: a TypeError, a RangeError, or undefined when nothing is. */
function findFault(clientId) {
	if (typeof clientId !== 'string')
		return new TypeError(`clientId is ${show(clientId)}, ${RULE}`);
	if (clientId === '')
		return new RangeError(`clientId is empty, ${RULE}`);
	const bytes = Buffer.byteLength(clientId);
	if (bytes > CLIENT_ID_BYTES_MAX)
		return new RangeError(`clientId has ${bytes} bytes, ${RULE}`);
	if (clientId.includes('\0'))
		return new RangeError(`clientId ${show(clientId)} has a NUL, ${RULE}`);
	if (LONE_SURROGATE.test(clientId))
		return new RangeError(`clientId ${show(clientId)} has a lone surrogate, ${RULE}`);
	return undefined;
}

/**
 * What other limiters take as a key: a number, too, and any string. One that can't be an id counts by its digest: where an app lets requests pass
 * when its limiter fails, a sender who may choose the key must not make it fail.
 */
function readKey(key) {
	if (typeof key === 'number')
		return String(key);
	const isUsual = typeof key === 'string' && key.length > 0 && key.length <= CLIENT_ID_BYTES_MAX && !UNUSUAL.test(key);
	if (isUsual || typeof key !== 'string' || findFault(key) === undefined)
		return key;
	return 'sha256:' + createHash('sha256').update(key, 'utf16le').digest('hex');
}

/** The same for stores, whose frameworks pass on whatever an app has found in a request: what isn't there is a key, too. */
const readAnyKey = (key) => readKey(typeof key === 'string' ? key : String(key));

module.exports = {findFault, readAnyKey, readKey};
