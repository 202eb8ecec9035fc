import { DistributedRateLimiter, Verdict } from './index';
import { GateOptions } from './middleware';

export interface MiddlewareOptions extends GateOptions<any> {
	/** Called when the answer is there. False: the request did not count after all, and is given back if that is still possible. */
	counts?: (context: any) => boolean | Promise<boolean>;
	/** Returns the answer to a denial. Default: 429. */
	onDenied?: (context: any, verdict: Verdict) => Response | Promise<Response>;
}

/** A middleware: context.get('rateLimit') is the verdict. An id that is none is answered with 400. The address is known with @hono/node-server only. */
export function limitRequests(limiter: DistributedRateLimiter, options?: MiddlewareOptions): (context: any, next: () => Promise<void>) => Promise<any>;
