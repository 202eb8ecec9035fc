/*
 * postgres_cache.js - a cacheClient on PostgreSQL, by the functions stint.cache_... of the schema.
 */
'use strict';
const {show} = require('./options.js');

/** Needs a role that is a member of stint_cache. */
class PostgresCache {
	#pool;

	/** @param {{query: Function}} pool a Pool of `pg`, or whatever has its query(); stays the app's */
	constructor(pool) {
		if (typeof pool !== 'object' || pool === null || typeof pool.query !== 'function')
			throw new TypeError(`pool is ${show(pool)}, must be a Pool of pg`);
		this.#pool = pool;
	}

	async #select(text, values) {
		const {rows} = await this.#pool.query(text, values);
		return rows[0].value;
	}

	/** @returns {Promise<string|null>} */
	get(key) {
		return this.#select('select stint.cache_get($1) as value', [key]);
	}

	/** Sets a value for the next expiryMs. */
	async set(key, value, expiryMs) {
		await this.#select('select stint.cache_set($1, $2, $3) as value', [key, String(value), expiryMs]);
	}

	/** @returns {Promise<number>} the new count; a key that isn't there begins with 1, and lasts for expiryMs */
	async incrementAndGet(key, expiryMs) {
		return Number(await this.#select('select stint.cache_increment_and_get($1, $2) as value', [key, expiryMs]));
	}

	/** @returns {Promise<number>} the new count, not below 0 */
	async decrementAndGet(key) {
		return Number(await this.#select('select stint.cache_decrement_and_get($1) as value', [key]));
	}
}

module.exports = {PostgresCache};
