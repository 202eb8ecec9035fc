/*
 * check_all.c - one check of several limiters, all or nothing.
 */
#include <stdio.h>
#include <string.h>

#include "binding.h"

#define PART "a tuple (limiter, client_id) or (limiter, client_id, cost)"

/* The parts of one call, and what keeps them alive. */
struct all {
	size_t count;
	PyObject *parts;    /* a tuple of what the app passed */
	PyObject *limiters; /* a tuple */
	struct stint_part part[STINT_PARTS_MAX];
	uint32_t cost[STINT_PARTS_MAX];
};

/* ---- Its arguments ---------------------------------------------------------------- */

/* Raises what is wrong with a part, or with its first element, by its number. */
static PyObject *raise_part(const char *what, size_t number, PyObject *value, const char *rule) {
	char name[32];
	snprintf(name, sizeof(name), "%s%zu", what, number);
	return errors_raise_value(PyExc_TypeError, name, value, rule);
}

/* One part: a tuple (limiter, client_id) or (limiter, client_id, cost). */
static PyObject *take_part(const struct state *state, PyObject *tuple, size_t number, struct stint_part *part) {
	struct arguments a = {.cost = 1};
	Py_ssize_t count = PyTuple_Check(tuple) ? PyTuple_Size(tuple) : 0;
	if (count != 2 && count != 3)
		return raise_part("part ", number, tuple, PART);
	PyObject *limiter = PyTuple_GetItem(tuple, 0), *client_id = PyTuple_GetItem(tuple, 1);
	if (!PyObject_TypeCheck(limiter, state->limiter))
		return raise_part("the limiter of part ", number, limiter, "a stint.Limiter");
	if (!limiter_is_open((struct limiter *)limiter) || !arguments_take_id(state, client_id, &a) ||
	    (count == 3 && !arguments_take_cost(PyTuple_GetItem(tuple, 2), &a)))
		return NULL;
	struct limiter *l = (struct limiter *)limiter;
	if (a.length == 0 || a.length > STINT_CLIENT_ID_MAX || memchr(a.id, '\0', a.length))
		return errors_raise_client_id(state, client_id);
	*part = (struct stint_part){.limiter = l->stint, .client_id = a.id, .length = a.length, .cost = a.cost};
	return limiter;
}

static bool take_parts(const struct state *state, struct all *all) {
	for (size_t i = 0; i < all->count; i++) {
		PyObject *limiter = take_part(state, PyTuple_GetItem(all->parts, (Py_ssize_t)i), i, &all->part[i]);
		if (!limiter)
			return false;
		Py_INCREF(limiter);
		PyTuple_SetItem(all->limiters, (Py_ssize_t)i, limiter);
		all->cost[i] = all->part[i].cost;
	}
	return true;
}

/* Appends what the iterator has. Not more than one too many: there are iterators that never end. */
static bool append_all(PyObject *list, PyObject *iterator) {
	PyObject *part;
	while (PyList_Size(list) <= STINT_PARTS_MAX && (part = PyIter_Next(iterator))) {
		int error = PyList_Append(list, part);
		Py_DECREF(part);
		if (error)
			return false;
	}
	return !PyErr_Occurred();
}

/* Returns a tuple of them. */
static PyObject *collect(PyObject *parts) {
	PyObject *iterator = PyObject_GetIter(parts);
	if (!iterator && PyErr_ExceptionMatches(PyExc_TypeError)) {
		PyErr_Clear();
		return errors_raise_value(PyExc_TypeError, "parts", parts, "1 to 16 parts, each " PART);
	}
	PyObject *list = iterator ? PyList_New(0) : NULL;
	PyObject *tuple = list && append_all(list, iterator) ? PyList_AsTuple(list) : NULL;
	Py_XDECREF(list);
	Py_XDECREF(iterator);
	return tuple;
}

static void end(struct all *all) {
	Py_XDECREF(all->limiters);
	Py_XDECREF(all->parts);
}

static bool begin(const struct state *state, PyObject *parts, struct all *all) {
	*all = (struct all){.parts = collect(parts)};
	Py_ssize_t count = all->parts ? PyTuple_Size(all->parts) : 0;
	if (all->parts && (count < 1 || count > STINT_PARTS_MAX))
		PyErr_Format(PyExc_ValueError, "there are %zd parts%s, must be 1 to %d", count, count ? " or more" : "",
		             STINT_PARTS_MAX);
	else if (all->parts)
		all->limiters = PyTuple_New(count);
	all->count = (size_t)count;
	if (all->limiters && take_parts(state, all))
		return true;
	end(all);
	return false;
}

/* ---- Asking ------------------------------------------------------------------------ */

static struct limiter *limiter_of(const struct all *all, size_t part) {
	return (struct limiter *)PyTuple_GetItem(all->limiters, (Py_ssize_t)part);
}

static PyObject *conclude(const struct all *all, int status, const struct stint_result *verdict) {
	if (status == 0)
		return result_make(limiter_of(all, verdict->part), verdict, all->cost[verdict->part], NULL);
	PyObject *error = errors_describe(status);
	return error ? alone_decide_all(all->limiters, all->cost, status, error) : NULL;
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
	memcpy(w->cost, all->cost, sizeof(w->cost));
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
