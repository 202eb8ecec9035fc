/*
 * ask.c - what the table doesn't tell: the agent is asked, and without one the process decides.
 */
#include "ask.h"
#include "attachment.h"
#include "limiter.h"

int ask_agent(const struct question *q, struct stint_result *result) {
	struct conversation *conversation = attachment_conversation(q->limiter->attachment);
	if (!conversation)
		return STINT_ENOMEM;
	struct request request = request_make(q, NULL);
	int status = channel_ask(&conversation->channel, &request);
	if (status == 0)
		*result = request_result(&request);
	return status;
}

int ask_async(const struct question *q, struct stint_result *result, stint_callback *callback, void *arg) {
	struct conversation *conversation = attachment_conversation(q->limiter->attachment);
	if (!conversation)
		return STINT_ENOMEM;
	int status = async_start(&conversation->async, q, callback, arg, &result->ticket);
	if (status != REQUEST_DECIDE_ALONE)
		return status;
	limiter_decide_alone(q, result);
	limiter_tell(q->limiter, result);
	return 1;
}

int ask_and_wait(const struct question *q, struct stint_result *result) {
	int status = ask_agent(q, result);
	if (status < 0)
		return status;
	if (status == REQUEST_DECIDE_ALONE)
		limiter_decide_alone(q, result);
	limiter_tell(q->limiter, result);
	return 0;
}

COLD void ask_for_more(struct stint_limiter *limiter, const char *id, size_t length) {
	struct conversation *c = attachment_find_conversation(limiter->attachment);
	if (c)
		channel_send_low(&c->channel, limiter, id, length);
}
