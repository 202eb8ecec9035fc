/*
 * lifetime.c - what an app makes and frees: attachments and limiters.
 */
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "event_loop.h"
#include "options.h"
#include "protocol/mark.h"
#include "sized.h"

static const char mark[] __attribute__((used)) = MARK STINT_VERSION;

static const char *choose_path(const char *path) {
	if (path)
		return path;
	/* secure_getenv() keeps whoever starts a set-user-ID program from choosing the path. */
	path = secure_getenv("STINT_SOCKET");
	return path ? path : STINT_DEFAULT_SOCKET;
}

int stint_open(struct stint **out, const char *socket_path) {
	const char *path = choose_path(socket_path);
	size_t length = strlen(path);
	size_t max = sizeof((*out)->stintd.address.sun_path) - 1;
	*out = NULL;
	if (length == 0 || length > max)
		return error_set(STINT_EPATH, "the socket's path has %zu bytes, must have 1 to %zu", length, max);
	*out = attachment_new(path);
	return *out ? 0 : error_set(STINT_ENOMEM, "no memory for an attachment");
}

/* A callback may close an attachment that is being closed already: the second call does nothing. */
void stint_close(struct stint *st) {
	if (!st || atomic_exchange(&st->stintd.ending, true))
		return;
	event_loop_cancel(st, NULL);
	event_loop_end(st);
	attachment_free(st);
}

int stint_limiter_new_sized(struct stint_limiter **out, struct stint *st, const struct stint_options *options,
                            size_t options_size) {
	struct stint_options own;
	int error = sized_options(&own, options, options_size);
	*out = NULL;
	if (!error)
		error = options_check(&own);
	if (error)
		return error;
	*out = limiter_new(st, &st->stintd, &own);
	return *out ? 0 : error_set(STINT_ENOMEM, "no memory for a limiter");
}

/* A callback may free a limiter that is being freed already: the second call does nothing. */
void stint_limiter_free(struct stint_limiter *limiter) {
	if (!limiter || atomic_exchange(&limiter->ending, true))
		return;
	event_loop_cancel(limiter->attachment, limiter);
	limiter_free(limiter);
}
