/*
 * check.c - what Python asks a limiter. The table first, with the interpreter's lock held: it answers within
 * nanoseconds. Only where it doesn't is the lock given up, and the agent waited for.
 */
#include "binding.h"

/* The arguments of a call of an open limiter; false, and an error, otherwise. */
static bool begin(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names, bool with_cost,
                  struct arguments *a) {
	struct limiter *l = (struct limiter *)self;
	return limiter_is_open(l) && arguments_take(l->state, args, count, names, with_cost, a);
}

static PyObject *conclude(struct limiter *l, const struct arguments *a, bool peeks, int status,
                          const struct stint_result *verdict) {
	if (status == 0)
		return result_make(l, verdict, a->cost, NULL);
	PyObject *error = errors_describe(status);
	return error ? alone_decide(l, a, peeks, status, error) : NULL;
}

/* ---- At once, or waiting ---------------------------------------------------------- */

static bool wait_for_permission(struct limiter *l, const struct arguments *a) {
	limiter_enter(l);
	PyThreadState *thread = PyEval_SaveThread();
	bool allowed = stint_is_allowed_n(l->stint, a->id, a->length);
	PyEval_RestoreThread(thread);
	limiter_leave(l);
	return allowed;
}

static PyObject *is_allowed(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct limiter *l = (struct limiter *)self;
	struct arguments a;
	struct stint_result verdict;
	if (!begin(self, args, count, names, false, &a))
		return NULL;
	int status = stint_try_n(l->stint, a.id, a.length, 1, &verdict);
	if (status < 0)
		return alone_decide(l, &a, false, status, NULL);
	return PyBool_FromLong(status == 1 ? verdict.allowed : wait_for_permission(l, &a));
}

/* stint_check() or stint_peek(), whichever it is. */
static PyObject *ask_and_wait(struct limiter *l, const struct arguments *a, bool peeks) {
	struct stint_result verdict;
	limiter_enter(l);
	PyThreadState *thread = PyEval_SaveThread();
	int status = peeks ? stint_peek_n(l->stint, a->id, a->length, a->cost, &verdict)
	                   : stint_check_n(l->stint, a->id, a->length, a->cost, &verdict);
	PyEval_RestoreThread(thread);
	PyObject *result = conclude(l, a, peeks, status, &verdict);
	limiter_leave(l);
	return result;
}

static PyObject *check(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct limiter *l = (struct limiter *)self;
	struct arguments a;
	struct stint_result verdict;
	if (!begin(self, args, count, names, true, &a))
		return NULL;
	int status = stint_try_n(l->stint, a.id, a.length, a.cost, &verdict);
	if (status == 0)
		return ask_and_wait(l, &a, false);
	return conclude(l, &a, false, status == 1 ? 0 : status, &verdict);
}

static PyObject *peek(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct arguments a;
	return begin(self, args, count, names, true, &a) ? ask_and_wait((struct limiter *)self, &a, true) : NULL;
}

/* ---- Never waiting ----------------------------------------------------------------- */

static PyObject *try_check(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct limiter *l = (struct limiter *)self;
	struct arguments a;
	struct stint_result verdict;
	if (!begin(self, args, count, names, true, &a))
		return NULL;
	int status = stint_try_n(l->stint, a.id, a.length, a.cost, &verdict);
	if (status == 0)
		Py_RETURN_NONE;
	return conclude(l, &a, false, status == 1 ? 0 : status, &verdict);
}

/* True, False, or None: the table has no answer. */
static PyObject *try_permission(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct limiter *l = (struct limiter *)self;
	struct arguments a;
	struct stint_result verdict;
	if (!begin(self, args, count, names, false, &a))
		return NULL;
	int status = stint_try_n(l->stint, a.id, a.length, 1, &verdict);
	if (status < 0)
		return alone_decide(l, &a, false, status, NULL);
	if (status == 0)
		Py_RETURN_NONE;
	return PyBool_FromLong(verdict.allowed);
}

static PyObject *charge(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct limiter *l = (struct limiter *)self;
	struct arguments a;
	if (!begin(self, args, count, names, true, &a))
		return NULL;
	int status = stint_charge_n(l->stint, a.id, a.length, a.cost);
	if (status == STINT_ECLIENT)
		return errors_raise_client_id(l->state, a.client_id);
	if (status != 0 && status != STINT_EAGENT)
		return errors_raise(l->state, status);
	return PyBool_FromLong(status == 0);
}

/* refund(client_id, admission, cost): a cost of None is all that was admitted. */
static PyObject *refund(PyObject *self, PyObject *args) {
	struct limiter *l = (struct limiter *)self;
	PyObject *client_id, *admission, *cost;
	struct arguments a;
	if (!limiter_is_open(l) || !PyArg_ParseTuple(args, "OOO", &client_id, &admission, &cost) ||
	    !arguments_take_id(l->state, client_id, &a) || !result_check(l->state, "admission", admission) ||
	    (cost != Py_None && !arguments_take_cost(cost, &a)))
		return NULL;
	struct result *r = (struct result *)admission;
	int status = stint_refund_n(l->stint, a.id, a.length, cost == Py_None ? r->cost : a.cost, &r->verdict);
	if (status == STINT_ECLIENT)
		return errors_raise_client_id(l->state, client_id);
	return status < 0 ? errors_raise(l->state, status) : PyBool_FromLong(status);
}

/* ---- For event loops ------------------------------------------------------------------ */

/* Begins a check, or a peek. Returns a Result that was there at once, or a Waiting. */
static PyObject *ask(struct limiter *l, const struct arguments *a, bool peeks) {
	struct stint_result verdict;
	struct waiting *w = waiting_make(l, a->client_id, NULL);
	if (!w)
		return NULL;
	w->cost[0] = a->cost;
	w->peeks = peeks;
	int status = peeks ? stint_peek_async_n(l->stint, a->id, a->length, a->cost, &verdict, waiting_finish, w)
	                   : stint_check_async_n(l->stint, a->id, a->length, a->cost, &verdict, waiting_finish, w);
	if (status == 0) {
		waiting_begin(w, verdict.ticket);
		return (PyObject *)w;
	}
	Py_DECREF(w);
	return conclude(l, a, peeks, status == 1 ? 0 : status, &verdict);
}

static PyObject *ask_check(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct arguments a;
	return begin(self, args, count, names, true, &a) ? ask((struct limiter *)self, &a, false) : NULL;
}

static PyObject *ask_peek(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
	struct arguments a;
	return begin(self, args, count, names, true, &a) ? ask((struct limiter *)self, &a, true) : NULL;
}

#define CALL(name, function, text)                                                                                \
	{ name, (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS, text }

PyMethodDef check_methods[] = {
	CALL("is_allowed", is_allowed,
         "is_allowed($self, client_id)\n--\n\nWhether this client may go on. Always decides, whatever is down."),
	CALL("check", check, "check($self, client_id, cost=1)\n--\n\nThe same with a cost, and with the reasons."),
	CALL("try_check", try_check,
         "try_check($self, client_id, cost=1)\n--\n\nThe result if the table has it; else None, nothing taken."),
	CALL("peek", peek, "peek($self, client_id, cost=1)\n--\n\nWhat check() would say now; takes nothing."),
	CALL(
		"charge", charge,
		"charge($self, client_id, cost=1)\n--\n\nCounts afterwards, beyond the limit if need be; false: it didn't."),
	CALL("_try", try_permission, NULL),
	CALL("_ask", ask_check, NULL),
	CALL("_ask_peek", ask_peek, NULL),
	{"_refund", refund, METH_VARARGS, NULL},
	{"_close", limiter_close, METH_NOARGS, NULL},
	{"_http_headers", http_headers, METH_VARARGS, NULL},
	{NULL, NULL, 0, NULL},
};
