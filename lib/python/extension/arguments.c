/*
 * arguments.c - a client's id and a cost, out of a call.
 */
#include <stdio.h>

#include "binding.h"

bool arguments_take_id(const struct state *state, PyObject *client_id, struct arguments *out) {
	Py_ssize_t length = 0;
	out->client_id = client_id;
	out->id = PyUnicode_Check(client_id) ? PyUnicode_AsUTF8AndSize(client_id, &length) : NULL;
	out->length = (size_t)length;
	if (!out->id)
		errors_raise_client_id(state, client_id);
	return out->id;
}

bool arguments_take_integer(const char *name, PyObject *value, int least, int most, int *out) {
	int overflow = 0;
	bool is_integer = PyLong_Check(value) && !PyBool_Check(value);
	long long number = is_integer ? PyLong_AsLongLongAndOverflow(value, &overflow) : 0;
	if (!is_integer || overflow || number < least || number > most) {
		char rule[64];
		snprintf(rule, sizeof(rule), "an int of %d to %d", least, most);
		errors_raise_value(is_integer ? PyExc_ValueError : PyExc_TypeError, name, value, rule);
		return false;
	}
	*out = (int)number;
	return true;
}

bool arguments_take_cost(PyObject *cost, struct arguments *out) {
	int number;
	if (!arguments_take_integer("cost", cost, 1, STINT_MAX_REQUESTS_MAX, &number))
		return false;
	out->cost = (uint32_t)number;
	return true;
}

/* Puts the values that have a name to their places. */
static bool take_names(PyObject *const *values, PyObject *names, PyObject *found[static 2]) {
	Py_ssize_t count = names ? PyTuple_Size(names) : 0;
	for (Py_ssize_t i = 0; i < count; i++) {
		PyObject *name = PyTuple_GetItem(names, i);
		int place = PyUnicode_CompareWithASCIIString(name, "client_id") == 0 ? 0
		            : PyUnicode_CompareWithASCIIString(name, "cost") == 0    ? 1
		                                                                     : 2;
		if (place == 2 || found[place]) {
			PyErr_Format(PyExc_TypeError, place == 2 ? "there is no argument %R" : "argument %R comes twice",
			             name);
			return false;
		}
		found[place] = values[i];
	}
	return true;
}

static bool take_all(const struct state *state, PyObject *const *args, Py_ssize_t count, PyObject *names,
                     bool with_cost, struct arguments *out) {
	PyObject *found[2] = {count > 0 ? args[0] : NULL, count > 1 ? args[1] : NULL};
	if (!take_names(args + count, names, found))
		return false;
	if (!found[0] || count > (with_cost ? 2 : 1) || (found[1] && !with_cost)) {
		PyErr_SetString(PyExc_TypeError,
		                with_cost ? "takes client_id, and cost if it isn't 1" : "takes client_id");
		return false;
	}
	return arguments_take_id(state, found[0], out) && (!found[1] || arguments_take_cost(found[1], out));
}

bool arguments_take(const struct state *state, PyObject *const *args, Py_ssize_t count, PyObject *names,
                    bool with_cost, struct arguments *out) {
	out->cost = 1;
	if (count == 1 && !names)
		return arguments_take_id(state, args[0], out);
	return take_all(state, args, count, names, with_cost, out);
}
