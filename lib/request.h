/*
 * request.h - one check that the table could not answer, on its way to the agent
 * and back.
 *
 * The owner of a request (a thread that waits, or an asynchronous check) submits
 * it and is told when it is finished. In between, only the thread that holds the
 * channel's lock may touch it.
 */
#ifndef STINT_REQUEST_H
#define STINT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "limiter.h"
#include "question.h"
#include "stint.h"
#include "protocol/wire.h"

struct request;

enum request_step {
	REQUEST_ATTACHING, /* has sent nothing: the agent has not answered the HELLO of this connection */
	REQUEST_DECLARING, /* waits for DECLARED: its policy is not declared on this connection yet */
	REQUEST_WANTING,   /* has sent WANT, or waits for room in the socket to send it */
	REQUEST_FINISHED,
};

/* A status that is neither an error nor a verdict: the agent can't help, so limiter_decide_alone() decides. */
#define REQUEST_DECIDE_ALONE 1

/* Tells the owner that its request is finished. Called on any thread, which holds the channel's lock. */
typedef void request_finished(struct request *);

struct request {
	LIST_ENTRY(request) same_hash; /* the outstanding requests of the same chain */
	TAILQ_ENTRY(request) unsent_link;
	struct question question;
	uint64_t give_up_ns;
	request_finished *finished;

	enum request_step step;
	bool unsent;      /* the socket was full: its message waits in outstanding.unsent */
	bool reconnected; /* the connection broke after this had sent a message: the next time ends the request */
	bool redeclared;  /* the agent had dropped the policy once: the next time ends the request */
	uint32_t serial;
	uint32_t declare_serial;     /* the DECLARE on which its WANT relies */
	uint64_t heard;              /* channel.heard when this was submitted */
	int status;                  /* when finished: 0, an error, or REQUEST_DECIDE_ALONE */
	struct wire_verdict verdict; /* valid when status is 0 */
};

LIST_HEAD(request_chain, request);
TAILQ_HEAD(request_queue, request);

struct request request_make(const struct question *, request_finished *);

/* Each sends one message. Returns false when the socket is full. */
bool request_send_want(const struct request *, int fd);
bool request_send_declare(const struct stint_limiter *, uint32_t serial, int fd);

/* Whether the verdict is an admission whose deadline has passed, because it came or was read too late. Nobody may
 * use it. */
bool request_is_void(const struct request *);

struct stint_result request_result(const struct request *);

#endif
