/*
 * verdicts.c - what apps are told, held against the books.
 *
 *   room       nobody is denied for longer than a denial may be remembered, while the books have room for him
 *   remaining no more than the limit less what was admitted in the window that ends now, no less than what the
 *   books and this
 *              host's lease have left
 *   retry when the least that was wanted would fit if nobody else came; never further off than two windows
 *   and some sub-windows
 *   reset      not before what was just admitted has left the window
 *   limit      the one that decided
 *
 * Those are bounds where the truth depends on what is on its way. The books are asked as the database would be:
 * on a copy.
 */
#include "world.h"

#define DENIAL_MAX_NS (6 * S)    /* the longest that a denial is remembered */
#define ON_ITS_WAY_NS (600 * MS) /* the longest statement, its answer, and the message with it */
#define PAUSE_MAX_MS  1000       /* of a client whose row can't be had */
#define SHORTEST_NS   (60 * MS)  /* shorter sub-windows may be over when an answer arrives */

/* ---- Room --------------------------------------------------------------------------- */

static int64_t room_at(const struct world *w, uint32_t client, int64_t t_us) {
	struct grant_ring copy = w->server.rings[client];
	const struct lease_request nothing = {.need = 0};
	struct lease_grant grant;
	grant_take(&copy, &policy_in_force(w)->terms, &nothing, t_us, 1, &grant);
	return grant.remaining;
}

static void note_room(struct world *w, uint32_t client, int64_t room) {
	for (uint32_t cost = 1; cost <= COST_MAX; cost++) {
		if (room < (int64_t)cost)
			w->room_since_ns[client][cost] = INT64_MAX;
		else if (w->room_since_ns[client][cost] == INT64_MAX)
			w->room_since_ns[client][cost] = w->now_ns;
	}
}

static void look_for_room(struct world *w, uint32_t client) {
	note_room(w, client, room_at(w, client, database_us(w)));
}

void verdicts_forget(struct world *w) {
	for (uint32_t c = 0; c < CLIENTS_MAX; c++)
		for (uint32_t cost = 1; cost <= COST_MAX; cost++)
			w->room_since_ns[c][cost] = w->now_ns;
}

/* Where the database refuses, stalls, or answers after the sub-window, clients may be denied without it. */
static bool is_denied_by_books(const struct world *w) {
	const struct faults *f = &w->planned;
	return !f->rejected && !f->slow && !f->policy_changes && w->policy.terms.sub_window_us * US >= SHORTEST_NS;
}

/* Until the next sub-window begins, perhaps one of a fallback that an earlier agent was in. */
static int64_t remembered_for_ns(const struct world *w) {
	int64_t ours_us = w->policy.terms.sub_window_us, lenient_us = w->policy.fallback_terms.sub_window_us;
	int64_t size_ns = (ours_us > lenient_us ? ours_us : lenient_us) * US;
	return (size_ns < DENIAL_MAX_NS ? size_ns : DENIAL_MAX_NS) + ON_ITS_WAY_NS;
}

static void watch_room(struct world *w, uint32_t h, uint32_t client, uint32_t cost) {
	const struct host *host = &w->hosts[h];
	int64_t remembered_ns = remembered_for_ns(w);
	/* Its row was locked, and nobody else's denial has to do with that. */
	if (w->locked_until_ns[client] != 0 &&
	    w->now_ns < w->locked_until_ns[client] + PAUSE_MAX_MS * MS + remembered_ns)
		return;
	if (!host->core || core_state(host->core) < CORE_RESYNC || !is_denied_by_books(w))
		return;
	if (w->now_ns < host->paused_until_ns + remembered_ns || w->now_ns < host->apart_ns + remembered_ns)
		return;
	look_for_room(w, client);
	int64_t since_ns = w->room_since_ns[client][cost];
	if (since_ns != INT64_MAX && w->now_ns - since_ns > remembered_ns)
		complain(w, "host %u denies client %u, for whose %u there has been room for %lld ms", h, client, cost,
		         (long long)((w->now_ns - since_ns) / MS));
}

/* ---- The fallback's ----------------------------------------------------------------- */

/* Of what a fallback charges, nothing is lost in these worlds: who was served was there. */
static bool counts_in_fallback(const struct world *w) {
	const struct faults *f = &w->planned;
	return !f->crowded && !f->refunds && !f->app_deaths && !f->app_pauses && !f->duplicated && !f->agent_crashes &&
	       !f->agent_pauses && !f->policy_changes;
}

static void watch_lenient_room(struct world *w, uint32_t h, uint32_t client, uint32_t cost) {
	struct host *host = &w->hosts[h];
	const struct grant_terms *terms = &w->policy.fallback_terms;
	char id[16];
	if (!counts_in_fallback(w) || (int64_t)cost > terms->max_requests)
		return;
	if (!host->core || host_now(w, host) < core_fallback_since_ns(host->core) + remembered_for_ns(w))
		return; /* the database's denial may be remembered */
	int64_t window_ns = watch_wide_window_ns(terms, &w->policy.terms);
	int64_t used = meter_sum(&host->lenient_use[client], w->now_ns, window_ns);
	uint32_t slot = app_find(&host->table, 0, id, id_text(id, client));
	for (int bank = 0; slot != TABLE_NO_SLOT && bank < 2; bank++)
		used += table_credits(&host->table.table, slot, bank);
	if (used + cost <= terms->max_requests)
		complain(w, "host %u denies client %u in a fallback, who has used %lld of %d", h, client, (long long)used,
		         terms->max_requests);
}

void verdicts_on_denial(struct world *w, uint32_t host, uint32_t client, uint32_t cost, bool lenient) {
	if (w->short_of_memory)
		return;
	if (lenient)
		watch_lenient_room(w, host, client, cost);
	else
		watch_room(w, host, client, cost);
}

/* ---- Numbers ------------------------------------------------------------------------ */

static int64_t find_soonest_us(const struct world *w, uint32_t client, const struct batch *batch, size_t i) {
	const struct grant_terms *terms = &policy_in_force(w)->terms;
	const struct lease_grant *grant = &batch->grants[i];
	int64_t present_us = grant->sub_window - (grant->valid_us - grant->starts_in_us);
	for (int k = 0; k <= 2 * terms->runs + 2; k++)
		if (room_at(w, client, present_us + (k + 1) * terms->sub_window_us) >= batch->requests[i].least)
			return grant->starts_in_us + k * terms->sub_window_us;
	return -1;
}

void verdicts_on_books(struct world *w, struct batch *batch, size_t i) {
	const struct lease_request *request = &batch->requests[i];
	struct truth *truth = &batch->truths[i];
	*truth = (struct truth){.used = watch_used(w, batch->clients[i]), .soonest_us = -1};
	if (request->need > 0 && batch->grants[i].granted < request->least)
		truth->soonest_us = find_soonest_us(w, batch->clients[i], batch, i);
	/* It goes by the time at which it came: what there is since then, in another sub-window, its answer can't
	 * know of. */
	note_room(w, batch->clients[i], batch->grants[i].remaining);
	look_for_room(w, batch->clients[i]);
}

static bool is_limit_of(const struct core_policy *policy, const struct core_verdict *verdict) {
	return verdict->limit ==
	       (verdict->source == STINT_SOURCE_FALLBACK ? policy->fallback_terms : policy->terms).max_requests;
}

/* Of both limits the longer: a denial that was remembered may be the other's. */
static int64_t longest_ms(const struct core_policy *policy) {
	int64_t ours_us = (2 * policy->terms.runs + 3) * policy->terms.sub_window_us;
	int64_t lenient_us = (2 * policy->fallback_terms.runs + 3) * policy->fallback_terms.sub_window_us;
	return (ours_us > lenient_us ? ours_us : lenient_us) / 1000 + PAUSE_MAX_MS + 2;
}

static void watch_times(struct world *w, uint32_t client, uint32_t cost, const struct core_verdict *v) {
	int64_t most_ms = longest_ms(&w->policy), changed_ms = w->changed_ns ? longest_ms(&w->changed) : 0;
	most_ms = changed_ms > most_ms ? changed_ms : most_ms;
	bool fits = (int64_t)cost <= w->policy.terms.max_requests &&
	            (!w->changed_ns || (int64_t)cost <= w->changed.terms.max_requests);
	if (!v->allowed && fits && (v->retry_after_ms < 0 || v->retry_after_ms > most_ms))
		complain(w, "client %u is told to retry after %lld ms, at most %lld", client, (long long)v->retry_after_ms,
		         (long long)most_ms);
	if (v->reset_after_ms < 0 || v->reset_after_ms > most_ms)
		complain(w, "client %u is told that all is reset after %lld ms, at most %lld", client,
		         (long long)v->reset_after_ms, (long long)most_ms);
}

static void watch_remaining(struct world *w, uint32_t client, uint32_t cost, const struct core_verdict *v,
                            struct batch *batch, size_t i) {
	const struct lease_grant *grant = &batch->grants[i];
	struct truth *truth = &batch->truths[i];
	truth->served += v->allowed ? cost : 0;
	int64_t least =
		v->allowed && !batch->strangers ? (int64_t)grant->remaining + grant->granted - truth->served : 0;
	int64_t most = grant->max_requests - (truth->used > 0 ? truth->used : 0) - (v->allowed ? cost : 0);
	if (v->remaining < least || (truth->used >= 0 && v->remaining > most))
		complain(w, "client %u is told that %lld remain; %lld to %lld do", client, (long long)v->remaining,
		         (long long)least, (long long)most);
}

static void watch_retry(struct world *w, uint32_t client, uint32_t cost, const struct core_verdict *v,
                        const struct batch *batch, size_t i) {
	const struct lease_request *request = &batch->requests[i];
	const struct truth *truth = &batch->truths[i];
	bool none = batch->grants[i].granted < request->least && cost == (uint32_t)request->least;
	if (!v->allowed && none && truth->soonest_us >= 0 && v->retry_after_ms != (truth->soonest_us + 999) / 1000)
		complain(w, "client %u is told to retry after %lld ms, which would be right after %lld us", client,
		         (long long)v->retry_after_ms, (long long)truth->soonest_us);
	const struct grant_terms *terms = &policy_in_force(w)->terms;
	if (v->allowed && v->reset_after_ms * 1000 < terms->runs * terms->sub_window_us - terms->slack_us / 2)
		complain(w, "client %u is told that what it got is reset after %lld ms", client,
		         (long long)v->reset_after_ms);
}

/* Answered by the statement that has just been heard of. */
static void watch_database(struct world *w, struct batch *batch, uint32_t client, uint32_t cost,
                           const struct core_verdict *v) {
	for (size_t i = 0; i < batch->count; i++)
		if (batch->clients[i] == client && batch->requests[i].need > 0 && !batch->grants[i].busy &&
		    is_denied_by_books(w)) {
			watch_remaining(w, client, cost, v, batch, i);
			watch_retry(w, client, cost, v, batch, i);
		}
}

void verdicts_on_answer(struct world *w, uint32_t h, uint32_t a, uint32_t serial, const struct core_verdict *v) {
	struct host *host = &w->hosts[h];
	bool is_there = a < w->app_count && host->apps[a].serial == serial;
	if (host->heard && (!is_there || w->planned.duplicated))
		host->heard->strangers = true;
	if (v->status != 0 || !is_there || w->short_of_memory)
		return;
	uint32_t client = host->apps[a].client, cost = host->apps[a].cost;
	if (!is_limit_of(&w->policy, v) && !(w->changed_ns && is_limit_of(&w->changed, v)))
		complain(w, "client %u is told that its limit is %lld", client, (long long)v->limit);
	watch_times(w, client, cost, v);
	if (v->source == STINT_SOURCE_DATABASE && host->heard)
		watch_database(w, host->heard, client, cost, v);
	if (!v->allowed)
		verdicts_on_denial(w, h, client, cost, v->source == STINT_SOURCE_FALLBACK);
}
