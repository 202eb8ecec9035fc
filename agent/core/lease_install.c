/*
 * lease_install.c - what was granted comes into the table: the lease of the running sub-window, and the next one.
 */
#include "internal.h"
#include "stint.h"

struct part { /* of a grant: one lease */
	int64_t sub_window;
	int64_t start_ns;
	int64_t deadline_ns;
	uint32_t granted;
	uint32_t served; /* of these, given to who waited */
	bool is_next;    /* it can't be spent before start_ns */
};

/* The bank whose lease is to begin later; -1: neither's. */
static int next_bank(const struct core *core, const struct client *client, int64_t now_ns) {
	for (int bank = 0; bank < 2; bank++)
		if (is_live(client, bank, now_ns) && !lease_is_spendable(core, client, bank, now_ns))
			return bank;
	return -1;
}

/* A lease that is charged to the same sub-window, and begins no earlier than the part may; -1. */
static int same_sub_window(const struct core *core, const struct client *client, const struct part *part,
                           int64_t now_ns) {
	bool fallback = in_fallback(core);
	for (int bank = 0; bank < 2; bank++)
		if (is_live(client, bank, now_ns) && client->lease[bank].sub_window == part->sub_window &&
		    part->sub_window != 0 && lease_is_spendable(core, client, bank, now_ns) != part->is_next &&
		    (!part->is_next || part->start_ns <= table_later_start(core->table, client->slot)) &&
		    !!(client->flags & fallback_flag(bank)) == fallback)
			return bank;
	return -1;
}

/* The bank to replace: one whose lease is over, else one of unknown origin, else the one that has less left, else
 * the one that ends first. */
static int replaceable_bank(const struct core *core, const struct client *client, int64_t now_ns) {
	for (int bank = 0; bank < 2; bank++)
		if (!is_live(client, bank, now_ns))
			return bank;
	for (int bank = 0; bank < 2; bank++)
		if (client->lease[bank].sub_window == 0)
			return bank;
	uint32_t left[2] = {credits_left(core, client, 0), credits_left(core, client, 1)};
	if (left[0] != left[1])
		return left[1] < left[0];
	return client->lease[0].deadline_ns <= client->lease[1].deadline_ns ? 0 : 1;
}

/* Whoever takes the credits himself waits until they are in the table. */
static bool is_waited_for(const struct core *core, const struct client *client, const struct part *part) {
	return part->granted > part->served && client->pending != NO_PENDING && core->pending[client->pending]->first;
}

/*
 * Empties a bank for the part, but not the one that is to stay; -1: it can't be kept beside what the client holds.
 *
 * Apps tell a lease that begins later by its being the one that ends last. So there is one at most that begins
 * later, and the other ends no later than it does.
 */
static int make_room(struct core *core, uint32_t index, const struct part *part, int stays, int64_t now_ns) {
	struct client *client = client_at(core, index);
	int other = part->is_next ? next_bank(core, client, now_ns) : -1;
	if (other >= 0 && client->lease[other].sub_window != 0)
		return -1;
	if (other >= 0)
		lease_settle(core, index, other, false);
	int bank = replaceable_bank(core, client, now_ns);
	if (bank == stays)
		return -1;
	if (part->is_next && client->lease[!bank].deadline_ns >= part->deadline_ns) {
		if (credits_left(core, client, !bank) > 0)
			return -1;
		lease_settle(core, index, !bank, true);
	}
	lease_settle(core, index, bank, lease_must_not_idle(core, client));
	if (!part->is_next && client->lease[!bank].deadline_ns <= part->deadline_ns &&
	    table_later_start(core->table, client->slot) > now_ns)
		lease_settle(core, index, !bank, true);
	return bank;
}

static void publish_part(struct core *core, struct client *client, int bank, const struct part *part) {
	bool fallback = in_fallback(core);
	client->lease[bank] = (struct client_lease){.sub_window = part->sub_window, .deadline_ns = part->deadline_ns};
	client->granted[bank] = part->granted;
	if (fallback)
		client->flags |= fallback_flag(bank);
	table_publish(core->table, client->slot, bank,
	              &(struct table_lease){
					  .credits = part->granted - part->served,
					  .flag = fallback ? WORD_FALLBACK_BIT : 0,
					  .start_ns = part->start_ns,
					  .deadline_ns = part->deadline_ns,
					  .is_next = part->is_next,
				  });
}

/* Returns the bank; -1: it goes back. */
static int install_part(struct core *core, uint32_t index, const struct part *part, int stays, int64_t now_ns) {
	struct client *client = client_at(core, index);
	int bank = same_sub_window(core, client, part, now_ns);
	if (bank >= 0) {
		client->granted[bank] += part->granted;
		table_add(core->table, client->slot, bank, part->granted - part->served);
		return bank;
	}
	bank = make_room(core, index, part, stays, now_ns);
	if (bank >= 0)
		publish_part(core, client, bank, part);
	else
		lease_note_return(core, index, part->sub_window, part->granted);
	return bank;
}

void lease_install(struct core *core, uint32_t index, const struct lease_grant *grant, int64_t sent_ns,
                   int64_t now_ns, int32_t served) {
	struct client *client = client_at(core, index);
	const struct grant_terms *terms = terms_now(core, policy_of(core, client));
	struct part current = {
		.sub_window = grant->sub_window,
		.deadline_ns = lease_ends_ns(terms, sent_ns, grant->valid_us),
		.granted = (uint32_t)grant->granted,
		.served = (uint32_t)served,
	};
	struct part next = {
		.sub_window = grant->next_sub_window,
		.start_ns = grant->next_is_open ? now_ns : lease_starts_ns(terms, now_ns, grant->starts_in_us),
		.deadline_ns = lease_ends_ns(terms, sent_ns, grant->next_valid_us),
		.granted = (uint32_t)grant->granted_next,
		.is_next = !grant->next_is_open,
	};
	int stays = -1;
	if (client->slot == TABLE_NO_SLOT)
		return; /* nowhere to keep what wasn't served: burnt; such requests ask for no more than they need */
	/* Of a far database's, those who are served may read the verdict as late as in a later sub-window: so nothing
	 * of this lease is ever reported. */
	if (grant->valid_us > grant->starts_in_us && served > 0)
		current.sub_window = 0;
	if (current.granted > 0 && current.deadline_ns > now_ns)
		stays = install_part(core, index, &current, -1, now_ns);
	else if (current.granted > 0 && !uses_memory(core) && current.sub_window != 0)
		lease_note_return(core, index, current.sub_window, current.granted);
	if (!is_waited_for(core, client, &current))
		stays = -1;
	if (next.granted > 0 && next.start_ns < next.deadline_ns)
		install_part(core, index, &next, stays, now_ns);
	/* after a round trip of more than a sub-window there is no time at which it could be used for certain */
	else if (next.granted > 0)
		lease_note_return(core, index, next.sub_window, next.granted);
	lease_plan_timer(core, index, now_ns);
}
