/*
 * outstanding.h - the requests that have no answer yet: which message each sends
 * next, and which of them an answer is for.
 *
 * The state of the connection decides the step of a request (request.h). All
 * requests of one limiter wait for one DECLARE, which the first of them sends.
 * Requests that find the socket full wait for room in the order of arrival.
 *
 * The caller of every function here holds the channel's lock.
 */
#ifndef STINT_OUTSTANDING_H
#define STINT_OUTSTANDING_H

#include <stdbool.h>
#include <stdint.h>

#include "descriptor.h"
#include "limiter.h"
#include "request.h"

/* Requests are found by serial, in a hash table. Waiting threads are tens; STINT_ASYNC_MAX checks make chains of
 * 64. */
#define REQUEST_CHAINS 1024u

struct outstanding {
	const struct descriptor *socket;
	uint64_t connection; /* the present connection's number */
	bool ready;          /* WELCOME came on this connection */

	struct request_chain chain[REQUEST_CHAINS];
	uint32_t count;
	uint32_t last_serial;
	struct request_queue unsent;
	bool unsent_changed;           /* `unsent` has changed; whoever reads this sets it back */
	struct limiter_list declaring; /* limiters whose DECLARE the present connection has not answered yet */
};

void outstanding_init(struct outstanding *, const struct descriptor *socket);

/* Begins a new connection, on which no policy is declared. */
void outstanding_connect(struct outstanding *, uint64_t connection);

/* Notes that WELCOME came, and sends what the requests have kept until now. */
void outstanding_welcome(struct outstanding *);

/* Notes that the connection is lost. */
void outstanding_disconnect(struct outstanding *);

/* Adds a request and advances it; removes one without telling its owner. */
void outstanding_add(struct outstanding *, struct request *);
void outstanding_remove(struct outstanding *, struct request *);

/* Ends the request and tells its owner. */
void outstanding_finish(struct outstanding *, struct request *, int status);

/* Sends the request's next message, now or when the socket has room. */
void outstanding_advance(struct outstanding *, struct request *);

/* Sends the messages that found the socket full, as far as it has room now. */
void outstanding_send_leftovers(struct outstanding *);

/* Calls the action with each request. The action may finish that request. */
void outstanding_for_each(struct outstanding *, void (*action)(void *context, struct request *), void *context);

/* Return the request, or the limiter, to which the VERDICT, or the DECLARED, with this serial belongs; NULL when
 * there is none, or none any more. */
struct request *outstanding_find(struct outstanding *, uint32_t serial);
struct stint_limiter *outstanding_find_declaring(struct outstanding *, uint32_t serial);

/* Whether the limiter's policy is declared on the present connection. */
bool outstanding_is_declared(const struct outstanding *, const struct stint_limiter *);

/* Notes the agent's answer to the limiter's DECLARE. The requests that wait for it, if any, go on with status 0,
 * else end with the status. */
void outstanding_declared(struct outstanding *, struct stint_limiter *, int status);

/* Handles the answer that the agent has dropped the policy. Returns true if the request declares it once more,
 * false if this is the request's answer. */
bool outstanding_declare_again(struct outstanding *, struct request *);

/* Removes the limiter from `declaring`: its DECLARE has been answered, or will not be. */
void outstanding_forget(struct outstanding *, struct stint_limiter *);

#endif
