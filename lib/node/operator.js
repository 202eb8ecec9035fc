/*
 * operator.js - what operators may do to a client, for an app that has such a role, by the functions of the schema.
 */
'use strict';
const {Agent} = require('./agent.js');
const {show} = require('./options.js');

const NO_DATA_FOUND = 'P0002';

/** Whether a function of the schema has refused something because there is no such policy, or block. */
const isUnknown = (error) => error.code === NO_DATA_FOUND;

/** Needs a role that is a member of stint_operator. */
class Operator {
	#pool;

	/** @param {{query: Function}} pool a Pool of `pg`, or whatever has its query(); stays the app's */
	constructor(pool) {
		if (typeof pool !== 'object' || pool === null || typeof pool.query !== 'function')
			throw new TypeError(`operator is ${show(pool)}, must be a Pool of pg`);
		this.#pool = pool;
	}

	/** Blocks a client for so long; null: until it is unblocked. */
	async block(policy, id, forMs) {
		await this.#pool.query('select stint.block_client($1, $2, null, $3)', [policy, id, forMs]);
	}

	/** The same, but of a block that there is nothing changes. @returns {Promise<boolean>} whether there was none */
	async blockUnlessBlocked(policy, id, forMs) {
		const {rows} = await this.#pool.query('select stint.block_client($1, $2, null, $3) where not exists ' +
			'(select from stint.client_limit where policy = $1 and client_id = $2 and blocked)', [policy, id, forMs]);
		return rows.length > 0;
	}

	/** Ends a block, if there is one. */
	async unblock(policy, id) {
		try {
			await this.#pool.query('select stint.unblock_client($1, $2)', [policy, id]);
		} catch (error) {
			if (!isUnknown(error))
				throw error;
		}
	}

	/** Forgets what was counted for a client: what hosts may hold of it unspent when they have said that they don't any more. */
	async reset(policy, id) {
		await this.#pool.query('select from stint.reset_client($1, $2)', [policy, id]);
	}

	/** @returns {Promise<boolean>} whether anything counts for a client */
	async counts(policy, id) {
		const {rows} = await this.#pool.query('select from stint.client_charge where policy = $1 and client_id = $2 limit 1', [policy, id]);
		return rows.length > 0;
	}
}

/** An option `operator`; undefined: there is none. `cacheClient`, if it is no agent, counts elsewhere than operators reach. */
function makeOperator(pool, cacheClient) {
	if (pool === undefined)
		return undefined;
	if (cacheClient !== undefined && !(cacheClient instanceof Agent))
		throw new TypeError('operator needs this host\'s agent, must be left out with a cacheClient');
	return new Operator(pool);
}

/** The operator, if there is one; `whose`: what only operators may do. */
function demand(operator, whose) {
	if (operator === undefined)
		throw new TypeError(`operator is undefined, must be a Pool of pg with the role stint_operator: ${whose}`);
	return operator;
}

module.exports = {demand, isUnknown, makeOperator};
