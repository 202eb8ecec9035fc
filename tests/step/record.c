/* record.c - see record.h. */
#include "record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "clock.h"
#include "decide.h"
#include "tap.h"

/* An act takes some thousand steps. */
#define STEPS_MAX 400000u
/* How often an act is recorded at most. On a machine with seven times as much to do as it can, one of twenty
 * doesn't go straight on. */
#define TRIES 30
/* Apps put back what they took from a lease that is over by then, or so long after they had looked at the clock,
 * see SPEND_LAG_NS; and each of two looks may be as late as a tick. An app that began its act less than this ago
 * hasn't been slow. */
#define SLOW_NS (SPEND_LAG_NS - 2 * CLOCK_COARSE_LAG_NS)
/* An act runs through some thousand instructions. This is a power of two. */
#define SEEN_MAX 65536u

void host_hold(struct host *host) {
	int status;

	host_pause(host);
	while (waitpid(host->agent, &status, WUNTRACED) == host->agent && !WIFSTOPPED(status))
		continue;
}

static void *grow(void *items, size_t count, size_t size) {
	items = realloc(items, (count + 1) * size);
	if (items == NULL)
		abort();
	return items;
}

static size_t add_image(struct recording *r, const void *table, size_t bytes) {
	for (size_t i = 0; i < r->image_count; i++)
		if (memcmp(r->images[i], table, bytes) == 0)
			return i;
	r->images = grow(r->images, r->image_count, sizeof(*r->images));
	r->images[r->image_count] = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
	if (r->images[r->image_count] == NULL)
		abort();
	memcpy(r->images[r->image_count], table, bytes);
	return r->image_count++;
}

static void add_event(struct recording *r, const struct event *event) {
	r->events = grow(r->events, r->event_count, sizeof(*r->events));
	r->events[r->event_count++] = *event;
}

/* Gives the deadline of the lease that has fewer credits afterwards; 0: none has. */
static uint64_t taken_from(const struct peek *peek, const void *before, const void *after) {
	const struct slot *old = peek_slots(peek, before), *new = peek_slots(peek, after);

	for (uint32_t i = 0; i < peek_slot_count(peek); i++)
		for (int bank = 0; bank < 2; bank++)
			if (word_epoch(old[i].word[bank]) == word_epoch(new[i].word[bank]) &&
			    word_credits(new[i].word[bank]) < word_credits(old[i].word[bank]))
				return old[i].deadline_ns[bank];
	return 0;
}

/* deadline_ns: of the lease that got its credits back, if one did. An agent at work changes the table, too. */
static void see_undoing(struct recording *r, bool held, uint64_t deadline_ns) {
	uint64_t now_ns = monotonic_ns();
	bool over = deadline_ns != 0 && deadline_ns <= now_ns;

	r->undone = true;
	if (held && !over && now_ns - r->began_ns < SLOW_NS)
		r->hasty = true;
}

/* Stops an agent that runs for a moment, so that the image is of one moment. */
static void see_change(struct recording *r, struct host *host, const struct peek *peek, bool held, size_t *last) {
	struct event event = {.step = r->steps, .kind = EVENT_CHANGE};

	if (!held)
		host_hold(host);
	event.image = add_image(r, peek->table, peek->table_bytes);
	if (!held)
		host_resume(host);
	event.taking = taken_from(peek, r->images[*last], r->images[event.image]) != 0;
	if (event.image < *last)
		see_undoing(r, held, taken_from(peek, r->images[event.image], r->images[*last]));
	*last = event.image;
	add_event(r, &event);
}

/* Whether the address wasn't there before. */
static bool is_new(uint64_t *seen, uint64_t address) {
	uint64_t i = address * UINT64_C(0x9e3779b97f4a7c15) >> 48;

	while (seen[i] != 0 && seen[i] != address)
		i = (i + 1) % SEEN_MAX;
	if (seen[i] == address)
		return false;
	seen[i] = address;
	return true;
}

static void see_place(struct recording *r, uint64_t *seen, uint64_t address) {
	if (!is_new(seen, address))
		return;
	r->landmarks = grow(r->landmarks, r->landmark_count, sizeof(*r->landmarks));
	r->landmarks[r->landmark_count++] = (struct landmark){r->steps, address};
}

static bool is_sending(long call) {
	return call == SYS_sendmsg || call == SYS_sendto || call == SYS_connect;
}

static void step_through(struct recording *r, struct stepper *s, struct app *app, struct host *host,
                         const struct peek *peek) {
	size_t last = add_image(r, peek->table, peek->table_bytes);
	uint64_t *seen = calloc(SEEN_MAX, sizeof(*seen));

	if (seen == NULL)
		abort();
	while (app->note->done == 0 && r->steps < STEPS_MAX) {
		bool sending = is_sending(stepper_next_call(s));

		see_place(r, seen, s->at);
		if (!stepper_step(s))
			break;
		r->steps++;
		if (sending) {
			add_event(r, &(struct event){.step = r->steps, .kind = EVENT_SEND});
			r->sends++;
		}
		if (memcmp(r->images[last], peek->table, peek->table_bytes) != 0)
			see_change(r, host, peek, !app->act->waits, &last);
	}
	r->complete = app->note->done != 0;
	free(seen);
}

static int record_once(struct recording *r, struct app *app, struct host *host, const struct peek *peek) {
	const struct slot *slot;
	struct stepper stepper;

	*r = (struct recording){.began_ns = monotonic_ns()};
	if (act_start(&stepper, app) != 0) {
		tap_note("%s: %s", app->act->name,
		         app->note->failed ? "the agent didn't answer in time" : "it isn't ready");
		return -1;
	}
	if (!app->act->waits)
		host_hold(host);
	slot = peek_find(peek, peek->table, peek_policy(peek, app->options->policy), app->id);
	r->credits_before = slot != NULL ? peek_credits(slot, monotonic_ns()) : 0;
	r->admitted_before = app->note->admitted_before;
	step_through(r, &stepper, app, host, peek);
	if (!app->act->waits)
		host_resume(host);
	stepper_kill(&stepper);
	return r->complete ? 0 : -1;
}

int record(struct recording *r, struct app *app, struct host *host, const struct peek *peek, const char *name,
           uint32_t *number) {
	for (int i = 0; i < TRIES; i++) {
		snprintf(app->id, sizeof(app->id), "%s-%05u", name, (*number)++);
		if (record_once(r, app, host, peek) != 0)
			return -1;
		if (!r->undone)
			return 0;
		bool hasty = r->hasty;
		tap_note("%s: an app put back what it had taken %s", app->act->name,
		         hasty ? "without a reason" : "too late");
		recording_free(r);
		if (hasty)
			return -1;
	}
	return -1;
}

bool record_go_to(const struct recording *r, struct stepper *stepper, const struct app *app, uint64_t step) {
	const struct landmark *last = NULL;

	for (size_t i = 0; i < r->landmark_count && r->landmarks[i].step <= step; i++)
		last = &r->landmarks[i];
	return (last == NULL || stepper_run_to(stepper, last->address, last->step, &app->note->done)) &&
	       stepper_step_to(stepper, step, &app->note->done);
}

void recording_free(struct recording *r) {
	for (size_t i = 0; i < r->image_count; i++)
		free(r->images[i]);
	free(r->images);
	free(r->events);
	free(r->landmarks);
	*r = (struct recording){0};
}
