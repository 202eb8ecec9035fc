/*
 * limiter.c - what limiters can do: functions of JavaScript's, { check, try, close, ... }, the same for all of an
 * environment's limiters. They have the environment as their data, which is the quickest way from a call to it.
 * Which limiter is meant is one of the numbers that both sides see. A limiter is freed when its handle is
 * collected.
 */
#include <stdlib.h>
#include <string.h>

#include "addon.h"
#include "id.h"
#include "numbers.h"
#include "protocol/hot.h"

struct limiter {
	struct environment *environment;
	struct attachment *attachment; /* NULL: it is closed */
	struct stint_limiter *stint;
	uint32_t number;
};

/* Numbers of limiters that an environment has room for at first. */
#define LIMITERS_MIN 8

/* ---- Checks ------------------------------------------------------------------ */

struct call {
	struct environment *environment;
	struct limiter *limiter;
	size_t length;
	uint32_t cost;
	_Alignas(16) char id[ID_ROOM]; /* it is written in pieces of so many */
};

/* NULL when none has this number, or it is closed. */
HOT_PART static inline struct limiter *find_open(const struct environment *e, uint32_t number) {
	struct limiter *l = number < e->limiters ? e->limiter[number] : NULL;
	return l && l->attachment ? l : NULL;
}

HOT_PART static inline struct environment *take_environment(napi_env env, napi_callback_info info,
                                                            napi_value *id) {
	size_t count = 1;
	void *data = NULL;
	napi_get_cb_info(env, info, &count, id, NULL, &data);
	return data;
}

/* (id): the rest is in numbers. The id comes first: reading what V8 has written one by one must wait for the last
 * of it, and the limiter is found meanwhile. */
HOT_PART static inline int take_call(napi_env env, napi_callback_info info, struct call *c) {
	napi_value id;
	c->environment = take_environment(env, info, &id);
	int error = id_take(env, id, c->id, &c->length);
	c->limiter = find_open(c->environment, (uint32_t)c->environment->numbers[CALL_LIMITER]);
	if (!c->limiter)
		return ERROR_LIMITER_CLOSED;
	c->cost = (uint32_t)c->environment->numbers[CALL_COST];
	return error;
}

/* Writes what was decided at once. Returns what JavaScript gets for it. */
HOT_PART static inline int answer(struct environment *e, const struct stint_result *result) {
	numbers_write(e->numbers, result);
	return result->allowed;
}

/* Begins a check, or a peek; what is decided at once is written for JavaScript. Returns what JavaScript gets. */
static int begin(const struct call *c, bool peeks) {
	struct environment *e = c->environment;
	struct stint_limiter *stint = c->limiter->stint;
	struct stint_result result;
	struct pending *p = environment_find_unused(e);
	if (!p)
		return STINT_ENOMEM;
	int status = peeks ? stint_peek_async_n(stint, c->id, c->length, c->cost, &result, environment_finish, p)
	                   : stint_check_async_n(stint, c->id, c->length, c->cost, &result, environment_finish, p);
	if (status == 0)
		return environment_take(e, p, c->limiter->attachment);
	return status == 1 ? answer(e, &result) : status;
}

/* An element of an array that both sides see costs less than a value that is returned. */
static napi_value tell(struct environment *e, int answer) {
	e->numbers[FIELD_ANSWER] = answer;
	return NULL;
}

static napi_value check(napi_env env, napi_callback_info info) {
	struct call c;
	int error = take_call(env, info, &c);
	return tell(c.environment, error ? error : begin(&c, false));
}

static napi_value peek(napi_env env, napi_callback_info info) {
	struct call c;
	int error = take_call(env, info, &c);
	return tell(c.environment, error ? error : begin(&c, true));
}

static int try_now(const struct call *c) {
	struct stint_result result;
	int status = stint_try_n(c->limiter->stint, c->id, c->length, c->cost, &result);
	if (status == 0)
		return ANSWER_NONE;
	return status == 1 ? answer(c->environment, &result) : status;
}

static napi_value try(napi_env env, napi_callback_info info) {
	struct call c;
	int error = take_call(env, info, &c);
	return tell(c.environment, error ? error : try_now(&c));
}

static int decide_alone(const struct call *c, bool peeks) {
	struct stint_limiter *stint = c->limiter->stint;
	struct stint_result result;
	int error = peeks ? stint_peek_alone_n(stint, c->id, c->length, c->cost, &result)
	                  : stint_check_alone_n(stint, c->id, c->length, c->cost, &result);
	return error ? error : answer(c->environment, &result);
}

/* By onError, for a check that ended with an error. */
static napi_value alone(napi_env env, napi_callback_info info) {
	struct call c;
	int error = take_call(env, info, &c);
	return tell(c.environment, error ? error : decide_alone(&c, false));
}

/* The same for a peek. */
static napi_value peek_alone(napi_env env, napi_callback_info info) {
	struct call c;
	int error = take_call(env, info, &c);
	return tell(c.environment, error ? error : decide_alone(&c, true));
}

/* Tells 0 or an error. */
static napi_value charge(napi_env env, napi_callback_info info) {
	struct call c;
	int error = take_call(env, info, &c);
	return tell(c.environment, error ? error : stint_charge_n(c.limiter->stint, c.id, c.length, c.cost));
}

static uint64_t take_receipt(const struct environment *e) {
	return (uint64_t)(uint32_t)e->numbers[FIELD_RECEIPT_HIGH] << 32 | (uint32_t)e->numbers[FIELD_RECEIPT_LOW];
}

/* Of the admission whose receipt is in the numbers of a verdict. Tells 1 when it was given back. */
static napi_value refund(napi_env env, napi_callback_info info) {
	struct call c;
	int error = take_call(env, info, &c);
	struct stint_result admission = {.allowed = true, .receipt = take_receipt(c.environment)};
	return tell(c.environment,
	            error ? error : stint_refund_n(c.limiter->stint, c.id, c.length, c.cost, &admission));
}

/* ---- Several at once ------------------------------------------------------------- */

struct parts {
	struct environment *environment;
	struct attachment *attachment;
	size_t count;
	struct stint_part part[STINT_PARTS_MAX];
	char id[STINT_PARTS_MAX][ID_ROOM];
};

/* One part: the limiter's number, an id, a cost. */
static int take_part(napi_env env, const napi_value value[static 3], struct parts *all) {
	struct stint_part *part = &all->part[all->count];
	uint32_t number;
	if (napi_get_value_uint32(env, value[0], &number) != napi_ok ||
	    napi_get_value_uint32(env, value[2], &part->cost) != napi_ok)
		return STINT_ERANGE;
	const struct limiter *l = find_open(all->environment, number);
	if (!l)
		return ERROR_LIMITER_CLOSED;
	part->limiter = l->stint;
	part->client_id = all->id[all->count];
	all->attachment = l->attachment;
	int error = id_take(env, value[1], all->id[all->count], &part->length);
	all->count++;
	return error;
}

static int begin_all(const struct parts *all) {
	struct stint_result result;
	struct pending *p = environment_find_unused(all->environment);
	if (!p)
		return STINT_ENOMEM;
	int status = stint_check_all_async(all->part, all->count, &result, environment_finish, p);
	if (status == 0)
		return environment_take(all->environment, p, all->attachment);
	return status == 1 ? answer(all->environment, &result) : status;
}

/* checkAll(number, id, cost, number, id, cost, ...) */
static napi_value check_all(napi_env env, napi_callback_info info) {
	napi_value value[3 * STINT_PARTS_MAX];
	size_t count = 3 * STINT_PARTS_MAX;
	struct parts all = {.count = 0};
	void *data;
	int error = 0;
	napi_get_cb_info(env, info, &count, value, NULL, &data);
	all.environment = data;
	for (size_t i = 0; !error && i + 3 <= count && i + 3 <= 3 * STINT_PARTS_MAX; i += 3)
		error = take_part(env, &value[i], &all);
	return tell(all.environment, error ? error : all.count == 0 ? STINT_ERANGE : begin_all(&all));
}

/* ---- Beginning and end -------------------------------------------------------- */

static void close_limiter(struct limiter *l) {
	struct attachment *a = l->attachment;
	if (!a)
		return;
	l->attachment = NULL;
	stint_limiter_free(l->stint);
	attachment_leave(a);
}

void limiter_close_all(struct environment *e) {
	for (uint32_t i = 0; i < e->limiters; i++)
		if (e->limiter[i])
			close_limiter(e->limiter[i]);
}

/* Its checks that wait are settled, as cancelled, before this returns. */
static napi_value close_now(napi_env env, napi_callback_info info) {
	napi_value none;
	struct environment *e = take_environment(env, info, &none);
	struct limiter *l = find_open(e, (uint32_t)e->numbers[CALL_LIMITER]);
	if (l)
		close_limiter(l);
	environment_settle(e, false);
	return NULL;
}

static void free_limiter(struct limiter *l) {
	struct environment *e = l->environment;
	close_limiter(l);
	e->limiter[l->number] = NULL;
	free(l);
	environment_release(e);
}

static void collect(napi_env env, void *data, void *hint) {
	(void)env;
	(void)hint;
	free_limiter(data);
}

static uint32_t find_free_number(const struct environment *e) {
	uint32_t number = 0;
	while (number < e->limiters && e->limiter[number])
		number++;
	return number;
}

/* Twice the room for numbers. */
static bool add_numbers(struct environment *e) {
	uint32_t count = e->limiters ? 2 * e->limiters : LIMITERS_MIN;
	struct limiter **more = reallocarray(e->limiter, count, sizeof(*more));
	if (!more)
		return false;
	memset(&more[e->limiters], 0, (count - e->limiters) * sizeof(*more));
	e->limiter = more;
	e->limiters = count;
	return true;
}

/* Returns one that isn't open, or NULL when there is no memory. */
static struct limiter *make_limiter(struct environment *e) {
	uint32_t number = find_free_number(e);
	if (number == e->limiters && !add_numbers(e))
		return NULL;
	struct limiter *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->environment = e;
	l->number = number;
	e->limiter[number] = l;
	e->references++;
	return l;
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
	if (error) {
		attachment_leave(l->attachment);
		l->attachment = NULL;
	}
	return error;
}

/* makeLimiter(path, options): the limiter's handle, and its number is told; or a number, the error. */
static napi_value make(napi_env env, napi_callback_info info) {
	napi_value value[2], handle;
	size_t count = 2;
	void *data;
	char path[4096];
	napi_get_cb_info(env, info, &count, value, NULL, &data);
	struct limiter *l = make_limiter(data);
	if (!l)
		return value_of_number(env, STINT_ENOMEM);
	napi_valuetype type;
	napi_typeof(env, value[0], &type);
	const char *given = type == napi_string ? value_get_string(env, value[0], path, sizeof(path)) : NULL;
	int error = type == napi_string && !given ? STINT_EPATH : open_limiter(env, l, given, value[1]);
	if (!error && napi_create_external(env, l, collect, NULL, &handle) != napi_ok)
		error = STINT_ENOMEM;
	if (error) {
		free_limiter(l);
		return value_of_number(env, error);
	}
	l->environment->numbers[CALL_LIMITER] = (int32_t)l->number;
	return handle;
}

static const struct {
	const char *name;
	napi_callback call;
} functions[] = {
	{"makeLimiter", make},   {"check", check},          {"peek", peek},     {"try", try},
	{"alone", alone},        {"charge", charge},        {"refund", refund}, {"close", close_now},
	{"checkAll", check_all}, {"peekAlone", peek_alone},
};

bool limiter_add_functions(struct environment *e, napi_value object) {
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (!value_add_function(e->env, object, functions[i].name, functions[i].call, e))
			return false;
	return true;
}
