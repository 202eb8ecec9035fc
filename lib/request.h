/*
 * request.h - one check that the table could not answer, on its way to the agent
 * and back.
 *
 * A request is in the hands of whoever holds its channel's lock. Its owner (a
 * thread that waits, or an asynchronous check) submits it and is told when it is
 * finished.
 */
#ifndef STINT_REQUEST_H
#define STINT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "limiter.h"
#include "stint.h"
#include "protocol/wire.h"

struct request;

enum request_step {
	REQUEST_ATTACHING, /* nothing said yet: the agent has not answered our HELLO */
	REQUEST_DECLARING, /* waits for its limiter's DECLARE: this connection has not heard of the policy */
	REQUEST_WANTING,   /* said WANT */
	REQUEST_FINISHED,
};

/* Not an error and not a verdict: the agent can't help, limiter_decide_alone() says what follows. */
#define REQUEST_DECIDE_ALONE 1

/* Runs under the channel's lock, on any thread. */
typedef void request_finished(struct request *);

struct request {
	LIST_ENTRY(request) same_hash; /* of those under way */
	TAILQ_ENTRY(request) unsent_link;
	struct stint_limiter *limiter;
	const char *id;
	size_t id_length;
	uint32_t cost;
	uint64_t give_up_ns;
	request_finished *finished;

	enum request_step step;
	bool unsent;       /* its message found the socket full */
	bool reconnected;  /* the connection broke under it once: the second time is the last */
	bool redeclared;   /* the agent had forgotten the policy; the same */
	uint32_t serial;
	uint32_t declare_serial; /* which DECLARE its WANT relies on */
	uint64_t heard;    /* how many messages the channel had heard when this began */
	int status;        /* when finished: 0, an error, or REQUEST_DECIDE_ALONE */
	struct wire_verdict verdict; /* when status is 0 */
};

LIST_HEAD(request_chain, request);
TAILQ_HEAD(request_queue, request);

struct request request_make(struct stint_limiter *, const char *id, size_t id_length, uint32_t cost,
	request_finished *);

/* Each sends one message. False when the socket is full. */
bool request_send_want(const struct request *, int fd);
bool request_send_declare(const struct stint_limiter *, uint32_t serial, int fd);

/* An admission that came too late, or lay about too long: nobody may go on with it. */
bool request_is_void(const struct request *);

struct stint_result request_result(const struct request *);

#endif
