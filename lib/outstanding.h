/*
 * outstanding.h - the requests that have no answer yet: what each has to say next,
 * and whose answer it was.
 *
 * A request goes from step to step as its connection does (request.h). All that
 * is wanted for one limiter waits for one DECLARE, which the first of them sends.
 * What finds the socket full waits in the order of arrival.
 *
 * All under the channel's lock.
 */
#ifndef STINT_OUTSTANDING_H
#define STINT_OUTSTANDING_H

#include <stdbool.h>
#include <stdint.h>

#include "descriptor.h"
#include "limiter.h"
#include "request.h"

/* They are found by serial. Threads that wait are tens; with STINT_ASYNC_MAX checks a chain has 64. */
#define REQUEST_CHAINS 1024u

struct outstanding {
	const struct descriptor *socket;
	uint64_t connection; /* the present one's number */
	bool ready;          /* WELCOME came on it */

	struct request_chain chain[REQUEST_CHAINS];
	uint32_t count;
	uint32_t last_serial;
	struct request_queue unsent;
	bool unsent_changed; /* since somebody looked, who sets this back */
	struct limiter_list declaring; /* those whose DECLARE the present connection has not answered yet */
};

void outstanding_init(struct outstanding *, const struct descriptor *socket);

/* A new connection: nothing is declared on it. */
void outstanding_connect(struct outstanding *, uint64_t connection);

/* WELCOME came: says what has waited for it. */
void outstanding_welcome(struct outstanding *);

void outstanding_disconnect(struct outstanding *);

void outstanding_add(struct outstanding *, struct request *);
void outstanding_remove(struct outstanding *, struct request *);

/* Ends it, and tells its owner. */
void outstanding_finish(struct outstanding *, struct request *, int status);

/* Says what is next to say, now or when there is room. */
void outstanding_advance(struct outstanding *, struct request *);
void outstanding_send_leftovers(struct outstanding *);

/* The action may finish the request. */
void outstanding_for_each(struct outstanding *, void (*action)(void *context, struct request *), void *context);

/* Whose VERDICT this is, whose DECLARED; NULL when it is nobody's, or nobody's any more. */
struct request *outstanding_find(struct outstanding *, uint32_t serial);
struct stint_limiter *outstanding_find_declaring(struct outstanding *, uint32_t serial);

bool outstanding_is_declared(const struct outstanding *, const struct stint_limiter *);

/* The agent has answered the limiter's DECLARE: all who waited for it go on, or fail with it. Nobody may be left of them. */
void outstanding_declared(struct outstanding *, struct stint_limiter *, int status);

/* The agent doesn't know the policy any more. False when this is the request's answer, else it is outstanding again. */
bool outstanding_declare_again(struct outstanding *, struct request *);

/* Its DECLARE has, or will have, no answer. */
void outstanding_forget(struct outstanding *, struct stint_limiter *);

#endif
