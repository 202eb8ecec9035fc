/*
 * test_policy_change.c - what an operator changes by SQL is in force on all hosts
 * within a second: the limit, an override for one client, a block, the window; thirty thousand
 * overrides in one statement within two. Also what is changed while a host's agent is dead, under limits of
 * which leases last for days; what ends by itself; and what was counted and is forgotten.
 *
 * Asked of each host through the library, as an app would see it, while apps keep the
 * clients busy and hold leases of the old limit. And a policy that is a shadow: nobody is denied, all is counted.
 */

#include <stdio.h>

#include "probe.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS       4u
#define IN_FORCE_MS 1000
#define GIVE_UP_MS  3000
#define MANY_MS     2000
#define SETTLE_MS   2500 /* two windows and a half, so that the figures are of the new limit alone */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_POLICY("api", 200, 200, 1000, 1), .clients = 3, .skew = 0.5, .share = 1}},
	.seed = 3,
	.timeout_ms = 1000,
	.capacity = 200000,
};

/* Opens an app on each host. */
static int open_probes(struct probe probes[HOSTS], const struct stage *stage) {
	const struct stint_options options = {.policy = "api", .must_exist = true};
	int status = 0;

	for (uint32_t h = 0; h < HOSTS; h++)
		status |= probe_open(&probes[h], &stage->host[h], &options);
	return status;
}

typedef bool is_in_force(const struct stint_result *result, int64_t limit);

static bool has_limit(const struct stint_result *result, int64_t limit) {
	return result->limit == limit;
}

static bool is_blocked(const struct stint_result *result, int64_t limit) {
	(void)limit;
	return result->reason == STINT_BLOCKED && result->retry_after_ms > 0;
}

/* Gives in how many ms the last host answered by the new rule; patience_ms when one never did. */
static int64_t wait_for(const struct probe probes[HOSTS], const char *client, is_in_force *in_force, int64_t limit,
                        int64_t patience_ms) {
	uint64_t began = monotonic_ns();
	uint32_t h = 0;

	while (h < HOSTS && stage_ms_since(began) < patience_ms) {
		struct stint_result result = {0};

		if (stint_check(probes[h].limiter, client, 1, &result) == 0 && in_force(&result, limit))
			h++; /* the other hosts go on by it as well */
		else
			sleep_ms(2);
	}
	return h == HOSTS ? stage_ms_since(began) : patience_ms;
}

static int64_t wait_until(const struct probe probes[HOSTS], const char *client, is_in_force *in_force,
                          int64_t limit) {
	return wait_for(probes, client, in_force, limit, GIVE_UP_MS);
}

/* Gives the most that any window held from one second after the change until now. Apps still run, so their
 * journals are read up to now. */
static int64_t most_since(const struct stage *stage, uint32_t client, uint64_t changed_ns, uint64_t window_ms) {
	struct oracle_choice choice = {.policy = 0,
	                               .client = client,
	                               .host = ORACLE_ANY,
	                               .from_ns = changed_ns + IN_FORCE_MS * NS_PER_MS};
	struct oracle oracle = {0};
	int64_t most;

	crowd_read(&stage->crowd, &oracle);
	most = oracle_peak(&oracle, &choice, window_ms * NS_PER_MS).certain;
	oracle_free(&oracle);
	return most;
}

struct change {
	const char *what;
	const char *sql;
	uint32_t client; /* the client whose figures are looked at */
	is_in_force *in_force;
	int64_t limit;
	uint64_t window_ms;
};

static const struct change changes[] = {
	{"a lower limit", "update stint.policy set max_requests = 50, pinned = true where name = 'api'", 0, has_limit,
     50, 1000},
	{"a higher limit", "select stint.set_policy('api', 600, 1000)", 0, has_limit, 600, 1000},
	{"a limit of one client's own", "select stint.set_override('api', 'client-0000000000000000000000001', 20)", 1,
     has_limit, 20, 1000},
	{"that of the others stays", "select 1", 2, has_limit, 600, 1000},
	{"a blocked client", "select stint.block_client('api', 'client-0000000000000000000000000')", 0, is_blocked, 0,
     1000},
	{"no longer blocked", "select stint.clear_override('api', 'client-0000000000000000000000000')", 0, has_limit,
     600, 1000},
	{"a longer window", "select stint.set_policy('api', 100, 2000)", 0, has_limit, 100, 2000},
};

static void check_change(struct stage *stage, const struct probe probes[HOSTS], const struct change *change) {
	uint64_t changed;
	int64_t took, most;
	char id[64];

	journal_client_id(&plan, change->client, id);
	if (!tap_ok(cluster_do(&stage->cluster, change->sql) == 0, "%s: %s", change->what, change->sql))
		return;
	changed = monotonic_ns();
	took = wait_until(probes, id, change->in_force, change->limit);
	tap_ok(took <= IN_FORCE_MS, "%s: in force on all %u hosts after %lld ms", change->what, HOSTS,
	       (long long)took);
	sleep_ms(IN_FORCE_MS - (took < IN_FORCE_MS ? took : IN_FORCE_MS) + SETTLE_MS);
	most = most_since(stage, change->client, changed, change->window_ms);
	tap_ok(most <= change->limit, "%s: from a second after it at most %lld in any %llu ms; limit %lld",
	       change->what, (long long)most, (unsigned long long)change->window_ms, (long long)change->limit);
	tap_ok(most * 10 >= change->limit * 8, "%s: and not much less", change->what);
}

/* Changes many overrides; the last is of a client that the apps keep busy. The news must cut off no agent. */
static void change_many(struct stage *stage, const struct probe probes[HOSTS], const char *sql, int64_t limit,
                        const char *what) {
	int64_t took;
	char id[64];

	journal_client_id(&plan, 2, id);
	if (!tap_ok(cluster_do(&stage->cluster, sql) == 0, "%s", what))
		return;
	took = wait_until(probes, id, has_limit, limit);
	tap_ok(took <= MANY_MS, "%s: in force on all %u hosts after %lld ms", what, HOSTS, (long long)took);
}

static void change_many_overrides(struct stage *stage, const struct probe probes[HOSTS]) {
	int lost = 0;

	for (int i = 0; i < 2; i++) {
		change_many(stage, probes,
		            "insert into stint.client_override (policy_id, client_id, max_requests)"
		            " select policy_id, 'client-' || to_char(i, 'fm0000000000000000000000000'), 30"
		            " from stint.policy, generate_series(30001, 2, -1) i where name = 'api'",
		            30, "thirty thousand overrides");
		change_many(stage, probes, "delete from stint.client_override where max_requests = 30", 100,
		            "and none of them");
	}
	for (uint32_t h = 0; h < HOSTS; h++)
		lost += host_log_count(&stage->host[h], "lost the database");
	tap_ok(lost == 0, "no agent has lost its connection");
}

/* ---- While an agent is dead -------------------------------------------------------------- */

static const struct stint_options monthly = {.policy = "monthly",
                                             .max_requests = 1000000,
                                             .time_window_ms = INT64_C(2592000000)};

static bool is_denied(const struct stint_result *result, int64_t limit) {
	(void)limit;
	return !result->allowed;
}

static bool has_lease(struct stint_limiter *limiter, const char *client) {
	struct stint_result result = {0};

	return stint_check(limiter, client, 1, &result) == 0 && result.allowed && result.source == STINT_SOURCE_LEASE;
}

#define REFILL_MS    200
#define REFILL_TRIES 20 /* on a busy machine one may take a second */

/* Asks on, since the agent leases more and more to a client that goes on asking; then gives it the time to replace
 * what has been spent, so that the lease outlasts the agent. */
static bool obtain_lease(struct stint_limiter *limiter, const char *client) {
	bool has = false;
	int in_a_row = 0;

	for (int i = 0; i < 5000 && in_a_row < 200; i++)
		in_a_row = has_lease(limiter, client) ? in_a_row + 1 : 0;
	for (int i = 0; i < REFILL_TRIES && !has; i++) {
		sleep_ms(REFILL_MS);
		has = has_lease(limiter, client);
	}
	return in_a_row == 200 && has;
}

static void change_while_dead(struct stage *stage) {
	struct probe probe = {0};
	int64_t took[2];

	sleep_ms(MANY_MS); /* the agents have heard of earlier changes */
	if (tap_ok(probe_open(&probe, &stage->host[0], &monthly) == 0 && obtain_lease(probe.limiter, "blocked") &&
	               obtain_lease(probe.limiter, "limited") && obtain_lease(probe.limiter, "other"),
	           "three clients have leases for days")) {
		struct probe probes[HOSTS] = {probe, probe, probe, probe};

		host_kill(&stage->host[0]);
		tap_ok(cluster_do(&stage->cluster, "select stint.block_client('monthly', 'blocked')") == 0 &&
		           cluster_do(&stage->cluster, "select stint.set_override('monthly', 'limited', 3)") == 0 &&
		           has_lease(probe.limiter, "blocked"),
		       "while the agent is dead, one is blocked, and one gets a limit of its own");
		tap_ok(host_start(&stage->host[0]) == 0 && host_wait_in_step(&stage->host[0], 5000),
		       "another agent takes the table over");
		took[0] = wait_until(probes, "blocked", is_blocked, 0);
		took[1] = wait_until(probes, "limited", is_denied, 0);
		tap_ok(took[0] <= IN_FORCE_MS && took[1] <= IN_FORCE_MS, "they are in force after %lld and %lld ms",
		       (long long)took[0], (long long)took[1]);
		tap_ok(has_lease(probe.limiter, "other"), "the third has its lease as before");
	}
	probe_close(&probe);
}

/* ---- What ends by itself ------------------------------------------------------------------- */

/* Long enough for all hosts to hear of what begins before it ends. */
#define LASTS_MS 4000
/* Two seconds or so are promised; a machine that is busy with other things may take longer. */
#define PATIENCE_MS 30000

/* Waits until the history says that what held for the client has ended. */
static void expect_end(struct stage *stage, const char *client) {
	uint64_t began = monotonic_ns();
	int64_t ended = 0;
	char sql[160];

	snprintf(sql, sizeof(sql),
	         "select count(*) from stint.policy_history where action = 'ended' and client_id = '%s'", client);
	while ((ended = cluster_number(&stage->cluster, sql, 0)) == 0 && stage_ms_since(began) < PATIENCE_MS)
		sleep_ms(20);
	tap_ok(ended == 1, "%s: the history says that it has ended", client);
}

static void see_block_end(struct stage *stage, const struct probe probes[HOSTS]) {
	static const char sql[] = "select stint.block_client('monthly', 'blocked for now', null, 4000)";
	uint64_t began = monotonic_ns();
	int64_t took;

	if (!tap_ok(cluster_do(&stage->cluster, sql) == 0, "a client is blocked for a while"))
		return;
	took = wait_until(probes, "blocked for now", is_blocked, 0);
	tap_ok(took < GIVE_UP_MS, "in force on all %u hosts after %lld ms", HOSTS, (long long)took);
	took = wait_for(probes, "blocked for now", has_limit, monthly.max_requests, PATIENCE_MS);
	tap_ok(took < PATIENCE_MS && stage_ms_since(began) >= LASTS_MS,
	       "it is served on all hosts %lld ms after the end, not before it",
	       (long long)stage_ms_since(began) - LASTS_MS);
	expect_end(stage, "blocked for now");
}

/* Without that word, the host would go by the leases that it has, for days. */
static void see_limit_end(struct stage *stage, const struct probe probes[HOSTS]) {
	static const char sql[] = "select stint.set_override('monthly', 'ample for now', 900000000, null, 4000)";
	int64_t took;

	if (!tap_ok(cluster_do(&stage->cluster, sql) == 0 &&
	                wait_until(probes, "ample for now", has_limit, 900000000) < GIVE_UP_MS &&
	                obtain_lease(probes[0].limiter, "ample for now"),
	            "a client has leases for days, of a limit that holds for a while"))
		return;
	expect_end(stage, "ample for now");
	took = wait_for(probes, "ample for now", has_limit, monthly.max_requests, PATIENCE_MS);
	tap_ok(took <= 2 * IN_FORCE_MS, "the policy's limit holds again on all hosts %lld ms later", (long long)took);
}

static void see_ends(struct stage *stage) {
	struct probe probes[HOSTS] = {0};
	int status = 0;

	for (uint32_t h = 0; h < HOSTS; h++)
		status |= probe_open(&probes[h], &stage->host[h], &monthly);
	if (tap_ok(status == 0, "an app asks on each host, under limits by the month")) {
		see_block_end(stage, probes);
		see_limit_end(stage, probes);
	}
	for (uint32_t h = 0; h < HOSTS; h++)
		probe_close(&probes[h]);
}

/* ---- What is forgotten ---------------------------------------------------------------------- */

static const struct stint_options daily = {.policy = "daily", .max_requests = 40, .time_window_ms = 86400000};

/* Asks all hosts in turn until the client has been admitted `most` times, or patience_ms are over. */
static int admit(const struct probe probes[HOSTS], int most, int64_t patience_ms) {
	uint64_t began = monotonic_ns();
	int admitted = 0;

	for (uint32_t h = 0; admitted < most && stage_ms_since(began) < patience_ms; h = (h + 1) % HOSTS) {
		struct stint_result result = {0};

		if (stint_check(probes[h].limiter, "spent", 1, &result) == 0 && result.allowed)
			admitted++;
		else
			sleep_ms(2);
	}
	return admitted;
}

static void see_reset(struct stage *stage) {
	struct probe probes[HOSTS] = {0};
	int status = 0;
	int again;

	for (uint32_t h = 0; h < HOSTS; h++)
		status |= probe_open(&probes[h], &stage->host[h], &daily);
	tap_ok(status == 0 && admit(probes, 40, PATIENCE_MS) == 40,
	       "a client spends its limit of a day, on four hosts");
	again = admit(probes, 1, 2000);
	tap_ok(again == 0, "and gets no more");
	if (tap_ok(cluster_do(&stage->cluster, "select stint.reset_client('daily', 'spent')") == 0, "it is reset")) {
		again = admit(probes, 40, PATIENCE_MS);
		tap_ok(again == 40, "it gets its whole limit again: %d", again);
		again = admit(probes, 1, 2000);
		tap_ok(again == 0, "and no more");
	}
	for (uint32_t h = 0; h < HOSTS; h++)
		probe_close(&probes[h]);
}

/* ---- Shadows -------------------------------------------------------------------------------- */

static const struct stint_options dim = {.policy = "dim",
                                         .max_requests = 40,
                                         .time_window_ms = 86400000,
                                         .shadow = true};

static bool is_excused(const struct stint_result *result, int64_t limit) {
	(void)limit;
	return result->allowed && result->shadow_denied;
}

/* Checks so often on all hosts in turn. Returns how often the client was admitted by right; -1: it was denied. */
static int admit_by_right(const struct probe probes[HOSTS], int checks) {
	int by_right = 0;

	for (int i = 0; i < checks; i++) {
		struct stint_result result = {0};

		if (stint_check(probes[(uint32_t)i % HOSTS].limiter, "spent", 1, &result) != 0 || !result.allowed)
			return -1;
		by_right += !result.shadow_denied;
	}
	return by_right;
}

static void set_shadow(struct stage *stage, const struct probe probes[HOSTS], const char *sql,
                       is_in_force *in_force) {
	int64_t took;

	if (!tap_ok(cluster_do(&stage->cluster, sql) == 0, "%s", sql))
		return;
	took = wait_until(probes, "spent", in_force, 0);
	tap_ok(took <= IN_FORCE_MS, "in force on all %u hosts after %lld ms", HOSTS, (long long)took);
}

/* Credits that one host gives back, another one asks for. */
static bool is_listed(struct stage *stage) {
	static const char sql[] = "select count(*) from stint.limited where policy = 'dim' and shadow";
	uint64_t began = monotonic_ns();

	while (cluster_number(&stage->cluster, sql, 0) != 1 && stage_ms_since(began) < PATIENCE_MS)
		sleep_ms(20);
	return stage_ms_since(began) < PATIENCE_MS;
}

static void see_shadow(struct stage *stage) {
	static const char used[] = "select used from stint.usage where policy = 'dim' and client_id = 'spent'";
	struct probe probes[HOSTS] = {0};
	int status = 0, by_right;

	for (uint32_t h = 0; h < HOSTS; h++)
		status |= probe_open(&probes[h], &stage->host[h], &dim);
	by_right = status == 0 ? admit_by_right(probes, 200) : -1;
	tap_ok(by_right >= 20 && by_right <= 40,
	       "an app declares a shadow: of 200 checks, all are admitted, and %d of 40 by right", by_right);
	tap_ok(cluster_number(&stage->cluster, used, 0) <= 40, "no more than the limit is counted");
	set_shadow(stage, probes, "select stint.set_shadow('dim', false)", is_denied);
	tap_ok(admit_by_right(probes, 1) == -1, "an operator takes it off: the client is denied");
	set_shadow(stage, probes, "select stint.set_shadow('dim', true)", is_excused);
	tap_ok(is_listed(stage), "who would be denied can be read");
	for (uint32_t h = 0; h < HOSTS; h++)
		probe_close(&probes[h]);
}

static int play(const struct scene *scene) {
	struct crowd_total total;
	struct oracle oracle;
	struct probe probes[HOSTS];
	struct stage stage;

	if (stage_set(&stage, scene, HOSTS, STAGE_PATIENT) != 0 || stage_crowd(&stage, 1, &plan, 3000) != 0)
		return tap_finish();
	sleep_ms(2000);
	if (tap_ok(open_probes(probes, &stage) == 0, "an app asks on each host"))
		for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
			check_change(&stage, probes, &changes[i]);
	change_many_overrides(&stage, probes);
	stage_read(&stage, &oracle, &total);
	change_while_dead(&stage);
	see_ends(&stage);
	see_reset(&stage);
	see_shadow(&stage);
	tap_ok(cluster_number(&stage.cluster, "select count(*) from stint.policy_history", 0) >= 6,
	       "all changes are in the history");
	for (uint32_t h = 0; h < HOSTS; h++)
		probe_close(&probes[h]);
	stage_strike(&stage);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 150);
}
