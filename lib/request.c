/*
 * request.c - what a request says at each step, and what its answer means.
 */
#include <string.h>

#include "clock.h"
#include "connection.h"
#include "request.h"

struct request request_make(const struct question *question, request_finished *finished) {
	return (struct request){
		.question = *question,
		.give_up_ns = question->until_ns ? question->until_ns
	                                     : clock_fine_ns() + (uint64_t)question->limiter->timeout_ms * NS_PER_MS,
		.finished = finished,
	};
}

bool request_send_declare(const struct stint_limiter *limiter, uint32_t serial, int fd) {
	struct wire_declare message = limiter->declaration;
	message.head.serial = serial;
	if (atomic_load(&limiter->binding))
		message.head.flags |= WIRE_DECLARE_AGAIN;
	return connection_send(fd, &message, sizeof(message), limiter->policy, limiter->policy_length);
}

static uint16_t flags_of(const struct question *q) {
	if (!q->look)
		return 0;
	return q->of_several ? WIRE_WANT_PROVIDE : WIRE_WANT_PROVIDE | WIRE_WANT_LOOK;
}

bool request_send_want(const struct request *r, int fd) {
	const struct question *q = &r->question;
	uint64_t now_ns = clock_fine_ns();
	struct wire_want message = {
		.head = {.type = WIRE_WANT, .flags = flags_of(q), .serial = r->serial},
		.policy = atomic_load(&q->limiter->binding)->policy,
		.cost = q->cost,
		.timeout_ms = (uint32_t)clock_ms_up(clock_left_ns(now_ns, r->give_up_ns)),
		.sent_ms = (uint32_t)(now_ns / NS_PER_MS),
	};
	return connection_send(fd, &message, sizeof(message), q->id, q->length);
}

bool request_is_void(const struct request *r) {
	return r->status == 0 && r->verdict.allowed && clock_fine_ns() >= r->verdict.deadline_ns;
}

struct stint_result request_result(const struct request *r) {
	return (struct stint_result){
		.allowed = r->verdict.allowed,
		.source = (enum stint_source)r->verdict.source,
		.reason = (enum stint_reason)r->verdict.reason,
		.limit = r->verdict.limit,
		.remaining = r->verdict.remaining,
		.retry_after_ms = r->verdict.retry_after_ms,
		.reset_after_ms = r->verdict.reset_after_ms,
	};
}
