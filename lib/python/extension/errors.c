/*
 * errors.c - the library's errors as exceptions: ValueError and TypeError for wrong use, StintError for the rest.
 */
#include "binding.h"

#define CLIENT_ID_RULE "must be a str of 1 to 255 bytes in UTF-8, without a NUL or a lone surrogate"

PyObject *errors_describe(int error) {
	const char *detail = stint_error_detail();
	return PyUnicode_FromFormat("%s%s%s", stint_strerror(error), *detail ? ": " : "", detail);
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
	case STINT_EPATH: return PyErr_Format(PyExc_ValueError, "socket_path: %s", stint_strerror(error));
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
		return PyErr_Format(PyExc_TypeError, "client_id is %.100R, " CLIENT_ID_RULE, client_id);
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
