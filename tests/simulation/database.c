/* database.c - the server: statements of hosts, and what befalls it itself. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define STATEMENT_MAX_NS (500 * MS) /* from reading the clock until it is applied */
#define LOCK_TIMEOUT_NS  (125 * MS)

/* ---- Statements ------------------------------------------------------------------- */

static uint32_t client_of(const char *id, size_t length) {
	char number[16];
	memcpy(number, id + strlen("client-"), length - strlen("client-"));
	number[length - strlen("client-")] = 0;
	return (uint32_t)strtoul(number, NULL, 10);
}

/* ---- Recalls ------------------------------------------------------------------------- */

/* Each agent hears of it, or doesn't; once or twice; soon, or when it has long been over. */
static void call_back(struct world *w, uint32_t client) {
	for (uint32_t h = 0; h < w->host_count; h++)
		for (int times = 1 + chance(w, w->faults.duplicated); times > 0; times--) {
			int64_t most_ns = chance(w, w->faults.duplicated) ? 2 * longest_lease_ns(w) : 20 * MS;
			if (!chance(w, w->faults.dropped))
				plan_for(w, h, between(w, 1 * MS, most_ns), (struct event){.kind = RECALL, .client = client});
		}
}

void database_recalls(struct world *w, const struct lease_recall *recalls, size_t count) {
	for (size_t i = 0; i < count; i++)
		call_back(w, client_of(recalls[i].client_id, recalls[i].client_id_len));
}

/* ---- Locks of somebody else ----------------------------------------------------------- */

/* Another agent's lock is over soon; an operator's may last. */
static void lock_rows(struct world *w, const struct batch *batch) {
	for (size_t i = 0; w->faults.locked > 0 && i < batch->count; i++)
		if (chance(w, w->faults.locked))
			w->locked_until_ns[batch->clients[i]] =
				w->now_ns + (chance(w, 70) ? between(w, 0, 20 * MS) : between(w, 20 * MS, 1500 * MS));
}

static bool skips(const struct batch *batch) {
	for (size_t i = 0; i < batch->count; i++)
		if (batch->requests[i].skip)
			return true;
	return false;
}

static bool is_locked(const struct world *w, uint32_t client) {
	return !w->is_calm && w->locked_until_ns[client] > w->now_ns;
}

/* Until it has all of its rows; LOCK_TIMEOUT_NS: it doesn't get them. */
static int64_t lock_wait_ns(const struct world *w, const struct batch *batch) {
	int64_t wait_ns = 0;
	for (size_t i = 0; i < batch->count && !skips(batch); i++)
		if (is_locked(w, batch->clients[i]) && w->locked_until_ns[batch->clients[i]] - w->now_ns > wait_ns)
			wait_ns = w->locked_until_ns[batch->clients[i]] - w->now_ns;
	return wait_ns < LOCK_TIMEOUT_NS ? wait_ns : LOCK_TIMEOUT_NS;
}

/* ---- What statements do ------------------------------------------------------------------ */

static void apply(struct world *w, struct batch *batch) {
	const struct core_policy *policy = policy_in_force(w);
	for (size_t i = 0; i < batch->count; i++) {
		uint32_t client = batch->clients[i];
		if (skips(batch) && is_locked(w, client)) {
			batch->grants[i] = (struct lease_grant){.busy = true};
			continue;
		}
		struct grant_terms terms = policy->terms;
		terms.phase_us = w->phase_us[client] * (w->changed_ns ? 7 : 1) % terms.sub_window_us;
		grant_take(&w->server.rings[client], &terms, &batch->requests[i], batch->t_us, batch->hosts,
		           &batch->grants[i]);
		if (batch->set_back != w->set_back)
			watch_emptied(w, client);
		watch_books(w, client, &batch->requests[i], &batch->grants[i]);
		if (chance(w, w->faults.mistaken))
			call_back(w, client);
		verdicts_on_books(w, batch, i);
	}
}

void database_takes(struct world *w, uint32_t h, int hosts, const struct lease_request *requests, size_t count) {
	struct host *host = &w->hosts[h];
	struct batch *batch = malloc(sizeof(*batch)); /* large: what is not used isn't touched */
	assert(batch && !host->under_way && host->reachable && count <= CORE_BATCH_MAX);
	batch->next = w->batches;
	w->batches = batch;
	batch->count = count;
	batch->strangers = false;
	batch->hosts = hosts;
	batch->timeline = host->timeline;
	memcpy(batch->requests, requests, count * sizeof(*requests));
	for (size_t i = 0; i < count; i++)
		batch->clients[i] = client_of(requests[i].client_id, requests[i].client_id_len);
	host->under_way = batch;
	plan_for(w, h, between(w, 50 * US, 800 * US), (struct event){.kind = ARRIVE, .batch = batch});
}

/* The statement has arrived: what becomes of it? */
static void arrive(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	bool alive = e->life == host->life && host->under_way == e->batch;
	int64_t wait_ns = !w->is_calm && chance(w, 10) ? between(w, 0, 20 * MS) : between(w, 0, 500 * US);
	if (e->batch->timeline != w->timeline)
		return; /* to a server that is no more */
	if (w->faults.slow && chance(w, 2))
		wait_ns = between(w, 50 * MS, 400 * MS);
	e->batch->t_us = database_us(w);
	e->batch->set_back = w->set_back;
	if (alive && chance(w, w->faults.lost)) { /* and perhaps applied only after the agent has given it up */
		if (chance(w, 60))
			plan_for(w, e->host, between(w, 0, 200 * MS),
			         (struct event){.kind = APPLY, .batch = e->batch, .outcome = LEASE_UNKNOWN});
		plan_for(w, e->host, between(w, 1 * MS, 100 * MS), (struct event){.kind = LOST, .batch = e->batch});
		return;
	}
	lock_rows(w, e->batch);
	int64_t lock_ns = lock_wait_ns(w, e->batch);
	wait_ns += lock_ns;
	if (alive && (chance(w, w->faults.rejected) || lock_ns == LOCK_TIMEOUT_NS))
		plan_for(w, e->host, wait_ns, (struct event){.kind = REPLY, .batch = e->batch, .outcome = LEASE_REJECTED});
	else
		plan_for(w, e->host, wait_ns, (struct event){.kind = APPLY, .batch = e->batch});
}

static void apply_and_answer(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	if (e->batch->timeline != w->timeline)
		return;
	apply(w, e->batch);
	if (e->outcome == LEASE_UNKNOWN || e->life != host->life)
		return;
	int64_t after_ns = between(w, 50 * US, 800 * US);
	host->heard_ns = w->now_ns + after_ns;
	plan_for(w, e->host, after_ns, (struct event){.kind = REPLY, .batch = e->batch});
}

/* ---- Connections ------------------------------------------------------------------- */

/* away_ns 0: for as long as chance has it. */
void connection_breaks(struct world *w, uint32_t h, int64_t away_ns) {
	struct host *host = &w->hosts[h];
	bool away = away_ns > 0 || chance(w, w->faults.away);
	if (!host->core || !host->reachable)
		return;
	if (host->under_way)
		core_on_grants(host->core, host_now(w, host), LEASE_UNKNOWN, NULL, 0);
	host->under_way = NULL;
	host->reachable = false;
	core_database_lost(host->core, host_now(w, host));
	if (away && chance(w, 50))
		plan_for(w, h, between(w, 1 * MS, 50 * MS), (struct event){.kind = DOWN});
	if (away_ns == 0)
		away_ns = away ? between(w, 60 * MS, 900 * MS) : between(w, 1 * MS, 150 * MS);
	plan_for(w, h, away_ns + between(w, 0, 50 * MS), (struct event){.kind = UP});
}

/* All hear of it within some milliseconds, in their own time. */
static void all_connections_break(struct world *w, int64_t away_ns) {
	for (uint32_t h = 0; h < w->host_count; h++)
		if (w->hosts[h].core && w->hosts[h].reachable)
			plan_for(w, h, between(w, 0, 5 * MS), (struct event){.kind = LOST, .ns = away_ns});
}

/* ---- The server itself ---------------------------------------------------------------- */

static void change_policy(struct world *w) {
	w->changed_ns = w->now_ns;
	for (uint32_t h = 0; h < w->host_count; h++) {
		struct host *host = &w->hosts[h];
		int64_t at_ns = w->now_ns + between(w, 1 * MS, 50 * MS);
		at_ns = at_ns > host->heard_ns ? at_ns : host->heard_ns + 1;
		if (at_ns > w->settled_ns)
			w->settled_ns = at_ns;
		plan_for(w, h, at_ns - w->now_ns, (struct event){.kind = HEAR, .policy = w->changed});
	}
	watch_limit_changes(w, w->settled_ns + walk_ns(w) + MS);
}

static void replicate(struct world *w) {
	w->standby = w->server;
	if (w->now_ns < w->end_ns)
		plan(w, w->now_ns + between(w, 5 * MS, 150 * MS), (struct event){.kind = REPLICATE});
}

/* The old server is dead before the new one is promoted; what was under way at it has committed or never will. */
static void promote(struct world *w) {
	if (w->faults.loses_commits)
		watch_promotion(w);
	else
		w->standby = w->server;
	w->server = w->standby;
	verdicts_forget(w);
	w->timeline++;
	w->promoted_ns = database_ns(w);
	all_connections_break(w, between(w, 1 * MS, 400 * MS));
}

static void step_clock(struct world *w, int64_t step_us) {
	w->clock_step_us += step_us;
	w->set_back += step_us < 0;
	verdicts_forget(w);
	if (step_us > 0 || w->faults.fixed) /* fixed windows begin anew where the clock is set back to */
		/* one that had read the clock before counts, too */
		watch_limit_changes(w, leases_end_ns(w) + STATEMENT_MAX_NS);
}

void database_on_event(struct world *w, const struct event *e) {
	switch (e->kind) {
	case ARRIVE: arrive(w, e); break;
	case APPLY: apply_and_answer(w, e); break;
	case CHANGE: change_policy(w); break;
	case REPLICATE: replicate(w); break;
	case SERVER_CRASH: all_connections_break(w, between(w, 1 * MS, 600 * MS)); break;
	case PROMOTE: promote(w); break;
	default: step_clock(w, e->ns / US); break; /* STEP */
	}
}
