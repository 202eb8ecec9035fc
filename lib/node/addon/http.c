/*
 * http.c - addresses as ids, and verdicts as header fields: what the library has for all languages.
 */
#include <string.h>

#include "addon.h"

/* ipClient(address, ipv4Prefix, ipv6Prefix): the id; or a number, the error. */
napi_value http_ip_client(napi_env env, napi_callback_info info) {
	napi_value value[3], id;
	size_t count = 3;
	int32_t prefix[2] = {0, 0};
	char room[256], client[STINT_IP_CLIENT_SIZE];
	napi_get_cb_info(env, info, &count, value, NULL, NULL);
	const char *address = value_get_string(env, value[0], room, sizeof(room));
	if (!address)
		return value_of_number(env, STINT_EADDRESS);
	napi_get_value_int32(env, value[1], &prefix[0]);
	napi_get_value_int32(env, value[2], &prefix[1]);
	int error = stint_ip_client(client, sizeof(client), address, strlen(address), prefix[0], prefix[1]);
	if (error)
		return value_of_number(env, error);
	napi_create_string_utf8(env, client, NAPI_AUTO_LENGTH, &id);
	return id;
}

struct fields {
	napi_env env;
	napi_value array;
	uint32_t count;
};

static void add_string(struct fields *f, const char *text) {
	napi_value string;
	if (napi_create_string_utf8(f->env, text, NAPI_AUTO_LENGTH, &string) == napi_ok)
		napi_set_element(f->env, f->array, f->count++, string);
}

static void add_field(const char *name, const char *value, void *fields) {
	add_string(fields, name);
	add_string(fields, value);
}

/* httpHeaders(options, verdict): [name, value, name, value, ...]; or a number, the error. */
napi_value http_headers(napi_env env, napi_callback_info info) {
	napi_value value[2], policy;
	size_t count = 2;
	char room[STINT_POLICY_NAME_MAX + 2];
	napi_get_cb_info(env, info, &count, value, NULL, NULL);
	napi_get_named_property(env, value[0], "policy", &policy);
	struct stint_http_options options = {
		.policy = value_get_string(env, policy, room, sizeof(room)),
		.time_window_ms = value_get_number(env, value[0], "timeWindowMs"),
		.fallback_time_window_ms = value_get_number(env, value[0], "fallbackTimeWindowMs"),
		.version = (enum stint_http_version)value_get_number(env, value[0], "version"),
		.x_ratelimit = value_get_number(env, value[0], "xRateLimit") != 0,
	};
	struct stint_result result = {
		.allowed = value_get_number(env, value[1], "allowed") != 0,
		.shadow_denied = value_get_number(env, value[1], "shadowDenied") != 0,
		.source = (enum stint_source)value_get_number(env, value[1], "source"),
		.reason = (enum stint_reason)value_get_number(env, value[1], "reason"),
		.limit = value_get_number(env, value[1], "limit"),
		.remaining = value_get_number(env, value[1], "remaining"),
		.retry_after_ms = value_get_number(env, value[1], "retryAfterMs"),
		.reset_after_ms = value_get_number(env, value[1], "resetAfterMs"),
		.time_window_ms = value_get_number(env, value[1], "timeWindowMs"),
	};
	struct fields fields = {.env = env};
	napi_create_array(env, &fields.array);
	int error = stint_http_headers(&options, &result, add_field, &fields);
	return error ? value_of_number(env, error) : fields.array;
}
