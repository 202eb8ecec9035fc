/*
 * test_database_killed.c - the database dies under load, returns, is paused, and
 * returns again.
 *
 * Meanwhile each host keeps to its lenient limit and no check waits longer than its
 * timeout. Afterwards the promise holds again, and what was admitted without the
 * database is on its books.
 */
#include <stdio.h>

#include "stage.h"
#include "stint.h"
#include "tap.h"

#define WINDOW_MS        2000
#define LIMIT            200
#define FALLBACK_LIMIT   150
#define CHECK_TIMEOUT_MS 1000

#define STEADY_MS 5000
#define DOWN_MS   5000
#define SETTLE_MS 6000

/* Reconnecting: a pause of at most 2 s with its jitter, the handshake, and a heartbeat's worth of doubt. */
#define RETURN_MS 4000
/* How much later than its timeout a check may end: what the scheduler takes on two busy cores. */
#define SLACK_MS 250

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 3, .skew = 1}},
	.seed = 5,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 100000,
};

/* One time without a database. */
struct outage {
	const char *what;
	uint64_t began_ns;   /* the signal was about to be sent */
	uint64_t over_ns;    /* it answers again */
	uint64_t first_ns;   /* the first host is back, and the books have been read */
	uint64_t in_step_ns; /* all hosts say that they are in step */
	uint64_t until_ns;   /* the next outage, or the end */
	int64_t charged;     /* what was charged to client 0, by the books before first_ns */
	bool returned;
};

static const char charged_sql[] =
	"select sum(n) from stint.counter, unnest(counts) n where client_id = 'client-0000000000000000000000000'";

static bool one_is_in_step(const struct stage *stage) {
	bool any = false;

	for (uint32_t h = 0; h < stage->host_count; h++)
		any |= host_wait_in_step(&stage->host[h], 0);
	return any;
}

static void wait_for_return(struct stage *stage, struct outage *outage) {
	outage->over_ns = monotonic_ns();
	while (!one_is_in_step(stage) && stage_ms_since(outage->over_ns) < RETURN_MS)
		sleep_ms(2);
	outage->charged = cluster_number(&stage->cluster, charged_sql, -1);
	outage->first_ns = monotonic_ns(); /* now: what was leased before is in the books */
	outage->returned = true;
	for (uint32_t h = 0; h < stage->host_count; h++)
		outage->returned &= host_wait_in_step(&stage->host[h], 10000);
	outage->in_step_ns = monotonic_ns();
	sleep_ms(SETTLE_MS);
	outage->until_ns = monotonic_ns();
}

static void count_on_their_own(const struct stage *stage, const char *what) {
	uint32_t count = stage_hosts_in(stage, "fallback");

	tap_ok(count == stage->host_count, "%s: %u of %u hosts say that they are in fallback", what, count,
	       stage->host_count);
}

static void kill_database(struct stage *stage, struct outage *outage) {
	*outage = (struct outage){.what = "killed", .began_ns = monotonic_ns()};
	cluster_kill(&stage->cluster);
	sleep_ms(DOWN_MS);
	count_on_their_own(stage, "killed");
	tap_ok(cluster_again(&stage->cluster) == 0, "the database is started again");
	wait_for_return(stage, outage);
}

static void pause_database(struct stage *stage, struct outage *outage) {
	*outage = (struct outage){.what = "paused", .began_ns = monotonic_ns()};
	cluster_pause(&stage->cluster);
	sleep_ms(DOWN_MS);
	count_on_their_own(stage, "paused");
	tap_ok(cluster_resume(&stage->cluster) == 0, "the database goes on");
	wait_for_return(stage, outage);
}

static void check_return(const struct oracle *oracle, const struct outage *outage) {
	struct oracle_choice choice = {.policy = 0,
	                               .client = ORACLE_ANY,
	                               .host = ORACLE_ANY,
	                               .sources = ORACLE_FALLBACK,
	                               .from_ns = outage->began_ns,
	                               .until_ns = outage->until_ns};
	uint64_t first, last;
	int64_t admitted = oracle_sum(oracle, &choice);

	tap_ok(outage->returned, "%s: all hosts are in step again after %lld ms", outage->what,
	       (long long)((outage->in_step_ns - outage->over_ns) / NS_PER_MS));
	if (!tap_ok(oracle_span(oracle, &choice, &first, &last), "%s: hosts admitted %lld on their own", outage->what,
	            (long long)admitted))
		return;
	tap_note("%s: on their own from %lld ms after the fault to %lld ms after its end", outage->what,
	         (long long)((first - outage->began_ns) / NS_PER_MS),
	         ((long long)last - (long long)outage->over_ns) / 1000000);
	tap_ok(last < outage->over_ns + RETURN_MS * NS_PER_MS, "%s: none did later than %d ms after the return",
	       outage->what, RETURN_MS);
	/* From then on every interval counts, whoever decided. */
	choice = (struct oracle_choice){.host = ORACLE_ANY, .from_ns = last + 1, .until_ns = outage->until_ns};
	stage_check_promise(oracle, &plan, &choice, "after the return");
}

/* The first host to come back charges what it admitted on its own in the last window, which fills most of the
 * books; the next host does the rest. Hardly anything is left to lease until the charge has left the window. */
static void check_charge(const struct oracle *oracle, const struct outage *outage) {
	struct oracle_choice choice = {.policy = 0,
	                               .client = 0,
	                               .host = ORACLE_ANY,
	                               .sources = ORACLE_STRICT,
	                               .from_ns = outage->first_ns,
	                               .until_ns = outage->first_ns + WINDOW_MS / 2 * NS_PER_MS};
	int64_t leased = oracle_sum(oracle, &choice);

	tap_ok(outage->charged >= FALLBACK_LIMIT / 2,
	       "%s: on the first host's return the books of the busiest client hold %lld of %d", outage->what,
	       (long long)outage->charged, LIMIT);
	tap_ok(leased <= LIMIT - outage->charged + LIMIT / 4,
	       "%s: so it gets hardly more than they had left for the next %d ms: %lld", outage->what, WINDOW_MS / 2,
	       (long long)leased);
}

static void check_report(struct stage *stage, const struct oracle *oracle) {
	struct oracle_choice choice = {.policy = 0,
	                               .client = ORACLE_ANY,
	                               .host = ORACLE_ANY,
	                               .sources = ORACLE_FALLBACK};
	int64_t periods = cluster_number(&stage->cluster, "select count(*) from stint.fallback_period", -1);
	int64_t reported = cluster_number(&stage->cluster, "select sum(admitted) from stint.fallback_period", -1);
	int64_t admitted = oracle_sum(oracle, &choice);

	tap_ok(periods >= 2 * (int64_t)stage->host_count, "%lld fallback periods are on record, two for each host",
	       (long long)periods);
	/* What the agent gave to an app that no longer waited counts as admitted, too. And an app may date its last
	 * checks on this host's limit after the agent's report. */
	tap_ok(reported >= admitted * 98 / 100 && reported <= admitted * 110 / 100,
	       "they tell of %lld admitted; the apps of %lld", (long long)reported, (long long)admitted);
}

static int play(const struct scene *scene) {
	struct oracle_choice choice = {.host = ORACLE_ANY};
	struct crowd_total total;
	struct outage outage[2];
	struct stage_away away[2];
	struct oracle oracle;
	struct stage stage;

	if (stage_set(&stage, scene, 3, NULL) != 0 || stage_crowd(&stage, 2, &plan, 1000) != 0)
		return tap_finish();
	sleep_ms(STEADY_MS);
	kill_database(&stage, &outage[0]);
	pause_database(&stage, &outage[1]);
	stage_read(&stage, &oracle, &total);

	stage_check_latency(&total, CHECK_TIMEOUT_MS, SLACK_MS);
	tap_ok(total.admitted[STINT_SOURCE_LOCAL] == 0,
	       "no check ran into its timeout and was decided in its process: %llu",
	       (unsigned long long)total.admitted[STINT_SOURCE_LOCAL]);
	choice.until_ns = outage[0].began_ns;
	stage_check_promise(&oracle, &plan, &choice, "before");
	choice = (struct oracle_choice){.host = ORACLE_ANY, .sources = ORACLE_UP};
	stage_check_promise(&oracle, &plan, &choice, "but for hosts on their own, all the time");
	for (int i = 0; i < 2; i++)
		away[i] = (struct stage_away){.from_ns = outage[i].began_ns, .until_ns = outage[i].in_step_ns};
	stage_check_alone(&oracle, away, 2);
	stage_check_fallback(&stage, &oracle, &plan, 0, 0);
	for (int i = 0; i < 2; i++) {
		check_return(&oracle, &outage[i]);
		check_charge(&oracle, &outage[i]);
	}
	check_report(&stage, &oracle);
	stage_strike(&stage);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120);
}
