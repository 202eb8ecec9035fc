/*
 * addon.h - what the parts of the addon share: an environment for each Node.js environment that uses it (the main
 * thread, each worker), or each time that one loads the JavaScript anew; its attachments to agents, and its checks
 * that wait for an answer.
 *
 * All of an environment runs on one thread. Nothing is shared between environments.
 */
#ifndef STINT_NODE_ADDON_H
#define STINT_NODE_ADDON_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uv.h>

#include "stint.h"

/* A verdict in numbers, as JavaScript reads them: each an int32_t, of which V8 makes no object of its own. */
enum field {
	FIELD_ANSWER, /* of a check that didn't wait: what `check` and `try` tell, see below */
	FIELD_WORDS,  /* see below */
	FIELD_LIMIT,
	FIELD_REMAINING,
	FIELD_RETRY_AFTER_MS, /* the lower 31 bits */
	FIELD_RESET_AFTER_MS,
	FIELD_TIME_WINDOW_MS,
	FIELD_RECEIPT_LOW, /* two halves of 32 bits */
	FIELD_RECEIPT_HIGH,
	FIELD_RETRY_AFTER_HIGH, /* the rest: mostly 0, and FIELD_WORDS says if not */
	FIELD_RESET_AFTER_HIGH,
	FIELD_TIME_WINDOW_HIGH,
	FIELD_PART,   /* of checkAll() */
	FIELD_SLOT,   /* of a check that waited: the number that `check` told, less ANSWER_PENDING */
	FIELD_STATUS, /* of a check that waited: 0 or an error */
	FIELDS,
};

/* After the last verdict's numbers: what the next call is about, which JavaScript writes. That costs less than
 * arguments. */
enum call_number {
	CALL_LIMITER = FIELDS, /* its number; of a new one, makeLimiter() writes it */
	CALL_COST,
	NUMBERS,
};

/* Bits of FIELD_WORDS. */
#define WORDS_ALLOWED       1
#define WORDS_HIGH          2 /* of the times there is more than the lower bits */
#define WORDS_SHADOW_DENIED 4
#define WORDS_SOURCE_SHIFT  4
#define WORDS_REASON_SHIFT  8

/* What `check`, `try`, `peek`, `alone`, `peekAlone` and `checkAll` tell: 0 denied, 1 allowed, or these; below 0
 * an error. */
#define ANSWER_NONE    2 /* try: the table has no answer */
#define ANSWER_PENDING 2 /* check: this and more, the check's slot is added */

/* Errors beyond those of stint.h. */
#define ERROR_NO_STRING      (-100) /* the id is not a string */
#define ERROR_LONE_SURROGATE (-101) /* the id has no form in UTF-8 */
#define ERROR_LIMITER_CLOSED (-102)
#define ERROR_ID_TOO_LONG    (-103)
#define ERROR_EVENT_LOOP     (-104) /* libuv refuses the attachment's descriptor */

/* Verdicts that JavaScript takes over with one call. */
#define SETTLED_MAX 64

struct attachment {
	struct environment *environment;
	struct stint *stint;
	char *path; /* NULL: the default */
	unsigned limiters;
	unsigned pending; /* checks; while there are any, the event loop goes on */
	bool polls;
	uv_poll_t poll;
	LIST_ENTRY(attachment) link;
};

/* A check that waits, then its outcome until JavaScript takes it over. */
struct pending {
	struct attachment *attachment;
	uint32_t slot;
	int status;
	char *detail; /* of an error: what exactly was wrong; may be NULL */
	struct stint_result result;
	STAILQ_ENTRY(pending) link;
};
STAILQ_HEAD(pending_queue, pending);

struct environment {
	napi_env env;
	uv_loop_t *loop;
	napi_async_cleanup_hook_handle hook;
	napi_async_context context;
	napi_ref settle;  /* a function of JavaScript's: takes over what `settled` holds */
	napi_ref buffers; /* keeps the two below alive */
	int32_t *numbers; /* the verdict of the last check that was decided at once; and of the next call */
	int32_t *settled;
	char *detail[SETTLED_MAX]; /* of what `settled` holds */
	unsigned references;       /* its own, until the hook has run, and one for each limiter */
	unsigned handles;          /* of libuv's, closing ones included */
	bool ended;
	LIST_HEAD(, attachment) attachments;
	struct limiter **limiter; /* by number; NULL: that number is free */
	uint32_t limiters;
	struct pending_queue finished;
	struct pending_queue unused;
	uint32_t slots;
};

/* ---- environment.c ---------------------------------------------------------- */

/* Returns NULL when there is no memory. */
struct environment *environment_make(napi_env env);
void environment_release(struct environment *e);

/* Hands over what has finished: from the event loop, or from a function that JavaScript has called. */
void environment_settle(struct environment *e, bool from_loop);

/* Returns a check that `finished` isn't, or NULL when there is no memory. It stays unused until it is taken. */
struct pending *environment_find_unused(struct environment *e);
/* Returns what JavaScript gets for it. */
int environment_take(struct environment *e, struct pending *p, struct attachment *a);

/* A stint_callback for such checks. */
void environment_finish(int status, const struct stint_result *result, void *pending);

/* describe(error, at): the sentence, and what exactly was wrong, if that says more: in the last call, or with the
 * check whose numbers are at this place of `settled`. */
napi_value environment_describe(napi_env env, napi_callback_info info);

/* ---- attachment.c ----------------------------------------------------------- */

/* The one to this path, made when there is none. 0 or an error. */
int attachment_join(struct attachment **out, struct environment *e, const char *path);
/* The last one that leaves closes it. */
void attachment_leave(struct attachment *a);

void attachment_began(struct attachment *a);
void attachment_finished(struct attachment *a);

/* ---- limiter.c -------------------------------------------------------------- */

/* Adds what limiters can do to this object. */
bool limiter_add_functions(struct environment *e, napi_value object);
void limiter_close_all(struct environment *e);

/* ---- http.c ----------------------------------------------------------------- */

napi_value http_ip_client(napi_env env, napi_callback_info info);
napi_value http_headers(napi_env env, napi_callback_info info);

/* ---- value.c ---------------------------------------------------------------- */

napi_value value_of_number(napi_env env, int number);
/* 0 when there is none, or it isn't finite. What doesn't fit is the least or the most. */
int64_t value_get_number(napi_env env, napi_value object, const char *name);
/* Returns the string, or NULL when the value isn't one, is too long, or has a NUL. */
const char *value_get_string(napi_env env, napi_value value, char *room, size_t size);
/* `data` is the function's. */
bool value_add_function(napi_env env, napi_value object, const char *name, napi_callback call, void *data);

#endif
