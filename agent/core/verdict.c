/*
 * verdict.c - what goes with a verdict: limit, remaining, times, as stint.h defines them. The library works out
 * the same from the table (lib/check.c): an app sees no difference between its own decisions and the agent's.
 */
#include "internal.h"
#include "stint.h"

/* A client that finds no room in the table may do so when this has passed. */
#define NO_ROOM_RETRY_MS 100

static int64_t ms_up(int64_t ns) {
	return ns > 0 ? (ns + NS_PER_MS - 1) / NS_PER_MS : 0;
}

static const struct grant_terms *terms_of(const struct core_policy *policy, uint8_t source) {
	return source == STINT_SOURCE_FALLBACK ? &policy->fallback_terms : &policy->terms;
}

int64_t verdict_remaining(const struct core *core, const struct client *client) {
	if (client->slot == TABLE_NO_SLOT)
		return 0;
	uint32_t beyond = table_remaining(core->table, client->slot);
	return lease_open_credits(core, client) + (beyond == HINT_UNKNOWN ? 0 : beyond);
}

/* What is admitted now is charged to the sub-window that ends at the deadline, the last of its lease, and counts
 * until that has left the window (or less long, if it is reported as spent before). */
struct core_verdict verdict_allowed(struct core *core, const struct client *client, uint8_t source,
                                    int64_t deadline_ns) {
	const struct core_policy *policy = policy_of(core, client);
	bool fallback = source == STINT_SOURCE_FALLBACK;
	return (struct core_verdict){
		.allowed = true,
		.reason = STINT_ADMITTED,
		.source = source,
		.deadline_ns = deadline_ns,
		.limit = fallback ? policy->fallback_terms.max_requests : limit_of(core, client),
		.remaining = verdict_remaining(core, client),
		.reset_after_ms = ms_up(deadline_ns - core->now_ns) + grant_weighs_ms(terms_of(policy, source)),
	};
}

/* Credits of both leases are good until one ends, and back when the other has left the window. */
struct core_verdict verdict_by_lease(struct core *core, const struct client *client, int bank) {
	int ends_last = client->lease[1].deadline_ns > client->lease[0].deadline_ns;
	int told = bank == LEASE_BOTH ? ends_last : bank;
	bool fallback = client->flags & CLIENT_BANK_FALLBACK << told;
	struct core_verdict verdict =
		verdict_allowed(core, client, fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE,
	                    client->lease[told].deadline_ns);
	if (bank == LEASE_BOTH)
		verdict.deadline_ns = client->lease[!told].deadline_ns;
	return verdict;
}

struct core_verdict verdict_denied(struct core *core, const struct client *client, uint32_t cost,
                                   const struct denial *denial) {
	const struct grant_terms *terms = terms_of(policy_of(core, client), denial->source);
	bool never = (int64_t)cost > denial->limit;
	struct core_verdict verdict = {
		.source = denial->source,
		.reason = denial->unavailable ? STINT_UNAVAILABLE : STINT_OVER_LIMIT,
		.limit = denial->limit,
		.remaining = denial->remaining,
		.retry_after_ms = denial->retry_ms,
		.reset_after_ms = denial->reset_ms,
	};
	if (!never)
		return verdict;
	verdict.reason = denial->limit == 0 ? STINT_BLOCKED : STINT_COST_ABOVE_LIMIT;
	if (denial->limit > 0 || denial->retry_ms == 0)
		verdict.retry_after_ms = grant_window_ms(terms);
	if (denial->remaining >= denial->limit)
		verdict.reset_after_ms = 0;
	return verdict;
}

struct core_verdict verdict_no_room(struct core *core, const struct client *client, uint32_t cost) {
	return verdict_denied(core, client, cost,
	                      &(struct denial){
							  .source = in_fallback(core) ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE,
							  .unavailable = true,
							  .limit = terms_now(core, policy_of(core, client))->max_requests,
							  .retry_ms = NO_ROOM_RETRY_MS,
							  .reset_ms = policy_of(core, client)->time_window_ms,
						  });
}

bool verdict_from_denial(struct core *core, const struct client *client, uint32_t cost,
                         struct core_verdict *verdict) {
	int64_t left_ms, limit;
	uint32_t hint;
	if (client->slot == TABLE_NO_SLOT ||
	    !table_denies(core->table, client->slot, core->now_ns, cost, &left_ms, &hint))
		return false;
	uint8_t source = hint & HINT_FALLBACK_BIT ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE;
	if (!table_own_limit(core->table, client->slot, &limit))
		limit = terms_of(policy_of(core, client), source)->max_requests;
	*verdict =
		verdict_denied(core, client, cost,
	                   &(struct denial){
						   .source = source,
						   .unavailable = hint & HINT_UNAVAILABLE_BIT,
						   .limit = limit,
						   .remaining = verdict_remaining(core, client),
						   .retry_ms = limit == 0 && hint_retry_ms(hint) == 0 ? 0 : left_ms + hint_retry_ms(hint),
						   .reset_ms = left_ms + hint_reset_ms(hint),
					   });
	return true;
}
