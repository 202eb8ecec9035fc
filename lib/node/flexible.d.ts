import { Options } from './index';

/** What a limiter of rate-limiter-flexible resolves to, and rejects with on a denial. */
export class RateLimiterRes {
	constructor(remainingPoints?: number, msBeforeNext?: number, consumedPoints?: number, isFirstInDuration?: boolean);
	/** An estimate: others may consume them meanwhile. */
	readonly remainingPoints: number;
	/** Of a denial: until these points may be consumed; else until all points are free again. */
	readonly msBeforeNext: number;
	readonly consumedPoints: number;
	readonly isFirstInDuration: boolean;
	toJSON(): { remainingPoints: number; msBeforeNext: number; consumedPoints: number; isFirstInDuration: boolean };
	toString(): string;
}

export interface FlexibleOptions extends Omit<Options, 'maxRequests' | 'timeWindowMs' | 'policy'> {
	/** 1 to 1,000,000,000. */
	points: number;
	/** In s, 0.1 to 2,678,400 (31 days). */
	duration: number;
	/** The policy. Default, and of '': made of points and duration. */
	keyPrefix?: string;
	/**
	 * In s: a denial by consume() blocks the key for so long, on all hosts; then all points are free. 0 (default): it doesn't. 15 (or three times
	 * duration, if that is less) to 31,536,000 (a year). Needs `operator`. Denials while database or agent is away block nobody; a block
	 * that fails is a warning of the process.
	 */
	blockDuration?: number;
	/** A Pool of `pg` whose role is a member of stint_operator, for block(), delete(), set() and blockDuration. Stays the app's. Needs the agent. */
	operator?: { query(text: string, values: unknown[]): Promise<{ rows: any[] }> };
}

/**
 * A limiter with rate-limiter-flexible's interface. Its execEvenly, insuranceLimiter, storeClient, blockOnConsumed, inMemoryBlockOnConsumed and
 * customDuration are refused: the constructor throws, or the call rejects, with an Error that says what is instead.
 */
export class RateLimiterStint {
	constructor(options: FlexibleOptions);
	readonly points: number;
	readonly duration: number;
	readonly keyPrefix: string;
	/** In s; 0: none. */
	readonly blockDuration: number;
	/** False. */
	readonly execEvenly: boolean;
	/** Rejects with a RateLimiterRes on a denial, with an Error for wrong use only. */
	consume(key: string | number, pointsToConsume?: number): Promise<RateLimiterRes>;
	/** null: the key has consumed nothing. Of one whose next consume() would be denied, consumedPoints is more than `points`; of others it never is. */
	get(key: string | number): Promise<RateLimiterRes | null>;
	/** Counts points, beyond the limit if need be. Rejects when the agent is away. */
	penalty(key: string | number, points?: number): Promise<RateLimiterRes>;
	/**
	 * Gives back points that this process has consumed for the key, last first, at most once for each consume(). The result says how many are left
	 * then. Rejects when none was given back: they were consumed too long ago, or by other processes, whose points no reward() reaches.
	 */
	reward(key: string | number, points?: number): Promise<RateLimiterRes>;
	/** Denies a key on all hosts, for so many seconds: 0.001 to 31,536,000 (a year), or 0: until delete(). Needs `operator`. */
	block(key: string | number, secDuration: number): Promise<RateLimiterRes>;
	/**
	 * Ends a block, and makes so many points (0 to 1,000,000,000) what the key has consumed in the present window; more than the limit have the
	 * effect of the limit. secDuration must be the limiter's, or left out. Takes as long as hosts need to drop what they held of the key, some
	 * seconds, in which it is denied; rejects if one doesn't say so in 20 s, or this host's agent is away. Needs `operator`.
	 */
	set(key: string | number, points: number, secDuration?: number): Promise<RateLimiterRes>;
	/**
	 * Ends a block, and forgets what was consumed; true: there was something. What hosts may hold of it is forgotten when they have heard
	 * of that, within seconds; in these a denial may yet be of what was consumed before. Needs `operator`.
	 */
	delete(key: string | number): Promise<boolean>;
	close(): void;
}
