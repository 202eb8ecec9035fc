import { HeaderOptions } from './index';

/** What the middlewares share. Request: what the framework gives. */
export interface GateOptions<Request> {
	/** The client's id; undefined or null: this request isn't limited. Default: ipClient() of the address that the framework tells. */
	clientId?: (request: Request) => string | null | undefined | Promise<string | null | undefined>;
	/** Default: 1. */
	cost?: (request: Request) => number | Promise<number>;
	/** false: none. */
	headers?: HeaderOptions | false;
}
