/*
 * binding.h - what the parts of the extension share: the types that Python sees, and what they hold.
 *
 * All of this is guarded by the interpreter's lock, which is given up only where a check waits for the agent. No
 * callback of the library's runs Python code: it puts what came into a queue, and Python takes it from there.
 */
#ifndef STINT_PYTHON_BINDING_H
#define STINT_PYTHON_BINDING_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030a0000 /* one build for Python 3.10 and later */
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "stint.h"

/* What one load of the module has. It lives as long as its types, so as long as any object of them. */
struct state {
	PyTypeObject *attachment;
	PyTypeObject *limiter;
	PyTypeObject *result;
	PyTypeObject *waiting;
	PyObject *error;           /* StintError */
	PyObject *client_id_error; /* ClientIdError */
	LIST_HEAD(, attachment) attachments;
};

/* One to each path, shared by all limiters that use it. Goes with the last of them. */
struct attachment {
	PyObject_HEAD struct stint *stint;
	char *path; /* NULL: the default */
	TAILQ_HEAD(waiting_queue, waiting) pending;
	struct waiting_queue finished; /* for Python to take */
	LIST_ENTRY(attachment) link;
};

struct limiter {
	PyObject_HEAD struct state *state;
	struct attachment *attachment; /* NULL: __init__ has not run, or failed */
	struct stint_limiter *stint;   /* NULL: freed */
	PyObject *policy;
	int64_t max_requests;
	int64_t time_window_ms;
	int64_t fallback_time_window_ms;
	enum stint_on_error on_error;
	bool shadow;
	unsigned users; /* threads that wait in it, without the interpreter's lock; the last one frees a closed one */
	bool closed;
};

struct result {
	PyObject_HEAD struct stint_result verdict;
	uint32_t cost;
	PyObject *policy;
	PyObject *error; /* NULL: None */
};

/* An asynchronous check: until it has ended the library holds a reference, then the attachment's `finished`. */
struct waiting {
	PyObject_HEAD struct limiter *limiter;
	PyObject *client_id;         /* NULL: of several limiters */
	PyObject *parts;             /* of several limiters: a tuple of them; else NULL */
	PyObject *watcher;           /* Python's */
	PyObject *error;             /* NULL, or what was wrong */
	struct waiting_queue *queue; /* in which it is; NULL: in none */
	struct stint_result verdict;
	uint64_t ticket;
	uint32_t cost[STINT_PARTS_MAX]; /* of each part; of the first, when there are none */
	int status;
	bool peeks; /* it is to take nothing */
	TAILQ_ENTRY(waiting) link;
};

/* Of a call with a client's id and a cost. The id is the caller's as long as the call. */
struct arguments {
	PyObject *client_id;
	const char *id;
	size_t length;
	uint32_t cost;
};

/* ---- state.c ----------------------------------------------------------------- */

void state_set_definition(PyModuleDef *definition);
/* Returns the state of the module that defines the object's type, or a type above it; or NULL, and an error. */
struct state *state_of(PyObject *self);

/* ---- errors.c ---------------------------------------------------------------- */

/* Raises what the library's last call has returned. Returns NULL. */
PyObject *errors_raise(const struct state *state, int error);
/* The sentence of that error, and what exactly was wrong; NULL when there is no memory. */
PyObject *errors_describe(int error);
/* A value as an error shows it, whatever its repr() does; NULL, and an error, when there is no memory. */
PyObject *errors_show(PyObject *value);
/* Raises "NAME is VALUE, must be RULE". Returns NULL. */
PyObject *errors_raise_value(PyObject *kind, const char *name, PyObject *value, const char *rule);
/* Raises that this id is none. Returns NULL. */
PyObject *errors_raise_client_id(const struct state *state, PyObject *client_id);
/* Returns NULL. */
PyObject *errors_raise_closed(const struct state *state);

/* ---- arguments.c --------------------------------------------------------------- */

/* Takes client_id and, where with_cost, cost out of a call. False, and an error, if they are wrong. */
bool arguments_take(const struct state *state, PyObject *const *args, Py_ssize_t count, PyObject *names,
                    bool with_cost, struct arguments *out);
bool arguments_take_id(const struct state *state, PyObject *client_id, struct arguments *out);
bool arguments_take_cost(PyObject *cost, struct arguments *out);
/* Takes an int of this range. */
bool arguments_take_integer(const char *name, PyObject *value, int least, int most, int *out);

/* ---- attachment.c -------------------------------------------------------------- */

extern PyType_Spec attachment_spec;
/* The one to this path, made when there is none; or NULL, and an error. */
struct attachment *attachment_join(struct state *state, const char *path);

/* ---- limiter.c ----------------------------------------------------------------- */

/* False, and an error, if it is closed. */
bool limiter_is_open(struct limiter *l);
/* Around a call without the interpreter's lock. */
void limiter_enter(struct limiter *l);
void limiter_leave(struct limiter *l);
PyObject *limiter_close(PyObject *limiter, PyObject *unused);
/* The methods are those of other files: these know this one. */
PyObject *limiter_make_type(PyObject *module, PyMethodDef *methods);

/* ---- check.c, check_all.c, http.c: what Python calls --------------------------- */

extern PyMethodDef check_methods[]; /* ends with NULL */
PyObject *check_all(PyObject *module, PyObject *parts);
PyObject *check_all_ask(PyObject *module, PyObject *parts);
PyObject *http_ip_client(PyObject *module, PyObject *args, PyObject *names);
PyObject *http_headers(PyObject *limiter, PyObject *args);
/* False, and an error, if it is no Result. */
bool result_check(const struct state *state, const char *name, PyObject *value);

/* ---- result.c -------------------------------------------------------------------- */

extern PyType_Spec result_spec;
/* error: NULL, or what was wrong; its reference is taken over. */
PyObject *result_make(const struct limiter *l, const struct stint_result *verdict, uint32_t cost, PyObject *error);

/* ---- alone.c --------------------------------------------------------------------- */

/* The verdict of on_error when a check has ended with this status; or the error, if the call was wrong. peeks: it
 * is to take nothing. error: as for result_make(). */
PyObject *alone_decide(struct limiter *l, const struct arguments *a, bool peeks, int status, PyObject *error);
/* The same of several limiters, a tuple, and what is asked of each. */
PyObject *alone_decide_all(PyObject *limiters, const uint32_t *cost, int status, PyObject *error);

/* ---- waiting.c ------------------------------------------------------------------- */

extern PyType_Spec waiting_spec;
struct waiting *waiting_make(struct limiter *l, PyObject *client_id, PyObject *parts);
/* The library has it now. */
void waiting_begin(struct waiting *w, uint64_t ticket);
/* A stint_callback. */
void waiting_finish(int status, const struct stint_result *result, void *waiting);
/* Ends those of one limiter that are pending: they are finished then. */
void waiting_cancel_all(struct limiter *l);

#endif
