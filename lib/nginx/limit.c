/*
 * limit.c - the directive stint_limit:
 *
 *     stint_limit policy=NAME key=TEXT [cost=TEXT] [dry_run] [the policy's options];
 *
 * A policy's options are stated in one place, or in several alike; elsewhere its name is enough.
 */
#include "module.h"

/* One directive, while it is read. */
struct reading {
	ngx_conf_t *cf;
	struct ngx_stint_limit *limit;
	struct stint_options options;
	ngx_str_t policy, key, cost;
	bool stated;
	unsigned seen; /* a bit for each parameter */
};

#define refuse(r, ...) (ngx_conf_log_error(NGX_LOG_EMERG, (r)->cf, 0, "stint_limit: " __VA_ARGS__), NGX_ERROR)

/* ---- Parameters ------------------------------------------------------------------------- */

/* NAME=TEXT, and what becomes of it. */
struct parameter {
	const char *name;
	ngx_int_t (*read)(struct reading *, const struct parameter *, ngx_str_t *text);
	size_t offset, size; /* of where it is kept, in struct reading */
	int64_t least, most;
	const char *must_be; /* the range, as it is told */
	const char *const *words;
};

static void put_number(struct reading *r, const struct parameter *p, int64_t number) {
	char *place = (char *)r + p->offset;
	int32_t small = (int32_t)number;
	memcpy(place, p->size == sizeof(small) ? (const void *)&small : &number, p->size);
	r->stated = true;
}

static bool is_quoted(const ngx_str_t *text) {
	u_char first = text->len >= 2 ? text->data[0] : 0;
	return (first == '"' || first == '\'') && text->data[text->len - 1] == first;
}

/* nginx takes quotes for such only where a word begins: key="$arg_k" would never be empty. */
static ngx_int_t read_text(struct reading *r, const struct parameter *p, ngx_str_t *text) {
	if (is_quoted(text))
		return refuse(r, "%s is %V with its quotes, must be \"%s=...\" for a text in quotes", p->name, text,
		              p->name);
	memcpy((char *)r + p->offset, text, sizeof(*text));
	return NGX_OK;
}

static ngx_int_t take_number(struct reading *r, const struct parameter *p, const ngx_str_t *text, int64_t number) {
	if (number == NGX_ERROR || number < p->least || number > p->most)
		return refuse(r, "%s is \"%V\", must be %s", p->name, text, p->must_be);
	put_number(r, p, number);
	return NGX_OK;
}

static ngx_int_t read_number(struct reading *r, const struct parameter *p, ngx_str_t *text) {
	return take_number(r, p, text, ngx_atoi(text->data, text->len));
}

static ngx_int_t read_time(struct reading *r, const struct parameter *p, ngx_str_t *text) {
	return take_number(r, p, text, ngx_parse_time(text, 0));
}

/* local_max_requests=0 admits nobody; in the options 0 stands for the default. */
static ngx_int_t read_local(struct reading *r, const struct parameter *p, ngx_str_t *text) {
	ngx_int_t rc = read_number(r, p, text);
	if (rc == NGX_OK && r->options.local_max_requests == 0)
		r->options.local_max_requests = STINT_DENY;
	return rc;
}

/* The words stand for 0, 1, ... */
static ngx_int_t read_word(struct reading *r, const struct parameter *p, ngx_str_t *text) {
	for (int i = 0; p->words[i]; i++)
		if (text->len == ngx_strlen(p->words[i]) && ngx_strncmp(text->data, p->words[i], text->len) == 0) {
			put_number(r, p, i);
			return NGX_OK;
		}
	return refuse(r, "%s is \"%V\", must be %s", p->name, text, p->must_be);
}

#define TEXT_OF(number) #number
#define TEXT(number)    TEXT_OF(number)
#define PLACE(field)    offsetof(struct reading, field), sizeof(((struct reading *)0)->field)

#define MAX_REQUESTS "a number from 1 to " TEXT(STINT_MAX_REQUESTS_MAX)
#define TIME_WINDOW  "a time from 100ms to 31d"
_Static_assert(STINT_TIME_WINDOW_MS_MIN == 100 && STINT_TIME_WINDOW_MS_MAX == INT64_C(31) * 86400000,
               "as TIME_WINDOW says");
_Static_assert(STINT_TIMEOUT_MS_MAX == 60000, "as the parameter says");

static const struct parameter parameters[] = {
	{"policy", read_text, PLACE(policy), 0, 0, NULL, NULL},
	{"key", read_text, PLACE(key), 0, 0, NULL, NULL},
	{"cost", read_text, PLACE(cost), 0, 0, NULL, NULL},
	{"max_requests", read_number, PLACE(options.max_requests), 1, STINT_MAX_REQUESTS_MAX, MAX_REQUESTS, NULL},
	{"time_window", read_time, PLACE(options.time_window_ms), STINT_TIME_WINDOW_MS_MIN, STINT_TIME_WINDOW_MS_MAX,
     TIME_WINDOW, NULL},
	{"fallback_max_requests", read_number, PLACE(options.fallback_max_requests), 1, STINT_FALLBACK_REQUESTS_MAX,
     "a number from 1 to " TEXT(STINT_FALLBACK_REQUESTS_MAX), NULL},
	{"fallback_time_window", read_time, PLACE(options.fallback_time_window_ms), STINT_TIME_WINDOW_MS_MIN,
     STINT_TIME_WINDOW_MS_MAX, TIME_WINDOW, NULL},
	{"local_max_requests", read_local, PLACE(options.local_max_requests), 0, STINT_FALLBACK_REQUESTS_MAX,
     "a number from 0 to " TEXT(STINT_FALLBACK_REQUESTS_MAX), NULL},
	{"resolution", read_number, PLACE(options.resolution), 1, STINT_RESOLUTION_MAX,
     "a number from 1 to " TEXT(STINT_RESOLUTION_MAX), NULL},
	{"timeout", read_time, PLACE(options.timeout_ms), 1, STINT_TIMEOUT_MS_MAX, "a time from 1ms to 60s", NULL},
	{"algorithm", read_word, PLACE(options.algorithm), 0, 0, "sliding or fixed",
     (const char *const[]){"sliding", "fixed", NULL}},
	{"mode", read_word, PLACE(options.mode), 0, 0, "strict or relaxed",
     (const char *const[]){"strict", "relaxed", NULL}},
	{"on_error", read_word, PLACE(options.on_error), 0, 0, "local, deny or allow",
     (const char *const[]){"local", "deny", "allow", NULL}},
};

#define PARAMETERS (sizeof(parameters) / sizeof(parameters[0]))

static bool is_named(const ngx_str_t *word, size_t length, const char *name) {
	return length == ngx_strlen(name) && memcmp(word->data, name, length) == 0;
}

static ngx_int_t note(struct reading *r, const ngx_str_t *word, unsigned number) {
	if (r->seen & 1u << number)
		return refuse(r, "\"%V\" is duplicate", word);
	r->seen |= 1u << number;
	return NGX_OK;
}

static ngx_int_t refuse_unknown(struct reading *r, const ngx_str_t *word) {
	u_char names[256], *end = names;
	for (size_t i = 0; i < PARAMETERS; i++)
		end = ngx_slprintf(end, names + sizeof(names), "%s, ", parameters[i].name);
	return refuse(r, "no such parameter \"%V\", must be one of %*sdry_run", word, (size_t)(end - names), names);
}

static ngx_int_t read_parameter(struct reading *r, const ngx_str_t *word) {
	const u_char *equals = memchr(word->data, '=', word->len);
	size_t length = equals ? (size_t)(equals - word->data) : word->len;
	ngx_str_t text = {word->len - length - (equals != NULL), word->data + length + 1};

	if (!equals && is_named(word, length, "dry_run")) {
		r->limit->dry_run = true;
		return note(r, word, PARAMETERS);
	}
	for (unsigned i = 0; equals && i < PARAMETERS; i++)
		if (is_named(word, length, parameters[i].name))
			return note(r, word, i) == NGX_OK ? parameters[i].read(r, &parameters[i], &text) : NGX_ERROR;
	return refuse_unknown(r, word);
}

/* ---- Policies ------------------------------------------------------------------------------ */

static struct ngx_stint_policy *find_policy(struct ngx_stint_main *m, const char *name) {
	struct ngx_stint_policy **policies = m->policies.elts;
	for (ngx_uint_t i = 0; i < m->policies.nelts; i++)
		if (strcmp(policies[i]->name, name) == 0)
			return policies[i];
	return NULL;
}

static struct ngx_stint_policy *add_policy(struct ngx_stint_main *m, ngx_pool_t *pool, const char *name) {
	struct ngx_stint_policy **place = ngx_array_push(&m->policies), *policy = ngx_pcalloc(pool, sizeof(*policy));
	if (!place || !policy)
		return NULL;
	*place = policy;
	strcpy(policy->name, name);
	policy->options.policy = policy->name;
	policy->options.must_exist = true;
	return policy;
}

/* What two parameters have to do with each other. */
static ngx_int_t check_together(struct reading *r) {
	const struct stint_options *o = &r->options;
	int64_t sub_window_ms = o->resolution ? (o->time_window_ms + o->resolution - 1) / o->resolution : 0;
	if (!o->must_exist && o->max_requests == 0)
		return refuse(r, "max_requests is missing, must be %s", MAX_REQUESTS);
	if (!o->must_exist && o->time_window_ms == 0)
		return refuse(r, "time_window is missing, must be %s", TIME_WINDOW);
	if (o->algorithm == STINT_SLIDING_WINDOW && sub_window_ms > 0 && sub_window_ms < STINT_SUB_WINDOW_MS_MIN)
		return refuse(r, "time_window / resolution is %Lms, must be %dms or more", sub_window_ms,
		              STINT_SUB_WINDOW_MS_MIN);
	return NGX_OK;
}

/* A key without variables is the same in every request. */
static ngx_int_t check_key(struct reading *r, struct stint_limiter *limiter) {
	const ngx_str_t *key = &r->limit->key.value.value;
	struct stint_result unused;
	if (r->limit->key.value.lengths || stint_try_n(limiter, (const char *)key->data, key->len, 1, &unused) >= 0)
		return NGX_OK;
	return refuse(r, "key has %uz bytes, must be 1 to %d bytes of UTF-8, without a NUL", key->len,
	              STINT_CLIENT_ID_MAX);
}

/* The library knows the rest. This limiter never meets an agent. */
static ngx_int_t check_by_library(struct reading *r) {
	struct stint *attachment;
	struct stint_limiter *limiter;
	if (stint_open(&attachment, "/") != 0)
		return refuse(r, "%s", stint_error_detail());
	int error = stint_limiter_new(&limiter, attachment, &r->options);
	ngx_int_t rc = error ? refuse(r, "%s", stint_error_detail()) : check_key(r, limiter);
	stint_limiter_free(limiter);
	stint_close(attachment);
	return rc;
}

static bool are_equal(const struct stint_options *a, const struct stint_options *b) {
	return a->max_requests == b->max_requests && a->time_window_ms == b->time_window_ms &&
	       a->fallback_max_requests == b->fallback_max_requests &&
	       a->fallback_time_window_ms == b->fallback_time_window_ms && a->algorithm == b->algorithm &&
	       a->mode == b->mode && a->resolution == b->resolution && a->timeout_ms == b->timeout_ms &&
	       a->local_max_requests == b->local_max_requests && a->on_error == b->on_error;
}

static ngx_int_t state_options(struct reading *r, struct ngx_stint_policy *policy) {
	if (policy->stated)
		return are_equal(&policy->options, &r->options)
		           ? NGX_OK
		           : refuse(r, "policy \"%s\" has other options in %s:%ui: state them once", policy->name,
		                    policy->file, policy->line);
	policy->stated = true;
	policy->file = r->cf->conf_file->file.name.data;
	policy->line = r->cf->conf_file->line;
	policy->options = r->options;
	policy->options.policy = policy->name;
	return NGX_OK;
}

/* Finds the policy that a directive names, or makes it. */
static ngx_int_t bind_policy(struct reading *r) {
	struct ngx_stint_main *m = ngx_http_conf_get_module_main_conf(r->cf, ngx_http_stint_module);
	char name[STINT_POLICY_NAME_MAX + 2] = "";
	memcpy(name, r->policy.data, r->policy.len < sizeof(name) ? r->policy.len : sizeof(name) - 1);
	r->options.policy = name;
	r->options.must_exist = r->options.max_requests == 0 && r->options.time_window_ms == 0;
	if (check_together(r) != NGX_OK || check_by_library(r) != NGX_OK)
		return NGX_ERROR;
	struct ngx_stint_policy *policy = find_policy(m, name);
	if (!policy)
		policy = add_policy(m, r->cf->pool, name);
	if (!policy)
		return NGX_ERROR;
	r->limit->policy = policy;
	return r->stated ? state_options(r, policy) : NGX_OK;
}

void ngx_stint_complete_policies(struct ngx_stint_main *m) {
	struct ngx_stint_policy **policies = m->policies.elts;
	for (ngx_uint_t i = 0; i < m->policies.nelts; i++)
		if (!policies[i]->stated)
			policies[i]->options.must_exist = true;
}

/* ---- The directive ---------------------------------------------------------------------------- */

/* Whether the text is "$name"; what begins with a digit is a part of what a regular expression matched. */
static bool is_variable(const ngx_str_t *text) {
	static const char of_names[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	return text->len > 1 && text->data[0] == '$' && !isdigit(text->data[1]) &&
	       strspn((const char *)text->data + 1, of_names) == text->len - 1;
}

static ngx_int_t compile(struct reading *r, ngx_str_t *text, struct ngx_stint_text *compiled) {
	ngx_http_compile_complex_value_t compilation = {.cf = r->cf, .value = text, .complex_value = &compiled->value};
	ngx_str_t name = {text->len - 1, text->data + 1};
	if (ngx_http_compile_complex_value(&compilation) != NGX_OK)
		return NGX_ERROR;
	compiled->variable = is_variable(text) ? ngx_http_get_variable_index(r->cf, &name) : NGX_ERROR;
	return NGX_OK;
}

static bool has_binary_address(const ngx_str_t *key) {
	return ngx_strnstr(key->data, "$binary_remote_addr", key->len) ||
	       ngx_strnstr(key->data, "${binary_remote_addr", key->len);
}

static ngx_int_t read_key(struct reading *r) {
	if (r->key.len == 0)
		return refuse(r, "key is missing or empty");
	if (has_binary_address(&r->key))
		return refuse(r, "key has $binary_remote_addr, which is no text; take $stint_client");
	return compile(r, &r->key, &r->limit->key);
}

static ngx_int_t read_cost(struct reading *r) {
	if (!r->cost.data)
		return NGX_OK;
	if (r->cost.len == 0)
		return refuse(r, "cost is empty");
	r->limit->cost = ngx_palloc(r->cf->pool, sizeof(*r->limit->cost));
	if (!r->limit->cost || compile(r, &r->cost, r->limit->cost) != NGX_OK)
		return NGX_ERROR;
	if (r->limit->cost->value.lengths) /* it has variables */
		return NGX_OK;
	ngx_int_t number = ngx_atoi(r->cost.data, r->cost.len);
	if (number == NGX_ERROR || number > STINT_MAX_REQUESTS_MAX)
		return refuse(r, "cost is \"%V\", must be 0 to %d", &r->cost, STINT_MAX_REQUESTS_MAX);
	return NGX_OK;
}

static ngx_int_t read_directive(struct reading *r) {
	const ngx_str_t *words = r->cf->args->elts;
	for (ngx_uint_t i = 1; i < r->cf->args->nelts; i++)
		if (read_parameter(r, &words[i]) != NGX_OK)
			return NGX_ERROR;
	if (r->policy.len == 0)
		return refuse(r, "policy is missing or empty");
	if (read_key(r) != NGX_OK || read_cost(r) != NGX_OK)
		return NGX_ERROR;
	return bind_policy(r);
}

/* Dry runs are checked after all others, and each by itself. */
static void put_before_dry_runs(ngx_array_t *limits) {
	struct ngx_stint_limit *limit = limits->elts, added = limit[limits->nelts - 1];
	ngx_uint_t place = limits->nelts - 1;
	for (; place > 0 && limit[place - 1].dry_run && !added.dry_run; place--)
		limit[place] = limit[place - 1];
	limit[place] = added;
}

char *ngx_stint_read_limit(ngx_conf_t *cf, ngx_command_t *command, void *location) {
	struct ngx_stint_location *l = location;
	(void)command;
	if (!l->limits)
		l->limits = ngx_array_create(cf->pool, 2, sizeof(struct ngx_stint_limit));
	struct ngx_stint_limit *limit = l->limits ? ngx_array_push(l->limits) : NULL;
	if (!limit)
		return NGX_CONF_ERROR;
	ngx_memzero(limit, sizeof(*limit));
	struct reading r = {.cf = cf, .limit = limit};
	ngx_int_t rc = l->limits->nelts > STINT_PARTS_MAX ? refuse(&r, "more than %d limits", STINT_PARTS_MAX)
	                                                  : read_directive(&r);
	put_before_dry_runs(l->limits);
	return rc == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}
