/*
 * answer.c - tells a verdict: header fields for the client, variables for logs and for the rest of the
 * configuration.
 */
#include "module.h"

static ngx_http_output_header_filter_pt next_filter;

/* ---- Of which limit ---------------------------------------------------------------- */

static bool is_tighter(const struct stint_result *a, const struct stint_result *b) {
	return (double)a->remaining * (double)b->limit < (double)b->remaining * (double)a->limit;
}

/* Of the limits of one kind, the one that denied, or that has the least left. A dry run is told in a variable, if
 * there is nothing else, and never to the client. NULL: none has a result. */
static const struct ngx_stint_check *find_tightest(const struct ngx_stint_visit *v, bool dry_run) {
	const struct ngx_stint_check *tightest = NULL;
	if (v->denied && v->denied->known && v->denied->limit->dry_run == dry_run)
		return v->denied;
	for (ngx_uint_t i = 0; i < v->count; i++) {
		const struct ngx_stint_check *c = &v->checks[i];
		if (c->known && c->limit->dry_run == dry_run && (!tightest || is_tighter(&c->result, &tightest->result)))
			tightest = c;
	}
	return tightest;
}

/* Of a bad key, too. */
static const struct ngx_stint_check *find_told(const struct ngx_stint_visit *v) {
	const struct ngx_stint_check *c = v->denied ? v->denied : find_tightest(v, false);
	return c ? c : find_tightest(v, true);
}

/* ---- Header fields -------------------------------------------------------------------- */

struct writer {
	ngx_http_request_t *request;
	bool failed;
};

/* A stint_http_callback. */
static void add_header(const char *name, const char *value, void *writer) {
	struct writer *w = writer;
	size_t length = ngx_strlen(value);
	ngx_table_elt_t *h = ngx_list_push(&w->request->headers_out.headers);
	if (!h) {
		w->failed = true;
		return;
	}
	ngx_memzero(h, sizeof(*h)); /* an element with hash 0 is not sent */
	ngx_str_t text = {length, (u_char *)value};
	h->value.data = ngx_pstrdup(w->request->pool, &text);
	if (!h->value.data) {
		w->failed = true;
		return;
	}
	h->value.len = length;
	h->key.data = (u_char *)name;
	h->key.len = ngx_strlen(name);
	h->hash = 1;
}

/* Of limits that were checked together, one is told. (When each was decided alone, the first two are lists.) */
static ngx_int_t add_headers(ngx_http_request_t *r, const struct ngx_stint_visit *v) {
	const struct ngx_stint_check *tightest = find_tightest(v, false);
	struct writer w = {.request = r};
	for (ngx_uint_t i = 0; i < v->count && !w.failed; i++) {
		const struct ngx_stint_check *c = &v->checks[i];
		const struct stint_options *limits = &c->limit->policy->options;
		struct stint_http_options options = {
			.policy = limits->policy,
			.time_window_ms = limits->time_window_ms,
			.fallback_time_window_ms = limits->fallback_time_window_ms,
			.version = v->location->headers & NGX_STINT_DRAFT_11 ? STINT_HTTP_DRAFT_11 : STINT_HTTP_NONE,
			.x_ratelimit = c == tightest && (v->location->headers & NGX_STINT_X_RATELIMIT),
		};
		if (c->known && !c->limit->dry_run)
			stint_http_headers(&options, &c->result, add_header, &w);
	}
	return w.failed ? NGX_ERROR : NGX_OK;
}

static ngx_int_t filter_headers(ngx_http_request_t *r) {
	const struct ngx_stint_visit *v = r == r->main ? ngx_stint_find_visit(r) : NULL;
	if (v && !(v->location->headers & NGX_STINT_HEADERS_OFF) && add_headers(r, v) != NGX_OK)
		return NGX_ERROR;
	return next_filter(r);
}

void ngx_stint_add_filter(void) {
	next_filter = ngx_http_top_header_filter;
	ngx_http_top_header_filter = filter_headers;
}

/* ---- Variables -------------------------------------------------------------------------- */

const char *ngx_stint_name_source(const struct stint_result *result) {
	static const char *const names[] = {
		[STINT_SOURCE_LEASE] = "lease", [STINT_SOURCE_DATABASE] = "database", [STINT_SOURCE_FALLBACK] = "fallback",
		[STINT_SOURCE_LOCAL] = "local", [STINT_SOURCE_ADVANCE] = "advance",
	};
	unsigned source = (unsigned)result->source;
	return source < sizeof(names) / sizeof(names[0]) && names[source] ? names[source] : "unknown";
}

static ngx_int_t set_static(ngx_http_variable_value_t *value, const char *text) {
	value->valid = 1;
	value->no_cacheable = 0;
	value->not_found = 0;
	value->data = (u_char *)text;
	value->len = (unsigned)ngx_strlen(text) & 0xfffffff;
	return NGX_OK;
}

static ngx_int_t set_none(ngx_http_variable_value_t *value) {
	value->not_found = 1;
	return NGX_OK;
}

static ngx_int_t set_copy(ngx_http_request_t *r, ngx_http_variable_value_t *value, const char *text) {
	ngx_str_t s = {ngx_strlen(text) + 1, (u_char *)text};
	u_char *copy = ngx_pstrdup(r->pool, &s);
	return copy ? set_static(value, (const char *)copy) : NGX_ERROR;
}

static ngx_int_t set_number(ngx_http_request_t *r, ngx_http_variable_value_t *value, int64_t number) {
	u_char text[NGX_INT64_LEN + 1];
	*ngx_sprintf(text, "%L", number) = '\0';
	return set_copy(r, value, (const char *)text);
}

static ngx_int_t get_status(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data) {
	static const char *const names[] = {
		[NGX_STINT_PASSED] = "PASSED",
		[NGX_STINT_REJECTED] = "REJECTED",
		[NGX_STINT_REJECTED_DRY_RUN] = "REJECTED_DRY_RUN",
		[NGX_STINT_BAD_KEY] = "BAD_KEY",
	};
	(void)data;
	const struct ngx_stint_visit *v = ngx_stint_find_visit(r);
	return v && names[v->status] ? set_static(value, names[v->status]) : set_none(value);
}

/* As the header field. */
static ngx_int_t set_retry_after(ngx_http_request_t *r, ngx_http_variable_value_t *value, int64_t ms) {
	return set_number(r, value, ms > 0 ? ms / 1000 + (ms % 1000 > 0) : 1);
}

enum number { REMAINING, RETRY_AFTER, POLICY, SOURCE };

static ngx_int_t get_told(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data) {
	const struct ngx_stint_visit *v = ngx_stint_find_visit(r);
	const struct ngx_stint_check *c = v ? find_told(v) : NULL;
	if (!c || (!c->known && data != POLICY))
		return set_none(value);
	const struct stint_result *result = &c->result;
	switch ((enum number)data) {
	case REMAINING: return set_number(r, value, result->remaining);
	case RETRY_AFTER: return c == v->denied ? set_retry_after(r, value, result->retry_after_ms) : set_none(value);
	case POLICY: return set_static(value, c->limit->policy->name);
	default: return set_static(value, ngx_stint_name_source(result));
	}
}

/* Nothing for a client that came through a Unix socket. */
static ngx_int_t get_client(ngx_http_request_t *r, ngx_http_variable_value_t *value, uintptr_t data) {
	const struct ngx_stint_location *location = ngx_http_get_module_loc_conf(r, ngx_http_stint_module);
	ngx_connection_t *c = r->connection;
	char id[STINT_IP_CLIENT_SIZE];
	(void)data;
	if (stint_ip_client_sockaddr(id, sizeof(id), c->sockaddr, c->socklen, (int)location->ipv4_prefix,
	                             (int)location->ipv6_prefix) != 0)
		return set_none(value);
	return set_copy(r, value, id);
}

/* Until the limits are checked, they are not found; so what is found is not to be kept. */
static ngx_http_variable_t variables[] = {
	{ngx_string("stint_status"), NULL, get_status, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
	{ngx_string("stint_remaining"), NULL, get_told, REMAINING, NGX_HTTP_VAR_NOCACHEABLE, 0},
	{ngx_string("stint_retry_after"), NULL, get_told, RETRY_AFTER, NGX_HTTP_VAR_NOCACHEABLE, 0},
	{ngx_string("stint_policy"), NULL, get_told, POLICY, NGX_HTTP_VAR_NOCACHEABLE, 0},
	{ngx_string("stint_source"), NULL, get_told, SOURCE, NGX_HTTP_VAR_NOCACHEABLE, 0},
	{ngx_string("stint_client"), NULL, get_client, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
};

ngx_int_t ngx_stint_add_variables(ngx_conf_t *cf) {
	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		ngx_http_variable_t *v = ngx_http_add_variable(cf, &variables[i].name, variables[i].flags);
		if (!v)
			return NGX_ERROR;
		v->get_handler = variables[i].get_handler;
		v->data = variables[i].data;
	}
	return NGX_OK;
}
