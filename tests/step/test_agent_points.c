/*
 * test_agent_points.c - agents are killed at points of their code: before and behind each send to the database and
 * each receive from it, around all that puts leases into the table and takes them out, at single instructions
 * of that, and around messages of apps and their answers. Another one goes on with the table each time; apps
 * decide all the while.
 *
 *     STINT_POINT_HITS rounds over all points (2); in the first an agent dies at its first hit, later at one by
 *     chance
 *     STINT_SEED
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "books.h"
#include "points.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS          2u
#define ROUNDS_DEFAULT 2
/* An app tries its agent again within a second, and then asks it; and a busy machine. */
#define REACH_MS         10000
#define IN_STEP_MS       10000
#define CHECK_TIMEOUT_MS 1000
#define SLACK_MS         50
#define HITS_MAX         12u
#define AWAY_MAX         1000u
/* No function of the table makes more instructions than this. */
#define INSTRUCTIONS_MAX   120u
#define INSTRUCTIONS_TRIED 3u
/* Checks per second: of an app that goes from client to client, of one that stays with one. */
#define RATE      1200
#define RATE_CALM 500

enum policy { BUSY, CALM, WIDE, POLICIES };

static const struct journal_plan plan = {
	.policy_count = POLICIES,
	.policy =
		{
			[BUSY] = {JOURNAL_POLICY("busy", 300, 20, 1000, 3), .clients = 3, .skew = 1, .share = 4},
			[CALM] = {JOURNAL_CALM},
			/* Many clients that come and go. */
			[WIDE] = {JOURNAL_POLICY("wide", 5, 5, 1000, 1), .clients = 400, .share = 1},
		},
	.seed = 5,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 400000,
};

/* An app that goes from client to client soon meets one that it has to ask for, and waits then, as its agent is
 * dead. So each host has one besides which stays with a client that has a lease nearly always. */
static int add_calm(struct stage *stage) {
	struct journal_plan calm = plan;
	int status = 0;

	calm.policy[BUSY].share = 0;
	calm.policy[WIDE].share = 0;
	for (uint32_t h = 0; h < HOSTS && status == 0; h++)
		status = crowd_add(&stage->crowd, &stage->host[h], &calm, RATE_CALM);
	return status;
}

enum kind { SEND, RECEIVE, PUBLISH, ADOPT, ANSWER, CONNECT, KINDS };

static const char *const kind_names[KINDS] = {
	[SEND] = "agent killed around a send to the database",
	[RECEIVE] = "agent killed around a receive from the database",
	[PUBLISH] = "agent killed around and inside what publishes to the table",
	[ADOPT] = "agent killed while it takes over a table",
	[ANSWER] = "agent killed around a message of an app's and its answer",
	[CONNECT] = "agent killed while it connects to the database",
};

static const struct {
	const char *function;
	enum kind kind;
} functions[] = {
	{"database_take", SEND},
	{"pg_send_prepared", SEND},
	{"pg_flush", SEND},
	{"pg_read", RECEIVE},
	{"pg_next", RECEIVE},
	{"core_on_grants", RECEIVE},
	{"table_claim", PUBLISH},
	{"table_publish", PUBLISH},
	{"table_add", PUBLISH},
	{"table_drain", PUBLISH},
	{"table_release", PUBLISH},
	{"table_deny", PUBLISH},
	{"table_set_remaining", PUBLISH},
	{"table_adopt", ADOPT},
	{"core_want", ANSWER},
	{"core_low", ANSWER},
	{"server_send", ANSWER},
	{"dial_start", CONNECT},
	{"dial_receive", CONNECT},
	{"pg_send_prepare", CONNECT},
	{"core_database_up", CONNECT},
};

#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

struct kills {
	uint64_t random;
	struct books books;
	uint32_t turn;
	uint64_t reached[KINDS], missed[KINDS];
	uint64_t came_back, taken_over;
	uint64_t alone; /* checks admitted from tables whose agent was dead */
	uint64_t recovery_ms;
	struct stage_away away[AWAY_MAX]; /* no agent, or none that has the database */
	uint32_t aways;
};

/* A host is on its own from then until now: a new agent that can't connect for long falls back, as on a machine
 * that is busy. */
static void note_away(struct kills *k, uint32_t host, uint64_t from_ns) {
	if (k->aways < AWAY_MAX)
		k->away[k->aways++] = (struct stage_away){from_ns, monotonic_ns(), 1u << host};
}

static void start_again(struct kills *k, struct stage *stage, struct host *host) {
	uint64_t began_ns = monotonic_ns(), took_ms;

	if (host_start(host) != 0 || !host_wait_in_step(host, IN_STEP_MS))
		return;
	took_ms = (uint64_t)stage_ms_since(began_ns);
	k->recovery_ms = took_ms > k->recovery_ms ? took_ms : k->recovery_ms;
	k->came_back++;
	k->taken_over += host_number(host, "table", "taken_over") == 1;
	books_look(&k->books, &stage->cluster);
}

/* Ends the session of this host only. An agent that is cut off while it connects has no database, and falls
 * back. */
static void end_session(struct cluster *cluster, const char *host) {
	char sql[160];

	snprintf(sql, sizeof(sql),
	         "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'stintd/%s'", host);
	cluster_do(cluster, sql);
}

static bool is_cut_off(enum kind kind) {
	return kind == ADOPT || kind == CONNECT;
}

static void kill_at(struct kills *k, struct stage *stage, unsigned function, bool leaving, unsigned hit,
                    unsigned steps) {
	struct point point = {functions[function].function, leaving};
	enum kind kind = functions[function].kind;
	uint32_t h = k->turn++ % HOSTS;
	struct tracer tracer;
	uint64_t leased, from_ns;

	sleep_ms(random_below(&k->random, 40));
	from_ns = monotonic_ns(); /* for those two that lose the agent, or its session, before */
	if (kind == ADOPT) {      /* only a new agent takes over a table, and as soon as apps have found it */
		host_kill(&stage->host[h]);
		host_launch(&stage->host[h]);
	}
	if (tracer_set(&tracer, stage->host[h].agent, &point) != 0) {
		k->missed[kind]++;
		return;
	}
	if (kind == CONNECT)
		end_session(&stage->cluster, stage->host[h].name);
	if (!tracer_wait(&tracer, &point, hit, steps, REACH_MS)) {
		k->missed[kind]++;
		tap_note("%s %s wasn't reached for the %u. time", leaving ? "behind" : "before", point.function, hit);
		host_wait_in_step(&stage->host[h], IN_STEP_MS);
		if (is_cut_off(kind))
			note_away(k, h, from_ns);
		return;
	}
	if (!is_cut_off(kind))
		from_ns = monotonic_ns();
	host_kill(&stage->host[h]);
	k->reached[kind]++;
	leased = crowd_admitted(&stage->crowd, h, ORACLE_LEASE);
	sleep_ms(random_below(&k->random, 60));
	k->alone += crowd_admitted(&stage->crowd, h, ORACLE_LEASE) - leased;
	start_again(k, stage, &stage->host[h]);
	note_away(k, h, from_ns);
}

static unsigned draw_hit(struct kills *k, unsigned function, uint64_t round) {
	bool seldom = functions[function].kind == CONNECT || functions[function].kind == ADOPT;

	return round == 0 || seldom ? 1 : 1 + random_below(&k->random, HITS_MAX);
}

static void kill_round(struct kills *k, struct stage *stage, uint64_t round) {
	for (unsigned f = 0; f < FUNCTIONS; f++) {
		kill_at(k, stage, f, false, draw_hit(k, f, round), 0);
		kill_at(k, stage, f, true, draw_hit(k, f, round), 0);
		for (unsigned i = 0;
		     (functions[f].kind == PUBLISH || functions[f].kind == ADOPT) && i < INSTRUCTIONS_TRIED; i++)
			kill_at(k, stage, f, false, 1, 1 + random_below(&k->random, INSTRUCTIONS_MAX));
	}
	tap_note("round %" PRIu64 ": %u kills so far", round + 1, k->turn);
}

static uint64_t sum(const uint64_t *counts) {
	uint64_t total = 0;

	for (int i = 0; i < KINDS; i++)
		total += counts[i];
	return total;
}

static void conclude(const struct kills *k, const struct oracle *oracle, const struct crowd_total *total,
                     uint32_t over) {
	uint64_t killed = sum(k->reached), missed = sum(k->missed),
			 violations = over + total->errors + (killed - k->taken_over);

	tap_ok(missed * 10 <= killed, "agents were killed at %" PRIu64 " points; %" PRIu64 " weren't reached", killed,
	       missed);
	tap_ok(k->came_back == killed && k->taken_over == killed,
	       "%" PRIu64 " came back, %" PRIu64 " with the table that they found", k->came_back, k->taken_over);
	tap_ok(k->alone > 0, "%" PRIu64 " were admitted from tables whose agent was dead", k->alone);
	violations += !stage_check_latency(total, CHECK_TIMEOUT_MS, SLACK_MS);
	violations += books_check(&k->books, oracle, &plan);
	for (int kind = 0; kind < KINDS; kind++) {
		tap_ok(k->reached[kind] > 0, "%s: %" PRIu64 " times", kind_names[kind], k->reached[kind]);
		proof_print(&(struct proof){
			.invariants = "I1 I2 I4 I6",
			.fault = kind_names[kind],
			.runs = k->reached[kind],
			.checked = oracle->count,
			.violations = violations,
			.recovery_ms = (int64_t)k->recovery_ms,
		});
	}
}

static int play(const struct scene *scene) {
	/* The database is there all the time, and each agent back at once. Where the machine is busy, it falls back
	 * first: what it admits then is beside the promise, and has its times. (Not its limit: an agent that is killed
	 * in its fallback takes with it what it has admitted there.) */
	const struct oracle_choice others = {.host = ORACLE_ANY, .sources = ORACLE_UP};
	struct host_options options = *STAGE_PATIENT;
	struct kills k = {.random = setting_number("STINT_SEED", 1)};
	struct crowd_total total;
	struct oracle oracle;
	struct stage stage;
	uint32_t known = 0, over;

	options.idle_timeout_s = 1;
	points_read(process_built("stintd"));
	for (unsigned f = 0; f < FUNCTIONS; f++)
		known += point_exists(&(struct point){functions[f].function, false});
	if (!tap_ok(known == FUNCTIONS, "%u of %u functions have a symbol", known, (unsigned)FUNCTIONS) ||
	    stage_set(&stage, scene, HOSTS, &options) != 0 || add_calm(&stage) != 0 ||
	    stage_crowd(&stage, 2, &plan, RATE) != 0)
		return tap_finish();
	books_init(&k.books);
	sleep_ms(1500);
	for (uint64_t round = 0; round < setting_number("STINT_POINT_HITS", ROUNDS_DEFAULT); round++)
		kill_round(&k, &stage, round);
	sleep_ms(1500);
	stage_read(&stage, &oracle, &total);
	over = stage_check_promise(&oracle, &plan, &others, "but for hosts on their own");
	over += stage_check_alone(&oracle, k.away, k.aways) > 0;
	conclude(&k, &oracle, &total, over);
	stage_strike(&stage);
	books_free(&k.books);
	oracle_free(&oracle);
	return tap_finish();
}

int main(void) {
	return scene_run(play, (int)setting_number("STINT_STEP_SECONDS", 400));
}
