/*
 * errors.c - the library's errors as exceptions: ValueError and TypeError for wrong use, StintError for the rest.
 */
#include <string.h>

#include "binding.h"

#define CLIENT_ID      "a str of 1 to 255 bytes in UTF-8, without a NUL or a lone surrogate"
#define CLIENT_ID_RULE "must be " CLIENT_ID

/* More of a value would hide the rest of its error. */
#define SHOWN_MAX 80

static PyObject *show_by_type(PyObject *value) {
	PyObject *bits = PyLong_Check(value) ? PyObject_CallMethod(value, "bit_length", NULL) : NULL;
	if (bits) {
		PyObject *text = PyUnicode_FromFormat("an int of %S bits", bits);
		Py_DECREF(bits);
		return text;
	}
	PyErr_Clear();
	PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(value), "__name__");
	PyObject *text = name ? PyUnicode_FromFormat("an object of type %U", name) : NULL;
	Py_XDECREF(name);
	return text;
}

PyObject *errors_show(PyObject *value) {
	PyObject *whole = PyObject_Repr(value);
	if (!whole && !PyErr_ExceptionMatches(PyExc_Exception))
		return NULL;
	if (!whole) {
		PyErr_Clear();
		return show_by_type(value);
	}
	if (PyUnicode_GetLength(whole) <= SHOWN_MAX)
		return whole;
	PyObject *start = PyUnicode_Substring(whole, 0, SHOWN_MAX - 3);
	PyObject *text = start ? PyUnicode_FromFormat("%U...", start) : NULL;
	Py_XDECREF(start);
	Py_DECREF(whole);
	return text;
}

PyObject *errors_raise_value(PyObject *kind, const char *name, PyObject *value, const char *rule) {
	PyObject *shown = errors_show(value);
	if (shown)
		PyErr_Format(kind, "%s is %U, must be %s", name, shown, rule);
	Py_XDECREF(shown);
	return NULL;
}

/* The detail may say the sentence itself. */
PyObject *errors_describe(int error) {
	const char *sentence = stint_strerror(error), *detail = stint_error_detail();
	if (strstr(detail, sentence))
		return PyUnicode_FromString(detail);
	return PyUnicode_FromFormat("%s%s%s", sentence, *detail ? ": " : "", detail);
}

static PyObject *raise_stint_error(const struct state *state, int error) {
	PyObject *text = errors_describe(error);
	PyObject *exception = text ? PyObject_CallFunctionObjArgs(state->error, text, NULL) : NULL;
	PyObject *code = exception ? PyLong_FromLong(error) : NULL;
	if (code && PyObject_SetAttrString(exception, "code", code) == 0)
		PyErr_SetObject(state->error, exception);
	Py_XDECREF(code);
	Py_XDECREF(exception);
	Py_XDECREF(text);
	return NULL;
}

PyObject *errors_raise(const struct state *state, int error) {
	switch (error) {
	case STINT_ENOMEM: return PyErr_NoMemory();
	case STINT_ERANGE:
	case STINT_EPOLICY: PyErr_SetString(PyExc_ValueError, stint_error_detail()); return NULL;
	default: return raise_stint_error(state, error);
	}
}

/* Instead of what Python has raised; unless there was no memory. */
static PyObject *raise_surrogate(const struct state *state) {
	if (PyErr_ExceptionMatches(PyExc_MemoryError))
		return NULL;
	PyErr_Clear();
	PyErr_SetString(state->client_id_error, "client_id has a lone surrogate, " CLIENT_ID_RULE);
	return NULL;
}

PyObject *errors_raise_client_id(const struct state *state, PyObject *client_id) {
	Py_ssize_t length;
	if (PyErr_Occurred())
		return raise_surrogate(state);
	if (!PyUnicode_Check(client_id))
		return errors_raise_value(PyExc_TypeError, "client_id", client_id, CLIENT_ID);
	if (!PyUnicode_AsUTF8AndSize(client_id, &length))
		return raise_surrogate(state);
	if (length == 0 || length > STINT_CLIENT_ID_MAX)
		return PyErr_Format(state->client_id_error, "client_id has %zd bytes, " CLIENT_ID_RULE, length);
	return PyErr_Format(state->client_id_error, "client_id %R has a NUL, " CLIENT_ID_RULE, client_id);
}

PyObject *errors_raise_closed(const struct state *state) {
	PyErr_SetString(state->error, "this limiter is closed");
	return NULL;
}
