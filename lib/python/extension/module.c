/*
 * module.c - the module stint._stint: what stint's Python code is built on.
 */
#include "binding.h"

#define MAIN_INTERPRETER 0

static PyObject *add(PyObject *module, const char *name, PyObject *object) {
	if (object && PyModule_AddObjectRef(module, name, object) == 0)
		return object;
	Py_XDECREF(object);
	return NULL;
}

static PyTypeObject *add_type(PyObject *module, const char *name, PyType_Spec *spec) {
	return (PyTypeObject *)add(module, name, PyType_FromModuleAndSpec(module, spec, NULL));
}

/* A limiter that is closed has no code of the library's. */
static PyObject *make_stint_error(void) {
	PyObject *attributes = Py_BuildValue("{sO}", "code", Py_None);
	PyObject *error =
		attributes
			? PyErr_NewExceptionWithDoc("stint.StintError",
	                                    "What is no wrong argument. code: the STINT_E... of stint.h, or None.",
	                                    NULL, attributes)
			: NULL;
	Py_XDECREF(attributes);
	return error;
}

/* The library's attachments belong to a process, and callbacks must find their interpreter. */
static bool is_main_interpreter(void) {
	if (PyInterpreterState_GetID(PyInterpreterState_Get()) == MAIN_INTERPRETER)
		return true;
	PyErr_SetString(PyExc_ImportError, "stint works in a process's main interpreter only, not in a subinterpreter "
	                                   "(mod_wsgi: WSGIApplicationGroup %{GLOBAL})");
	return false;
}

static int execute(PyObject *module) {
	struct state *s = PyModule_GetState(module);
	if (!is_main_interpreter())
		return -1;
	LIST_INIT(&s->attachments);
	s->error = add(module, "StintError", make_stint_error());
	s->client_id_error = add(module, "ClientIdError",
	                         PyErr_NewExceptionWithDoc("stint.ClientIdError", "A str that is no client's id.",
	                                                   PyExc_ValueError, NULL));
	s->attachment = add_type(module, "Attachment", &attachment_spec);
	s->limiter = (PyTypeObject *)add(module, "Limiter", limiter_make_type(module, check_methods));
	s->result = add_type(module, "Result", &result_spec);
	s->waiting = add_type(module, "Waiting", &waiting_spec);
	bool done = s->error && s->client_id_error && s->attachment && s->limiter && s->result && s->waiting;
	return done && PyModule_AddStringConstant(module, "__version__", STINT_VERSION) == 0 ? 0 : -1;
}

/* There is no clear: a finalizer may still check when the interpreter ends. */
static int traverse(PyObject *module, visitproc visit, void *arg) {
	struct state *s = PyModule_GetState(module);
	Py_VISIT(s->error);
	Py_VISIT(s->client_id_error);
	Py_VISIT(s->attachment);
	Py_VISIT(s->limiter);
	Py_VISIT(s->result);
	Py_VISIT(s->waiting);
	return 0;
}

static void free_module(void *module) {
	struct state *s = PyModule_GetState(module);
	Py_XDECREF(s->error);
	Py_XDECREF(s->client_id_error);
	Py_XDECREF(s->attachment);
	Py_XDECREF(s->limiter);
	Py_XDECREF(s->result);
	Py_XDECREF(s->waiting);
}

static PyObject *show(PyObject *module, PyObject *value) {
	(void)module;
	return errors_show(value);
}

static PyMethodDef functions[] = {
	{"check_all", check_all, METH_O,
     "check_all($module, parts, /)\n--\n\nOne check of several limiters, all or nothing."},
	{"_ask_all", check_all_ask, METH_O, NULL},
	{"_show", show, METH_O, NULL},
	{"ip_client", (PyCFunction)(void (*)(void))http_ip_client, METH_VARARGS | METH_KEYWORDS,
     "ip_client($module, address, *, ipv4_prefix=32, ipv6_prefix=64)\n--\n\nAn address as a client's id."},
	{NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
	{Py_mod_exec, execute},
	{0, NULL},
};

static PyModuleDef definition = {
	PyModuleDef_HEAD_INIT, .m_name = "stint._stint", .m_size = sizeof(struct state), .m_methods = functions,
	.m_slots = slots,      .m_traverse = traverse,   .m_free = free_module,
};

PyMODINIT_FUNC PyInit__stint(void) {
	state_set_definition(&definition);
	return PyModuleDef_Init(&definition);
}
