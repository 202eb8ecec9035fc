import { DistributedRateLimiter, Options, Verdict } from './index';
import { GateOptions } from './middleware';

export interface HookOptions extends GateOptions<any> {
	/** Called when the response has been sent. False: the request did not count after all, and is given back if that is still possible. */
	counts?: (request: any, reply: any) => boolean | Promise<boolean>;
	/** Answers a denial, or throws. Default: 429. */
	onDenied?: (request: any, reply: any, verdict: Verdict) => unknown;
}

/** An onRequest hook, of an instance or of one route: request.rateLimit is the verdict. An id that is none makes an error with the status 400. */
export function limitRequests(limiter: DistributedRateLimiter, options?: HookOptions): (request: any, reply: any) => Promise<unknown>;

/** A plugin: fastify.register(stint, { limiter, ...options }) limits the routes of the instance that come after it. */
export function stint(fastify: any, options: HookOptions & { limiter: DistributedRateLimiter }, done: (error?: Error) => void): void;

/**
 * A class to be passed to @fastify/rate-limit as `store`. Each pair of the plugin's max and timeWindow, and each route that has its own, is a policy.
 * continueExceeding, exponentialBackoff, and a ban above 0 are refused.
 * @param options policy: what the policies' names begin with, 1 to 30 characters. Default: fastify-rate-limit
 */
export function makeFastifyRateLimitStore(options?: Omit<Partial<Options>, 'maxRequests' | 'timeWindowMs'>): {
	new (params: any): {
		incr(key: string, callback: (error: Error | null, result?: { current: number; ttl: number }) => void, timeWindow: number, max: number): void;
		read(key: string, callback: (error: Error | null, result?: { current: number; ttl: number }) => void, timeWindow: number, max: number): void;
		child(params: any): any;
	};
};
