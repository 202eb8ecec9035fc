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
	/** A Pool of `pg` whose role is a member of stint_operator, for block() and delete(). Stays the app's. */
	operator?: { query(text: string, values: unknown[]): Promise<{ rows: any[] }> };
}

/**
 * A limiter with rate-limiter-flexible's interface. Its blockDuration, execEvenly, insuranceLimiter and storeClient are refused, as are
 * set() and customDuration: they reject, or throw, with an Error that says what is instead.
 */
export class RateLimiterStint {
	constructor(options: FlexibleOptions);
	readonly points: number;
	readonly duration: number;
	readonly keyPrefix: string;
	/** Rejects with a RateLimiterRes on a denial, with an Error for wrong use only. */
	consume(key: string | number, pointsToConsume?: number): Promise<RateLimiterRes>;
	/** null: the key has consumed nothing. */
	get(key: string | number): Promise<RateLimiterRes | null>;
	/** Counts points, beyond the limit if need be. Rejects when the agent is away. */
	penalty(key: string | number, points?: number): Promise<RateLimiterRes>;
	/**
	 * Gives back points that this process has consumed for the key, last first, at most once for each consume(). The result says how many are left
	 * then. Rejects when none was given back: they were consumed too long ago, or by other processes.
	 */
	reward(key: string | number, points?: number): Promise<RateLimiterRes>;
	/** Denies a key on all hosts, for so many seconds: 0.001 to 31,536,000 (a year), or 0: until delete(). Needs `operator`. */
	block(key: string | number, secDuration: number): Promise<RateLimiterRes>;
	set(key: string | number, points: number, secDuration: number): Promise<never>;
	/**
	 * Ends a block, and forgets what was consumed; true: there was something. What hosts may hold of it is forgotten when they have heard
	 * of that, within seconds. Needs `operator`.
	 */
	delete(key: string | number): Promise<boolean>;
	close(): void;
}
