/*
 * test_killed.c - apps are killed at chosen instructions, for good: each is stepped to one, gets its SIGKILL
 * there, and another app uses up what its client has left. Together they must have been admitted the limit,
 * less at most the credits of the check that was killed; the other app must not wait; the agent must keep
 * nothing of the dead.
 *
 * Steps that change the table or send a message are all tried. After a send the app is also killed while the
 * agent is stopped, so that the message is still in the socket's queue when its sender is dead; and the agent
 * is killed together with the app, and started again on what both left.
 *
 *     STINT_STEP_RUNS   how many further steps of each act are tried; 0: all of them
 *     STINT_SEED        which
 *     STINT_STEP_ACT    only this act (1 ...)
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "after.h"
#include "clock.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "record.h"
#include "scene.h"
#include "setting.h"
#include "stage.h"
#include "tap.h"

#define RUNS_DEFAULT 120
/* The timeout of the other app, which nothing slows down as steps do the killed ones. */
#define OTHER_TIMEOUT_MS 1000
#define SLACK_MS         50
/* Each kill is another client: idle ones go, so that a long run doesn't fill the table. After each step of a
 * recording all of the table is looked at: the larger it is, the slower is an app that is stepped. */
#define IDLE_S      60
#define CLIENTS_MAX 4000
#define TOLD_MAX    10
/* How many changes there may be beside an agent at work, whose sweep changes the table, too. */
#define CHANGES_MAX 6u
/* An app goes another way than the recorded one when its client isn't at home in the table, or when an answer
 * is there already. So it is tried again. */
#define TRIES 4

enum way {
	KILL,        /* the app */
	KILL_QUEUED, /* the app, behind its last step; the agent is stopped and hasn't read its message */
	KILL_BOTH,   /* the app, and then the agent */
};

struct world {
	struct host *host;
	struct peek peek;
	struct other other;
	struct cluster *cluster; /* NULL: the agent counts by itself */
	uint64_t random;
	uint64_t limit_runs;               /* runs for each act; 0: all */
	const struct recording *recording; /* the recording of the current act */
	uint32_t number;                   /* the number of the next client */
	uint64_t runs, queued, both;
	uint64_t elsewhere; /* apps that went another way than the recording, and were killed at the end of it */
	uint64_t over, lost, unserved, stranded;
	uint64_t lost_credits;
};

/* ---- One kill ------------------------------------------------------------------------ */

/* False: the app went another way, and is at the act's end. */
static bool stop_before_death(struct world *w, struct stepper *stepper, const struct app *app, uint64_t step,
                              enum way way) {
	if (!record_go_to(w->recording, stepper, app, step - (way == KILL_QUEUED)))
		return false;
	if (way == KILL_QUEUED) {
		host_hold(w->host);
		stepper_step(stepper);
	}
	return true;
}

/* Gives what the client's leases hold when both are dead, which is all that a new agent can find. */
static uint32_t kill_agent(struct world *w, const char *id) {
	const struct slot *slot;
	uint32_t held;

	host_kill(w->host);
	slot = peek_find(&w->peek, w->peek.table, peek_policy(&w->peek, ACT_POLICY), id);
	held = slot != NULL ? peek_credits(slot, monotonic_ns()) : 0;
	if (host_start(w->host) != 0 || !host_wait_in_step(w->host, 15000))
		w->stranded++;
	return held;
}

/* Sometimes the new agent hears of a client that it finds in the table, before its credits are spent. */
static int64_t use_up(struct world *w, const char *id, enum way way, uint32_t held) {
	int64_t admitted =
		way == KILL_BOTH && random_below(&w->random, 2) == 0 ? other_take(&w->other, id, held + 1) : 0;

	return admitted + other_use_up(&w->other, id);
}

static void judge(struct world *w, const struct app *app, uint64_t step, enum way way, uint32_t held) {
	const struct note *note = app->note;
	int64_t before = note->admitted_before, known = note->returned && note->allowed ? app->act->cost : 0;
	int64_t after = use_up(w, app->id, way, held), sum = before + known + after;
	int64_t may_lose = note->returned ? 0 : app->act->cost;
	bool over = sum > ACT_LIMIT, lost;

	/* When an agent is killed, what the database has given it and it hasn't published is lost. */
	lost = way == KILL_BOTH ? after < (int64_t)held : sum < ACT_LIMIT - may_lose;
	w->over += over;
	w->lost += lost;
	w->lost_credits += (uint64_t)(sum < ACT_LIMIT ? ACT_LIMIT - sum : 0);
	w->unserved += note->failed != 0 || (note->returned && note->error != 0);
	if ((over || lost) && w->over + w->lost < TOLD_MAX)
		tap_note("%s, step %" PRIu64 ", way %d: %lld before, %lld by the check, %lld after; the table held %u",
		         app->act->name, step, way, (long long)before, (long long)known, (long long)after, held);
}

/* True: the app died where it should. */
static bool try_to_kill_at(struct world *w, struct app *app, uint64_t step, enum way way) {
	struct stepper stepper;
	uint32_t held = 0;
	bool there;

	snprintf(app->id, sizeof(app->id), "killed-%07u", w->number++);
	if (act_start(&stepper, app) != 0) {
		w->stranded++;
		return true;
	}
	there = stop_before_death(w, &stepper, app, step, way);
	stepper_kill(&stepper);
	if (there && way == KILL_QUEUED)
		host_resume(w->host);
	if (there && way == KILL_BOTH)
		held = kill_agent(w, app->id);
	judge(w, app, step, there ? way : KILL, held);
	w->runs++;
	w->elsewhere += !there;
	w->queued += there && way == KILL_QUEUED;
	w->both += there && way == KILL_BOTH;
	return there;
}

static void kill_at(struct world *w, struct app *app, uint64_t step, enum way way) {
	for (int i = 0; i < TRIES && !try_to_kill_at(w, app, step, way); i++)
		continue;
}

/* ---- Which steps ------------------------------------------------------------------------ */

static void kill_at_events(struct world *w, struct app *app, const struct recording *r) {
	size_t stride = r->event_count / CHANGES_MAX + 1;

	for (size_t i = 0; i < r->event_count; i++) {
		const struct event *event = &r->events[i];

		if (event->kind == EVENT_CHANGE && i % stride != 0)
			continue;
		kill_at(w, app, event->step - 1, KILL);
		kill_at(w, app, event->step, KILL);
		if (event->kind == EVENT_SEND)
			kill_at(w, app, event->step, KILL_QUEUED);
		for (uint64_t before = 0; w->cluster != NULL && before < 2; before++)
			kill_at(w, app, event->step - before, KILL_BOTH);
	}
}

static void kill_between(struct world *w, struct app *app, const struct recording *r) {
	uint64_t stride = w->limit_runs == 0 || r->steps <= w->limit_runs ? 1 : r->steps / w->limit_runs;
	uint64_t first = 1 + random_below(&w->random, (uint32_t)stride), told_ns = monotonic_ns();

	for (uint64_t step = first; step <= r->steps; step += stride) {
		kill_at(w, app, step, KILL);
		if (monotonic_ns() > told_ns + 10 * NS_PER_S) {
			told_ns = monotonic_ns();
			tap_note("%s: step %" PRIu64 " of %" PRIu64, app->act->name, step, r->steps);
		}
	}
}

static void kill_act(struct world *w, const struct act *act) {
	struct app app = {.note = note_make(),
	                  .socket = w->host->socket,
	                  .peek = &w->peek,
	                  .act = act,
	                  .options = &act_options};
	uint64_t before = w->runs, lost = w->lost_credits;
	struct recording r;

	if (!tap_ok(record(&r, &app, w->host, &w->peek, "record", &w->number) == 0,
	            "%s: stepped from its beginning to its end", act->name))
		return;
	w->recording = &r;
	kill_at_events(w, &app, &r);
	kill_between(w, &app, &r);
	tap_note("%s: %" PRIu64 " steps, killed %" PRIu64 " times, %" PRIu64 " credits lost", act->name, r.steps,
	         w->runs - before, w->lost_credits - lost);
	recording_free(&r);
}

/* ---- The play ----------------------------------------------------------------------------- */

/* Counts the counters to which the database has charged more than their limit, or less (each was used up). */
static int64_t wrong_books(struct world *w) {
	return cluster_number(
		w->cluster,
		"select count(*) from (select client_id, c.max_requests, (select sum(n) from unnest(counts) n) charged"
		" from stint.counter c join stint.policy p using (policy_id) where p.name = '" ACT_POLICY "') c"
		" where charged > max_requests or (client_id like 'killed-%' and charged < max_requests)",
		-1);
}

static void tell(const struct world *w, const char *fault, uint64_t violations) {
	proof_print(&(struct proof){
		.invariants = w->cluster != NULL ? "I1 I2 I4 I6" : "I1 I4 I6",
		.fault = fault,
		.runs = w->runs,
		.checked = w->other.checks,
		.violations = violations,
		.recovery_ms = PROOF_NO_RECOVERY,
	});
}

static void conclude(struct world *w, int descriptors) {
	uint64_t worst_ms = w->other.worst_ns / NS_PER_MS;
	int after = process_wait_descriptors(w->host->agent, descriptors, 5000);
	bool flat = after <= descriptors, slow = worst_ms > OTHER_TIMEOUT_MS + SLACK_MS;
	/* An app whose agent has just been killed decides by itself. Nobody else has a reason to. */
	bool alone = w->both == 0 && w->other.alone > 0;
	int64_t books = w->cluster != NULL ? wrong_books(w) : 0;

	tap_note("killed %" PRIu64 " times, %" PRIu64 " with the message unread, %" PRIu64
	         " together with the agent, %" PRIu64 " at the act's end, for they went another way; %" PRIu64
	         " credits lost",
	         w->runs, w->queued, w->both, w->elsewhere, w->lost_credits);
	tap_ok(w->over == 0, "I1: never more than the limit was admitted of one client; %" PRIu64 " times it was",
	       w->over);
	tap_ok(w->lost == 0, "at most the credits of the killed check were lost; %" PRIu64 " times it was more",
	       w->lost);
	tap_ok(books == 0, "I2: the database charged each its limit, and not more; %lld not so", (long long)books);
	tap_ok(!slow && !alone && w->other.errors == 0 && w->unserved == 0,
	       "I4: the other app's longest check of %" PRIu64 " took %" PRIu64 " ms, %" PRIu64 " were decided alone",
	       w->other.checks, worst_ms, w->other.alone);
	tap_ok(flat, "I6: the agent had %d descriptors open before, %d after", descriptors, after);
	tap_ok(w->stranded == 0, "every app, and every agent, came up; %" PRIu64 " did not", w->stranded);
	tell(w,
	     w->cluster != NULL ? "app killed at chosen instructions, also together with its agent"
	                        : "app killed at chosen instructions",
	     w->over + w->lost + w->unserved + w->other.errors + w->stranded + (uint64_t)(books != 0) + slow + alone +
	         !flat);
}

static void play_world(struct world *w) {
	uint64_t only = setting_number("STINT_STEP_ACT", 0);
	struct stint_options options = act_options;
	int descriptors;

	options.timeout_ms = OTHER_TIMEOUT_MS;
	if (!tap_ok(peek_open(&w->peek, w->host) == 0 && other_attach(&w->other, w->host->socket, &options) == 0,
	            "an agent and its table are there"))
		return;
	other_use_up(&w->other, "another client");
	w->other.alone = w->other.worst_ns = 0;
	descriptors = process_descriptors(w->host->agent);
	for (unsigned i = 0; i < act_count; i++)
		if (only == 0 || only == i + 1)
			kill_act(w, &acts[i]);
	conclude(w, descriptors);
	other_detach(&w->other);
	peek_close(&w->peek);
}

/* Most of the kills are with the agent's own store, which is cheap. */
static int play_memory(const struct scene *scene) {
	struct host_options options = {.database = "memory:", .max_clients = CLIENTS_MAX, .idle_timeout_s = IDLE_S};
	struct world w = {.random = setting_number("STINT_SEED", 1),
	                  .limit_runs = setting_number("STINT_STEP_RUNS", RUNS_DEFAULT)};
	struct host host;

	if (!tap_ok(host_prepare(&host, scene, 0, &options) == 0 && host_start(&host) == 0,
	            "an agent counts in its memory"))
		return tap_finish();
	w.host = &host;
	play_world(&w);
	tap_ok(host_stop(&host) == 0, "the agent ended well");
	return tap_finish();
}

static int play_database(const struct scene *scene) {
	struct host_options options = *STAGE_PATIENT;
	struct world w = {.random = setting_number("STINT_SEED", 1),
	                  .limit_runs = setting_number("STINT_STEP_RUNS", RUNS_DEFAULT) / 8 + 1};
	struct stage stage;

	options.max_clients = CLIENTS_MAX;
	options.idle_timeout_s = IDLE_S;
	if (stage_set(&stage, scene, 1, &options) != 0)
		return tap_finish();
	w.host = &stage.host[0];
	w.cluster = &stage.cluster;
	play_world(&w);
	stage_strike(&stage);
	return tap_finish();
}

int main(int argc, char **argv) {
	bool database = argc > 1 && strcmp(argv[1], "database") == 0;

	return scene_run(database ? play_database : play_memory, (int)setting_number("STINT_STEP_SECONDS", 480));
}
