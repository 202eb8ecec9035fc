/*
 * check_all.c - one check of several limiters, all or nothing.
 */
#include <string.h>

#include "binding.h"

/* The parts of one call, and what keeps them alive. */
struct all {
	size_t count;
	PyObject *parts;    /* a tuple of what the app passed */
	PyObject *limiters; /* a tuple */
	struct stint_part part[STINT_PARTS_MAX];
};

/* One part: a tuple (limiter, client_id) or (limiter, client_id, cost). */
static PyObject *take_part(const struct state *state, PyObject *tuple, struct stint_part *part) {
	PyObject *limiter, *client_id, *cost = NULL;
	struct arguments a = {.cost = 1};
	if (!PyTuple_Check(tuple))
		return PyErr_Format(PyExc_TypeError, "a part is %.100R, must be a tuple (limiter, client_id[, cost])",
		                    tuple);
	if (!PyArg_ParseTuple(tuple, "O!O|O:check_all", state->limiter, &limiter, &client_id, &cost) ||
	    !limiter_is_open((struct limiter *)limiter) || !arguments_take_id(state, client_id, &a) ||
	    (cost && !arguments_take_cost(cost, &a)))
		return NULL;
	struct limiter *l = (struct limiter *)limiter;
	if (a.length == 0 || a.length > STINT_CLIENT_ID_MAX || memchr(a.id, '\0', a.length))
		return errors_raise_client_id(state, client_id);
	*part = (struct stint_part){.limiter = l->stint, .client_id = a.id, .length = a.length, .cost = a.cost};
	return limiter;
}

static bool take_parts(const struct state *state, struct all *all) {
	for (size_t i = 0; i < all->count; i++) {
		PyObject *limiter = take_part(state, PyTuple_GetItem(all->parts, (Py_ssize_t)i), &all->part[i]);
		if (!limiter)
			return false;
		Py_INCREF(limiter);
		PyTuple_SetItem(all->limiters, (Py_ssize_t)i, limiter);
	}
	return true;
}

static void end(struct all *all) {
	Py_XDECREF(all->limiters);
	Py_XDECREF(all->parts);
}

static bool begin(const struct state *state, PyObject *parts, struct all *all) {
	*all = (struct all){.parts = PySequence_Tuple(parts)};
	Py_ssize_t count = all->parts ? PyTuple_Size(all->parts) : 0;
	if (all->parts && (count < 1 || count > STINT_PARTS_MAX))
		PyErr_Format(PyExc_ValueError, "there are %zd parts, must be 1 to %d", count, STINT_PARTS_MAX);
	else if (all->parts)
		all->limiters = PyTuple_New(count);
	all->count = (size_t)count;
	if (all->limiters && take_parts(state, all))
		return true;
	end(all);
	return false;
}

static struct limiter *limiter_of(const struct all *all, size_t part) {
	return (struct limiter *)PyTuple_GetItem(all->limiters, (Py_ssize_t)part);
}

static PyObject *conclude(const struct all *all, int status, const struct stint_result *verdict) {
	if (status == 0)
		return result_make(limiter_of(all, verdict->part), verdict, all->part[verdict->part].cost, NULL);
	PyObject *error = errors_describe(status);
	return error ? alone_decide_all(all->limiters, status, error) : NULL;
}

static int ask_and_wait(const struct all *all, struct stint_result *verdict) {
	PyThreadState *thread = PyEval_SaveThread();
	int status = stint_check_all(all->part, all->count, verdict);
	PyEval_RestoreThread(thread);
	return status;
}

static void for_each(const struct all *all, void (*call)(struct limiter *)) {
	for (size_t i = 0; i < all->count; i++)
		call(limiter_of(all, i));
}

PyObject *check_all(PyObject *module, PyObject *parts) {
	struct all all;
	struct stint_result verdict;
	if (!begin(PyModule_GetState(module), parts, &all))
		return NULL;
	for_each(&all, limiter_enter);
	int status = ask_and_wait(&all, &verdict);
	PyObject *result = conclude(&all, status, &verdict);
	for_each(&all, limiter_leave);
	end(&all);
	return result;
}

/* Returns a Result that was there at once, or a Waiting. */
static PyObject *ask(const struct all *all) {
	struct stint_result verdict;
	struct waiting *w = waiting_make(limiter_of(all, 0), NULL, all->limiters);
	if (!w)
		return NULL;
	for (size_t i = 0; i < all->count; i++)
		w->cost[i] = all->part[i].cost;
	int status = stint_check_all_async(all->part, all->count, &verdict, waiting_finish, w);
	if (status == 0) {
		waiting_begin(w, verdict.ticket);
		return (PyObject *)w;
	}
	Py_DECREF(w);
	return conclude(all, status == 1 ? 0 : status, &verdict);
}

PyObject *check_all_ask(PyObject *module, PyObject *parts) {
	struct all all;
	if (!begin(PyModule_GetState(module), parts, &all))
		return NULL;
	PyObject *outcome = ask(&all);
	end(&all);
	return outcome;
}
