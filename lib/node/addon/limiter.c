/*
 * limiter.c - a limiter is functions of JavaScript's, { check, try, close, ... }: each has its limiter as its
 * data, which is the quickest way from a call to it. The last of them that is collected frees it.
 */
#include <stdlib.h>
#include <string.h>

#include "addon.h"

struct limiter {
	struct environment *environment;
	struct attachment *attachment; /* NULL: it is closed */
	struct stint_limiter *stint;
	unsigned users;           /* its functions, and whoever makes it */
	LIST_ENTRY(limiter) link; /* while it is open */
};

#define NARROW 16

/* Room to see that an id is too long (V8 writes whole characters, so it may leave three bytes free, and a NUL),
 * and for a piece that begins with an id's last character. */
#define ID_ROOM (STINT_CLIENT_ID_MAX + 1 + 3 + 1 + NARROW)

/* ---- Ids ------------------------------------------------------------------- */

/* U+FFFD in an id: V8 writes it in place of lone surrogates, which would make different ids one client. */
static bool has_replacement(const char *id, size_t length) {
	return memmem(id, length, "\xef\xbf\xbd", 3) != NULL;
}

static bool is_pair(const char16_t *unit, size_t left) {
	return unit[0] < 0xdc00 && left > 1 && unit[1] >= 0xdc00 && unit[1] <= 0xdfff;
}

static bool has_lone_surrogate(const char16_t *unit, size_t length) {
	for (size_t i = 0; i < length; i++) {
		if (unit[i] < 0xd800 || unit[i] > 0xdfff)
			continue;
		if (!is_pair(&unit[i], length - i))
			return true;
		i++;
	}
	return false;
}

/* Returns whether the id is ASCII: then it is written. Whole pieces of fixed length become single instructions. */
static bool narrow(char16_t unit[static ID_ROOM], size_t length, char id[static ID_ROOM]) {
	char16_t all = 0;
	memset(&unit[length], 0, NARROW * sizeof(unit[0]));
	for (size_t i = 0; i < length; i += NARROW)
		for (size_t k = 0; k < NARROW; k++) {
			all |= unit[i + k];
			id[i + k] = (char)unit[i + k];
		}
	return all < 0x80;
}

static int take_wide_id(napi_env env, napi_value value, const char16_t *unit, size_t units,
                        char id[static ID_ROOM], size_t *length) {
	if (napi_get_value_string_utf8(env, value, id, ID_ROOM, length) != napi_ok)
		return ERROR_NO_STRING;
	if (*length > STINT_CLIENT_ID_MAX)
		return ERROR_ID_TOO_LONG;
	if (has_replacement(id, *length) && has_lone_surrogate(unit, units))
		return ERROR_LONE_SURROGATE;
	return 0;
}

/* V8 hands out units of UTF-16 in two thirds of the time that it takes for UTF-8; most ids are ASCII. */
static int take_id(napi_env env, napi_value value, char id[static ID_ROOM], size_t *length) {
	char16_t unit[ID_ROOM];
	if (napi_get_value_string_utf16(env, value, unit, ID_ROOM, length) != napi_ok)
		return ERROR_NO_STRING;
	if (*length > STINT_CLIENT_ID_MAX)
		return ERROR_ID_TOO_LONG;
	if (narrow(unit, *length, id))
		return 0;
	return take_wide_id(env, value, unit, *length, id, length);
}

/* ---- Checks ------------------------------------------------------------------ */

struct arguments {
	struct limiter *limiter;
	size_t length;
	uint32_t cost;
	char id[ID_ROOM];
};

/* (id, cost): without a cost it is 1. */
static int take_arguments(napi_env env, napi_callback_info info, struct arguments *a) {
	napi_value value[2];
	size_t count = 2;
	void *data;
	napi_get_cb_info(env, info, &count, value, NULL, &data);
	a->limiter = data;
	a->cost = 1;
	if (!a->limiter->attachment)
		return ERROR_LIMITER_CLOSED;
	if (count > 1 && napi_get_value_uint32(env, value[1], &a->cost) != napi_ok)
		return STINT_ERANGE;
	return take_id(env, value[0], a->id, &a->length);
}

/* Begins a check, or a peek; what is decided at once is written for JavaScript. Returns what JavaScript gets. */
static int begin(const struct arguments *a, bool peeks) {
	struct environment *e = a->limiter->environment;
	struct stint_limiter *stint = a->limiter->stint;
	struct stint_result result;
	struct pending *p = environment_find_unused(e);
	if (!p)
		return STINT_ENOMEM;
	int status = peeks ? stint_peek_async_n(stint, a->id, a->length, a->cost, &result, environment_finish, p)
	                   : stint_check_async_n(stint, a->id, a->length, a->cost, &result, environment_finish, p);
	if (status == 0)
		return environment_take(e, p, a->limiter->attachment);
	return status == 1 ? environment_answer(e, &result) : status;
}

/* An element of an array that both sides see costs less than a value that is returned. */
static napi_value tell(const struct arguments *a, int answer) {
	a->limiter->environment->verdict[FIELD_ANSWER] = answer;
	return NULL;
}

static napi_value check(napi_env env, napi_callback_info info) {
	struct arguments a;
	int error = take_arguments(env, info, &a);
	return tell(&a, error ? error : begin(&a, false));
}

static napi_value peek(napi_env env, napi_callback_info info) {
	struct arguments a;
	int error = take_arguments(env, info, &a);
	return tell(&a, error ? error : begin(&a, true));
}

static int try_now(const struct arguments *a) {
	struct stint_result result;
	int status = stint_try_n(a->limiter->stint, a->id, a->length, a->cost, &result);
	if (status == 0)
		return ANSWER_NONE;
	return status == 1 ? environment_answer(a->limiter->environment, &result) : status;
}

static napi_value try(napi_env env, napi_callback_info info) {
	struct arguments a;
	int error = take_arguments(env, info, &a);
	return tell(&a, error ? error : try_now(&a));
}

static int decide_alone(const struct arguments *a) {
	struct stint_result result;
	int error = stint_check_alone_n(a->limiter->stint, a->id, a->length, a->cost, &result);
	return error ? error : environment_answer(a->limiter->environment, &result);
}

/* By onError, for a check that ended with an error. */
static napi_value alone(napi_env env, napi_callback_info info) {
	struct arguments a;
	int error = take_arguments(env, info, &a);
	return tell(&a, error ? error : decide_alone(&a));
}

static napi_value charge(napi_env env, napi_callback_info info) {
	struct arguments a;
	int error = take_arguments(env, info, &a);
	return value_of_number(env, error ? error : stint_charge_n(a.limiter->stint, a.id, a.length, a.cost));
}

static bool take_receipt(napi_env env, const napi_value half[static 2], uint64_t *receipt) {
	int32_t low, high;
	if (napi_get_value_int32(env, half[0], &low) != napi_ok ||
	    napi_get_value_int32(env, half[1], &high) != napi_ok)
		return false;
	*receipt = (uint64_t)(uint32_t)high << 32 | (uint32_t)low;
	return true;
}

/* refund(id, cost, low, high): 1 when it was given back. */
static napi_value refund(napi_env env, napi_callback_info info) {
	struct arguments a;
	struct stint_result admission = {.allowed = true};
	napi_value value[4];
	size_t count = 4;
	int error = take_arguments(env, info, &a);
	napi_get_cb_info(env, info, &count, value, NULL, NULL);
	if (!error && !take_receipt(env, &value[2], &admission.receipt))
		error = STINT_ERANGE;
	return value_of_number(env,
	                       error ? error : stint_refund_n(a.limiter->stint, a.id, a.length, a.cost, &admission));
}

/* ---- Several at once ------------------------------------------------------------- */

struct parts {
	struct attachment *attachment;
	size_t count;
	struct stint_part part[STINT_PARTS_MAX];
	char id[STINT_PARTS_MAX][ID_ROOM];
};

/* One part: the limiter's handle, an id, a cost. */
static int take_part(napi_env env, const napi_value value[static 3], struct parts *all) {
	struct stint_part *part = &all->part[all->count];
	void *data;
	if (napi_get_value_external(env, value[0], &data) != napi_ok ||
	    napi_get_value_uint32(env, value[2], &part->cost) != napi_ok)
		return STINT_ERANGE;
	struct limiter *l = data;
	if (!l->attachment)
		return ERROR_LIMITER_CLOSED;
	part->limiter = l->stint;
	part->client_id = all->id[all->count];
	all->attachment = l->attachment;
	int error = take_id(env, value[1], all->id[all->count], &part->length);
	all->count++;
	return error;
}

static int begin_all(const struct parts *all) {
	struct environment *e = all->attachment->environment;
	struct stint_result result;
	struct pending *p = environment_find_unused(e);
	if (!p)
		return STINT_ENOMEM;
	int status = stint_check_all_async(all->part, all->count, &result, environment_finish, p);
	if (status == 0)
		return environment_take(e, p, all->attachment);
	return status == 1 ? environment_answer(e, &result) : status;
}

/* checkAll(handle, id, cost, handle, id, cost, ...) */
napi_value limiter_check_all(napi_env env, napi_callback_info info) {
	napi_value value[3 * STINT_PARTS_MAX];
	size_t count = 3 * STINT_PARTS_MAX;
	struct parts all = {.count = 0};
	int error = 0;
	napi_get_cb_info(env, info, &count, value, NULL, NULL);
	for (size_t i = 0; !error && i + 3 <= count && i + 3 <= 3 * STINT_PARTS_MAX; i += 3)
		error = take_part(env, &value[i], &all);
	return value_of_number(env, error ? error : all.count == 0 ? STINT_ERANGE : begin_all(&all));
}

/* ---- Beginning and end -------------------------------------------------------- */

static void close_limiter(struct limiter *l) {
	struct attachment *a = l->attachment;
	if (!a)
		return;
	l->attachment = NULL;
	LIST_REMOVE(l, link);
	stint_limiter_free(l->stint);
	attachment_leave(a);
}

void limiter_close_all(struct environment *e) {
	struct limiter *l;
	while ((l = LIST_FIRST(&e->limiters)))
		close_limiter(l);
}

/* Its checks that wait are settled, as cancelled, before this returns. */
static napi_value close_now(napi_env env, napi_callback_info info) {
	void *data;
	size_t count = 0;
	napi_get_cb_info(env, info, &count, NULL, NULL, &data);
	struct limiter *l = data;
	close_limiter(l);
	environment_settle(l->environment, false);
	return NULL;
}

/* The last one frees it. */
static void drop(struct limiter *l) {
	if (--l->users > 0)
		return;
	struct environment *e = l->environment;
	close_limiter(l);
	free(l);
	environment_release(e);
}

static void collect(napi_env env, void *data, void *hint) {
	struct limiter *l = data;
	(void)env;
	(void)hint;
	drop(l);
}

static bool add_function(napi_env env, napi_value object, const char *name, napi_callback call,
                         struct limiter *l) {
	napi_value function;
	if (napi_create_function(env, name, NAPI_AUTO_LENGTH, call, l, &function) != napi_ok ||
	    napi_add_finalizer(env, function, l, collect, NULL, NULL) != napi_ok)
		return false;
	l->users++;
	return napi_set_named_property(env, object, name, function) == napi_ok;
}

static int open_limiter(napi_env env, struct limiter *l, const char *path, napi_value options) {
	char policy[STINT_POLICY_NAME_MAX + 2];
	napi_value value;
	napi_get_named_property(env, options, "policy", &value);
	struct stint_options o = {
		.policy = value_get_string(env, value, policy, sizeof(policy)),
		.max_requests = value_get_number(env, options, "maxRequests"),
		.time_window_ms = value_get_number(env, options, "timeWindowMs"),
		.fallback_max_requests = value_get_number(env, options, "fallbackMaxRequests"),
		.fallback_time_window_ms = value_get_number(env, options, "fallbackTimeWindowMs"),
		.local_max_requests = value_get_number(env, options, "localMaxRequests"),
		.algorithm = (enum stint_algorithm)value_get_number(env, options, "algorithm"),
		.mode = (enum stint_mode)value_get_number(env, options, "mode"),
		.resolution = (int32_t)value_get_number(env, options, "resolution"),
		.timeout_ms = (int32_t)value_get_number(env, options, "timeoutMs"),
		.on_error = (enum stint_on_error)value_get_number(env, options, "onError"),
		.must_exist = value_get_number(env, options, "mustExist") != 0,
		.shadow = value_get_number(env, options, "shadow") != 0,
	};
	int error = attachment_join(&l->attachment, l->environment, path);
	if (error)
		return error;
	error = stint_limiter_new(&l->stint, l->attachment->stint, &o);
	if (error)
		attachment_leave(l->attachment);
	else
		LIST_INSERT_HEAD(&l->environment->limiters, l, link);
	return error;
}

static const struct {
	const char *name;
	napi_callback call;
} functions[] = {
	{"check", check},   {"peek", peek},     {"try", try},         {"alone", alone},
	{"charge", charge}, {"refund", refund}, {"close", close_now},
};

static bool add_functions(napi_env env, napi_value object, struct limiter *l) {
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (!add_function(env, object, functions[i].name, functions[i].call, l))
			return false;
	return true;
}

static bool add_handle(napi_env env, napi_value object, struct limiter *l) {
	napi_value handle;
	return napi_create_external(env, l, NULL, NULL, &handle) == napi_ok &&
	       napi_set_named_property(env, object, "handle", handle) == napi_ok;
}

/* Where there is no memory, the functions that were made are collected without harm. */
static napi_value make_object(napi_env env, struct limiter *l) {
	napi_value object = NULL;
	l->environment->references++;
	l->users = 1;
	bool done =
		napi_create_object(env, &object) == napi_ok && add_functions(env, object, l) && add_handle(env, object, l);
	if (!done)
		close_limiter(l);
	drop(l);
	return done ? object : value_of_number(env, STINT_ENOMEM);
}

/* Returns { check, try, close, ... } and a handle for checkAll(), which is good while they are there; or a number,
 * the error. */
napi_value limiter_make(napi_env env, napi_callback_info info) {
	napi_value value[2];
	size_t count = 2;
	void *data;
	char path[4096];
	napi_get_cb_info(env, info, &count, value, NULL, &data);
	struct limiter *l = calloc(1, sizeof(*l));
	if (!l)
		return value_of_number(env, STINT_ENOMEM);
	l->environment = data;
	napi_valuetype type;
	napi_typeof(env, value[0], &type);
	const char *given = type == napi_string ? value_get_string(env, value[0], path, sizeof(path)) : NULL;
	int error = type == napi_string && !given ? STINT_EPATH : open_limiter(env, l, given, value[1]);
	if (error) {
		free(l);
		return value_of_number(env, error);
	}
	return make_object(env, l);
}
