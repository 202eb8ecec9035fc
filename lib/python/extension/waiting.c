/*
 * waiting.c - asynchronous checks: what the library has while they are pending, and Python when they have ended.
 */
#include "binding.h"

static PyObject *keep(PyObject *object) {
	Py_XINCREF(object);
	return object;
}

struct waiting *waiting_make(struct limiter *l, PyObject *client_id, PyObject *parts) {
	struct waiting *w = PyObject_New(struct waiting, l->state->waiting);
	if (!w)
		return NULL;
	w->limiter = (struct limiter *)keep((PyObject *)l);
	w->client_id = keep(client_id);
	w->parts = keep(parts);
	w->watcher = NULL;
	w->error = NULL;
	w->queue = NULL;
	w->verdict = (struct stint_result){0};
	w->ticket = 0;
	w->status = 0;
	return w;
}

static void dealloc(PyObject *self) {
	struct waiting *w = (struct waiting *)self;
	PyTypeObject *type = Py_TYPE(self);
	Py_XDECREF(w->client_id);
	Py_XDECREF(w->parts);
	Py_XDECREF(w->watcher);
	Py_XDECREF(w->error);
	Py_DECREF(w->limiter);
	PyObject_Free(self);
	Py_DECREF(type);
}

static void move(struct waiting *w, struct waiting_queue *to) {
	if (w->queue)
		TAILQ_REMOVE(w->queue, w, link);
	w->queue = to;
	if (to)
		TAILQ_INSERT_TAIL(to, w, link);
}

static bool is_pending(const struct waiting *w) {
	return w->queue == &w->limiter->attachment->pending;
}

void waiting_begin(struct waiting *w, uint64_t ticket) {
	w->ticket = ticket;
	Py_INCREF(w);
	move(w, &w->limiter->attachment->pending);
}

/* The queue has the library's reference then. */
void waiting_finish(int status, const struct stint_result *result, void *waiting) {
	struct waiting *w = waiting;
	w->status = status;
	if (result)
		w->verdict = *result;
	else if (!(w->error = errors_describe(status))) /* now: the detail is that of the last call */
		PyErr_Clear();
	move(w, &w->limiter->attachment->finished);
}

/* ---- Cancelling --------------------------------------------------------------- */

static void cancel(struct waiting *w) {
	if (is_pending(w))
		stint_cancel(w->limiter->attachment->stint, w->ticket);
}

static bool is_of(const struct waiting *w, const struct limiter *l) {
	Py_ssize_t count = w->parts ? PyTuple_Size(w->parts) : 0;
	for (Py_ssize_t i = 0; i < count; i++)
		if (PyTuple_GetItem(w->parts, i) == (PyObject *)l)
			return true;
	return w->limiter == l;
}

/* No callback changes the queue but by moving its own check: the next one stays the next one. */
void waiting_cancel_all(struct limiter *l) {
	struct waiting *next;
	for (struct waiting *w = TAILQ_FIRST(&l->attachment->pending); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (is_of(w, l))
			cancel(w);
	}
}

/* Nobody wants to know any more. */
static PyObject *drop(PyObject *self, PyObject *unused) {
	struct waiting *w = (struct waiting *)self;
	(void)unused;
	cancel(w);
	if (w->queue && !is_pending(w)) {
		move(w, NULL);
		Py_DECREF(w);
	}
	Py_RETURN_NONE;
}

/* give_up(error): nobody would hear of its end, so it ends now, unless it has, and on_error decides. */
static PyObject *give_up(PyObject *self, PyObject *error) {
	struct waiting *w = (struct waiting *)self;
	if (!is_pending(w))
		Py_RETURN_NONE;
	cancel(w);
	PyObject *former = w->error;
	w->status = STINT_ESYSTEM;
	w->error = keep(error);
	Py_XDECREF(former);
	Py_RETURN_NONE;
}

/* ---- The outcome ----------------------------------------------------------------- */

static PyObject *decide_alone(struct waiting *w) {
	struct arguments a = {.cost = w->cost[0]};
	if (w->parts)
		return alone_decide_all(w->parts, w->cost, w->status, keep(w->error));
	if (!arguments_take_id(w->limiter->state, w->client_id, &a))
		return NULL;
	return alone_decide(w->limiter, &a, w->peeks, w->status, keep(w->error));
}

static PyObject *get_result(PyObject *self, PyObject *unused) {
	struct waiting *w = (struct waiting *)self;
	(void)unused;
	if (is_pending(w)) {
		PyErr_SetString(PyExc_RuntimeError, "this check is pending");
		return NULL;
	}
	if (w->status != 0)
		return decide_alone(w);
	uint32_t part = w->parts ? w->verdict.part : 0;
	struct limiter *l = w->parts ? (struct limiter *)PyTuple_GetItem(w->parts, part) : w->limiter;
	return l ? result_make(l, &w->verdict, w->cost[part], NULL) : NULL;
}

static PyObject *get_attachment(PyObject *self, void *unused) {
	(void)unused;
	return keep((PyObject *)((struct waiting *)self)->limiter->attachment);
}

static PyObject *get_pending(PyObject *self, void *unused) {
	(void)unused;
	return PyBool_FromLong(is_pending((struct waiting *)self));
}

static PyObject *get_watcher(PyObject *self, void *unused) {
	struct waiting *w = (struct waiting *)self;
	(void)unused;
	return keep(w->watcher ? w->watcher : Py_None);
}

static int set_watcher(PyObject *self, PyObject *watcher, void *unused) {
	struct waiting *w = (struct waiting *)self;
	PyObject *former = w->watcher;
	(void)unused;
	w->watcher = keep(watcher);
	Py_XDECREF(former);
	return 0;
}

static PyGetSetDef attributes[] = {
	{"attachment", get_attachment, NULL, NULL, NULL},
	{"pending", get_pending, NULL, NULL, NULL},
	{"watcher", get_watcher, set_watcher, NULL, NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
	{"drop", drop, METH_NOARGS, NULL},
	{"give_up", give_up, METH_O, NULL},
	{"result", get_result, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
	{Py_tp_dealloc, dealloc},
	{Py_tp_getset, attributes},
	{Py_tp_methods, methods},
	{0, NULL},
};

PyType_Spec waiting_spec = {
	.name = "stint._stint.Waiting",
	.basicsize = sizeof(struct waiting),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = slots,
};
