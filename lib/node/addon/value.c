/*
 * value.c - numbers and strings, out of JavaScript and into it.
 */
#include <string.h>

#include "addon.h"

napi_value value_of_number(napi_env env, int number) {
	napi_value value = NULL;
	napi_create_int32(env, number, &value);
	return value;
}

int64_t value_get_number(napi_env env, napi_value object, const char *name) {
	napi_value value;
	int64_t number = 0;
	if (napi_get_named_property(env, object, name, &value) == napi_ok)
		napi_get_value_int64(env, value, &number);
	return number;
}

const char *value_get_string(napi_env env, napi_value value, char *room, size_t size) {
	size_t length;
	bool fits = napi_get_value_string_utf8(env, value, room, size, &length) == napi_ok && length < size - 1;
	return fits && strlen(room) == length ? room : NULL;
}

bool value_add_function(napi_env env, napi_value object, const char *name, napi_callback call, void *data) {
	napi_value function;
	return napi_create_function(env, name, NAPI_AUTO_LENGTH, call, data, &function) == napi_ok &&
	       napi_set_named_property(env, object, name, function) == napi_ok;
}
