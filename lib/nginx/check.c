/*
 * check.c - checks a request's limits, one after the other, until one denies. What the earlier ones have admitted
 * counts then.
 */
#include "module.h"

/* How much longer than its timeout a check may take until it is given up: it never should. */
#define PATIENCE_MS 2000

/* ---- One check ------------------------------------------------------------------ */

static void resume_later(struct ngx_stint_visit *v) {
	if (v->event.timer_set)
		ngx_del_timer(&v->event);
	ngx_post_event(&v->event, &ngx_posted_events);
}

/* A stint_callback. Runs in stint_dispatch(); with STINT_ECANCELED in stint_cancel(), and when the worker ends. */
static void take_verdict(int status, const struct stint_result *result, void *visit) {
	struct ngx_stint_visit *v = visit;
	v->pending = false;
	v->error = status;
	if (status == 0) {
		v->checks[v->next].result = *result;
		v->checks[v->next].known = true;
	}
	if (!v->ended)
		resume_later(v);
}

static int ask(struct ngx_stint_visit *v, struct ngx_stint_check *c) {
	struct ngx_stint_policy *policy = c->limit->policy;
	int status = ngx_stint_find_limiter(v->main, policy);
	if (status == 0)
		status = stint_check_async_n(policy->limiter, (const char *)c->key.data, c->key.len, c->cost, &c->result,
		                             take_verdict, v);
	if (status != 0)
		return status;
	v->pending = true;
	v->ticket = c->result.ticket;
	return ngx_stint_watch(v->main);
}

/* What every request would say is said once a minute. */
static bool is_time_to_tell(time_t *told) {
	if (*told != 0 && ngx_time() - *told < 60)
		return false;
	*told = ngx_time();
	return true;
}

/* Says that this worker decides by itself, and whether it may use the socket at all. */
static void tell_absence(const struct ngx_stint_visit *v) {
	static time_t told;
	if (!is_time_to_tell(&told))
		return;
	const char *path = v->main->socket.data ? (const char *)v->main->socket.data : STINT_DEFAULT_SOCKET;
	ngx_log_error(NGX_LOG_ERR, v->request->connection->log, access(path, R_OK | W_OK) == 0 ? 0 : ngx_errno,
	              "stint: the agent on \"%s\" doesn't answer, this worker decides by itself", path);
}

/* Whether the agent can't work with this worker. After other errors it is well, and knows of the client: then a
 * limit of the worker's own would come on top of the limit. */
static bool is_agent_unusable(int error) {
	return error == STINT_EVERSION || error == STINT_ETIMENS || error == STINT_EPROTOCOL || error == STINT_EFULL ||
	       error == STINT_ENOPOLICY;
}

static void deny(const struct stint_options *options, struct stint_result *result) {
	*result = (struct stint_result){
		.source = STINT_SOURCE_LOCAL,
		.reason = STINT_UNAVAILABLE,
		.limit = options->max_requests,
		.retry_after_ms = 1000,
		.reset_after_ms = options->time_window_ms > 1000 ? options->time_window_ms : 1000,
	};
}

/* Decides a check that ended with an error. */
static int decide_alone(struct ngx_stint_visit *v, struct ngx_stint_check *c, int error) {
	struct ngx_stint_policy *policy = c->limit->policy;
	if (is_time_to_tell(&policy->told))
		ngx_log_error(NGX_LOG_ERR, v->request->connection->log, 0,
		              "stint: policy \"%s\" is decided without the agent: %s", policy->name,
		              stint_strerror(error));
	if (!policy->limiter || (!is_agent_unusable(error) && policy->options.on_error != STINT_ON_ERROR_ALLOW)) {
		deny(&policy->options, &c->result);
		return 0;
	}
	return stint_check_alone_n(policy->limiter, (const char *)c->key.data, c->key.len, c->cost, &c->result);
}

/* NGX_OK: the result is known; NGX_AGAIN: it is pending; NGX_DECLINED: the key is none. */
static ngx_int_t check(struct ngx_stint_visit *v, struct ngx_stint_check *c) {
	int error = v->error;
	v->error = 0;
	if (error == 0 && !c->known) {
		int status = ask(v, c);
		if (v->pending && status == 0)
			return NGX_AGAIN;
		ngx_stint_cancel(v);
		v->error = 0;
		error = status < 0 ? status : 0;
	}
	if (error == 0 && c->result.source == STINT_SOURCE_LOCAL)
		tell_absence(v);
	if (error < 0 && error != STINT_ECLIENT)
		error = decide_alone(v, c, error);
	c->known = error == 0;
	return c->known ? NGX_OK : error == STINT_ECLIENT ? NGX_DECLINED : NGX_ERROR;
}

void ngx_stint_cancel(struct ngx_stint_visit *v) {
	if (!v->pending)
		return;
	bool ended = v->ended;
	v->ended = true; /* nobody is to be told */
	stint_cancel(v->main->attachment, v->ticket);
	v->pending = false;
	v->ended = ended;
}

/* ---- All of them ------------------------------------------------------------------ */

static void give_time(struct ngx_stint_visit *v, const struct ngx_stint_check *c) {
	int32_t timeout_ms = c->limit->policy->options.timeout_ms;
	ngx_add_timer(&v->event, (ngx_msec_t)(timeout_ms ? timeout_ms : 1000) + PATIENCE_MS);
}

/* Takes a known result into account; false: the request is rejected. */
static bool admit(struct ngx_stint_visit *v, struct ngx_stint_check *c) {
	if (c->result.allowed)
		return true;
	if (c->limit->dry_run && v->denied)
		return true;
	v->denied = c;
	v->status = c->limit->dry_run ? NGX_STINT_REJECTED_DRY_RUN : NGX_STINT_REJECTED;
	return c->limit->dry_run;
}

ngx_int_t ngx_stint_decide(struct ngx_stint_visit *v) {
	for (; v->next < v->count; v->next++) {
		struct ngx_stint_check *c = &v->checks[v->next];
		ngx_int_t rc = check(v, c);
		if (rc == NGX_AGAIN)
			give_time(v, c);
		if (rc == NGX_AGAIN || rc == NGX_ERROR)
			return rc;
		if (rc == NGX_DECLINED) {
			v->status = NGX_STINT_BAD_KEY;
			v->denied = c;
			return NGX_OK;
		}
		if (!admit(v, c))
			return NGX_OK;
	}
	if (v->status == NGX_STINT_UNDECIDED)
		v->status = NGX_STINT_PASSED;
	return NGX_OK;
}
