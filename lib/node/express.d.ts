import { DistributedRateLimiter, HeaderOptions, Options, Verdict } from './index';

export interface MiddlewareOptions {
	/** The client's id; undefined or null: this request isn't limited. Default: ipClient(request.ip). */
	clientId?: (request: any) => string | null | undefined | Promise<string | null | undefined>;
	/** Default: 1. */
	cost?: (request: any) => number | Promise<number>;
	/** false: none. */
	headers?: HeaderOptions | false;
	/** Answers a denial. Default: 429. */
	onDenied?: (request: any, response: any, next: (error?: unknown) => void, verdict: Verdict) => void;
}

/** A middleware: request.rateLimit is the verdict. An id that is none makes an error with the status 400. */
export function limitRequests(limiter: DistributedRateLimiter, options?: MiddlewareOptions): (request: any, response: any, next: (error?: any) => void) => void;

/** A store for express-rate-limit, on this host's agent. */
export class ExpressRateLimitStore {
	/** maxRequests and timeWindowMs default to express-rate-limit's limit and windowMs. */
	constructor(options?: Partial<Options>);
	localKeys: boolean;
	init(options: any): void;
	get(key: string): Promise<{ totalHits: number; resetTime: Date }>;
	increment(key: string): Promise<{ totalHits: number; resetTime: Date }>;
	/** Does nothing: what was admitted counts. */
	decrement(key: string): Promise<void>;
	/** Rejects: a client is reset by the operator. */
	resetKey(key: string): Promise<void>;
	shutdown(): void;
}
