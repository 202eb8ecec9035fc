/*
 * agent.js - where this host's agent is.
 */
'use strict';
const {show} = require('./options.js');

const PATH = /^[^\0\p{Surrogate}]+$/u;
const PATH_MAX = 107; // the room of a sockaddr_un
const RULE_OF_PATH = `must be a path of 1 to ${PATH_MAX} bytes, without a NUL or a lone surrogate`;

function checkPath(socketPath) {
	if (typeof socketPath !== 'string' || !PATH.test(socketPath))
		throw new TypeError(`socketPath is ${show(socketPath)}, ${RULE_OF_PATH}`);
	const bytes = Buffer.byteLength(socketPath);
	if (bytes > PATH_MAX)
		throw new RangeError(`socketPath has ${bytes} bytes, ${RULE_OF_PATH}`);
}

/** This host's agent, by the path of its socket. */
class Agent {
	/** @param {string} [socketPath] default: $STINT_SOCKET, or /run/stint/agent.sock */
	constructor(socketPath = process.env.STINT_SOCKET) {
		if (socketPath !== undefined)
			checkPath(socketPath);
		this.socketPath = socketPath;
		Object.freeze(this);
	}
}

/** @returns {Agent} to be passed as cacheClient; connects with the first check */
function connect(socketPath) {
	return new Agent(socketPath);
}

module.exports = {Agent, connect};
