/*
 * limiter.c - a limiter's beginning and end. It may be closed while threads wait in it: the last of them frees it.
 */
#include "binding.h"

bool limiter_is_open(struct limiter *l) {
	if (l->attachment && !l->closed)
		return true;
	struct state *state = state_of((PyObject *)l);
	if (state)
		errors_raise_closed(state);
	return false;
}

static void free_if_unused(struct limiter *l) {
	if (l->users > 0)
		return;
	stint_limiter_free(l->stint);
	l->stint = NULL;
}

void limiter_enter(struct limiter *l) {
	Py_INCREF(l);
	l->users++;
}

void limiter_leave(struct limiter *l) {
	l->users--;
	if (l->closed)
		free_if_unused(l);
	Py_DECREF(l);
}

/* What waited for an answer is finished; the attachment has it. */
PyObject *limiter_close(PyObject *self, PyObject *unused) {
	struct limiter *l = (struct limiter *)self;
	(void)unused;
	if (l->attachment && !l->closed) {
		l->closed = true;
		waiting_cancel_all(l);
		free_if_unused(l);
	}
	Py_RETURN_NONE;
}

static void dealloc(PyObject *self) {
	struct limiter *l = (struct limiter *)self;
	PyTypeObject *type = Py_TYPE(self);
	freefunc free_object = PyType_GetSlot(type, Py_tp_free);
	stint_limiter_free(l->stint);
	Py_XDECREF(l->attachment);
	Py_XDECREF(l->policy);
	free_object(self);
	Py_DECREF(type);
}

/* ---- Options ---------------------------------------------------------------------- */

struct options {
	const char *socket_path; /* NULL: the default */
	PyObject *policy;
	struct stint_options stint;
};

/* stint.Limiter passes all of them, in this order, with numbers for words. */
static bool take_options(PyObject *args, struct options *o) {
	struct stint_options *s = &o->stint;
	long long numbers[5];
	int words[3], shadow, must_exist;
	PyObject *path;
	*s = (struct stint_options){.policy = NULL};
	if (!PyArg_ParseTuple(args, "LLLLLiiiiippUO", &numbers[0], &numbers[1], &numbers[2], &numbers[3], &numbers[4],
	                      &s->resolution, &s->timeout_ms, &words[0], &words[1], &words[2], &shadow, &must_exist,
	                      &o->policy, &path))
		return false;
	s->max_requests = numbers[0];
	s->time_window_ms = numbers[1];
	s->fallback_max_requests = numbers[2];
	s->fallback_time_window_ms = numbers[3];
	s->local_max_requests = numbers[4];
	s->algorithm = (enum stint_algorithm)words[0];
	s->mode = (enum stint_mode)words[1];
	s->on_error = (enum stint_on_error)words[2];
	s->shadow = shadow;
	s->must_exist = must_exist;
	s->policy = PyUnicode_AsUTF8AndSize(o->policy, NULL);
	o->socket_path = path == Py_None ? NULL : PyBytes_AsString(path);
	return s->policy && !PyErr_Occurred();
}

static bool open_limiter(struct limiter *l, struct state *state, const struct options *o) {
	struct attachment *a = attachment_join(state, o->socket_path);
	if (!a)
		return false;
	int error = stint_limiter_new(&l->stint, a->stint, &o->stint);
	if (error) {
		errors_raise(state, error);
		Py_DECREF(a);
		return false;
	}
	l->attachment = a;
	return true;
}

static int init(PyObject *self, PyObject *args, PyObject *names) {
	struct limiter *l = (struct limiter *)self;
	struct state *state = state_of(self);
	struct options o;
	(void)names;
	if (!state || !take_options(args, &o))
		return -1;
	if (l->attachment) {
		PyErr_SetString(PyExc_TypeError, "this limiter has its options already");
		return -1;
	}
	if (!open_limiter(l, state, &o))
		return -1;
	l->state = state;
	Py_INCREF(o.policy);
	l->policy = o.policy;
	l->max_requests = o.stint.max_requests;
	l->time_window_ms = o.stint.time_window_ms;
	l->fallback_time_window_ms = o.stint.fallback_time_window_ms;
	l->on_error = o.stint.on_error;
	l->shadow = o.stint.shadow;
	return 0;
}

/* ---- The type ------------------------------------------------------------------------ */

static PyObject *get_policy(PyObject *self, void *unused) {
	struct limiter *l = (struct limiter *)self;
	(void)unused;
	PyObject *policy = l->policy ? l->policy : Py_None;
	Py_INCREF(policy);
	return policy;
}

static PyObject *get_attachment(PyObject *self, void *unused) {
	struct limiter *l = (struct limiter *)self;
	(void)unused;
	PyObject *attachment = l->attachment ? (PyObject *)l->attachment : Py_None;
	Py_INCREF(attachment);
	return attachment;
}

static PyObject *get_closed(PyObject *self, void *unused) {
	struct limiter *l = (struct limiter *)self;
	(void)unused;
	return PyBool_FromLong(!l->attachment || l->closed);
}

static PyGetSetDef attributes[] = {
	{"_attachment", get_attachment, NULL, NULL, NULL},
	{"closed", get_closed, NULL, "whether close() has been called", NULL},
	{"policy", get_policy, NULL, "the limit's name", NULL},
	{NULL, NULL, NULL, NULL, NULL},
};

PyObject *limiter_make_type(PyObject *module, PyMethodDef *methods) {
	PyType_Slot slots[] = {
		{Py_tp_dealloc, dealloc}, {Py_tp_init, init}, {Py_tp_getset, attributes},
		{Py_tp_methods, methods}, {0, NULL},
	};
	PyType_Spec spec = {
		.name = "stint._stint.Limiter",
		.basicsize = sizeof(struct limiter),
		.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
		.slots = slots,
	};
	return PyType_FromModuleAndSpec(module, &spec, NULL);
}
