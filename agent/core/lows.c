/*
 * lows.c - clients whose credits run low get more before they need them. Their apps say so. But an app's socket
 * holds a few hundred messages, and an app doesn't wait: where a crowd runs low at the same time, some of that is
 * lost. So while many say so, those who couldn't are looked for in the table.
 */
#include "internal.h"

/* So many within so long are a crowd: about as many as a socket holds, and more than come by chance. */
#define CROWD    256
#define CROWD_NS (10 * NS_PER_MS)

/* So many slots are looked at, then the event loop has its turn. */
#define LOOK_SLOTS 1024

/* While so many urgent requests are queued or under way, no more are made: an app that waits would wait for them,
 * too. */
#define URGENT_ENOUGH  (4 * CORE_BATCH_MAX)
#define URGENT_WAIT_NS (1 * NS_PER_MS)

/* After all have been looked at, there is a pause of so many times as long, and of so long at least. */
#define PAUSE_TIMES  9
#define PAUSE_MIN_NS (100 * NS_PER_MS)

static void top_up(struct core *core, uint32_t index) {
	const struct client *client = client_at(core, index);
	int64_t left_ms;
	uint32_t hint;
	if (table_denies(core->table, client->slot, core->now_ns, 1, &left_ms, &hint))
		return; /* there is nothing more to be had in this sub-window */
	if (lease_is_ample(core, client))
		return; /* the low one is the older of two */
	struct pending *pending = pending_for(core, index);
	if (!pending)
		return;
	pending->wants_more = true;
	pending_make_urgent(core, pending);
}

void lows_tell(struct core *core, uint32_t index) {
	if (core->now_ns - core->lows_since_ns > CROWD_NS) {
		core->lows_since_ns = core->now_ns;
		core->lows_count = 0;
	}
	if (++core->lows_count == CROWD && core->lows_left == 0) {
		core->lows_left = core->table->slot_count;
		core->lows_began_ns = max64(core->lows_at_ns, core->now_ns);
	}
	top_up(core, index);
}

/* One that is in use and has a lease, for which nothing is under way. (Of a tight client the answer would be that
 * there is no more.) */
static bool may_lack(const struct core *core, const struct client *client) {
	return client->pending == NO_PENDING && client->idle == 0 && !(client->flags & CLIENT_TIGHT) &&
	       (lease_is_spendable(core, client, 0, core->now_ns) ||
	        lease_is_spendable(core, client, 1, core->now_ns));
}

static void look(struct core *core, uint32_t slot) {
	uint32_t owner = core->table->owner[slot];
	if (owner == TABLE_NO_OWNER || is_orphan(owner))
		return;
	generation_meet(core, owner);
	const struct client *client = client_at(core, owner);
	if (may_lack(core, client) && table_is_low(core->table, slot, lease_open_credits(core, client)))
		top_up(core, owner);
}

/* Of the others there may be many, for long: returns in an outage, rows that somebody keeps locked. */
static size_t count_urgent(const struct core *core) {
	return core->pending_count - core->background_count - core->put_off_count;
}

void lows_look(struct core *core) {
	if (core->now_ns < lows_next_ns(core))
		return;
	if (count_urgent(core) >= URGENT_ENOUGH) {
		core->lows_at_ns = core->now_ns + URGENT_WAIT_NS;
		return;
	}
	for (int i = 0; i < LOOK_SLOTS && core->lows_left > 0; i++)
		look(core, --core->lows_left);
	if (core->lows_left == 0) {
		int64_t took_ns = core->now_ns - core->lows_began_ns;
		core->lows_at_ns = core->now_ns + max64(PAUSE_MIN_NS, PAUSE_TIMES * took_ns);
	}
}

int64_t lows_next_ns(const struct core *core) {
	return core->lows_left > 0 ? core->lows_at_ns : INT64_MAX;
}
