/*
 * http.c - addresses as ids, and verdicts as header fields: what the library has for all languages.
 */
#include "binding.h"

static PyObject *raise_address(PyObject *address) {
	return errors_raise_value(PyUnicode_Check(address) ? PyExc_ValueError : PyExc_TypeError, "address", address,
	                          "an IPv4 or IPv6 address, as a str");
}

/* ip_client(address, ipv4_prefix, ipv6_prefix) */
PyObject *http_ip_client(PyObject *module, PyObject *args, PyObject *names) {
	static char *keywords[] = {"address", "ipv4_prefix", "ipv6_prefix", NULL};
	char id[STINT_IP_CLIENT_SIZE];
	PyObject *address, *bits[2] = {NULL, NULL};
	int prefix[2] = {0, 0}; /* the library's defaults */
	Py_ssize_t length;
	if (!PyArg_ParseTupleAndKeywords(args, names, "O|$OO:ip_client", keywords, &address, &bits[0], &bits[1]) ||
	    (bits[0] && !arguments_take_integer("ipv4_prefix", bits[0], 1, 32, &prefix[0])) ||
	    (bits[1] && !arguments_take_integer("ipv6_prefix", bits[1], 1, 128, &prefix[1])))
		return NULL;
	const char *text = PyUnicode_Check(address) ? PyUnicode_AsUTF8AndSize(address, &length) : NULL;
	PyErr_Clear();
	if (!text)
		return raise_address(address);
	int error = stint_ip_client(id, sizeof(id), text, (size_t)length, prefix[0], prefix[1]);
	if (error == STINT_EADDRESS)
		return raise_address(address);
	return error ? errors_raise(PyModule_GetState(module), error) : PyUnicode_FromString(id);
}

static void add_field(const char *name, const char *value, void *list) {
	PyObject **fields = list;
	PyObject *field = *fields ? Py_BuildValue("(ss)", name, value) : NULL;
	if (!field || PyList_Append(*fields, field) != 0)
		Py_CLEAR(*fields);
	Py_XDECREF(field);
}

/* _http_headers(result, version, x_ratelimit): a list of pairs. What came before close() may be told after it. */
PyObject *http_headers(PyObject *self, PyObject *args) {
	struct limiter *l = (struct limiter *)self;
	int version, x_ratelimit;
	PyObject *result;
	if ((!l->attachment && !limiter_is_open(l)) ||
	    !PyArg_ParseTuple(args, "Oip", &result, &version, &x_ratelimit) ||
	    !result_check(l->state, "result", result))
		return NULL;
	struct stint_http_options options = {
		.policy = PyUnicode_AsUTF8AndSize(((struct result *)result)->policy, NULL),
		.time_window_ms = l->time_window_ms,
		.fallback_time_window_ms = l->fallback_time_window_ms,
		.version = (enum stint_http_version)version,
		.x_ratelimit = x_ratelimit,
	};
	PyObject *fields = PyList_New(0);
	if (!fields)
		return NULL;
	int error = stint_http_headers(&options, &((struct result *)result)->verdict, add_field, &fields);
	if (!error)
		return fields;
	Py_XDECREF(fields);
	return errors_raise(l->state, error);
}
