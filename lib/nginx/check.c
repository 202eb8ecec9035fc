/*
 * check.c - checks a request's limits: those that are in force together, all or nothing; then each dry run by
 * itself.
 */
#include "module.h"

/* How much longer than its timeout a check may take until it is given up: it never should. */
#define PATIENCE_MS 2000

/* ---- Asking ----------------------------------------------------------------------- */

static void resume_later(struct ngx_stint_visit *v) {
	if (v->event.timer_set)
		ngx_del_timer(&v->event);
	ngx_post_event(&v->event, &ngx_posted_events);
}

/* A stint_callback. Runs in stint_dispatch(); with STINT_ECANCELED in stint_cancel(), and when the worker ends. */
static void take_verdict(int status, const struct stint_result *result, void *visit) {
	struct ngx_stint_visit *v = visit;
	v->pending = false;
	v->answered = true;
	v->error = status;
	if (status == 0)
		v->result = *result;
	if (!v->ended)
		resume_later(v);
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

static int find_limiters(struct ngx_stint_visit *v, ngx_uint_t count) {
	int error = 0;
	for (ngx_uint_t i = v->next; i < v->next + count && error == 0; i++)
		error = ngx_stint_find_limiter(v->main, v->checks[i].limit->policy);
	return error;
}

COLD static int start_together(struct ngx_stint_visit *v, const struct ngx_stint_check *c, ngx_uint_t count) {
	struct stint_part parts[STINT_PARTS_MAX];
	for (ngx_uint_t i = 0; i < count; i++)
		parts[i] = (struct stint_part){.limiter = c[i].limit->policy->limiter,
		                               .client_id = (const char *)c[i].key.data,
		                               .length = c[i].key.len,
		                               .cost = c[i].cost};
	return stint_check_all_async(parts, count, &v->result, take_verdict, v);
}

/* Starts one check of the next `count` limits. Returns what stint_check_all_async() does. */
static int start(struct ngx_stint_visit *v, ngx_uint_t count) {
	const struct ngx_stint_check *c = &v->checks[v->next];
	if (count > 1)
		return start_together(v, c, count);
	int status = stint_check_async_n(c->limit->policy->limiter, (const char *)c->key.data, c->key.len, c->cost,
	                                 &v->result, take_verdict, v);
	v->result.part = 0;
	return status;
}

/* It ends by itself within the shortest of the limits' timeouts. */
static void give_time(struct ngx_stint_visit *v) {
	int32_t timeout_ms = v->checks[v->next].limit->policy->options.timeout_ms;
	ngx_add_timer(&v->event, (ngx_msec_t)(timeout_ms ? timeout_ms : 1000) + PATIENCE_MS);
}

/* Returns 1: v->result is the verdict; 0: it is pending; or an error. */
static int ask(struct ngx_stint_visit *v, ngx_uint_t count) {
	int status = find_limiters(v, count);
	if (status == 0)
		status = start(v, count);
	if (status != 0)
		return status;
	v->pending = true;
	v->ticket = v->result.ticket;
	status = ngx_stint_watch(v->main);
	if (status == 0)
		give_time(v);
	else
		ngx_stint_cancel(v);
	v->answered = false;
	v->error = 0;
	return status;
}

/* ---- Without the agent ------------------------------------------------------------- */

/* What every request would say is said once a minute. */
static bool is_time_to_tell(time_t *told) {
	if (*told != 0 && ngx_time() - *told < 60)
		return false;
	*told = ngx_time();
	return true;
}

/* As the library has found it. */
static const char *find_socket(const struct ngx_stint_main *m) {
	const char *path = m->socket.data ? (const char *)m->socket.data : secure_getenv("STINT_SOCKET");
	return path ? path : STINT_DEFAULT_SOCKET;
}

/* Says that this worker decides by itself, and whether it may use the socket at all. */
COLD static void tell_absence(const struct ngx_stint_visit *v) {
	static time_t told;
	if (!is_time_to_tell(&told))
		return;
	const char *path = find_socket(v->main);
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

/* Whether one limit is decided in the worker after an error; else it denies. */
static bool may_decide(const struct ngx_stint_policy *policy, int error) {
	return policy->limiter && (is_agent_unusable(error) || policy->options.on_error == STINT_ON_ERROR_ALLOW);
}

/* Decides one limit after an error. */
static void decide_one(struct ngx_stint_visit *v, struct ngx_stint_check *c, int error) {
	struct ngx_stint_policy *policy = c->limit->policy;
	if (is_time_to_tell(&policy->told))
		ngx_log_error(NGX_LOG_ERR, v->request->connection->log, 0,
		              "stint: policy \"%s\" is decided without the agent: %s", policy->name,
		              stint_strerror(error));
	if (!may_decide(policy, error) ||
	    stint_check_alone_n(policy->limiter, (const char *)c->key.data, c->key.len, c->cost, &c->result) != 0)
		deny(&policy->options, &c->result);
	c->known = true;
}

/* What was taken of one limit is put back, and nothing is told of it. */
static void take_back(struct ngx_stint_check *c) {
	if (c->limit->policy->limiter)
		stint_refund_n(c->limit->policy->limiter, (const char *)c->key.data, c->key.len, c->cost, &c->result);
	c->known = false;
}

/* The first of several limits that would deny, without taking anything; NULL: none. */
static struct ngx_stint_check *find_denial(struct ngx_stint_check *first, ngx_uint_t count, int error) {
	struct stint_result seen;
	for (struct ngx_stint_check *c = first; count > 1 && c < first + count; c++) {
		struct ngx_stint_policy *policy = c->limit->policy;
		if (!may_decide(policy, error) ||
		    stint_peek_alone_n(policy->limiter, (const char *)c->key.data, c->key.len, c->cost, &seen) != 0 ||
		    !seen.allowed)
			return c;
	}
	return NULL;
}

/* Each of the limits decides, if none denies: else nothing is taken of the others, nor have they decided. Such a
 * one may admit after all, when its window has just begun. */
COLD static void decide_alone(struct ngx_stint_visit *v, ngx_uint_t count, int error) {
	struct ngx_stint_check *first = &v->checks[v->next], *denial = find_denial(first, count, error);
	if (denial) {
		decide_one(v, denial, error);
		if (!denial->result.allowed)
			return;
		take_back(denial);
	}
	for (struct ngx_stint_check *c = first; c < first + count; c++) {
		decide_one(v, c, error);
		if (c->result.allowed)
			continue;
		while (first < c)
			take_back(first++);
		return;
	}
}

/* ---- Bad keys, and bad costs -------------------------------------------------------------- */

/* The first limit whose key is none: of a cost of 0, the library looks at the key alone. */
COLD static struct ngx_stint_check *find_bad_key(struct ngx_stint_visit *v, ngx_uint_t count) {
	struct stint_result unused;
	for (ngx_uint_t i = v->next; i < v->next + count; i++) {
		struct ngx_stint_check *c = &v->checks[i];
		if (stint_check_alone_n(c->limit->policy->limiter, (const char *)c->key.data, c->key.len, 0, &unused) ==
		    STINT_ECLIENT)
			return c;
	}
	return &v->checks[v->next];
}

static struct ngx_stint_check *find_bad_cost(struct ngx_stint_visit *v, ngx_uint_t count) {
	for (ngx_uint_t i = v->next; i < v->next + count; i++)
		if (v->checks[i].bad_cost)
			return &v->checks[i];
	return NULL;
}

static void reject(struct ngx_stint_visit *v, struct ngx_stint_check *c, enum ngx_stint_status status) {
	v->denied = c;
	v->status = status;
}

/* Tells what is wrong with a limit's key or cost. In a dry run nobody is rejected for it. */
COLD static void refuse(struct ngx_stint_visit *v, struct ngx_stint_check *c) {
	const char *dry_run = c->limit->dry_run ? " dry run," : "";
	ngx_log_t *log = v->request->connection->log;
	if (c->bad_cost) {
		ngx_log_error(v->location->log_level, log, 0,
		              "stint:%s the cost for policy \"%s\" is no number from 0 to %d", dry_run,
		              c->limit->policy->name, STINT_MAX_REQUESTS_MAX);
	} else {
		ngx_log_error(
			v->location->log_level, log, 0,
			"stint:%s the key for policy \"%s\" has %uz bytes, must be 1 to %d bytes of UTF-8, without a NUL",
			dry_run, c->limit->policy->name, c->key.len, STINT_CLIENT_ID_MAX);
	}
	if (!c->limit->dry_run)
		reject(v, c, NGX_STINT_BAD_KEY);
	else if (!v->denied)
		reject(v, c, NGX_STINT_REJECTED_DRY_RUN);
}

/* ---- One step -------------------------------------------------------------------------- */

/* An error is an answer, too. Returns 1: it is there; 0: it is pending. */
static int hear(struct ngx_stint_visit *v, ngx_uint_t count, int *error) {
	int status = v->answered ? 1 : ask(v, count);
	*error = v->answered ? v->error : status < 0 ? status : 0;
	if (status == 0)
		return 0;
	v->answered = false;
	v->error = 0;
	return 1;
}

/* Decides the next `count` limits, in one check. NGX_OK: it is known which of them denies, if one does, or whose
 * key or cost is *bad; NGX_AGAIN: the check is pending. */
static ngx_int_t decide_next(struct ngx_stint_visit *v, ngx_uint_t count, struct ngx_stint_check **bad) {
	int error;
	*bad = find_bad_cost(v, count);
	if (*bad)
		return NGX_OK;
	if (hear(v, count, &error) == 0)
		return NGX_AGAIN;
	if (error == STINT_ECLIENT) {
		*bad = find_bad_key(v, count);
		return NGX_OK;
	}
	if (error) {
		decide_alone(v, count, error);
		return NGX_OK;
	}
	struct ngx_stint_check *c = &v->checks[v->next + v->result.part];
	c->result = v->result;
	c->known = true;
	if (c->result.source == STINT_SOURCE_LOCAL)
		tell_absence(v);
	return NGX_OK;
}

/* Takes into account what the next `count` limits have said; false: the request is rejected. Dry runs and shadow
 * policies reject nothing; the first that would is told. */
static bool admit(struct ngx_stint_visit *v, ngx_uint_t count) {
	for (ngx_uint_t i = v->next; i < v->next + count; i++) {
		struct ngx_stint_check *c = &v->checks[i];
		bool would_deny = c->known && (!c->result.allowed || c->result.shadow_denied);
		bool denies = would_deny && !c->limit->dry_run && !c->result.shadow_denied;
		if (denies || (would_deny && !v->denied))
			reject(v, c, denies ? NGX_STINT_REJECTED : NGX_STINT_REJECTED_DRY_RUN);
		if (denies)
			return false;
	}
	return true;
}

ngx_int_t ngx_stint_decide(struct ngx_stint_visit *v) {
	while (v->next < v->count) {
		ngx_uint_t count = v->next < v->in_force ? v->in_force : 1;
		struct ngx_stint_check *bad;
		if (decide_next(v, count, &bad) == NGX_AGAIN)
			return NGX_AGAIN;
		if (bad)
			refuse(v, bad);
		if (v->status == NGX_STINT_BAD_KEY || !admit(v, count))
			return NGX_OK;
		v->next += count;
	}
	if (v->status == NGX_STINT_UNDECIDED)
		v->status = NGX_STINT_PASSED;
	return NGX_OK;
}
