/*
 * check_all.c - stint_check_all(), waiting or not.
 */
#include <stdlib.h>

#include "ask.h"
#include "attachment.h"
#include "error.h"
#include "limiter.h"
#include "sized.h"
#include "together.h"

static void tell_low(const struct together *t) {
	struct conversation *conversation = attachment_find_conversation(t->part[0].limiter->attachment);
	if (conversation)
		together_tell_low(t, &conversation->channel);
}

/* Asks the agent about one part. Returns whether that decides, or an error. */
static int ask_about_part(struct together *t) {
	struct stint_result verdict;
	struct question q = together_question(t);
	int status = together_check_limiters(t);
	if (status != 0)
		return status;
	status = ask_agent(&q, &verdict);
	return status < 0 ? together_blame(t, status) : together_hear(t, status, &verdict);
}

static int check_all(const struct stint_part *parts, size_t part_size, size_t count, struct stint_result *result) {
	struct together t;
	int status = together_make(&t, parts, part_size, count);
	while (status == 0 && !together_decide(&t))
		status = ask_about_part(&t);
	if (status < 0)
		return together_count_error(&t, status);
	*result = t.result;
	tell_low(&t);
	return 0;
}

/* Returns 0 when it is pending, and *t belongs to the check then; 1 when it is decided; or an error. */
static int start(struct together *t, uint64_t *ticket, stint_callback *callback, void *arg) {
	struct conversation *conversation = attachment_conversation(t->part[0].limiter->attachment);
	if (!conversation)
		return STINT_ENOMEM;
	for (;;) {
		int status = together_check_limiters(t);
		if (status != 0)
			return status;
		status = async_start_together(&conversation->async, t, callback, arg, ticket);
		if (status != REQUEST_DECIDE_ALONE)
			return status;
		if (together_hear(t, status, NULL) || together_decide(t))
			return 1;
	}
}

static int ask_later(const struct together *asked, struct stint_result *result, stint_callback *callback,
                     void *arg) {
	struct together *t = together_keep(asked);
	if (!t)
		return together_count_error(asked, error_set(STINT_ENOMEM, "no memory for a check of several limiters"));
	int status = start(t, &result->ticket, callback, arg);
	if (status == 1) {
		*result = t->result;
		tell_low(t);
	}
	if (status < 0)
		together_count_error(t, status);
	if (status != 0)
		free(t);
	return status;
}

static int check_all_async(const struct stint_part *parts, size_t part_size, size_t count,
                           struct stint_result *result, stint_callback *callback, void *arg) {
	struct together t;
	int status = together_make(&t, parts, part_size, count);
	if (status != 0)
		return together_count_error(&t, status);
	if (!together_decide(&t))
		return ask_later(&t, result, callback, arg);
	*result = t.result;
	tell_low(&t);
	return 1;
}

int stint_check_all_sized(const struct stint_part *parts, size_t part_size, size_t count,
                          struct stint_result *result, size_t result_size) {
	struct stint_result own = {0};
	int status = sized_check_result(result_size);
	if (status == 0)
		status = check_all(parts, part_size, count, &own);
	if (status == 0)
		sized_copy_result(result, result_size, &own);
	return status;
}

int stint_check_all_async_sized(const struct stint_part *parts, size_t part_size, size_t count,
                                struct stint_result *result, size_t result_size, stint_callback *callback,
                                void *arg) {
	struct stint_result own = {0};
	int status = sized_check_result(result_size);
	if (status == 0)
		status = check_all_async(parts, part_size, count, &own, callback, arg);
	if (status >= 0)
		sized_copy_result(result, result_size, &own);
	return status;
}
