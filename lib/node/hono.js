/*
 * hono.js - a middleware for hono, on Node.js.
 */
'use strict';
const {Gate, TOO_MANY, findAddress} = require('./middleware.js');

/* As @hono/node-server has it. */
function findId(context) {
	const env = context.env || {};
	const {incoming} = env.server || env;
	if (incoming === undefined)
		throw new TypeError('clientId must be given: only @hono/node-server tells this middleware the address');
	return findAddress(incoming.socket.remoteAddress);
}

/* hono asks an error that has this for the answer; others it answers with 500. One of hono's own has an answer. */
function addResponse(error) {
	if (error.status === 400 && error.getResponse === undefined)
		error.getResponse = () => new Response('Bad request\n', {status: 400});
	return error;
}

/**
 * A middleware. Its options are those of express's, with hono's context in place of request and response; onDenied(context, verdict) returns
 * the answer to a denial. The verdict is `context.get('rateLimit')`.
 */
function limitRequests(limiter, {onDenied = (context) => context.text(TOO_MANY, 429), ...options} = {}) {
	const gate = new Gate(limiter, {...options, onDenied}, findId);

	/* Fields are set on the answer that is there: hono forgets earlier ones when a handler makes the answer by itself. What the app has set stays. */
	function tell(context, verdict) {
		for (const {name, value, isList} of gate.fields(verdict))
			if (isList || !context.res.headers.has(name))
				context.header(name, value, {append: isList});
	}

	return async (context, next) => {
		const verdict = await gate.decide(context).catch((error) => {
			throw addResponse(error);
		});
		if (verdict === undefined)
			return next();
		context.set('rateLimit', verdict);
		if (verdict.allowed)
			await next();
		else
			context.res = await onDenied(context, verdict);
		tell(context, verdict);
		await gate.settle(verdict, context);
		return undefined;
	};
}

module.exports = {limitRequests};
