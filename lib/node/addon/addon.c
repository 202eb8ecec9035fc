/*
 * addon.c - the addon's door: what JavaScript gets when it loads it.
 */
#include "addon.h"

static bool make_array(napi_env env, size_t length, int32_t **numbers, napi_value *array) {
	napi_value buffer;
	void *data;
	if (napi_create_arraybuffer(env, length * sizeof(int32_t), &data, &buffer) != napi_ok ||
	    napi_create_typedarray(env, napi_int32_array, length, buffer, 0, array) != napi_ok)
		return false;
	*numbers = data;
	return true;
}

static bool add_number(napi_env env, napi_value object, const char *name, uint32_t number) {
	napi_value value;
	return napi_create_uint32(env, number, &value) == napi_ok &&
	       napi_set_named_property(env, object, name, value) == napi_ok;
}

/*
 * start(settle): begins an environment. settle(count) will be called when `settled` holds count verdicts.
 * JavaScript that is loaded again while the addon stays begins another one; the former goes on for its limiters.
 */
static napi_value start(napi_env env, napi_callback_info info) {
	napi_value settle, object, numbers, settled, name;
	size_t count = 1;
	napi_get_cb_info(env, info, &count, &settle, NULL, NULL);
	struct environment *e = environment_make(env);
	napi_create_object(env, &object);
	napi_create_string_utf8(env, "stint", NAPI_AUTO_LENGTH, &name);
	if (!e || !make_array(env, NUMBERS, &e->numbers, &numbers) ||
	    !make_array(env, (size_t)FIELDS * SETTLED_MAX, &e->settled, &settled) ||
	    napi_set_named_property(env, object, "numbers", numbers) != napi_ok ||
	    napi_set_named_property(env, object, "settled", settled) != napi_ok ||
	    !add_number(env, object, "fields", FIELDS) || !limiter_add_functions(e, object) ||
	    !value_add_function(env, object, "describe", environment_describe, e) ||
	    napi_create_reference(env, object, 1, &e->buffers) != napi_ok ||
	    napi_async_init(env, NULL, name, &e->context) != napi_ok ||
	    napi_create_reference(env, settle, 1, &e->settle) != napi_ok)
		napi_throw_error(env, NULL, "stint: the addon can't start");
	return object;
}

NAPI_MODULE_INIT() {
	if (!value_add_function(env, exports, "start", start, NULL) ||
	    !value_add_function(env, exports, "ipClient", http_ip_client, NULL) ||
	    !value_add_function(env, exports, "httpHeaders", http_headers, NULL))
		napi_throw_error(env, NULL, "stint: the addon can't be loaded: out of memory");
	return exports;
}
