/*
 * debt.c - what a client was given before the database counted it, until it is charged.
 *
 * Debts come from three places: a relaxed policy admits in advance, a fallback admits on its own, and a charge may
 * get no answer or be refused. A debt goes with the client's pending request, and is attached to what that asks
 * next: debt_attach(). When the answer is there it is settled. Then an advance stays owed as far as the limit had
 * no room for it, so that what is beyond the limit never grows past one advance; what a fallback admitted beyond
 * the limit has no further consequence.
 *
 * What is owed without a request is noted in the memory store, and CLIENT_INDEBTED says so. There it outlives the
 * client's record; and when the window has passed, it is forgotten.
 */
#include "internal.h"
#include "stint.h"

/* A debt that was refused, or that there was no room to note, is tried again after so long: whatever is wrong, to
 * try sooner doesn't mend it. */
#define DEBT_RETRY_NS (1000 * NS_PER_MS)

/* ---- Owed without a request ----------------------------------------------------- */

static bool note(struct core *core, const struct client *client, struct debt debt) {
	return store_memory_owe(core->memory, client->policy + 1, client->id, client->id_len, debt);
}

void debt_recall(struct core *core, uint32_t index) {
	struct client *client = client_at(core, index);
	if (store_memory_owes(core->memory, client->policy + 1, client->id, (uint8_t)client->id_len))
		client->flags |= CLIENT_INDEBTED;
}

void debt_call_in(struct core *core, uint32_t index) {
	if (client_at(core, index)->flags & CLIENT_INDEBTED)
		pending_for(core, index);
}

bool debt_put_by(struct core *core, struct pending *pending) {
	if (pending->debt.charge == 0 || note(core, client_at(core, pending->client), pending->debt))
		return true;
	pending->of_fallback = false;
	return false;
}

/* Notes what still matters of a debt of which so much is left. Returns false, and notes nothing, when there is no
 * memory or room. */
static bool keep(struct core *core, struct client *client, struct debt debt, int64_t left) {
	int64_t owed = left < debt.advanced ? left : debt.advanced;
	if (owed <= 0 || uses_memory(core))
		return true;
	if (!note(core, client, debt_of(owed, owed, debt.since_us)))
		return false;
	client->flags |= CLIENT_INDEBTED;
	return true;
}

/* ---- With a request ------------------------------------------------------------- */

int64_t debt_uncounted(const struct pending *pending) {
	return (int64_t)pending->debt.charge + (pending->state == PENDING_IN_FLIGHT ? pending->sent.charge : 0);
}

void debt_advance(struct core *core, struct pending *pending, uint32_t cost) {
	pending->debt = debt_sum(pending->debt, debt_of(cost, cost, core->now_ns / NS_PER_US));
}

void debt_add_fallback(struct core *core, struct pending *pending, struct debt debt, int32_t most) {
	pending->debt = debt_sum(pending->debt, debt);
	if (pending->debt.charge > most)
		pending->debt = debt_of(most, pending->debt.advanced, pending->debt.since_us);
	core->charges_left += !pending->of_fallback;
	pending->of_fallback = true;
}

/* The resync waits for it no longer. */
static void check_off(struct core *core, struct pending *pending) {
	if (!pending->of_fallback)
		return;
	pending->of_fallback = false;
	if (core->charges_left > 0)
		core->charges_left--;
	state_note_charged(core);
}

/* Forgives a debt of which nothing was made later. */
static void forgive(struct core *core, struct pending *pending, int64_t until_us) {
	if (pending->debt.charge == 0 || pending->debt.since_us > until_us)
		return;
	pending->debt = (struct debt){0};
	check_off(core, pending);
}

void debt_attach(struct core *core, struct pending *pending) {
	struct client *client = client_at(core, pending->client);
	if (client->flags & CLIENT_INDEBTED) {
		struct debt owed =
			store_memory_collect_owed(core->memory, client->policy + 1, client->id, (uint8_t)client->id_len);
		pending->debt = debt_sum(pending->debt, owed);
		client->flags &= (uint8_t)~CLIENT_INDEBTED;
	}
	/* What has left the policy's window the books don't count any more. */
	forgive(core, pending, (core->now_ns - window_passes_ns(policy_of(core, client))) / NS_PER_US);
	int32_t most = STINT_FALLBACK_REQUESTS_MAX;
	pending->sent.charge = pending->debt.charge < most ? pending->debt.charge : most;
	pending->sent_debt = pending->debt;
	pending->debt = (struct debt){0};
}

/* When there is no room to note what is left, the request keeps it and asks again: with the next batch, but it
 * makes no batch go sooner. */
void debt_settle(struct core *core, struct pending *pending, int64_t charged) {
	int64_t left = pending->sent.charge - charged;
	if (pending->sent.charge > 0)
		check_off(core, pending);
	if (keep(core, client_at(core, pending->client), pending->sent_debt, left))
		return;
	struct debt sent = pending->sent_debt;
	pending->debt = debt_sum(pending->debt, debt_of(left, sent.advanced, sent.since_us));
	debt_retry_later(core);
}

void debt_charge_again(struct pending *pending) {
	pending->debt = debt_sum(pending->debt, pending->sent_debt);
}

void debt_await_no_longer(struct core *core, struct pending *pending) {
	check_off(core, pending);
}

void debt_abandon(struct core *core, struct pending *pending) {
	check_off(core, pending);
	if (keep(core, client_at(core, pending->client), pending->debt, pending->debt.charge))
		pending->debt = (struct debt){0};
}

void debt_forget(struct core *core, uint32_t index, int64_t until_us) {
	if (client_at(core, index)->pending == NO_PENDING)
		return;
	struct pending *pending = core->pending[client_at(core, index)->pending];
	forgive(core, pending, until_us);
	if (pending->sent_debt.since_us > until_us)
		return;
	pending->sent_debt = (struct debt){0};
	if (pending->debt.charge == 0)
		check_off(core, pending); /* if it isn't applied, nothing of it is asked again */
}

void debt_retry_later(struct core *core) {
	core->background_at_ns = core->now_ns + DEBT_RETRY_NS;
}
