/*
 * alone.c - who decides when the agent doesn't: on_error, as the limiter has it. Only wrong use is raised.
 */
#include "binding.h"

/* When somebody who is denied may ask again, if the limiter doesn't know its policy's window (must_exist). */
#define RETRY_MS 1000

static struct stint_result make_verdict(const struct limiter *l) {
	bool allowed = l->on_error == STINT_ON_ERROR_ALLOW;
	int64_t wait_ms = l->time_window_ms ? l->time_window_ms : RETRY_MS;
	return (struct stint_result){
		.allowed = allowed || l->shadow,
		.shadow_denied = !allowed && l->shadow,
		.source = STINT_SOURCE_LOCAL,
		.reason = allowed ? STINT_ADMITTED : STINT_UNAVAILABLE,
		.limit = l->max_requests,
		.retry_after_ms = allowed ? 0 : wait_ms,
		.reset_after_ms = wait_ms,
		.time_window_ms = l->time_window_ms,
	};
}

/* What is cancelled may have been admitted; where too many wait, the agent is there: no other limit beside its
 * own. */
static bool has_local_limit(const struct limiter *l, int status) {
	return l->stint && status != STINT_ECANCELED && status != STINT_EBUSY;
}

static bool is_wrong_use(int status) {
	return status == STINT_ECLIENT || status == STINT_ERANGE;
}

static PyObject *raise_wrong_use(const struct state *state, PyObject *client_id, int status) {
	return status == STINT_ECLIENT && client_id ? errors_raise_client_id(state, client_id)
	                                            : errors_raise(state, status);
}

static bool decide_locally(const struct limiter *l, const struct arguments *a, bool peeks,
                           struct stint_result *verdict) {
	return (peeks ? stint_peek_alone_n(l->stint, a->id, a->length, a->cost, verdict)
	              : stint_check_alone_n(l->stint, a->id, a->length, a->cost, verdict)) == 0;
}

PyObject *alone_decide(struct limiter *l, const struct arguments *a, bool peeks, int status, PyObject *error) {
	struct stint_result verdict;
	if (is_wrong_use(status)) {
		Py_XDECREF(error);
		return raise_wrong_use(l->state, a->client_id, status);
	}
	if (!has_local_limit(l, status) || !decide_locally(l, a, peeks, &verdict))
		verdict = make_verdict(l);
	return result_make(l, &verdict, a->cost, error);
}

static struct limiter *limiter_of(PyObject *limiters, Py_ssize_t part) {
	return (struct limiter *)PyTuple_GetItem(limiters, part);
}

/* Whose numbers tell: those of the first that denies, or would if it weren't a shadow; else of the first. */
static Py_ssize_t find_part(PyObject *limiters) {
	Py_ssize_t count = PyTuple_Size(limiters), shadow = count;
	for (Py_ssize_t i = 0; i < count; i++) {
		const struct limiter *l = limiter_of(limiters, i);
		if (l->on_error == STINT_ON_ERROR_ALLOW)
			continue;
		if (!l->shadow)
			return i;
		if (shadow == count)
			shadow = i;
	}
	return shadow < count ? shadow : 0;
}

/* Without the agent nothing can be taken of all or of none: everybody passes only if each limiter says so. */
PyObject *alone_decide_all(PyObject *limiters, const uint32_t *cost, int status, PyObject *error) {
	if (is_wrong_use(status)) {
		Py_XDECREF(error);
		return raise_wrong_use(limiter_of(limiters, 0)->state, NULL, status);
	}
	Py_ssize_t part = find_part(limiters);
	struct limiter *l = limiter_of(limiters, part);
	struct stint_result verdict = make_verdict(l);
	verdict.part = (uint32_t)part;
	return result_make(l, &verdict, cost[part], error);
}
