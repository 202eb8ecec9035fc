/*
 * outstanding.h - the requests of a channel that have no answer yet: what each has
 * to say next, and whose answer it was.
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

struct channel;
struct request;
struct stint_limiter;

void outstanding_add(struct channel *, struct request *);
void outstanding_remove(struct channel *, struct request *);

/* Ends it, and tells its owner. */
void outstanding_finish(struct channel *, struct request *, int status);

/* Says what is next to say, now or when there is room. */
void outstanding_advance(struct channel *, struct request *);
void outstanding_send_leftovers(struct channel *);

/* The action may finish the request. */
void outstanding_for_each(struct channel *, void (*action)(struct channel *, struct request *));

/* Whose VERDICT this is, whose DECLARED; NULL when it is nobody's, or nobody's any more. */
struct request *outstanding_find(struct channel *, uint32_t serial);
struct stint_limiter *outstanding_find_declaring(struct channel *, uint32_t serial);

bool outstanding_is_declared(const struct channel *, const struct stint_limiter *);

/* The agent has answered the limiter's DECLARE: all who waited for it go on, or fail with it. Nobody may be left of them. */
void outstanding_declared(struct channel *, struct stint_limiter *, int status);

/* The agent doesn't know the policy any more. False when this is the request's answer, else it is under way again. */
bool outstanding_declare_again(struct channel *, struct request *);

/* Its DECLARE has, or will have, no answer. */
void outstanding_forget(struct channel *, struct stint_limiter *);

#endif
