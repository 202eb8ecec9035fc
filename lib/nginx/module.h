/*
 * module.h - what the parts of the nginx module share.
 *
 *     module.c      the module, its directives, and the configuration's life
 *     limit.c       the directive stint_limit, and the policies that it names
 *     agent.c       a worker's attachment to the agent, and its descriptor in nginx's event loop
 *     check.c       checks a request's limits
 *     visit.c       a request's visit: its keys and costs, and what becomes of it
 *     handler.c     the phase in which a request waits, and is admitted or rejected
 *     answer.c      header fields and variables
 *     modules.c     the lists that nginx looks for in the file; its own build makes them by itself
 *
 * Each worker has one attachment. A check that the table has an answer for is decided at once; for another one the
 * request waits, and the worker goes on with other requests until the library's descriptor is readable.
 */
#ifndef STINT_NGINX_MODULE_H
#define STINT_NGINX_MODULE_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include <stdbool.h>

#include "stint.h"

/* For what a request that is admitted at once doesn't run through: it stays out of the others' cache lines. */
#define COLD __attribute__((cold, noinline))

/* ---- The configuration ------------------------------------------------------ */

/* A limit that the configuration names, once for each name. Its options are stated in one place. */
struct ngx_stint_policy {
	struct stint_options options;
	char name[STINT_POLICY_NAME_MAX + 1];
	bool stated;
	u_char *file; /* where, and in which line */
	ngx_uint_t line;
	struct stint_limiter *limiter; /* this worker's; NULL: not made yet */
	time_t told;                   /* when this worker has logged that it is decided without the agent */
};

struct ngx_stint_main {
	ngx_str_t socket;         /* data is NULL: the library's default */
	ngx_array_t policies;     /* of struct ngx_stint_policy * */
	struct stint *attachment; /* this worker's; NULL: not made yet */
	ngx_connection_t *connection;
};

/* A text with variables. Most are one variable and nothing else: its value needs neither a script nor a copy. */
struct ngx_stint_text {
	ngx_http_complex_value_t value;
	ngx_int_t variable; /* its number; NGX_ERROR: the text isn't one */
};

/* One directive stint_limit. */
struct ngx_stint_limit {
	struct ngx_stint_policy *policy;
	struct ngx_stint_text key;
	struct ngx_stint_text *cost; /* NULL: 1 */
	bool dry_run;
};

#define NGX_STINT_HEADERS_OFF   0x0002 /* bit 0 says that something was set */
#define NGX_STINT_RETRY_AFTER   0x0004
#define NGX_STINT_DRAFT_11      0x0008
#define NGX_STINT_X_RATELIMIT   0x0010
#define NGX_STINT_HEADERS_ON    (NGX_STINT_RETRY_AFTER | NGX_STINT_DRAFT_11)
#define NGX_STINT_BAD_KEY_CODE  NGX_HTTP_BAD_REQUEST
#define NGX_STINT_REJECTED_CODE NGX_HTTP_TOO_MANY_REQUESTS

struct ngx_stint_location {
	ngx_array_t *limits; /* of struct ngx_stint_limit, dry runs last; NULL: none */
	ngx_uint_t rejected_code;
	ngx_uint_t bad_key_code;
	ngx_uint_t headers;
	ngx_uint_t log_level;
	ngx_int_t ipv4_prefix; /* 0: the default */
	ngx_int_t ipv6_prefix;
};

extern ngx_module_t ngx_http_stint_module;

/* ---- A request --------------------------------------------------------------- */

enum ngx_stint_status {
	NGX_STINT_UNDECIDED,
	NGX_STINT_PASSED,
	NGX_STINT_REJECTED,
	NGX_STINT_REJECTED_DRY_RUN,
	NGX_STINT_BAD_KEY,
};

/* One of the limits that the request is checked against. */
struct ngx_stint_check {
	const struct ngx_stint_limit *limit;
	ngx_str_t key;
	uint32_t cost;
	bool bad_cost; /* what stands for the cost is no number that it may be */
	bool known;    /* the result is: of limits that are checked together, one has it */
	struct stint_result result;
};

/* A request, and each of its internal redirects: it is counted once. It lives in the request's pool. */
struct ngx_stint_visit {
	ngx_http_request_t *request;
	struct ngx_stint_main *main;
	struct ngx_stint_location *location;
	enum ngx_stint_status status;
	struct ngx_stint_check
		*denied;       /* the check by which it was rejected, if only in a dry run; or whose key is bad */
	ngx_event_t event; /* resumes the request; its timer is for a library that doesn't call back */
	bool pending;      /* the library will call back */
	bool answered;     /* it has, with `error` (0 or STINT_E...) and the result */
	bool ended;        /* the request has ended, or has been cut off: nothing resumes it */
	int error;
	struct stint_result result;
	uint64_t ticket;
	ngx_uint_t next;     /* those before it are decided */
	ngx_uint_t in_force; /* these are the first, and are checked together; then come dry runs, one by one */
	ngx_uint_t count;
	struct ngx_stint_check checks[];
};

/* ---- limit.c ------------------------------------------------------------------ */

char *ngx_stint_read_limit(ngx_conf_t *cf, ngx_command_t *command, void *location);
/* A policy that states no limits must exist. */
void ngx_stint_complete_policies(struct ngx_stint_main *);

/* ---- agent.c ------------------------------------------------------------------ */

/* Return 0, or an error of the library. */
int ngx_stint_find_limiter(struct ngx_stint_main *, struct ngx_stint_policy *);
int ngx_stint_watch(struct ngx_stint_main *);
/* Ends what this worker has. */
void ngx_stint_detach(struct ngx_stint_main *);

/* ---- check.c ------------------------------------------------------------------ */

/* Goes on with the checks of a visit. NGX_OK: `status` tells how it ended; NGX_AGAIN: one is pending, and
 * the event will be posted. */
ngx_int_t ngx_stint_decide(struct ngx_stint_visit *);
/* Ends a check that is pending. */
void ngx_stint_cancel(struct ngx_stint_visit *);

/* ---- visit.c -------------------------------------------------------------------- */

/* Makes the visit of a request; its event calls `resume`. NGX_DECLINED: all of the limits are skipped, there is
 * none. */
ngx_int_t ngx_stint_begin_visit(ngx_http_request_t *r, ngx_event_handler_pt resume, struct ngx_stint_visit **);
/* Nothing resumes the request any more, and a check that is pending ends. */
void ngx_stint_end_visit(struct ngx_stint_visit *);
/* Ends the visit when its request is cut off: for one that waits; each time, as it likes. NGX_OK or NGX_ERROR. */
ngx_int_t ngx_stint_guard_visit(struct ngx_stint_visit *);
/* The visit of a request, or of its main request; NULL: it has not been checked. */
struct ngx_stint_visit *ngx_stint_find_visit(ngx_http_request_t *r);

/* ---- handler.c ------------------------------------------------------------------ */

ngx_int_t ngx_stint_handle(ngx_http_request_t *r);

/* ---- answer.c ------------------------------------------------------------------- */

ngx_int_t ngx_stint_add_variables(ngx_conf_t *cf);
void ngx_stint_add_filter(void);
const char *ngx_stint_name_source(const struct stint_result *);

#endif
