/*
 * result.c - what a check found. It is no more than the library's verdict: attributes are made when they are
 * read.
 */
#include "binding.h"

PyObject *result_make(const struct limiter *l, const struct stint_result *verdict, uint32_t cost,
                      PyObject *error) {
	struct result *r = PyObject_New(struct result, l->state->result);
	if (!r) {
		Py_XDECREF(error);
		return NULL;
	}
	r->verdict = *verdict;
	r->cost = cost;
	Py_INCREF(l->policy);
	r->policy = l->policy;
	r->error = error;
	return (PyObject *)r;
}

bool result_check(const struct state *state, const char *name, PyObject *value) {
	if (Py_IS_TYPE(value, state->result))
		return true;
	errors_raise_value(PyExc_TypeError, name, value, "a stint.Result");
	return false;
}

static void dealloc(PyObject *self) {
	struct result *r = (struct result *)self;
	PyTypeObject *type = Py_TYPE(self);
	Py_DECREF(r->policy);
	Py_XDECREF(r->error);
	PyObject_Free(self);
	Py_DECREF(type);
}

static int is_true(PyObject *self) {
	return ((struct result *)self)->verdict.allowed;
}

enum field {
	ALLOWED,
	SHADOW_DENIED,
	LIMIT,
	TIME_WINDOW_MS,
	REMAINING,
	RETRY_AFTER_MS,
	RESET_AFTER_MS,
	SOURCE,
	REASON,
	POLICY,
	COST,
	PART,
	ERROR
};

static PyObject *get_word(const char *const *words, unsigned count, unsigned number) {
	return PyUnicode_InternFromString(number < count ? words[number] : "");
}

static PyObject *get_source(const struct result *r) {
	static const char *const words[] = {"", "lease", "database", "fallback", "local", "advance"};
	return get_word(words, sizeof(words) / sizeof(words[0]), r->verdict.source);
}

static PyObject *get_reason(const struct result *r) {
	static const char *const words[] = {"",        "admitted",         "over_limit",
	                                    "blocked", "cost_above_limit", "unavailable"};
	return get_word(words, sizeof(words) / sizeof(words[0]), r->verdict.reason);
}

static PyObject *get_object(PyObject *object) {
	PyObject *value = object ? object : Py_None;
	Py_INCREF(value);
	return value;
}

static PyObject *get(PyObject *self, void *field) {
	const struct result *r = (struct result *)self;
	switch ((enum field)(uintptr_t)field) {
	case ALLOWED: return PyBool_FromLong(r->verdict.allowed);
	case SHADOW_DENIED: return PyBool_FromLong(r->verdict.shadow_denied);
	case LIMIT: return PyLong_FromLongLong(r->verdict.limit);
	case TIME_WINDOW_MS: return PyLong_FromLongLong(r->verdict.time_window_ms);
	case REMAINING: return PyLong_FromLongLong(r->verdict.remaining);
	case RETRY_AFTER_MS: return PyLong_FromLongLong(r->verdict.retry_after_ms);
	case RESET_AFTER_MS: return PyLong_FromLongLong(r->verdict.reset_after_ms);
	case SOURCE: return get_source(r);
	case REASON: return get_reason(r);
	case POLICY: return get_object(r->policy);
	case COST: return PyLong_FromUnsignedLong(r->cost);
	case PART: return PyLong_FromUnsignedLong(r->verdict.part);
	case ERROR: return get_object(r->error);
	}
	return NULL;
}

static PyGetSetDef attributes[] = {
	{"allowed", get, NULL, "whether the client may go on; the truth of this object as well", (void *)ALLOWED},
	{"shadow_denied", get, NULL, "it is allowed only because its policy is a shadow", (void *)SHADOW_DENIED},
	{"limit", get, NULL, "what applies to this client; 0: it is blocked", (void *)LIMIT},
	{"time_window_ms", get, NULL, "in which the limit counts: the policy's, or the fallback's",
     (void *)TIME_WINDOW_MS},
	{"remaining", get, NULL, "an estimate: others may spend it meanwhile", (void *)REMAINING},
	{"retry_after_ms", get, NULL, "0 when allowed, else until this cost may be admitted", (void *)RETRY_AFTER_MS},
	{"reset_after_ms", get, NULL, "until the whole limit is free again, if nobody sends", (void *)RESET_AFTER_MS},
	{"source", get, NULL, "who decided: lease, database, fallback, local, advance", (void *)SOURCE},
	{"reason", get, NULL, "admitted, over_limit, blocked, cost_above_limit, unavailable", (void *)REASON},
	{"policy", get, NULL, "the limit's name", (void *)POLICY},
	{"cost", get, NULL, "what was asked for", (void *)COST},
	{"part", get, NULL, "of check_all(): whose numbers these are", (void *)PART},
	{"error", get, NULL, "what went wrong, if that is why source is local; or None", (void *)ERROR},
	{NULL, NULL, NULL, NULL, NULL},
};

static PyObject *represent(PyObject *self) {
	const struct result *r = (struct result *)self;
	PyObject *source = get_source(r), *reason = get_reason(r), *text = NULL;
	if (source && reason)
		text = PyUnicode_FromFormat("<stint.Result %s: %U of policy %U, %lld of %lld left, by %U>",
		                            r->verdict.shadow_denied ? "shadow_denied"
		                            : r->verdict.allowed     ? "allowed"
		                                                     : "denied",
		                            reason, r->policy, (long long)r->verdict.remaining,
		                            (long long)r->verdict.limit, source);
	Py_XDECREF(source);
	Py_XDECREF(reason);
	return text;
}

static PyType_Slot slots[] = {
	{Py_tp_dealloc, dealloc}, {Py_tp_getset, attributes},         {Py_tp_repr, represent},
	{Py_nb_bool, is_true},    {Py_tp_doc, "What a check found."}, {0, NULL},
};

PyType_Spec result_spec = {
	.name = "stint.Result",
	.basicsize = sizeof(struct result),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = slots,
};
