/* As TypeScript's lib `esnext.disposable` has it, which an app may leave out. */
declare global {
	interface SymbolConstructor {
		readonly dispose: unique symbol;
	}
}

/** What a check found. refund() needs the object itself: a copy can't be given back. */
export interface Verdict {
	allowed: boolean;
	/** It is allowed only because its policy is a shadow. The rest is as of the denial, and nothing was taken. */
	shadowDenied: boolean;
	/** What applies to this client: maxRequests, or a limit of its own, or the fallback's; 0: blocked. */
	limit: number;
	/** An estimate: others may spend it meanwhile. */
	remaining: number;
	/** 0 when allowed, and not because of a shadow; else until this cost may be admitted, if nobody else is. */
	retryAfterMs: number;
	/** Until the whole limit is free again, if nobody sends. */
	resetAfterMs: number;
	/** In which limit counts: the policy's, an operator's perhaps, or the fallback's. */
	timeWindowMs: number;
	/** Who decided: the table, the database, this host without it, this process alone, an advance (mode "relaxed"), or the store. */
	source: 'lease' | 'database' | 'fallback' | 'local' | 'advance' | 'cache';
	policy: string;
	reason: 'admitted' | 'over_limit' | 'blocked' | 'cost_above_limit' | 'unavailable';
	/** What went wrong, when that is why source is "local". */
	error?: string;
}

/** This host's agent: to be passed as cacheClient. */
export class Agent {
	constructor(socketPath?: string);
	readonly socketPath: string | undefined;
}

/** The agent whose socket this is; default: $STINT_SOCKET, or /run/stint/agent.sock. Connects with the first check. */
export function connect(socketPath?: string): Agent;

/** A store of counts: Redis, PostgreSQL, or anything that does this. It may return a count as a number or as its digits. */
export interface CacheClient {
	get(key: string): unknown;
	set(key: string, value: string, expiryMs: number): unknown;
	/** Atomic. A key that isn't there begins with 1 and expires after expiryMs; one that is there expires when it would have. */
	incrementAndGet(key: string, expiryMs: number): unknown;
	/** Atomic. */
	decrementAndGet(key: string): unknown;
}

/** A CacheClient on PostgreSQL, over a Pool of pg. Its role is a member of stint_cache. */
export class PostgresCache implements CacheClient {
	constructor(pool: { query(text: string, values: unknown[]): Promise<{ rows: any[] }> });
	get(key: string): Promise<string | null>;
	set(key: string, value: string, expiryMs: number): Promise<void>;
	incrementAndGet(key: string, expiryMs: number): Promise<number>;
	decrementAndGet(key: string): Promise<number>;
}

export interface Options {
	/** 1 to 1,000,000,000. */
	maxRequests: number;
	/** 100 to 2,678,400,000 (31 days). */
	timeWindowMs: number;
	/** Who decides. Default: this host's agent. A store goes with any window up to 15 days, and without resolution and mode. */
	cacheClient?: Agent | CacheClient;
	/** Per host, database away. Default: 2 * maxRequests. */
	fallbackMaxRequests?: number;
	/** Default: timeWindowMs. */
	fallbackTimeWindowMs?: number;
	/** Per process and fallbackTimeWindowMs, agent or store away; 0: nobody. Default: the fallback's. */
	localMaxRequests?: number;
	/** The limit's name, the same in all processes. Default: made of the limits; those without a name and with the same limits count together. */
	policy?: string;
	algorithm?: 'sliding_window' | 'fixed_window';
	/** Sub-windows of a sliding window, 1 to 60. Default: 20, or 10 of a window below 2 s. */
	resolution?: number;
	mode?: 'strict' | 'relaxed';
	/** The longest a check waits, 1 to 60,000. Default: 1000. */
	timeoutMs?: number;
	/** Who decides when the agent doesn't: a lenient limit of this process (default), nobody passes, or all pass. */
	onError?: 'local' | 'deny' | 'allow';
	/** Nobody is denied: verdicts' shadowDenied tells who would be. All is counted as if they were. Default: false. */
	shadow?: boolean;
	/** Take the limits that the policy has, declare none. A check on an unknown policy is decided as onError says. Default: false. */
	mustExist?: boolean;
}

/** A limiter of a policy that others declare, or an operator (`stint policy set`): it needs no limits. Not with a store. */
export interface ExistingOptions extends Partial<Options> {
	policy: string;
	mustExist: true;
}

export interface CheckOptions {
	/** How much of the limit this request takes, all or nothing: 1 to 1,000,000,000; with a store 1 to 1000. Default: 1. */
	cost?: number;
}

export interface Part {
	limiter: DistributedRateLimiter;
	clientId: string;
	cost?: number;
}

export interface HeaderOptions {
	/** How RateLimit-Policy and RateLimit are written. Default: as draft-ietf-httpapi-ratelimit-headers-11 has them. */
	version?: 'draft-11' | 'none';
	/** X-RateLimit-Limit, -Remaining and -Reset as well. Default: false. */
	xRateLimit?: boolean;
}

/**
 * An address as a client's id: IPv4 in IPv6 is unwrapped, IPv6 cut to a prefix (default 64: whoever has one address has 2^64).
 * Throws a TypeError when it is none. Needs the addon.
 */
export function ipClient(address: string, options?: { ipv4Prefix?: number; ipv6Prefix?: number }): string;

/** Limits clients, each by its id, to maxRequests in any timeWindowMs, together with all other processes. */
export class DistributedRateLimiter {
	/** Throws a TypeError or a RangeError that names the option, its value and its range. */
	constructor(options: Options | ExistingOptions);
	/**
	 * Whether this client may go on. Rejects for a wrong clientId, or after close(), only.
	 * @param clientId 1 to 255 bytes in UTF-8, without a NUL or a lone surrogate
	 */
	isAllowed(clientId: string): Promise<boolean>;
	/** The same with a cost, and with the reasons. Rejects for wrong arguments, or after close(), only. */
	check(clientId: string, options?: CheckOptions): Promise<Verdict>;
	/** The verdict, if it needs nobody else; otherwise undefined, and nothing has been taken. Throws for wrong arguments. */
	tryCheck(clientId: string, options?: CheckOptions): Verdict | undefined;
	/** What check() would say now; takes nothing. Needs the agent. */
	peek(clientId: string, options?: CheckOptions): Promise<Verdict>;
	/** Counts a cost that is known only afterwards, beyond the limit if need be: then the client is in debt. False: nothing was counted, the agent is away. */
	charge(clientId: string, options?: CheckOptions): boolean;
	/**
	 * Gives back what a check of this limiter has taken: the request did not count after all. At most once for each verdict, and soon: what the
	 * agent has told the database of stays counted (with a store: until the window in which it was counted ends). False: it wasn't given back.
	 * Throws for a copy, another limiter's verdict, a cost above what was taken.
	 * @param options cost: 1 to what was taken; default: all of it
	 */
	refund(verdict: Verdict, options?: CheckOptions): boolean;
	/** One check of several limiters of one agent, all or nothing: 1 to 16 parts. Its verdict, and what refund() gives back, is that of one part. */
	static checkAll(parts: readonly Part[]): Promise<Verdict & { part: number }>;
	/** What it was made with, and its policy. */
	readonly options: Readonly<Options | ExistingOptions> & { readonly policy: string };
	/** Header fields that tell a verdict, in pairs: RateLimit-Policy, RateLimit, and on a denial Retry-After. Needs the addon. */
	headers(verdict: Verdict, options?: HeaderOptions): [string, string][];
	/** Ends it. Checks that wait are denied at once, or allowed if onError says so; those that a store was asked about are decided as usual. */
	close(): void;
	/** close(), at the end of the block of `using limiter = ...`. Not there in Node.js 18 before 18.18. */
	[Symbol.dispose](): void;
}
