/*
 * generation.c - events that concern all clients at once: a policy changes, the database is lost, stays away, is
 * back, or is another one.
 *
 * There may be a million clients, and the event loop must not stand still for as long as it takes to look at all.
 * So such an event only begins a new generation, and notes which. A client whose record is of an earlier
 * generation meets the event when it is next looked at, for whatever reason, before anything else is done with it:
 * generation_meet(). Apps spend leases without asking, so a walk goes round the table as well, and meets the
 * clients that weren't looked at: a few thousand slots at a time with the loop served in between, a million
 * clients in half a second.
 *
 * An event is over when the walk has come round to the slot where it was when the event came. Then all clients
 * have met it, it needs to be noted no more, and its generation's number can be used again. Events that follow,
 * however many, don't put that off; they only make the walk go on for longer.
 *
 * An orphan has no record that could say what it has met. So it meets whatever is noted each time it is looked at,
 * which does no harm: it is granted nothing new.
 */
#include "internal.h"

/* Slots that a step looks at, at about 0.2 us each, and how long the loop then has for others. */
#define WALK_SLOTS    4096u
#define WALK_PAUSE_NS (1 * NS_PER_MS)

static uint32_t age_of(const struct core *core, uint32_t generation) {
	return (core->generation - generation) % CLIENT_GENERATIONS;
}

static bool is_before(const struct core *core, const struct client *client, const struct mark *mark) {
	return mark->open && age_of(core, client->generation) > age_of(core, mark->generation);
}

/* ---- One client ------------------------------------------------------------- */

/* The leases are of unknown origin from here on: good until their deadlines, but nothing of them is returned. */
static void disown_leases(struct core *core, struct client *client) {
	for (int bank = 0; bank < 2; bank++)
		if (!(client->flags & CLIENT_BANK_FALLBACK << bank))
			client->lease[bank].sub_window = 0;
	if (client->pending != NO_PENDING)
		pending_burn_reports(core->pending[client->pending]);
}

static void burn_disowned(struct core *core, uint32_t index) {
	for (int bank = 0; bank < 2; bank++)
		if (client_at(core, index)->lease[bank].sub_window == 0)
			lease_settle(core, index, bank, false);
}

static void end_fallback_leases(struct core *core, uint32_t index) {
	for (int bank = 0; bank < 2; bank++)
		if (client_at(core, index)->flags & CLIENT_BANK_FALLBACK << bank)
			lease_settle(core, index, bank, true);
}

static void drain(struct core *core, uint32_t index) {
	lease_void(core, index, true);
	debt_call_in(core, index);
}

static void bring_in_line(struct core *core, uint32_t index, const struct client was) {
	struct client *client = client_at(core, index);
	if (is_before(core, &was, &core->disowned))
		disown_leases(core, client);
	if (is_before(core, &was, &core->voided[client->policy]))
		lease_void(core, index, !core->forfeits[client->policy]);
	if (!uses_memory(core))
		end_fallback_leases(core, index);
	if (is_before(core, &was, &core->away))
		table_lift_denial(core->table, client->slot, core->now_ns, core->now_ns);
	if (is_before(core, &was, &core->returned))
		table_unsay(core->table, client->slot);
	if (is_before(core, &was, &core->lost) && core->state == CORE_CONNECTING)
		demand_begin_period(core, client);
	if (is_before(core, &was, &core->burnt))
		burn_disowned(core, index);
	if (core->draining)
		drain(core, index);
}

void generation_meet(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	const struct client was = *client;
	if (was.generation == core->generation)
		return;
	generation_stamp(core, client);
	if (client->slot != TABLE_NO_SLOT) /* without a slot there are no leases */
		bring_in_line(core, index, was);
}

void generation_stamp(struct core *core, struct client *client) {
	client->generation = core->generation % CLIENT_GENERATIONS;
	core->generation_used = true;
}

void generation_void_orphan(struct core *core, uint32_t slot) {
	table_unsay(core->table, slot);
	table_set_own_limit(core->table, slot, false, 0);
	for (int bank = 0; bank < 2; bank++)
		table_drain(core->table, slot, bank);
}

void generation_meet_orphan(struct core *core, uint32_t slot) {
	uint32_t policy = table_policy(core->table, slot);
	if (core->burnt.open || (policy < POLICY_CAPACITY && core->voided[policy].open))
		generation_void_orphan(core, slot);
	if (core->away.open && !inheritance_is_told(core, slot))
		table_lift_denial(core->table, slot, core->now_ns, core->now_ns);
	for (int bank = 0; bank < 2; bank++)
		if (!uses_memory(core) && table_is_fallback(core->table, slot, bank))
			table_drain(core->table, slot, bank);
}

/* ---- All of them -------------------------------------------------------------- */

bool generation_is_walking(const struct core *core) {
	return core->walked < core->walk_ends;
}

/* True when it was open until now. */
static bool close_mark(const struct core *core, struct mark *mark) {
	bool is_over = mark->open && mark->ends <= core->walked;
	mark->open &= !is_over;
	return is_over;
}

static void close_marks(struct core *core) {
	close_mark(core, &core->lost);
	close_mark(core, &core->away);
	close_mark(core, &core->disowned);
	close_mark(core, &core->returned);
	close_mark(core, &core->drained);
	for (size_t i = 0; i < POLICY_CAPACITY; i++)
		if (close_mark(core, &core->voided[i]))
			core->forfeits[i] = false;
	if (close_mark(core, &core->burnt))
		core->promoted = false;
}

static uint32_t oldest_open(const struct core *core) {
	return (core->generation + CLIENT_GENERATIONS - core->generations_open + 1) % CLIENT_GENERATIONS;
}

static void close_generations(struct core *core) {
	while (core->generations_open > 0 && core->generation_ends[oldest_open(core)] <= core->walked)
		core->generations_open--;
}

static void walk(struct core *core, uint32_t slots) {
	for (; slots > 0 && generation_is_walking(core); slots--, core->walked++) {
		uint32_t slot = core->walk_slot, owner = core->table->owner[slot];
		core->walk_slot = (slot + 1) % core->table->slot_count;
		core->counters.looked++;
		registry_fetch_ahead(core, slot);
		if (is_orphan(owner))
			generation_meet_orphan(core, slot);
		else if (owner != TABLE_NO_OWNER)
			generation_meet(core, owner);
	}
	close_marks(core);
	close_generations(core);
}

/* Before the end a walk makes returns, so it waits until there is room for them. */
void generation_walk(struct core *core, int64_t now_ns) {
	if (!generation_is_walking(core) || now_ns < core->walk_at_ns)
		return;
	if (!core->draining || core->background_count < BACKGROUND_ROOM)
		walk(core, core->options.walk_slots ? core->options.walk_slots : WALK_SLOTS);
	core->walk_at_ns = now_ns + WALK_PAUSE_NS;
}

/* As long as no client has met the present generation, it serves for one more event. Numbers run out only when two
 * thousand events come while the walk goes round once: then the walk goes on at once to where the oldest of them
 * began. */
struct mark generation_begin(struct core *core) {
	if (core->generation_used) {
		if (core->generations_open == CLIENT_GENERATIONS - 1)
			walk(core, (uint32_t)(core->generation_ends[oldest_open(core)] - core->walked));
		core->generation = (core->generation + 1) % CLIENT_GENERATIONS;
		core->generations_open++;
		core->generation_used = false;
	}
	if (!generation_is_walking(core))
		core->walk_at_ns = core->now_ns;
	core->walk_ends = core->walked + core->table->slot_count;
	core->generation_ends[core->generation] = core->walk_ends;
	return (struct mark){.generation = core->generation, .open = true, .ends = core->walk_ends};
}
