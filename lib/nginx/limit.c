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
};

#define refuse(r, ...) (ngx_conf_log_error(NGX_LOG_EMERG, (r)->cf, 0, "stint_limit: " __VA_ARGS__), NGX_ERROR)

/* ---- Parameters ------------------------------------------------------------------------- */

static ngx_int_t read_number(struct reading *r, const char *name, const ngx_str_t *text, int64_t *number) {
	*number = ngx_atoi(text->data, text->len);
	return *number == NGX_ERROR ? refuse(r, "%s is \"%V\", must be a number", name, text) : NGX_OK;
}

static ngx_int_t read_time(struct reading *r, const char *name, ngx_str_t *text, int64_t *ms) {
	*ms = ngx_parse_time(text, 0);
	return *ms == NGX_ERROR ? refuse(r, "%s is \"%V\", must be a time, as 60s or 500ms", name, text) : NGX_OK;
}

/* A 0 that is written is no default. */
static ngx_int_t read_positive(struct reading *r, const char *name, ngx_str_t *text, bool is_time,
                               int64_t *number) {
	ngx_int_t rc = is_time ? read_time(r, name, text, number) : read_number(r, name, text, number);
	return rc == NGX_OK && *number == 0 ? refuse(r, "%s is 0, must be more", name) : rc;
}

static ngx_int_t read_small(struct reading *r, const char *name, ngx_str_t *text, bool is_time, int32_t *small) {
	int64_t number;
	if (read_positive(r, name, text, is_time, &number) != NGX_OK)
		return NGX_ERROR;
	*small = number > INT32_MAX ? INT32_MAX : (int32_t)number;
	return NGX_OK;
}

/* local_max_requests=0 admits nobody. */
static ngx_int_t read_local(struct reading *r, const char *name, ngx_str_t *text) {
	int64_t *number = &r->options.local_max_requests;
	if (read_number(r, name, text, number) != NGX_OK)
		return NGX_ERROR;
	if (*number == 0)
		*number = STINT_DENY;
	return NGX_OK;
}

/* The words stand for 0, 1, ... */
static ngx_int_t read_word(struct reading *r, const char *name, const ngx_str_t *text, const char *const *words,
                           const char *all, unsigned *number) {
	for (*number = 0; words[*number]; ++*number)
		if (text->len == ngx_strlen(words[*number]) && ngx_strncmp(text->data, words[*number], text->len) == 0)
			return NGX_OK;
	return refuse(r, "%s is \"%V\", must be %s", name, text, all);
}

static ngx_int_t read_choice(struct reading *r, const char *name, const ngx_str_t *text) {
	static const char *const algorithms[] = {"sliding", "fixed", NULL},
							 *const modes[] = {"strict", "relaxed", NULL},
							 *const on_error[] = {"local", "deny", "allow", NULL};
	unsigned number;
	ngx_int_t rc;
	switch (name[0]) {
	case 'a':
		rc = read_word(r, name, text, algorithms, "sliding or fixed", &number);
		r->options.algorithm = (enum stint_algorithm)number;
		return rc;
	case 'm':
		rc = read_word(r, name, text, modes, "strict or relaxed", &number);
		r->options.mode = (enum stint_mode)number;
		return rc;
	default:
		rc = read_word(r, name, text, on_error, "local, deny or allow", &number);
		r->options.on_error = (enum stint_on_error)number;
		return rc;
	}
}

static ngx_int_t read_option(struct reading *r, const char *name, ngx_str_t *text) {
	struct stint_options *o = &r->options;
	r->stated = true;
	if (strcmp(name, "max_requests") == 0)
		return read_positive(r, name, text, false, &o->max_requests);
	if (strcmp(name, "time_window") == 0)
		return read_positive(r, name, text, true, &o->time_window_ms);
	if (strcmp(name, "fallback_max_requests") == 0)
		return read_positive(r, name, text, false, &o->fallback_max_requests);
	if (strcmp(name, "fallback_time_window") == 0)
		return read_positive(r, name, text, true, &o->fallback_time_window_ms);
	if (strcmp(name, "local_max_requests") == 0)
		return read_local(r, name, text);
	if (strcmp(name, "resolution") == 0)
		return read_small(r, name, text, false, &o->resolution);
	if (strcmp(name, "timeout") == 0)
		return read_small(r, name, text, true, &o->timeout_ms);
	return read_choice(r, name, text);
}

static ngx_int_t read_parameter(struct reading *r, const ngx_str_t *word) {
	static const char *const options[] = {"max_requests",
	                                      "time_window",
	                                      "fallback_max_requests",
	                                      "fallback_time_window",
	                                      "local_max_requests",
	                                      "resolution",
	                                      "timeout",
	                                      "algorithm",
	                                      "mode",
	                                      "on_error"};
	static const struct {
		const char *name;
		size_t offset;
	} texts[] = {{"policy", offsetof(struct reading, policy)},
	             {"key", offsetof(struct reading, key)},
	             {"cost", offsetof(struct reading, cost)}};
	const u_char *equals = memchr(word->data, '=', word->len);
	size_t length = equals ? (size_t)(equals - word->data) : word->len;
	ngx_str_t text = {word->len - length - (equals != NULL), word->data + length + 1};

	if (!equals && length == strlen("dry_run") && memcmp(word->data, "dry_run", length) == 0) {
		r->limit->dry_run = true;
		return NGX_OK;
	}
	for (size_t i = 0; equals && i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (strlen(texts[i].name) == length && memcmp(word->data, texts[i].name, length) == 0) {
			memcpy((char *)r + texts[i].offset, &text, sizeof(text));
			return NGX_OK;
		}
	}
	for (size_t i = 0; equals && i < sizeof(options) / sizeof(options[0]); i++)
		if (strlen(options[i]) == length && memcmp(word->data, options[i], length) == 0)
			return read_option(r, options[i], &text);
	return refuse(r, "no such parameter \"%V\"", word);
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

/* The library knows the ranges. */
static ngx_int_t check_options(struct reading *r, const struct stint_options *options) {
	struct stint *attachment;
	struct stint_limiter *limiter;
	if (stint_open(&attachment, "/") != 0)
		return refuse(r, "%s", stint_error_detail());
	int error = stint_limiter_new(&limiter, attachment, options);
	stint_limiter_free(limiter);
	stint_close(attachment);
	return error ? refuse(r, "%s", stint_error_detail()) : NGX_OK;
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
	if (check_options(r, &r->options) != NGX_OK)
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

static ngx_int_t compile(struct reading *r, ngx_str_t *text, ngx_http_complex_value_t *value) {
	ngx_http_compile_complex_value_t compilation = {.cf = r->cf, .value = text, .complex_value = value};
	return ngx_http_compile_complex_value(&compilation);
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
	if (r->limit->cost->lengths) /* it has variables */
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
	return rc == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}
