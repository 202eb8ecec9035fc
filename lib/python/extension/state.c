/*
 * state.c - from an object to its module: Python has no direct way for subclasses.
 */
#include "binding.h"

static PyModuleDef *definition;

void state_set_definition(PyModuleDef *own) {
	definition = own;
}

/* Returns the module that has defined this type, if it is ours; else NULL. */
static PyObject *find_module(PyTypeObject *type) {
	PyObject *module = PyType_GetModule(type);
	if (module && PyModule_GetDef(module) == definition)
		return module;
	PyErr_Clear();
	return NULL;
}

struct state *state_of(PyObject *self) {
	for (PyTypeObject *type = Py_TYPE(self); type; type = PyType_GetSlot(type, Py_tp_base)) {
		PyObject *module = find_module(type);
		if (module)
			return PyModule_GetState(module);
	}
	PyErr_SetString(PyExc_TypeError, "this is no type of stint's");
	return NULL;
}
