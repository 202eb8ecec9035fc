/*
 * state.c - which store is asked: the database, the memory store, or for the moment none. Nothing else writes
 * core->state.
 *
 *     memory: from state_begin() on, for good
 *
 *                  state_begin()
 *                        v
 *                   connecting <-------- state_lose() ---+------------------+
 *                        |                               |                  |
 *                  state_return()                        |                  |
 *                        v                               |                  |
 *     fallback ------> resync ---------------------------+----> in step ----+
 *          state_return()          state_note_charged()
 *
 * state_enter_fallback() leads from any of these to fallback.
 *
 * Whoever makes a move, core.c or fallback.c, sees to what it means for leases, clients and debts.
 */
#include "internal.h"

void state_begin(struct core *core, int64_t now_ns) {
	core->state = core->options.memory_only ? CORE_MEMORY : CORE_CONNECTING;
	core->grace_until_ns = now_ns + core->options.grace_ns;
}

void state_connect(struct core *core, int64_t now_ns) {
	core->connected = true;
	core->up_ns = now_ns;
}

void state_disconnect(struct core *core) {
	core->connected = false;
}

void state_enter_fallback(struct core *core, int64_t now_ns) {
	core->state = CORE_FALLBACK;
	core->fallback_since_ns = now_ns;
}

void state_return(struct core *core) {
	core->state = CORE_RESYNC;
	core->fallback_since_ns = 0;
}

void state_note_charged(struct core *core) {
	if (core->state == CORE_RESYNC && core->charges_left == 0 && !core->collecting)
		core->state = CORE_IN_STEP;
}

bool state_lose(struct core *core, int64_t now_ns) {
	core->connected = false;
	if (core->state != CORE_IN_STEP && core->state != CORE_RESYNC)
		return false;
	core->state = CORE_CONNECTING;
	/* Whoever was asked for in the batch that got no answer has waited since then: nobody waits longer than the
	 * grace in all. */
	int64_t since_ns = core->unanswered_since_ns ? core->unanswered_since_ns : now_ns;
	/* One that was hardly back gets no new grace: a server that takes connections and fails at the work (its disk
	 * is full, say) would keep everybody waiting for ever. */
	if (since_ns - core->up_ns >= core->options.grace_ns)
		core->grace_until_ns = since_ns + core->options.grace_ns;
	return true;
}

bool state_grace_is_over(const struct core *core, int64_t now_ns) {
	return core->state == CORE_CONNECTING && now_ns >= core->grace_until_ns;
}

bool state_is_held(const struct core *core) {
	return core->connected && (core->state == CORE_CONNECTING || core->state == CORE_FALLBACK);
}

int64_t state_next_ns(const struct core *core) {
	int64_t next_ns = core->state == CORE_CONNECTING ? core->grace_until_ns : INT64_MAX;
	if (state_is_held(core) && !core->burnt.open && core->held_until_ns < next_ns)
		next_ns = core->held_until_ns;
	return next_ns;
}
