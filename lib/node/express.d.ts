import { DistributedRateLimiter, Options, Verdict } from './index';
import { GateOptions } from './middleware';

export interface MiddlewareOptions extends GateOptions<any> {
	/** Called when the response has been sent. False: the request did not count after all, and is given back if that is still possible. */
	counts?: (request: any, response: any) => boolean | Promise<boolean>;
	/** Answers a denial. Default: 429. */
	onDenied?: (request: any, response: any, next: (error?: unknown) => void, verdict: Verdict) => void;
}

/** A middleware: request.rateLimit is the verdict. An id that is none makes an error with the status 400. */
export function limitRequests(limiter: DistributedRateLimiter, options?: MiddlewareOptions): (request: any, response: any, next: (error?: any) => void) => void;

/** Options of DistributedRateLimiter's. Default: express-rate-limit's limit and windowMs; policy: made of these, so stores of the same limits count together. */
export interface StoreOptions extends Partial<Options> {
	/** A Pool of `pg` whose role is a member of stint_operator, for resetKey(). Stays the app's. Needs the agent. */
	operator?: { query(text: string, values: unknown[]): Promise<{ rows: any[] }> };
}

/** A store for express-rate-limit, on this host's agent, or on a cacheClient, which knows no get(). */
export class ExpressRateLimitStore {
	/** maxRequests and timeWindowMs default to express-rate-limit's limit and windowMs. A limit that is a function needs maxRequests. */
	constructor(options?: StoreOptions);
	localKeys: boolean;
	/** After init(): what tells its keys from those of other stores. */
	prefix?: string;
	init(options: any): void;
	get(key: string): Promise<{ totalHits: number; resetTime: Date }>;
	increment(key: string): Promise<{ totalHits: number; resetTime: Date }>;
	/**
	 * With skipFailedRequests or skipSuccessfulRequests: gives the client's last admission back, if that is still possible. It isn't told which
	 * request it is about: so after n denials within a window, n calls give back nothing.
	 */
	decrement(key: string): Promise<void>;
	/**
	 * Forgets what was counted for a client; what hosts may hold of it unspent when they have heard of that, within seconds. A block by an
	 * operator stays. Needs `operator`, and rejects when the database is away.
	 */
	resetKey(key: string): Promise<void>;
	shutdown(): void;
}
