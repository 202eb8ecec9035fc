/*
 * test_recall.c - clients that come now and then have leases on all hosts, for as long as the window. Then one
 * sends all that it may to a single host. That host is refused soon, and calls back what the others haven't spent;
 * they return it. Agents hear of it by notices, and behind PgBouncer in transaction mode without.
 *
 * How long it takes depends on the machine; without recalls it would take as long as the leases last, a minute.
 */
#include <stdio.h>

#include "pooler.h"
#include "probe.h"
#include "proof.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS   4u /* in each of two groups */
#define CLIENTS 10u
#define LIMIT   100
#define CALM    8 /* checks on each of the other hosts */
/* Of the limit, so much is had soon. The rest is what others keep of leases that are about to end. */
#define ENOUGH  (LIMIT * 9 / 10)
#define SOON_MS 20000

static const struct stint_options options = {.policy = "api",
                                             .max_requests = LIMIT,
                                             .time_window_ms = 60000,
                                             .resolution = 20,
                                             .timeout_ms = 10000};

struct play {
	struct stage stage;
	struct pooler pooler;
	struct probe probe[2 * HOSTS];
};

struct group {
	struct play *play;
	struct probe *probe; /* on its hosts */
	const char *how;     /* they hear of recalls; also the clients' names */
};

static bool is_admitted(const struct group *group, uint32_t host, const char *client) {
	struct stint_result r;
	return stint_check(group->probe[host].limiter, client, 1, &r) == 0 && r.allowed;
}

/* As if it had been coming for a window: what was charged then counts for a moment more. */
static bool make_known(const struct group *group, const char *client) {
	char sql[1024];
	snprintf(
		sql, sizeof(sql),
		"do $$ begin perform l.request from stint.policy p,"
		" lateral stint.take_first_leases(60, array[p.policy_id], '{%s}', '{1}', '{1}', '{1}', '{1}', '{1}') l"
		" where p.name = 'api';"
		" update stint.counter set current_us = current_us - 19 * sub_window_us, servers = 0 where client_id = '%s'; end $$",
		client, client);
	return cluster_do(&group->play->stage.cluster, sql) == 0;
}

static uint32_t comes_everywhere(const struct group *group, const char *client) {
	uint32_t admitted = 0;
	for (uint32_t host = 1; host < HOSTS; host++)
		for (int n = 0; n < CALM; n++)
			admitted += is_admitted(group, host, client);
	return admitted;
}

/* On the first host until it has had enough, and then on all hosts as often as the limit says: it may get what
 * there still is, and no more. */
static uint32_t bursts(const struct group *group, const char *client, uint32_t admitted) {
	uint64_t began_ns = monotonic_ns();
	while (admitted < ENOUGH && stage_ms_since(began_ns) < SOON_MS)
		if (is_admitted(group, 0, client))
			admitted++;
		else
			sleep_ms(2);
	for (uint32_t host = 0; host < HOSTS; host++)
		for (int n = 0; n < LIMIT; n++)
			admitted += is_admitted(group, host, client);
	return admitted;
}

static void play_bursts(struct play *play, uint32_t first_host, const char *how) {
	const struct group group = {play, &play->probe[first_host], how};
	uint32_t known = 0, over = 0, enough = 0, least = LIMIT;
	int64_t longest_ms = 0;
	is_admitted(&group, 0, "declares the policy");
	for (uint32_t i = 0; i < CLIENTS && enough == i; i++) {
		char client[64];
		snprintf(client, sizeof(client), "%s %u", how, i);
		known += make_known(&group, client);
		uint32_t admitted = comes_everywhere(&group, client);
		uint64_t began_ns = monotonic_ns();
		admitted = bursts(&group, client, admitted);
		longest_ms = stage_ms_since(began_ns) > longest_ms ? stage_ms_since(began_ns) : longest_ms;
		least = admitted < least ? admitted : least;
		enough += admitted >= ENOUGH;
		over += admitted > LIMIT;
	}
	tap_ok(known > 0, "%u clients that have been coming, %s", known, how);
	tap_ok(enough == CLIENTS, "I5 %u of %u got %u of %u on one host, within %lld ms each; the least: %u", enough,
	       CLIENTS, ENOUGH, LIMIT, (long long)longest_ms, least);
	tap_ok(over == 0, "I1 %u of them got more than %u", over, LIMIT);
	proof_print_checks("I1 I5", how);
}

static bool begin(struct play *play, const struct scene *scene) {
	struct host_options host = *STAGE_PATIENT;
	bool good = stage_set_database(&play->stage, scene) == 0 &&
	            tap_ok(pooler_start(&play->pooler, scene, &play->stage.cluster, "pool", "transaction") == 0,
	                   "PgBouncer runs");
	host.database = play->stage.cluster.agent;
	good = good && stage_hosts(&play->stage, HOSTS, &host) == 0;
	host.database = play->pooler.agent;
	host.pooler = "transaction";
	for (uint32_t h = 0; good && h < HOSTS; h++)
		good = stage_add_host(&play->stage, &host) == 0;
	good = good && stage_wait_in_step(&play->stage) == 0;
	for (uint32_t h = 0; good && h < 2 * HOSTS; h++)
		good = probe_open(&play->probe[h], &play->stage.host[h], &options) == 0;
	return tap_ok(good, "%u hosts, half of them behind a pooler, and an app on each", 2 * HOSTS);
}

static int run(const struct scene *scene) {
	static struct play play;
	if (begin(&play, scene)) {
		play_bursts(&play, 0, "told by a notice");
		play_bursts(&play, HOSTS, "behind a pooler");
	}
	for (uint32_t h = 0; h < 2 * HOSTS; h++)
		probe_close(&play.probe[h]);
	stage_strike(&play.stage);
	pooler_kill(&play.pooler);
	return tap_finish();
}

int main(void) {
	return scene_run(run, 120);
}
