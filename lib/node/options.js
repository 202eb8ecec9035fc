/*
 * options.js - checks what the app passes. Each error names the option, its value and its range.
 */
'use strict';

const MAX_REQUESTS_MAX = 1000000000;
const TIME_WINDOW_MS_MIN = 100;
const TIME_WINDOW_MS_MAX = 2678400000; // 31 days
const SUB_WINDOW_MS_MIN = 10;
const POLICY = /^[A-Za-z0-9_.:/-]+$/;
const POLICY_MAX = 63;

/* Each number: the least, the most, and whether it must be there (unless mustExist). */
const NUMBERS = {
	maxRequests: [1, MAX_REQUESTS_MAX, true],
	timeWindowMs: [TIME_WINDOW_MS_MIN, TIME_WINDOW_MS_MAX, true],
	fallbackMaxRequests: [1, 2 * MAX_REQUESTS_MAX, false],
	fallbackTimeWindowMs: [TIME_WINDOW_MS_MIN, TIME_WINDOW_MS_MAX, false],
	localMaxRequests: [0, 2 * MAX_REQUESTS_MAX, false],
	resolution: [1, 60, false],
	timeoutMs: [1, 60000, false],
};

/* Each word, and the numbers that stint.h has for it. The first is the default. */
const WORDS = {
	algorithm: ['sliding_window', 'fixed_window'],
	mode: ['strict', 'relaxed'],
	onError: ['local', 'deny', 'allow'],
};

const FLAGS = ['shadow', 'mustExist'];

const NAMES = [...Object.keys(NUMBERS), ...Object.keys(WORDS), ...FLAGS, 'policy', 'cacheClient'];

/* A value as an error shows it, not longer than a line. */
function show(value) {
	const text = typeof value === 'string' ? JSON.stringify(value) : typeof value === 'function' ? 'a function' :
		Array.isArray(value) ? `an array of ${value.length}` : typeof value === 'object' && value !== null ? 'an object' :
			typeof value === 'bigint' ? `${value}n` : String(value);
	return text.length > 80 ? text.slice(0, 77) + '...' : text;
}

/** What was thrown, or what tells of it where that is no object: frameworks take some such values for no error at all. */
function toError(what, thrown) {
	return typeof thrown === 'object' && thrown !== null ? thrown : new Error(`${what} has thrown ${show(thrown)}`);
}

/** `options`, in the place of an argument, must be an object like `example`. */
function checkObject(what, options, example) {
	if (typeof options !== 'object' || options === null)
		throw new TypeError(`${what} is ${show(options)}, must be an object like ${example}`);
}

function checkNames(options, names, of = '') {
	const unknown = Object.keys(options).find((name) => !names.includes(name));
	if (unknown !== undefined)
		throw new TypeError(`option ${show(unknown)}${of} is unknown, must be one of ${names.join(', ')}`);
}

function checkInteger(name, value, least, most) {
	const range = `must be an integer of ${least} to ${most}`;
	if (typeof value !== 'number')
		throw new TypeError(`${name} is ${show(value)}, ${range}`);
	if (!Number.isInteger(value) || value < least || value > most)
		throw new RangeError(`${name} is ${show(value)}, ${range}`);
}

function checkNumber(name, value, mustExist) {
	const [least, most, required] = NUMBERS[name];
	if (value !== undefined || required && !mustExist)
		checkInteger(name, value, least, most);
}

function checkWord(name, value) {
	if (value === undefined || WORDS[name].includes(value))
		return;
	const Kind = typeof value === 'string' ? RangeError : TypeError;
	throw new Kind(`${name} is ${show(value)}, must be one of ${WORDS[name].map(show).join(', ')}`);
}

/* `name`: what the option is called. `most`: how long it may be. */
function checkPolicy(name, value, most = POLICY_MAX) {
	if (value === undefined || typeof value === 'string' && POLICY.test(value) && value.length <= most)
		return;
	const Kind = typeof value === 'string' ? RangeError : TypeError;
	throw new Kind(`${name} is ${show(value)}, must be 1 to ${most} characters of A-Z, a-z, 0-9 and _.:/-`);
}

/* Any other value may mean the opposite of its truth: 'no', say. */
function checkFlag(name, value) {
	if (value !== undefined && typeof value !== 'boolean')
		throw new TypeError(`${name} is ${show(value)}, must be true or false`);
}

function checkSubWindow(options) {
	if (options.algorithm === 'fixed_window' || options.resolution === undefined)
		return;
	const subWindowMs = Math.ceil(options.timeWindowMs / options.resolution);
	if (subWindowMs < SUB_WINDOW_MS_MIN)
		throw new RangeError(`timeWindowMs / resolution is ${subWindowMs}, must be ${SUB_WINDOW_MS_MIN} or more`);
}

/*
 * Limiters without a name and with the same limits are one policy, in all processes and languages: they count together. So a word that is the
 * default makes the name that none makes.
 */
function makePolicy({maxRequests, timeWindowMs, resolution, shadow, ...options}) {
	const words = ['algorithm', 'mode'].filter((name) => options[name] !== WORDS[name][0]).map((name) => options[name]);
	return [maxRequests, timeWindowMs + 'ms', ...words, resolution, shadow ? 'shadow' : undefined].filter((part) => part !== undefined).join('/');
}

/** Returns a copy, with a policy, when all is right; else throws a TypeError or a RangeError. */
function checkOptions(options) {
	if (typeof options !== 'object' || options === null)
		throw new TypeError(`options is ${show(options)}, must be an object with maxRequests and timeWindowMs`);
	checkNames(options, NAMES);
	const copy = {...options};
	for (const name of FLAGS)
		checkFlag(name, copy[name]);
	for (const name of Object.keys(NUMBERS))
		checkNumber(name, copy[name], copy.mustExist);
	for (const name of Object.keys(WORDS))
		checkWord(name, copy[name]);
	if (copy.policy === undefined && copy.mustExist)
		throw new TypeError('policy is undefined, must be the name of a policy with mustExist');
	checkPolicy('policy', copy.policy);
	checkSubWindow(copy);
	copy.policy = copy.policy === undefined ? makePolicy(copy) : copy.policy;
	return copy;
}

const CACHE_METHODS = ['get', 'set', 'incrementAndGet', 'decrementAndGet'];
const CACHE_TIME_WINDOW_MS_MAX = 1296000000; // 15 days: a count is kept for two windows

/** What goes only with the agent, or needs more of a store, is refused. */
function checkCacheOptions({cacheClient, timeWindowMs, ...options}) {
	const isObject = typeof cacheClient === 'object' || typeof cacheClient === 'function';
	if (!isObject || cacheClient === null || CACHE_METHODS.some((name) => typeof cacheClient[name] !== 'function'))
		throw new TypeError(`cacheClient is ${show(cacheClient)}, must have the methods ${CACHE_METHODS.join(', ')}, or be made by connect()`);
	if (timeWindowMs > CACHE_TIME_WINDOW_MS_MAX)
		throw new RangeError(`timeWindowMs is ${timeWindowMs}, must be ${TIME_WINDOW_MS_MIN} to ${CACHE_TIME_WINDOW_MS_MAX} with a cacheClient`);
	const agents = ['mode', 'resolution', 'mustExist'].find((name) => options[name]);
	if (agents !== undefined)
		throw new TypeError(`${agents} is for the agent, must be left out with a cacheClient`);
}

module.exports = {FLAGS, MAX_REQUESTS_MAX, WORDS, checkCacheOptions, checkInteger, checkNames, checkObject, checkOptions, checkPolicy, show, toError};
