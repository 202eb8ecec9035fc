/*
 * test_late.c - an app is stopped in the middle of a check and goes on when its lease is over.
 *
 * The agent stands still meanwhile (stopped, too), so that the lease's word in the table stays as it was and
 * the late compare-and-swap succeeds: nothing but the look at the clock behind it is left to refuse the credit.
 * It must be burnt, or put back where nobody can spend it, wherever the app stood before the compare-and-swap,
 * and in the first instructions behind it, before it can have looked at the clock. An app that has looked in
 * time may well say so late.
 *
 *     STINT_LATE_RUNS   how many instructions are tried besides those around the compare-and-swap; 0: all
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "proof.h"
#include "record.h"
#include "scene.h"
#include "setting.h"
#include "tap.h"

#define RUNS_DEFAULT 16
/* Its tenth is what a lease lasts at least: enough for some hundred steps of an app that shares its processor
 * with others. */
#define WINDOW_MS 2000
/* So small that a first lease holds no more than is needed: then the app has decided something in the table before
 * its act, and has looked at the clock, without which it would put its first credit back. */
#define LIMIT 250
/* The lease must last until the app has come to its place; and a client that isn't at its home in the table
 * goes another way. */
#define PATIENCE 60
/* The timeout of checks: the first one needs an answer, and the one that is stopped gets none. */
#define TIMEOUT_MS 200
#define END_MS     3000

static const struct stint_options options = {
	.policy = ACT_POLICY,
	.max_requests = LIMIT,
	.time_window_ms = WINDOW_MS,
	.fallback_max_requests = 1,
	.resolution = 10,
	.timeout_ms = TIMEOUT_MS,
};

/* No place with a number: the compare-and-swap itself, and so many instructions behind it. */
#define ANYWHERE   (-1)
#define BEHIND_MAX 2
/* How many instructions before the compare-and-swap the stepping begins. */
#define BEFORE     12u
#define SEARCH_MAX 400

struct world {
	struct host host;
	struct peek peek;
	const struct act *act;
	struct app app;
	struct recording recording;
	uint64_t taking; /* the step that is the compare-and-swap */
	uint32_t number;
	uint64_t runs, repeated;
	uint64_t untaken, behind; /* apps that were stopped before the compare-and-swap, and right behind it */
	uint64_t spent;           /* a credit that was taken too late admitted the check */
	uint64_t in_time;         /* the clock had been read before the stop */
	uint64_t invented;        /* the lease held more afterwards than before */
	uint64_t stuck;           /* its check didn't return */
	uint64_t missed;          /* no app came to this place in time */
};

/* The client's two leases. */
struct leases {
	uint32_t credits[2];
	uint64_t deadline_ns[2];
};

static bool see_leases(struct world *w, struct leases *l) {
	const struct slot *slot = peek_find(&w->peek, w->peek.table, peek_policy(&w->peek, ACT_POLICY), w->app.id);

	if (slot == NULL)
		return false;
	for (int bank = 0; bank < 2; bank++) {
		l->credits[bank] = word_credits(slot->word[bank]);
		l->deadline_ns[bank] = slot->deadline_ns[bank];
	}
	return true;
}

static uint64_t latest(const struct leases *l) {
	return l->deadline_ns[0] > l->deadline_ns[1] ? l->deadline_ns[0] : l->deadline_ns[1];
}

static uint32_t sum_of(const struct leases *l) {
	return l->credits[0] + l->credits[1];
}

static bool has_taken(struct world *w, const struct leases *start, struct leases *at) {
	return see_leases(w, at) && sum_of(at) + w->act->cost == sum_of(start);
}

static bool go_behind(struct world *w, struct stepper *stepper, int further, const struct leases *start) {
	struct leases at;

	for (int i = 0; i < SEARCH_MAX && !has_taken(w, start, &at); i++)
		if (!stepper_step(stepper))
			return false;
	while (further-- > 0)
		stepper_step(stepper);
	return has_taken(w, start, &at);
}

static void judge(struct world *w, int behind, const struct leases *start, const struct leases *stopped) {
	const struct note *note = w->app.note;
	bool allowed = note->allowed && note->source == STINT_SOURCE_LEASE;
	bool taken = sum_of(stopped) < sum_of(start);
	struct leases after;

	w->runs++;
	w->untaken += !taken;
	w->behind += behind >= 0;
	w->invented += !see_leases(w, &after) || sum_of(&after) > sum_of(start);
	w->spent += allowed && (!taken || behind >= 0);
	w->in_time += allowed && taken && behind < 0;
}

/* Stops an app that is ready at its place, until every lease of its client is over. Then lets it go on. False:
 * it came there too late, or not at all. */
static bool stop_and_go_on(struct world *w, struct stepper *stepper, uint64_t step, int behind) {
	struct leases start, stopped;

	if (!see_leases(w, &start) || !record_go_to(&w->recording, stepper, &w->app, step) ||
	    (behind >= 0 && !go_behind(w, stepper, behind, &start)) || !see_leases(w, &stopped) ||
	    monotonic_ns() >= latest(&stopped))
		return false;
	sleep_until_ns(latest(&stopped) + NS_PER_MS);
	if (stepper_run(stepper, &w->app.note->done, END_MS))
		judge(w, behind, &start, &stopped);
	else
		w->stuck++;
	return true;
}

static bool try_at(struct world *w, uint64_t step, int behind) {
	struct stepper stepper;
	bool done;

	snprintf(w->app.id, sizeof(w->app.id), "late-%05u", w->number++);
	if (act_start(&stepper, &w->app) != 0)
		return false;
	host_hold(&w->host);
	done = stop_and_go_on(w, &stepper, step, behind);
	stepper_kill(&stepper);
	host_resume(&w->host);
	return done;
}

static void stop_at(struct world *w, uint64_t step, int behind) {
	for (int i = 0; i < PATIENCE; i++) {
		if (try_at(w, step, behind))
			return;
		w->repeated++;
	}
	w->missed++;
}

static void stop_everywhere(struct world *w) {
	uint64_t runs = setting_number("STINT_LATE_RUNS", RUNS_DEFAULT), steps = w->recording.steps;
	uint64_t stride = runs == 0 || steps <= runs ? 1 : steps / runs;

	for (int behind = 0; behind <= BEHIND_MAX; behind++)
		stop_at(w, w->taking - BEFORE, behind);
	for (uint64_t step = w->taking - 2; step < w->taking; step++)
		stop_at(w, step, ANYWHERE);
	for (uint64_t step = 1 + stride / 2; step < steps; step += stride)
		stop_at(w, step, ANYWHERE);
}

/* Whether the act came to its end within one lease, without the agent. */
static bool is_plain(const struct world *w) {
	return w->app.note->allowed && w->app.note->source == STINT_SOURCE_LEASE;
}

static bool find_taking(struct world *w) {
	for (int i = 0; i < PATIENCE; i++) {
		if (record(&w->recording, &w->app, &w->host, &w->peek, "find", &w->number) == 0 && is_plain(w))
			for (size_t e = 0; e < w->recording.event_count; e++)
				if (w->recording.events[e].taking) {
					w->taking = w->recording.events[e].step;
					return true;
				}
		recording_free(&w->recording);
	}
	return false;
}

static void play_act(struct world *w, const char *name) {
	bool found;

	w->act = w->app.act = act_find(name);
	w->runs = w->repeated = w->untaken = w->behind = w->spent = w->in_time = w->invented = w->stuck = w->missed =
		0;
	found = find_taking(w);
	if (!tap_ok(found, "%s: step %" PRIu64 " of %" PRIu64 " is the compare-and-swap", name, w->taking,
	            w->recording.steps))
		return;
	stop_everywhere(w);
	tap_note("%s: stopped past the deadline %" PRIu64 " times, %" PRIu64
	         " before the compare-and-swap and %" PRIu64 " right behind it; %" PRIu64
	         " had looked at the clock; %" PRIu64 " tries were too slow",
	         name, w->runs, w->untaken, w->behind, w->in_time, w->repeated);
	tap_ok(w->spent == 0, "I1: no credit that was taken after its deadline was admitted; %" PRIu64 " were",
	       w->spent);
	tap_ok(w->invented == 0, "no lease held more afterwards than before; %" PRIu64 " did", w->invented);
	tap_ok(w->stuck == 0, "I4: each check returned; %" PRIu64 " did not", w->stuck);
	tap_ok(w->untaken > 0 && w->behind > BEHIND_MAX && w->missed <= w->runs / 4,
	       "%" PRIu64 " instructions were reached in time, %" PRIu64 " not", w->runs, w->missed);
	proof_print(&(struct proof){
		.invariants = "I1 I4",
		.fault = "app stopped between check and compare-and-swap, or behind it, past the deadline",
		.runs = w->runs,
		.checked = w->runs,
		.violations = w->spent + w->invented + w->stuck,
		.recovery_ms = PROOF_NO_RECOVERY,
	});
	recording_free(&w->recording);
}

static int play(const struct scene *scene) {
	struct host_options host_options = {.database = "memory:", .max_clients = 4000};
	struct world w = {0};

	if (!tap_ok(host_prepare(&w.host, scene, 0, &host_options) == 0 && host_start(&w.host) == 0 &&
	                peek_open(&w.peek, &w.host) == 0,
	            "an agent and its table are there"))
		return tap_finish();
	w.app = (struct app){.note = note_make(), .socket = w.host.socket, .peek = &w.peek, .options = &options};
	play_act(&w, "a hit");
	play_act(&w, "a hit at cost 3");
	peek_close(&w.peek);
	tap_ok(host_stop(&w.host) == 0, "the agent ended well");
	return tap_finish();
}

int main(void) {
	return scene_run(play, (int)setting_number("STINT_STEP_SECONDS", 240));
}
