/*
 * index.js - what the package gives. The native addon is loaded with the first limiter that needs this host's agent.
 */
'use strict';
const {DistributedRateLimiter} = require('./limiter.js');
const {Agent, connect} = require('./agent.js');
const {ipClient} = require('./http.js');
const {PostgresCache} = require('./postgres_cache.js');

module.exports = {Agent, DistributedRateLimiter, PostgresCache, connect, ipClient};
