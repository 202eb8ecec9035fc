/*
 * visit.c - a request's visit: it begins where the request meets a limit first, and lives as long as the request.
 *
 * A client's request is counted once: neither its subrequests nor what it is redirected to inside nginx count
 * again. An internal redirect wipes a request's contexts, so the visit is found among the cleanups of its pool.
 */
#include "module.h"

/* ---- Its end, and where it is found ------------------------------------------------ */

void ngx_stint_end_visit(struct ngx_stint_visit *v) {
	v->ended = true;
	ngx_stint_cancel(v);
	if (v->event.timer_set)
		ngx_del_timer(&v->event);
	if (v->event.posted) {
		ngx_delete_posted_event(&v->event);
	}
}

/* Runs when the request's pool is destroyed; or before, if it is cut off while it waits. */
static void clean_up(void *visit) {
	struct ngx_stint_visit *v = visit;
	if (!v->ended)
		ngx_stint_end_visit(v);
}

struct ngx_stint_visit *ngx_stint_find_visit(ngx_http_request_t *r) {
	r = r->main;
	struct ngx_stint_visit *v = ngx_http_get_module_ctx(r, ngx_http_stint_module);
	if (v || !(r->internal || r->filter_finalize))
		return v;
	for (ngx_pool_cleanup_t *c = r->pool->cleanup; c; c = c->next)
		if (c->handler == clean_up)
			return c->data;
	return NULL;
}

static ngx_int_t keep_visit(ngx_http_request_t *r, struct ngx_stint_visit *v) {
	ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, 0);
	if (!cleanup)
		return NGX_ERROR;
	cleanup->handler = clean_up;
	cleanup->data = v;
	ngx_http_set_ctx(r, v, ngx_http_stint_module);
	return NGX_OK;
}

ngx_int_t ngx_stint_guard_visit(struct ngx_stint_visit *v) {
	ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(v->request, 0);
	if (!cleanup)
		return NGX_ERROR;
	cleanup->handler = clean_up;
	cleanup->data = v;
	return NGX_OK;
}

/* ---- Keys and costs ------------------------------------------------------------------ */

#define SKIPPED NGX_DECLINED

/* A variable's value stays where it is as long as the request. */
static ngx_int_t read_text(ngx_http_request_t *r, const struct ngx_stint_text *text, ngx_str_t *value) {
	if (text->variable == NGX_ERROR) {
		ngx_http_complex_value_t script = text->value;
		return ngx_http_complex_value(r, &script, value);
	}
	const ngx_http_variable_value_t *found = ngx_http_get_flushed_variable(r, (ngx_uint_t)text->variable);
	*value = (ngx_str_t){found && !found->not_found ? found->len : 0, found ? found->data : NULL};
	return NGX_OK;
}

/* Reads a cost of 1 to STINT_MAX_REQUESTS_MAX. No cost is 1; 0 skips the limit. */
static ngx_int_t read_cost(ngx_http_request_t *r, struct ngx_stint_check *c) {
	ngx_str_t text;
	c->cost = 1;
	if (!c->limit->cost)
		return NGX_OK;
	if (read_text(r, c->limit->cost, &text) != NGX_OK)
		return NGX_ERROR;
	if (text.len == 0)
		return NGX_OK;
	ngx_int_t number = ngx_atoi(text.data, text.len);
	c->bad_cost = number == NGX_ERROR || number > STINT_MAX_REQUESTS_MAX;
	if (!c->bad_cost)
		c->cost = (uint32_t)number;
	return number == 0 ? SKIPPED : NGX_OK;
}

/* The check of the same client of the same policy; NULL: there is none. Dry runs have each their own. */
static struct ngx_stint_check *find_same(struct ngx_stint_visit *v, const struct ngx_stint_check *c) {
	for (struct ngx_stint_check *other = v->checks; other < c && !c->limit->dry_run && !c->bad_cost; other++)
		if (!other->bad_cost && other->limit->policy == c->limit->policy && other->key.len == c->key.len &&
		    ngx_memcmp(other->key.data, c->key.data, c->key.len) == 0)
			return other;
	return NULL;
}

/* Adds a check to the visit, unless the limit is skipped. Two of the same client of the same policy are one. */
static ngx_int_t add_check(struct ngx_stint_visit *v, const struct ngx_stint_limit *limit) {
	struct ngx_stint_check *c = &v->checks[v->count];
	c->limit = limit;
	if (read_text(v->request, &limit->key, &c->key) != NGX_OK)
		return NGX_ERROR;
	if (c->key.len == 0)
		return SKIPPED;
	ngx_int_t rc = read_cost(v->request, c);
	if (rc != NGX_OK)
		return rc;
	struct ngx_stint_check *same = find_same(v, c);
	if (same) {
		same->cost = same->cost < STINT_MAX_REQUESTS_MAX - c->cost ? same->cost + c->cost : STINT_MAX_REQUESTS_MAX;
		return NGX_OK;
	}
	v->in_force += !limit->dry_run;
	v->count++;
	return NGX_OK;
}

/* Dry runs are the last of a location's limits. */
static ngx_int_t add_checks(struct ngx_stint_visit *v) {
	const ngx_array_t *limits = v->location->limits;
	const struct ngx_stint_limit *limit = limits->elts;
	for (ngx_uint_t i = 0; i < limits->nelts; i++)
		if (add_check(v, &limit[i]) == NGX_ERROR)
			return NGX_ERROR;
	return NGX_OK;
}

/* ---- Its beginning ------------------------------------------------------------------- */

ngx_int_t ngx_stint_begin_visit(ngx_http_request_t *r, ngx_event_handler_pt resume,
                                struct ngx_stint_visit **visit) {
	struct ngx_stint_location *location = ngx_http_get_module_loc_conf(r, ngx_http_stint_module);
	size_t size = sizeof(**visit) + location->limits->nelts * sizeof(struct ngx_stint_check);
	struct ngx_stint_visit *v = ngx_pcalloc(r->pool, size);
	if (!v)
		return NGX_ERROR;
	v->request = r;
	v->location = location;
	v->main = ngx_http_get_module_main_conf(r, ngx_http_stint_module);
	v->event.handler = resume;
	v->event.data = v;
	v->event.log = r->connection->log;
	if (add_checks(v) != NGX_OK)
		return NGX_ERROR;
	if (v->count == 0)
		return NGX_DECLINED;
	*visit = v;
	return keep_visit(r, v);
}
