/*
 * attachment.c - one attachment to each socket's path, which the limiters of all threads and event loops share.
 */
#include <stdlib.h>
#include <string.h>

#include "binding.h"

static bool is_path(const struct attachment *a, const char *path) {
	return path && a->path ? strcmp(path, a->path) == 0 : path == a->path;
}

static struct attachment *find(const struct state *state, const char *path) {
	struct attachment *a;
	LIST_FOREACH(a, &state->attachments, link) {
		if (is_path(a, path))
			return a;
	}
	return NULL;
}

static int open_attachment(struct attachment *a, const char *path) {
	if (path && !(a->path = strdup(path)))
		return STINT_ENOMEM;
	return stint_open(&a->stint, path);
}

static struct attachment *make(struct state *state, const char *path) {
	struct attachment *a = PyObject_New(struct attachment, state->attachment);
	if (!a)
		return NULL;
	a->stint = NULL;
	a->path = NULL;
	TAILQ_INIT(&a->pending);
	TAILQ_INIT(&a->finished);
	LIST_INSERT_HEAD(&state->attachments, a, link);
	int error = open_attachment(a, path);
	if (error) {
		Py_DECREF(a);
		errors_raise(state, error);
		return NULL;
	}
	return a;
}

struct attachment *attachment_join(struct state *state, const char *path) {
	struct attachment *a = find(state, path);
	if (!a)
		return make(state, path);
	Py_INCREF(a);
	return a;
}

/* Checks that are pending hold their limiters, and these hold this: there are none, and the library calls nobody
 * back. What is finished and was not taken holds it as well. */
static void dealloc(PyObject *self) {
	struct attachment *a = (struct attachment *)self;
	PyTypeObject *type = Py_TYPE(self);
	LIST_REMOVE(a, link);
	stint_close(a->stint);
	free(a->path);
	PyObject_Free(self);
	Py_DECREF(type);
}

/* The descriptor that an event loop watches. It is another one after a fork, under the same number. */
static PyObject *fileno_of(PyObject *self, PyObject *unused) {
	struct attachment *a = (struct attachment *)self;
	(void)unused;
	int fd = stint_fd(a->stint);
	if (fd >= 0)
		return PyLong_FromLong(fd);
	struct state *state = state_of(self);
	return state ? errors_raise(state, fd) : NULL;
}

/* Finishes what is due; take() has it then. */
static PyObject *dispatch(PyObject *self, PyObject *unused) {
	(void)unused;
	return PyLong_FromLong(stint_dispatch(((struct attachment *)self)->stint));
}

/* The next check that has finished; or None. */
static PyObject *take(PyObject *self, PyObject *unused) {
	struct attachment *a = (struct attachment *)self;
	struct waiting *w = TAILQ_FIRST(&a->finished);
	(void)unused;
	if (!w)
		Py_RETURN_NONE;
	TAILQ_REMOVE(&a->finished, w, link);
	w->queue = NULL;
	return (PyObject *)w; /* the queue's reference */
}

static PyMethodDef methods[] = {
	{"fileno", fileno_of, METH_NOARGS, NULL},
	{"dispatch", dispatch, METH_NOARGS, NULL},
	{"take", take, METH_NOARGS, NULL},
	{NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
	{Py_tp_dealloc, dealloc},
	{Py_tp_methods, methods},
	{0, NULL},
};

PyType_Spec attachment_spec = {
	.name = "stint._stint.Attachment",
	.basicsize = sizeof(struct attachment),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = slots,
};
