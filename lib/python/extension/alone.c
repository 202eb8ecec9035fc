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
		.allowed = allowed,
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

PyObject *alone_decide(struct limiter *l, const struct arguments *a, int status, PyObject *error) {
	struct stint_result verdict;
	if (is_wrong_use(status)) {
		Py_XDECREF(error);
		return raise_wrong_use(l->state, a->client_id, status);
	}
	if (!has_local_limit(l, status) || stint_check_alone_n(l->stint, a->id, a->length, a->cost, &verdict) != 0)
		verdict = make_verdict(l);
	return result_make(l, &verdict, a->cost, error);
}

/* Without the agent nothing can be taken of all or of none: everybody passes only if each limiter says so. */
PyObject *alone_decide_all(PyObject *limiters, int status, PyObject *error) {
	struct limiter *l = (struct limiter *)PyTuple_GetItem(limiters, 0);
	uint32_t part = 0;
	if (is_wrong_use(status)) {
		Py_XDECREF(error);
		return raise_wrong_use(l->state, NULL, status);
	}
	for (Py_ssize_t i = 0; i < PyTuple_Size(limiters) && l->on_error == STINT_ON_ERROR_ALLOW; i++) {
		l = (struct limiter *)PyTuple_GetItem(limiters, i);
		part = (uint32_t)i;
	}
	struct stint_result verdict = make_verdict(l);
	verdict.part = part;
	return result_make(l, &verdict, 1, error);
}
