/*
 * test_images.c - what a SIGKILL can leave in the table, at every instruction of every act of an app.
 *
 * Each act is stepped once, beside a real agent, and each image of the table that differs from those
 * before it is kept. An image must be one that the layout allows, must follow from the one before it
 * by what an app may do, and must be one that an agent and another app can go on from: together they admit the
 * limit, less at most the credits of the check that was killed.
 */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "heir.h"
#include "proof.h"
#include "record.h"
#include "scene.h"
#include "tap.h"

struct tally {
	uint64_t steps, images, followed, agents;
	uint64_t illegal, wrong_sum, stuck, doubled, left;
};

/* ---- Legal images ------------------------------------------------------------------- */

static const uint16_t *tags_of(const struct peek *peek, const void *table) {
	return (const uint16_t *)(const void *)((const char *)table + peek->directory->tags_offset);
}

static bool slot_is_legal(const struct slot *slot, uint16_t tag, uint64_t now_ns) {
	/* a window and one of ten sub-windows, and some slack */
	const uint64_t latest_ns = now_ns + ACT_WINDOW_MS * NS_PER_MS / 5 * 6;

	if (slot->key == 0)
		return true;
	if (tag == 0 || slot->referenced > 1 || slot->low_water >= 32)
		return false;
	for (int bank = 0; bank < 2; bank++)
		if (word_credits(slot->word[bank]) > ACT_LIMIT || slot->deadline_ns[bank] > latest_ns)
			return false;
	return true;
}

static bool image_is_legal(const struct peek *peek, const void *image) {
	const struct table_header *header = image;
	uint64_t now_ns = monotonic_ns();

	if (header->magic != LAYOUT_MAGIC || header->state != TABLE_ALIVE ||
	    header->generation != peek->directory->generation)
		return false;
	for (uint32_t i = 0; i < peek_slot_count(peek); i++)
		if (!slot_is_legal(&peek_slots(peek, image)[i], tags_of(peek, image)[i], now_ns))
			return false;
	return true;
}

/* Whether one slot differs, either by its mark of use, or by exactly the cost within an epoch. */
static bool app_did(const struct peek *peek, const void *before, const void *after, uint32_t cost) {
	const struct slot *old = peek_slots(peek, before), *new = peek_slots(peek, after);
	uint32_t changed = 0;

	if (memcmp(before, after, peek->directory->slots_offset) != 0)
		return false;
	for (uint32_t i = 0; i < peek_slot_count(peek); i++) {
		struct slot expected;

		if (memcmp(&old[i], &new[i], sizeof(struct slot)) == 0)
			continue;
		changed++;
		memcpy(&expected, &old[i], sizeof(expected));
		if (old[i].referenced == 0 && new[i].referenced == 1)
			expected.referenced = 1;
		else
			expected.word[new[i].word[1] != old[i].word[1]] -= cost;
		if (memcmp(&expected, &new[i], sizeof(expected)) != 0)
			return false;
	}
	return changed == 1;
}

/* ---- Going on from them ----------------------------------------------------------------- */

/* What the database has charged to the client by then. While the agent was at work, nobody can see that from
 * outside: it is at least what the table holds, and the check for which it was leased. */
static int32_t charged_at(const struct recording *r, const struct app *app, const struct peek *peek,
                          const void *image) {
	const struct slot *slot = peek_find(peek, image, peek_policy(peek, ACT_POLICY), app->id);

	if (!app->act->waits)
		return (int32_t)(r->admitted_before + r->credits_before);
	if (slot == NULL || slot->deadline_ns[0] + slot->deadline_ns[1] == 0)
		return 0;
	return (int32_t)(app->act->cost + peek_credits(slot, monotonic_ns()));
}

static void judge_image(struct tally *tally, const struct recording *r, const struct app *app,
                        const struct peek *peek, const void *image) {
	struct legacy legacy = {
		.peek = peek,
		.image = image,
		.policy = ACT_POLICY,
		.id = app->id,
		.limit = ACT_LIMIT,
		.window_ms = ACT_WINDOW_MS,
		.charged = charged_at(r, app, peek, image),
	};
	const struct slot *slot = peek_find(peek, image, peek_policy(peek, ACT_POLICY), app->id);
	uint32_t held = slot != NULL ? peek_credits(slot, monotonic_ns()) : 0;
	struct succession s = heir_goes_on(&legacy);
	int64_t sum = r->admitted_before + s.admitted;

	tally->images++;
	tally->illegal += !image_is_legal(peek, image);
	tally->stuck += !s.possible || !s.answered;
	tally->wrong_sum += sum > ACT_LIMIT || sum < ACT_LIMIT - (int64_t)app->act->cost || s.from_table != held;
	tally->doubled += s.repaid_too_much;
	tally->left += s.left > 0;
	if (sum > ACT_LIMIT || sum < ACT_LIMIT - (int64_t)app->act->cost || s.from_table != held || s.left > 0)
		tap_note(
			"%s: %lld admitted before, %u after it, %u of them from the table, which held %u; %u slots are left",
			app->act->name, (long long)r->admitted_before, s.admitted, s.from_table, held, s.left);
}

static void judge_order(struct tally *tally, const struct recording *r, const struct app *app,
                        const struct peek *peek) {
	size_t last = 0;

	for (size_t i = 0; i < r->event_count; i++) {
		const struct event *event = &r->events[i];

		if (event->kind != EVENT_CHANGE)
			continue;
		if (app_did(peek, r->images[last], r->images[event->image], app->act->cost))
			tally->followed++;
		else if (app->act->waits)
			tally->agents++;
		else if (tally->illegal++ == 0)
			tap_note("%s: step %llu changed what no app may change", app->act->name,
			         (unsigned long long)event->step);
		last = event->image;
	}
}

/* ---- The play --------------------------------------------------------------------------- */

static bool play_act(struct tally *tally, const struct act *act, struct host *host, const struct peek *peek,
                     uint32_t *number) {
	struct app app = {.note = note_make(),
	                  .socket = host->socket,
	                  .peek = peek,
	                  .act = act,
	                  .options = &act_options};
	struct recording r;
	uint64_t images = tally->images;

	if (!tap_ok(record(&r, &app, host, peek, "images", number) == 0, "%s: stepped from its beginning to its end",
	            act->name))
		return false;
	for (size_t i = 0; i < r.image_count; i++)
		judge_image(tally, &r, &app, peek, r.images[i]);
	judge_order(tally, &r, &app, peek);
	tally->steps += r.steps;
	tap_note("%s: %llu steps, %llu images, %llu sends", act->name, (unsigned long long)r.steps,
	         (unsigned long long)(tally->images - images), (unsigned long long)r.sends);
	recording_free(&r);
	return true;
}

static int play(const struct scene *scene) {
	struct host_options options = {.database = "memory:", .max_clients = 400};
	struct tally tally = {0};
	struct host host;
	struct peek peek;
	uint32_t number = 0;

	if (!tap_ok(host_prepare(&host, scene, 0, &options) == 0 && host_start(&host) == 0 &&
	                peek_open(&peek, &host) == 0,
	            "an agent and its table are there"))
		return tap_finish();
	for (unsigned i = 0; i < act_count; i++)
		play_act(&tally, &acts[i], &host, &peek, &number);
	tap_ok(tally.illegal == 0, "every image is one that layout.h allows and that an app may leave; %llu are not",
	       (unsigned long long)tally.illegal);
	tap_ok(tally.followed > 0 && tally.agents > 0, "%llu images were made by the app, %llu by the agent meanwhile",
	       (unsigned long long)tally.followed, (unsigned long long)tally.agents);
	tap_ok(tally.wrong_sum == 0,
	       "I1: before and after each, the limit was admitted, less at most the killed check; not so in %llu",
	       (unsigned long long)tally.wrong_sum);
	tap_ok(tally.doubled == 0, "no agent that took one over returned more than it was granted; %llu did",
	       (unsigned long long)tally.doubled);
	tap_ok(tally.stuck == 0, "I4: each was taken over, and every check had its verdict; not so in %llu",
	       (unsigned long long)tally.stuck);
	tap_ok(tally.left == 0, "I6: once idle, all left the table; not so in %llu", (unsigned long long)tally.left);
	proof_print(&(struct proof){
		.invariants = "I1 I4 I6",
		.fault = "app killed at any instruction: every image of the table",
		.runs = tally.steps,
		.checked = tally.images,
		.violations = tally.illegal + tally.wrong_sum + tally.doubled + tally.stuck + tally.left,
		.recovery_ms = PROOF_NO_RECOVERY,
	});
	peek_close(&peek);
	tap_ok(host_stop(&host) == 0, "the agent ended well");
	return tap_finish();
}

int main(void) {
	return scene_run(play, 120);
}
