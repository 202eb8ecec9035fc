/*
 * visit.c - a request's visit: it begins where the request meets a limit first, and lives as long as the request.
 *
 * A client's request is counted once: neither its subrequests nor what it is redirected to inside nginx count
 * again. An internal redirect wipes a request's contexts, so the visit is found among the cleanups of its pool.
 */
#include "module.h"

/* ---- Its end, and where it is found ------------------------------------------------ */

/* Runs when the request is cut off, and when its pool is destroyed. */
static void end_visit(void *visit) {
	struct ngx_stint_visit *v = visit;
	v->ended = true;
	ngx_stint_cancel(v);
	if (v->event.timer_set)
		ngx_del_timer(&v->event);
	if (v->event.posted) {
		ngx_delete_posted_event(&v->event);
	}
}

struct ngx_stint_visit *ngx_stint_find_visit(ngx_http_request_t *r) {
	r = r->main;
	struct ngx_stint_visit *v = ngx_http_get_module_ctx(r, ngx_http_stint_module);
	for (ngx_pool_cleanup_t *c = r->pool->cleanup; c && !v && (r->internal || r->filter_finalize); c = c->next)
		if (c->handler == end_visit)
			v = c->data;
	return v;
}

static ngx_int_t keep_visit(ngx_http_request_t *r, struct ngx_stint_visit *v) {
	ngx_pool_cleanup_t *of_pool = ngx_pool_cleanup_add(r->pool, 0);
	ngx_http_cleanup_t *of_request = ngx_http_cleanup_add(r, 0);
	if (!of_pool || !of_request)
		return NGX_ERROR;
	of_pool->handler = of_request->handler = end_visit;
	of_pool->data = of_request->data = v;
	ngx_http_set_ctx(r, v, ngx_http_stint_module);
	return NGX_OK;
}

/* ---- Keys and costs ------------------------------------------------------------------ */

#define SKIPPED NGX_DECLINED

/* Reads a cost of 1 to STINT_MAX_REQUESTS_MAX. No cost is 1; 0 skips the limit. */
static ngx_int_t read_cost(ngx_http_request_t *r, struct ngx_stint_check *c) {
	ngx_str_t text;
	c->cost = 1;
	if (!c->limit->cost)
		return NGX_OK;
	if (ngx_http_complex_value(r, c->limit->cost, &text) != NGX_OK)
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
	ngx_http_complex_value_t key = limit->key;
	c->limit = limit;
	if (ngx_http_complex_value(v->request, &key, &c->key) != NGX_OK)
		return NGX_ERROR;
	if (c->key.len == 0)
		return SKIPPED;
	ngx_int_t rc = read_cost(v->request, c);
	struct ngx_stint_check *same = rc == NGX_OK ? find_same(v, c) : NULL;
	if (same)
		same->cost = same->cost < STINT_MAX_REQUESTS_MAX - c->cost ? same->cost + c->cost : STINT_MAX_REQUESTS_MAX;
	else if (rc == NGX_OK)
		v->count++;
	return rc;
}

/* Adds those that are in force, or the dry runs. */
static ngx_int_t add_checks(struct ngx_stint_visit *v, bool dry_run) {
	const ngx_array_t *limits = v->location->limits;
	const struct ngx_stint_limit *limit = limits->elts;
	for (ngx_uint_t i = 0; i < limits->nelts; i++)
		if (limit[i].dry_run == dry_run && add_check(v, &limit[i]) == NGX_ERROR)
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
	ngx_int_t rc = add_checks(v, false);
	v->in_force = v->count;
	if (rc == NGX_OK)
		rc = add_checks(v, true);
	if (rc == NGX_ERROR)
		return NGX_ERROR;
	if (v->count == 0)
		return NGX_DECLINED;
	*visit = v;
	return keep_visit(r, v);
}
