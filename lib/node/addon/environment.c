/*
 * environment.c - what one Node.js environment has, how its checks' outcomes reach JavaScript, and how it ends.
 *
 * At an environment's end its handles must be closed before its loop is, and libuv closes them only in the loop's
 * next turn: hence the asynchronous hook, which node waits for. Finalizers of JavaScript may run after it.
 */
#include <stdlib.h>
#include <string.h>

#include "addon.h"
#include "numbers.h"

/* ---- Checks that wait --------------------------------------------------------- */

struct pending *environment_find_unused(struct environment *e) {
	struct pending *p = STAILQ_FIRST(&e->unused);
	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (p) {
		p->slot = e->slots++;
		STAILQ_INSERT_HEAD(&e->unused, p, link);
	}
	return p;
}

int environment_take(struct environment *e, struct pending *p, struct attachment *a) {
	STAILQ_REMOVE_HEAD(&e->unused, link);
	p->attachment = a;
	attachment_began(a);
	return ANSWER_PENDING + (int)p->slot;
}

void environment_finish(int status, const struct stint_result *result, void *pending) {
	struct pending *p = pending;
	p->status = status;
	p->detail = status ? strdup(stint_error_detail()) : NULL;
	p->result = result ? *result : (struct stint_result){0};
	attachment_finished(p->attachment);
	STAILQ_INSERT_TAIL(&p->attachment->environment->finished, p, link);
}

static void free_queue(struct pending_queue *queue) {
	struct pending *p;
	while ((p = STAILQ_FIRST(queue))) {
		STAILQ_REMOVE_HEAD(queue, link);
		free(p->detail);
		free(p);
	}
}

/* Writes what has finished, as much as there is room for. Returns how many. */
static uint32_t write_settled(struct environment *e) {
	uint32_t count = 0;
	struct pending *p;
	for (; count < SETTLED_MAX && (p = STAILQ_FIRST(&e->finished)); count++) {
		int32_t *fields = &e->settled[count * FIELDS];
		numbers_write(fields, &p->result);
		fields[FIELD_SLOT] = (int32_t)p->slot;
		fields[FIELD_STATUS] = p->status;
		free(e->detail[count]);
		e->detail[count] = p->detail;
		p->detail = NULL;
		STAILQ_REMOVE_HEAD(&e->finished, link);
		STAILQ_INSERT_HEAD(&e->unused, p, link);
	}
	return count;
}

/* What was thrown while the loop called is nobody's to catch. */
static void report_exception(napi_env env) {
	napi_value error;
	bool thrown = false;
	if (napi_is_exception_pending(env, &thrown) == napi_ok && thrown &&
	    napi_get_and_clear_last_exception(env, &error) == napi_ok)
		napi_fatal_exception(env, error);
}

static void call_settle(struct environment *e, uint32_t count, bool from_loop) {
	napi_value settle, number, receiver;
	if (napi_get_reference_value(e->env, e->settle, &settle) != napi_ok ||
	    napi_create_uint32(e->env, count, &number) != napi_ok || napi_get_global(e->env, &receiver) != napi_ok)
		return;
	if (!from_loop)
		napi_call_function(e->env, receiver, settle, 1, &number, NULL);
	else if (napi_make_callback(e->env, e->context, receiver, settle, 1, &number, NULL) != napi_ok)
		report_exception(e->env);
}

void environment_settle(struct environment *e, bool from_loop) {
	napi_handle_scope scope;
	while (!STAILQ_EMPTY(&e->finished) && napi_open_handle_scope(e->env, &scope) == napi_ok) {
		call_settle(e, write_settled(e), from_loop);
		napi_close_handle_scope(e->env, scope);
	}
}

static const char *find_detail(const struct environment *e, uint32_t at) {
	uint32_t place = at / FIELDS;
	return place < SETTLED_MAX && e->detail[place] ? e->detail[place] : "";
}

napi_value environment_describe(napi_env env, napi_callback_info info) {
	napi_value value[2], sentence, detail, array;
	size_t count = 2;
	int32_t error = 0;
	uint32_t at;
	void *data;
	if (napi_get_cb_info(env, info, &count, value, NULL, &data) != napi_ok ||
	    napi_get_value_int32(env, value[0], &error) != napi_ok)
		return NULL;
	bool waited = napi_get_value_uint32(env, value[1], &at) == napi_ok;
	const char *words = waited ? find_detail(data, at) : stint_error_detail();
	if (napi_create_array_with_length(env, 2, &array) != napi_ok ||
	    napi_create_string_utf8(env, stint_strerror(error), NAPI_AUTO_LENGTH, &sentence) != napi_ok ||
	    napi_create_string_utf8(env, words, NAPI_AUTO_LENGTH, &detail) != napi_ok ||
	    napi_set_element(env, array, 0, sentence) != napi_ok || napi_set_element(env, array, 1, detail) != napi_ok)
		return NULL;
	return array;
}

/* ---- Beginning and end ---------------------------------------------------------- */

static void end(napi_async_cleanup_hook_handle hook, void *environment) {
	struct environment *e = environment;
	(void)hook;
	e->ended = true;
	limiter_close_all(e); /* and with them the attachments */
	if (e->handles == 0)
		environment_release(e);
}

struct environment *environment_make(napi_env env) {
	struct environment *e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->env = env;
	e->references = 1;
	LIST_INIT(&e->attachments);
	STAILQ_INIT(&e->finished);
	STAILQ_INIT(&e->unused);
	if (napi_get_uv_event_loop(env, &e->loop) != napi_ok ||
	    napi_add_async_cleanup_hook(env, end, e, &e->hook) != napi_ok) {
		free(e);
		return NULL;
	}
	return e;
}

/* Node goes on with the environment's end when its hook is removed. */
void environment_release(struct environment *e) {
	if (e->ended && e->handles == 0 && e->hook) {
		napi_remove_async_cleanup_hook(e->hook);
		e->hook = NULL;
	}
	if (--e->references > 0)
		return;
	free_queue(&e->finished);
	free_queue(&e->unused);
	for (unsigned i = 0; i < SETTLED_MAX; i++)
		free(e->detail[i]);
	free(e->limiter);
	free(e);
}
