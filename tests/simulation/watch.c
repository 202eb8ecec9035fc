/*
 * watch.c - the invariants, held against every event.
 *
 *   the time a credit of the database's is spent no later than in the sub-window that it is charged to, by the
 *   database's clock, and no earlier than a window before that, or half a slack off
 *   the limit    no window holds more of a client's admissions by the database's credits, of all hosts together
 *   the books    what is charged is within the limit, and no credit is admitted that was not granted before
 *   fallback     no fallback window of a host holds more than its lenient limit
 *   alone        no process admits anything by itself when its agent is back within two seconds
 *   patience     every check is answered, soon
 *   recovery when the faults are over and a window has passed, every host is in step and gets the database's
 *   credits again
 */
#include <stdarg.h>
#include <stdio.h>

#include "world.h"

#define LONGEST_WAIT_NS (1500 * MS)

void complain(struct world *w, const char *format, ...) {
	va_list arguments;
	if (w->trouble[0])
		return; /* the rest may follow from it */
	int length = snprintf(w->trouble, sizeof(w->trouble), "at %.6f s: ", (double)(w->now_ns - 10 * S) / 1e9);
	va_start(arguments, format);
	vsnprintf(w->trouble + length, sizeof(w->trouble) - (size_t)length, format, arguments);
	va_end(arguments);
}

static bool may_fall_back(const struct faults *f) {
	return f->lost || f->database_crashes || f->promotions || f->agent_pauses;
}

/* ---- The limit ---------------------------------------------------------------------- */

static void forget_windows(struct world *w) {
	for (uint32_t c = 0; c < CLIENTS_MAX; c++) {
		meter_reset(&w->strict[c]);
		w->lost[c] = 0;
	}
}

/* Until then admissions under the old and the new limit (or clock) mix; windows are looked at that begin later. */
void watch_limit_changes(struct world *w, int64_t until_ns) {
	if (until_ns > w->unwatched_until_ns)
		w->unwatched_until_ns = until_ns;
}

/* What the new server doesn't know may be granted again, once. What was admitted of it happened before its
 * leases ended. */
void watch_promotion(struct world *w) {
	for (uint32_t c = 0; c < CLIENTS_MAX; c++)
		w->lost[c] += w->server.charged[c] - w->standby.charged[c];
	w->strict_again_ns = leases_end_ns(w);
}

/* A statement read the clock, then it was set back, another statement used the new time, and now this one comes
 * from what looks like a long time later: the one known hole, which lib/README.md names. */
void watch_emptied(struct world *w, uint32_t client) {
	w->forgotten_until_ns[client] = leases_end_ns(w);
}

static int64_t kills_in_window(const struct world *w) {
	int64_t kills = 0, window_ns = policy_in_force(w)->time_window_ms * MS;
	for (uint32_t i = 0; i < w->kill_count && i < KILLS_MAX; i++)
		kills += w->kill_ns[i] > w->now_ns - window_ns * 1001 / 1000;
	return kills;
}

static int64_t most_in_window(const struct world *w, uint32_t client) {
	const struct core_policy *policy = policy_in_force(w);
	int64_t most = policy->terms.max_requests;
	if (policy->relaxed) /* as stint.h has it; each agent that was killed in the window has forgotten an advance */
		most += most / 8 + COST_MAX * (int64_t)w->host_count +
		        kills_in_window(w) * (most / 8 / w->host_count + COST_MAX);
	return most + w->lost[client];
}

/* A fixed window is one by the database's clock and the row's edges; its meter is emptied where it begins. */
static int64_t window_sum(struct world *w, uint32_t client, uint32_t cost) {
	const struct core_policy *policy = policy_in_force(w);
	struct meter *meter = &w->strict[client];
	int64_t at_ns = database_ns(w);
	if (!w->faults.fixed)
		return meter_add(meter, at_ns, cost, policy->time_window_ms * MS);
	int64_t window_ns = policy->terms.sub_window_us * US;
	int64_t since_edge_ns = (database_us(w) - w->server.rings[client].current_us) * US + at_ns % US;
	int64_t begun_ns = at_ns - ((since_edge_ns % window_ns) + window_ns) % window_ns;
	if (meter->count > 0 && meter->entries[meter->count - 1].at_ns < begun_ns)
		meter_reset(meter);
	return meter_add(meter, at_ns, cost, INT64_MAX / 2);
}

static void watch_limit(struct world *w, uint32_t client, uint32_t cost) {
	w->admitted[client] += cost;
	if (!w->faults.relaxed && w->admitted[client] > w->granted[client])
		complain(w, "client %u was admitted %lld, but granted %lld", client, (long long)w->admitted[client],
		         (long long)w->granted[client]);
	if (w->now_ns < w->unwatched_until_ns)
		return;
	bool begins = w->unwatched_until_ns || (w->strict_again_ns && w->now_ns >= w->strict_again_ns);
	if (begins) {
		forget_windows(w);
		w->unwatched_until_ns = w->strict_again_ns = 0;
	}
	if (w->forgotten_until_ns[client]) {
		meter_reset(&w->strict[client]);
		if (w->now_ns < w->forgotten_until_ns[client])
			return;
		w->forgotten_until_ns[client] = 0;
	}
	int64_t sum = window_sum(w, client, cost), most = most_in_window(w, client);
	if (sum > most)
		complain(w, "client %u was admitted %lld in a window, at most %lld", client, (long long)sum,
		         (long long)most);
}

int64_t watch_used(struct world *w, uint32_t client) {
	bool is_watched = !w->unwatched_until_ns && !w->forgotten_until_ns[client] && w->lost[client] == 0;
	if (!is_watched || w->faults.fixed || w->faults.relaxed || w->changed_ns)
		return -1;
	return meter_sum(&w->strict[client], database_ns(w), w->policy.time_window_ms * MS);
}

/* Whose sub-window it was, the deadline tells: it is no more than half a slack, and what clocks are apart, off
 * an edge. */
static void watch_time(struct world *w, const struct host *host, uint32_t client, int64_t deadline_ns) {
	const struct grant_terms *terms = &w->policy.terms;
	const struct grant_ring *ring = &w->server.rings[client];
	int64_t size_ns = terms->sub_window_us * US, slack_ns = terms->slack_us * US / 2;
	if (!w->faults.long_windows || ring->sub_window_us != terms->sub_window_us)
		return; /* the way to the database is no part of a sub-window to speak of */
	if (w->planned.steps_back || w->planned.steps_forward || w->changed_ns)
		return;                                                           /* edges move */
	int64_t now_ns = database_ns(w) - (ring->current_us - EPOCH_US) * US; /* since an edge */
	int64_t ends_ns =
		now_ns + true_ns(shown_ns(deadline_ns - host_now(w, host), w->rate_ppm), host->rate_ppm) - slack_ns;
	int64_t edge_ns = (ends_ns + 1000 * size_ns + size_ns / 2) / size_ns * size_ns - 1000 * size_ns;
	if (now_ns >= edge_ns + slack_ns + US)
		complain(w, "client %u spends a credit %lld us after its sub-window", client,
		         (long long)((now_ns - edge_ns) / US));
	if (now_ns < edge_ns - (terms->runs + 1) * size_ns - slack_ns - US)
		complain(w, "client %u spends a credit %lld us before its sub-window", client,
		         (long long)((edge_ns - (terms->runs + 1) * size_ns - now_ns) / US));
}

/* ---- Fallback ------------------------------------------------------------------------- */

int64_t watch_wide_window_ns(const struct grant_terms *terms, const struct grant_terms *others) {
	return ((terms->runs + 3) * terms->sub_window_us + 2 * others->sub_window_us + others->slack_us) * US + 1 * S;
}

static int64_t kills_of_host(const struct host *host, int64_t since_ns) {
	int64_t kills = 0;
	for (uint32_t i = 0; i < host->kills && i < KILLS_MAX; i++)
		kills += host->kills_ns[i] > since_ns;
	return kills;
}

/* How long apps may go on with the leases of an agent that was killed, the database's and the fallback's. */
static int64_t longest_out_ns(const struct world *w) {
	const struct grant_terms *terms = &policy_in_force(w)->fallback_terms;
	int64_t fallback_ns = (2 * terms->sub_window_us + terms->slack_us) * US, ns = leases_end_ns(w) - w->now_ns;
	return fallback_ns > ns ? fallback_ns : ns;
}

/* Of an agent that is killed, the next one doesn't know what its fallback gave, nor what was spent of leases of
 * the database's. */
static void watch_window(struct world *w, const char *what, struct meter *meter, uint32_t h, uint32_t client,
                         uint32_t cost) {
	const struct host *host = &w->hosts[h];
	const struct core_policy *policy = policy_in_force(w);
	const struct grant_terms *terms = &policy->fallback_terms;
	int64_t now_ns = host_now(w, host), window_ns = (terms->sub_window_us * terms->runs - terms->slack_us) * US;
	int64_t sum = meter_add(meter, now_ns, cost, window_ns), most = terms->max_requests;
	int64_t kills = kills_of_host(host, now_ns - window_ns - longest_out_ns(w));
	if (kills > 0)
		most += kills * terms->max_requests + policy->terms.max_requests;
	if (sum > most)
		complain(w, "host %u admitted client %u %lld in %s, at most %lld", h, client, (long long)sum, what,
		         (long long)most);
}

static void forget_fallbacks(struct host *host) {
	for (uint32_t c = 0; c < CLIENTS_MAX; c++) {
		meter_reset(&host->fallback[c]);
		meter_reset(&host->one_fallback[c]);
	}
}

void watch_burnt(struct world *w, uint32_t h, uint32_t client, uint32_t cost) {
	int64_t window_ns = watch_wide_window_ns(&w->policy.fallback_terms, &w->policy.terms);
	meter_add(&w->hosts[h].lenient_use[client], w->now_ns, cost, window_ns);
}

/* A change of policy begins anew. */
static void watch_fallback(struct world *w, uint32_t h, uint32_t client, uint32_t cost, uint8_t source) {
	struct host *host = &w->hosts[h];
	int64_t since_ns = host->core ? core_fallback_since_ns(host->core) : 0;
	if (source == STINT_SOURCE_FALLBACK && !may_fall_back(&w->planned))
		complain(w, "host %u is lenient although the database is there", h);
	int64_t in_force_ns = w->settled_ns + walk_ns(w) + MS; /* the change is, everywhere */
	if (w->changed_ns && host->begun_anew_ns < in_force_ns) {
		forget_fallbacks(host);
		host->begun_anew_ns = w->now_ns;
		host->changed_in_ns = since_ns;
	}
	if (w->changed_ns && w->now_ns < in_force_ns)
		return;
	if (since_ns != host->fallback_since_ns)
		for (uint32_t c = 0; c < CLIENTS_MAX; c++)
			meter_reset(&host->one_fallback[c]);
	host->fallback_since_ns = since_ns;
	/* Leases of the database's that were out when it began included; not what the agent had answered before,
	 * and is on its way. */
	/* no agent hears of a change then; here it does */
	bool is_mixed = w->changed_ns && since_ns == host->changed_in_ns;
	if (since_ns && host_now(w, host) > since_ns + MS && !is_mixed)
		watch_window(w, "a window of one fallback", &host->one_fallback[client], h, client, cost);
	if (source == STINT_SOURCE_FALLBACK)
		watch_window(w, "a fallback window", &host->fallback[client], h, client, cost);
}

void watch_admission(struct world *w, uint32_t host, uint32_t client, uint32_t cost, uint8_t source,
                     int64_t deadline_ns) {
	w->admissions++;
	if (source == STINT_SOURCE_LEASE || source == STINT_SOURCE_DATABASE)
		watch_time(w, &w->hosts[host], client, deadline_ns);
	watch_fallback(w, host, client, cost, source);
	watch_burnt(w, host, client, cost);
	if (source != STINT_SOURCE_FALLBACK)
		watch_limit(w, client, cost);
}

/* A process is about to decide by itself. */
void watch_alone(struct world *w, uint32_t h, uint32_t client) {
	struct host *host = &w->hosts[h];
	if (w->now_ns - host->away_since_ns < BACK_NS || w->now_ns - host->there_since_ns >= THERE_NS)
		complain(w, "a process of host %u admits client %u by itself, %lld ms after its agent was there", h,
		         client, (long long)((w->now_ns - host->away_since_ns) / MS));
}

/* ---- The books --------------------------------------------------------------------------- */

void watch_books(struct world *w, uint32_t client, const struct lease_request *request,
                 const struct lease_grant *grant) {
	const struct grant_ring *ring = &w->server.rings[client];
	const struct grant_terms *terms = &w->policy.terms;
	int64_t granted = (int64_t)grant->granted + grant->granted_next;
	if (w->traced)
		printf(
			"%11s  books of client %u: asked %d/%d/%d, back %d+%d, charge %d; granted %d+%d, valid %lld and %lld us, left %d\n",
			"", client, request->need, request->want, request->next_want, request->report[0].unspent,
			request->report[1].unspent, request->charge, grant->granted, grant->granted_next,
			(long long)grant->valid_us, (long long)grant->next_valid_us, grant->remaining);
	w->granted[client] += granted - request->report[0].unspent - request->report[1].unspent;
	int64_t held_ns = longest_lease_ns(w) < CORE_HOLD_MAX_NS ? longest_lease_ns(w) : CORE_HOLD_MAX_NS * 999 / 1000;
	if (granted > 0 && w->promoted_ns && database_ns(w) < w->promoted_ns + held_ns)
		complain(w, "client %u is granted %lld while leases of the old primary are out", client,
		         (long long)granted);
	w->server.charged[client] += granted + grant->charged;
	if (w->changed_ns)
		return;                 /* counts of the old limit may exceed the new one */
	int64_t all = 0, newer = 0; /* without those that leave the window next */
	for (int i = 0; i < ring->length; i++) {
		all += ring->counts[i];
		newer += ring->ahead - i > -terms->runs ? ring->counts[i] : 0;
	}
	/* Which credits are early may be forgotten, when the clock is set back, or others of the sub-window are given
	 * back: then all count, and nothing can be granted for now. */
	bool is_open = grant->granted > 0 || (grant->granted_next > 0 && grant->next_is_open);
	if ((is_open && all - ring->early > terms->max_requests) || (terms->runs > 0 && newer > terms->max_requests))
		complain(w, "the books hold %lld of client %u in a window, at most %d", (long long)all, client,
		         terms->max_requests);
}

/* ---- Patience and recovery ------------------------------------------------------------------ */

void watch_wait(struct world *w, int64_t waited_ns) {
	if (waited_ns > w->longest_wait_ns)
		w->longest_wait_ns = waited_ns;
	if (waited_ns > LONGEST_WAIT_NS)
		complain(w, "a check waited for %lld ms", (long long)(waited_ns / MS));
}

void watch_recovery(struct world *w, struct host *host) {
	if (host->recovered || w->now_ns < w->end_ns || core_state(host->core) != CORE_IN_STEP)
		return;
	host->recovered = true;
	if (w->now_ns - w->end_ns > w->worst_recovery_ns)
		w->worst_recovery_ns = w->now_ns - w->end_ns;
}

void watch_recovered(struct world *w, uint32_t h) {
	const struct host *host = &w->hosts[h];
	if (!w->short_of_memory && (!host->core || core_state(host->core) != CORE_IN_STEP))
		complain(w, "host %u is not in step, %lld ms after all faults", h,
		         (long long)((w->now_ns - w->end_ns) / MS));
}

void watch_probe(struct world *w, uint32_t host, const struct core_verdict *verdict) {
	if (++w->probes <= w->host_count)
		return; /* the first round */
	if (w->short_of_memory)
		return;
	if (w->planned.relaxed && verdict->source != STINT_SOURCE_FALLBACK)
		return; /* what was admitted beyond the limit, an advance for each host, is paid back in as many windows */
	if (verdict->status != 0 || !verdict->allowed || verdict->source == STINT_SOURCE_FALLBACK)
		complain(w, "host %u: a window after all faults a check is %s (error %d, source %d)", host,
		         verdict->allowed ? "admitted by the fallback" : "denied", verdict->status, verdict->source);
}

void watch_end(struct world *w) {
	if (w->trouble[0])
		return;
	if (w->probes != 2 * w->host_count)
		complain(w, "%u of %u probes are answered", w->probes, 2 * w->host_count);
	for (uint32_t h = 0; h < w->host_count; h++) {
		if (!w->hosts[h].core)
			complain(w, "host %u has no agent", h);
		else if (core_counters(w->hosts[h].core)->repaired > 0)
			complain(w, "host %u found its table damaged", h);
		for (uint32_t a = 0; a < w->app_count; a++)
			if (w->hosts[h].apps[a].serial)
				complain(w, "an app of host %u waits for ever", h);
	}
}
