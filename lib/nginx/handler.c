/*
 * handler.c - the preaccess phase: a request is admitted, rejected, or waits for a verdict.
 */
#include "module.h"

/* ---- Waiting -------------------------------------------------------------------------- */

/* The event of a visit: a check was answered, or has taken much too long. */
static void resume(ngx_event_t *event) {
	struct ngx_stint_visit *v = event->data;
	ngx_http_request_t *r = v->request;
	ngx_connection_t *c = r->connection;
	if (event->timedout) {
		event->timedout = 0;
		ngx_log_error(NGX_LOG_ALERT, c->log, 0, "stint: a check was not called back");
		ngx_stint_cancel(v);
	}
	ngx_http_set_log_request(c->log, r);
	r->read_event_handler = ngx_http_block_reading;
	r->write_event_handler = ngx_http_core_run_phases;
	ngx_http_core_run_phases(r);
	ngx_http_run_posted_requests(c);
}

static ngx_int_t watch_client(ngx_event_t *reading) {
	if (!reading->ready)
		return ngx_handle_read_event(reading, 0);
	ngx_post_event(reading, &ngx_posted_events);
	return NGX_OK;
}

/* A client that goes away meanwhile is noticed. */
COLD static ngx_int_t wait_for_verdict(struct ngx_stint_visit *v) {
	ngx_http_request_t *r = v->request;
	if (ngx_stint_guard_visit(v) != NGX_OK || watch_client(r->connection->read) != NGX_OK) {
		ngx_stint_end_visit(v);
		return NGX_HTTP_INTERNAL_SERVER_ERROR;
	}
	r->read_event_handler = ngx_http_test_reading;
	r->write_event_handler = ngx_http_request_empty_handler;
	return NGX_AGAIN;
}

/* ---- The phase -------------------------------------------------------------------------- */

COLD static void log_rejection(struct ngx_stint_visit *v) {
	const struct ngx_stint_check *c = v->denied;
	const struct stint_result *result = &c->result;
	if (!c->known)
		return; /* its key is bad, and that has been told */
	ngx_log_error(v->location->log_level, v->request->connection->log, 0,
	              "stint: rejected%s by policy \"%s\", %L of %L left, again in %L ms, source %s",
	              v->status == NGX_STINT_REJECTED_DRY_RUN ? ", dry run," : "", c->limit->policy->name,
	              result->remaining, result->limit, result->retry_after_ms, ngx_stint_name_source(result));
}

static ngx_int_t conclude(struct ngx_stint_visit *v) {
	v->ended = true;
	switch (v->status) {
	case NGX_STINT_BAD_KEY: return (ngx_int_t)v->location->bad_key_code;
	case NGX_STINT_REJECTED: log_rejection(v); return (ngx_int_t)v->location->rejected_code;
	case NGX_STINT_REJECTED_DRY_RUN: log_rejection(v); return NGX_DECLINED;
	default: return NGX_DECLINED;
	}
}

ngx_int_t ngx_stint_handle(ngx_http_request_t *r) {
	struct ngx_stint_location *location = ngx_http_get_module_loc_conf(r, ngx_http_stint_module);
	if (r != r->main || !location->limits)
		return NGX_DECLINED;
	struct ngx_stint_visit *v = ngx_stint_find_visit(r);
	if (v && v->ended)
		return NGX_DECLINED;
	if (v && v->pending)
		return NGX_AGAIN;
	ngx_int_t rc = v ? NGX_OK : ngx_stint_begin_visit(r, resume, &v);
	if (rc == NGX_DECLINED)
		return NGX_DECLINED;
	if (rc == NGX_OK)
		rc = ngx_stint_decide(v);
	if (rc == NGX_AGAIN)
		return wait_for_verdict(v);
	return rc == NGX_OK ? conclude(v) : NGX_HTTP_INTERNAL_SERVER_ERROR;
}
