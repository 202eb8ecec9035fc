/* index.mjs - the same for ES modules: one copy of everything, whichever way it is loaded. */
import stint from './index.js';

export const {Agent, DistributedRateLimiter, PostgresCache, connect, ipClient} = stint;
export default stint;
