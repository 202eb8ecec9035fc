/*
 * operator.js - what operators may do to a client, for an app that has such a role, by the functions of the schema.
 */
'use strict';
const {show} = require('./options.js');

const NO_DATA_FOUND = 'P0002';

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

	/** Ends a block, if there is one. */
	async unblock(policy, id) {
		try {
			await this.#pool.query('select stint.unblock_client($1, $2)', [policy, id]);
		} catch (error) {
			if (error.code !== NO_DATA_FOUND)
				throw error;
		}
	}

	/** Forgets what was counted for a client. */
	async reset(policy, id) {
		await this.#pool.query('select from stint.reset_client($1, $2)', [policy, id]);
	}
}

module.exports = {Operator};
