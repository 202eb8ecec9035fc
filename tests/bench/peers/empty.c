/*
 * empty.c - an addon that does nothing: what a call with a string costs by Node-API alone.
 */
#define NAPI_VERSION 8
#include <node_api.h>

/* As lib/node takes an id: 255 units, and room to see that it is longer. */
#define ROOM 260

static napi_value take(napi_env env, napi_callback_info info) {
	napi_value value[1];
	size_t count = 1, length;
	char16_t unit[ROOM];

	if (napi_get_cb_info(env, info, &count, value, NULL, NULL) == napi_ok)
		napi_get_value_string_utf16(env, value[0], unit, ROOM, &length);
	return NULL;
}

NAPI_MODULE_INIT() {
	napi_value function = NULL;

	napi_create_function(env, "take", NAPI_AUTO_LENGTH, take, NULL, &function);
	return function != NULL ? function : exports;
}
