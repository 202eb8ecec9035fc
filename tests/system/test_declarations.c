/*
 * test_declarations.c - apps declare policies when the database is away, refuses, has an operator's policy, or
 * has lost it. The app gets an answer in each case, and in the end the database says what holds.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "host.h"
#include "scene.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define WINDOW_MS    60000
#define TIMEOUT_MS   3000 /* of a check: longer than the agent takes to see that the database is away */
#define SOON_MS      5000
#define AT_ONCE      32  /* if each waited for a heartbeat, they would take several times TIMEOUT_MS */
#define CHANGES      6   /* if each waited for a pulse, they would take more than twice SOON_MS */
#define RECONNECT_MS 200 /* an app that has just connected doesn't do so again sooner */

struct play {
	struct cluster cluster;
	struct host host;
	struct stint *app;
};

/* Whether the database decided, itself or by a lease. */
static bool is_of_database(const struct stint_result *r) {
	return r->source == STINT_SOURCE_DATABASE || r->source == STINT_SOURCE_LEASE;
}

/* Makes one check with a limiter of its own, which declares the policy. Its limit and its fallback's are the
 * same. */
static int ask(struct play *p, const char *policy, int64_t limit, struct stint_result *result) {
	const struct stint_options options = {
		.policy = policy,
		.max_requests = limit,
		.time_window_ms = limit ? WINDOW_MS : 0,
		.fallback_max_requests = limit,
		.must_exist = limit == 0,
		.timeout_ms = TIMEOUT_MS,
	};
	struct stint_limiter *limiter;
	int status = stint_limiter_new(&limiter, p->app, &options);

	*result = (struct stint_result){0};
	if (status == 0)
		status = stint_check(limiter, "client", 1, result);
	stint_limiter_free(limiter);
	return status;
}

static void expect(struct play *p, const char *policy, int64_t declared, int64_t limit, bool of_database,
                   const char *what) {
	struct stint_result r;
	int status = ask(p, policy, declared, &r);

	tap_ok(status == 0 && r.allowed && r.limit == limit &&
	           (of_database ? is_of_database(&r) : r.source == STINT_SOURCE_FALLBACK),
	       "%s: limit %lld by source %d (status %d)", what, (long long)r.limit, (int)r.source, status);
}

static void expect_unknown(struct play *p, const char *policy, const char *what) {
	struct stint_result r;
	int status = ask(p, policy, 0, &r);

	tap_ok(status == STINT_ENOPOLICY, "%s: %s", what, status ? stint_strerror(status) : "a verdict");
}

static bool wait_for_log(struct play *p, const char *text) {
	return tap_ok(host_wait_log(&p->host, text, SOON_MS), "the agent says \"%s\"", text);
}

static bool wait_for_number(struct play *p, const char *sql, int64_t wanted, const char *what) {
	uint64_t began = monotonic_ns();
	int64_t found;

	while ((found = cluster_number(&p->cluster, sql, -1)) != wanted && stage_ms_since(began) < SOON_MS)
		sleep_ms(10);
	return tap_ok(found == wanted, "%s: %lld", what, (long long)found);
}

/* The agent has never seen its database. */
static void declare_while_away(struct play *p) {
	expect(p, "away", 100, 100, false, "declared while the database is away");
	expect(p, "away", 200, 200, false, "declared anew, with more");
	expect(p, "away", 0, 200, false, "and known to who only looks for it");
	expect_unknown(p, "nowhere", "a policy that nobody declared");
	tap_ok(cluster_again(&p->cluster) == 0 && host_wait_in_step(&p->host, SOON_MS), "the database is back");
	wait_for_log(p, "declared while the database was away: created");
	wait_for_number(p, "select max_requests from stint.policy where name = 'away'", 200, "and has the last one");
	expect(p, "away", 0, 200, true, "its limit holds");
}

/* A declaration that is refused for a while waits no longer than that. */
static void declare_while_refused(struct play *p, const char *function, const char *policy) {
	char revoke[128], grant[128];
	struct stint_result r;
	uint64_t began;
	int status;

	snprintf(revoke, sizeof(revoke), "revoke execute on function stint.%s from stint_agent", function);
	snprintf(grant, sizeof(grant), "grant execute on function stint.%s to stint_agent", function);
	if (cluster_do(&p->cluster, revoke) != 0)
		return;
	status = ask(p, policy, 1000, &r);
	tap_ok(status == 0 && (r.source == STINT_SOURCE_LOCAL || r.source == STINT_SOURCE_FALLBACK),
	       "%s is refused: decided without it, by source %d (status %d)", function, (int)r.source, status);
	if (cluster_do(&p->cluster, grant) != 0)
		return;
	began = monotonic_ns();
	/* An app that had to wait doesn't wait for the agent again at once; and the agent may have gone into
	 * fallback. */
	while ((status = ask(p, policy, 1000, &r)) == 0 && !is_of_database(&r) && stage_ms_since(began) < SOON_MS)
		sleep_ms(10);
	tap_ok(status == 0 && r.allowed && is_of_database(&r) && r.limit == 1000,
	       "refused no longer: limit %lld by source %d, after %lld ms", (long long)r.limit, (int)r.source,
	       (long long)stage_ms_since(began));
}

static void declare_what_an_operator_has(struct play *p) {
	struct stint_result r;

	tap_ok(cluster_do(&p->cluster, "select stint.set_policy('pinned', 7, 60000)") == 0,
	       "an operator has a policy");
	expect(p, "pinned", 1000, 7, true, "an app wants more: the operator's holds");
	wait_for_log(p, "pinned is pinned by an operator");
	for (int i = 0; i < 20; i++)
		ask(p, "pinned", 1000, &r);
	ask(p, "pinned", 2000, &r);
	tap_ok(host_log_count(&p->host, "pinned is pinned by an operator") == 2,
	       "and says it once of each limit that apps declare");
}

/* As when there are short-lived processes of two versions. */
static void declare_by_turns(struct play *p) {
	struct stint_result r;
	int64_t limit = 0;

	for (int i = 0; i < 20; i++) {
		ask(p, "turns", 100 + 100 * (i % 2), &r);
		limit = r.limit;
	}
	tap_ok(limit == 200, "two versions of an app: the new one's limit stays: %lld", (long long)limit);
	wait_for_number(p, "select count(*) from stint.policy_history where policy = 'turns'", 4,
	                "changed three times and no more");
	tap_ok(host_log_count(&p->host, "policy turns ") < 12, "and the log is short");
}

struct asking {
	struct play *play;
	pthread_t thread;
	char policy[16];
	struct stint_result result;
	int status;
};

static void *ask_beside_others(void *arg) {
	struct asking *a = arg;

	a->status = ask(a->play, a->policy, 10, &a->result);
	return NULL;
}

/* They are declared one after the other, each as soon as the one before is done. */
static void declare_many_at_once(struct play *p) {
	struct asking asking[AT_ONCE];
	uint64_t began = monotonic_ns();
	int decided = 0, started = 0;

	for (; started < AT_ONCE; started++) {
		struct asking *a = &asking[started];

		*a = (struct asking){.play = p};
		snprintf(a->policy, sizeof(a->policy), "many-%d", started);
		if (pthread_create(&a->thread, NULL, ask_beside_others, a) != 0)
			break;
	}
	for (int i = 0; i < started; i++) {
		pthread_join(asking[i].thread, NULL);
		decided += asking[i].status == 0 && is_of_database(&asking[i].result);
	}
	tap_ok(decided == AT_ONCE,
	       "%d of %d policies that are declared at once are the database's within %d ms: %lld ms", decided,
	       AT_ONCE, TIMEOUT_MS, (long long)stage_ms_since(began));
}

/* An operator makes changes, each when the agent has heard of the one before. */
static void change_again_and_again(struct play *p) {
	uint64_t began = monotonic_ns();
	char sql[128], log[128];
	int heard = 0;

	while (heard < CHANGES && stage_ms_since(began) < SOON_MS) {
		snprintf(sql, sizeof(sql), "select stint.set_policy('pinned', %d, 60000)", 100 + heard);
		snprintf(log, sizeof(log), "policy pinned is now %d requests", 100 + heard);
		if (cluster_do(&p->cluster, sql) != 0)
			break;
		while (host_log_count(&p->host, log) == 0 && stage_ms_since(began) < SOON_MS)
			sleep_ms(10);
		heard += host_log_count(&p->host, log) > 0;
	}
	tap_ok(heard == CHANGES, "the agent has heard of %d changes, one after the other, within %d ms: %d in %lld ms",
	       CHANGES, SOON_MS, heard, (long long)stage_ms_since(began));
}

static void drop_what_apps_use(struct play *p) {
	tap_ok(cluster_do(&p->cluster, "select stint.drop_policy('away')") == 0, "an operator drops a policy");
	wait_for_log(p, "policy away was dropped");
	expect_unknown(p, "away", "it is unknown to who only looks for it");
	expect(p, "away", 50, 50, true, "and made anew for who declares it");
}

/* In time, a host's apps may use more names than fit at once. An app whose policy has lost its place gets its
 * own limit, and not that of the policy in its place. */
static void declare_more_than_fit(struct play *p, const struct scene *scene) {
	const struct host_options options = {.database = p->cluster.agent, .idle_timeout_s = 1, .max_clients = 4096};
	const struct stint_options first = {.policy = "first",
	                                    .max_requests = 11,
	                                    .time_window_ms = WINDOW_MS,
	                                    .timeout_ms = TIMEOUT_MS};
	struct play own = {0};
	struct stint_limiter *limiter = NULL;
	struct stint_result r = {0};
	char name[16];
	int failed = 0, status = 0;

	if (!tap_ok(host_prepare(&own.host, scene, 3, &options) == 0 && host_start(&own.host) == 0 &&
	                host_wait_in_step(&own.host, SOON_MS) && stint_open(&own.app, own.host.socket) == 0 &&
	                stint_limiter_new(&limiter, own.app, &first) == 0 &&
	                stint_check(limiter, "client", 1, &r) == 0,
	            "an agent starts, whose clients are soon forgotten"))
		return;
	for (int i = 0; i < 1200; i++) {
		uint64_t began = monotonic_ns();

		snprintf(name, sizeof(name), "name-%d", i);
		while ((status = ask(&own, name, 7, &r)) == STINT_EFULL && stage_ms_since(began) < 2 * SOON_MS)
			sleep_ms(20);
		failed += status != 0 || !is_of_database(&r) || r.limit != 7;
	}
	tap_ok(failed == 0, "1200 policies, one after the other: %d could not be had", failed);
	tap_ok(host_log_count(&own.host, "policy first, which nobody uses, makes room for") == 1,
	       "the first of them had to go");
	status = stint_check(limiter, "client", 1, &r);
	tap_ok(status == 0 && is_of_database(&r) && r.limit == 11,
	       "who has it still is limited by it: limit %lld by source %d (status %d)", (long long)r.limit,
	       (int)r.source, status);
	stint_limiter_free(limiter);
	stint_close(own.app);
	tap_ok(host_stop(&own.host) == 0, "the agent ends with status 0 on SIGTERM");
}

/* An agent that keeps its counters itself: what was declared is still there for the next agent on the same
 * table. */
static void declare_without_a_database(const struct scene *scene) {
	const struct host_options options = {.database = "memory:"};
	struct play own = {0};

	if (!tap_ok(host_prepare(&own.host, scene, 1, &options) == 0 && host_start(&own.host) == 0 &&
	                stint_open(&own.app, own.host.socket) == 0,
	            "an agent without a database starts"))
		return;
	expect(&own, "alone", 30, 30, true, "declared without a database");
	tap_ok(host_stop(&own.host) == 0 && host_start(&own.host) == 0, "the agent starts anew");
	sleep_ms(RECONNECT_MS);
	expect(&own, "alone", 0, 30, true, "known to who only looks for it");
	expect(&own, "alone", 60, 60, true, "declared anew, with more");
	stint_close(own.app);
	tap_ok(host_stop(&own.host) == 0, "the agent ends with status 0 on SIGTERM");
}

/* The database is neither there nor away. Declarations wait, their apps don't, and the agent may end. */
static void declare_while_nobody_knows(struct play *p, const struct scene *scene) {
	const struct host_options options = {.database = p->cluster.agent, .database_timeout_ms = 20000};
	struct play own = {0};
	struct stint_result r;
	uint64_t began;
	int status;

	if (!tap_ok(cluster_pause(&p->cluster) == 0 && host_prepare(&own.host, scene, 2, &options) == 0 &&
	                host_start(&own.host) == 0 && stint_open(&own.app, own.host.socket) == 0,
	            "an agent starts whose database takes connections and never answers"))
		return;
	began = monotonic_ns();
	status = ask(&own, "open", 10, &r);
	tap_ok(status == 0 && r.source == STINT_SOURCE_LOCAL && stage_ms_since(began) < TIMEOUT_MS + SOON_MS,
	       "an app waits for its timeout, %lld ms, and decides", (long long)stage_ms_since(began));
	tap_ok(host_stop(&own.host) == 0, "the agent ends with status 0 on SIGTERM");
	stint_close(own.app);
	tap_ok(cluster_resume(&p->cluster) == 0, "the database goes on");
}

static int play(const struct scene *scene) {
	struct play p = {0};

	if (!tap_ok(cluster_start(&p.cluster, scene) == 0 && cluster_install(&p.cluster) == 0,
	            "a database with the schema is ready"))
		return tap_finish();
	const struct host_options options = {.database = p.cluster.agent, .database_timeout_ms = 500};
	tap_ok(cluster_kill(&p.cluster) == 0, "and goes away");
	if (tap_ok(host_prepare(&p.host, scene, 0, &options) == 0 && host_start(&p.host) == 0, "an agent starts") &&
	    tap_ok(stint_open(&p.app, p.host.socket) == 0, "an app, too")) {
		declare_while_away(&p);
		declare_while_refused(&p, "declare_policy", "refused");
		declare_while_refused(&p, "get_policies", "unread");
		declare_what_an_operator_has(&p);
		declare_by_turns(&p);
		declare_many_at_once(&p);
		change_again_and_again(&p);
		drop_what_apps_use(&p);
		declare_more_than_fit(&p, scene);
		declare_without_a_database(scene);
		declare_while_nobody_knows(&p, scene);
		stint_close(p.app);
		tap_ok(host_stop(&p.host) == 0, "the agent ends with status 0 on SIGTERM");
	}
	cluster_close(&p.cluster);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 90);
}
