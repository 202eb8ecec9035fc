/*
 * simulation.h - several hosts, each with a real core and a table in ordinary memory, over
 * one database that is grant.c's arithmetic, all in one thread under a virtual clock.
 * Apps spend from the tables by the rules of lib/layout.h. Everything that happens is an
 * event in a heap, and all chance comes from one seed: the same seed, the same run.
 *
 * Each host's monotonic clock is the true time plus an offset of its own, and the
 * database's clock is another: a time that is taken for somebody else's shows at once.
 */
#ifndef SIMULATION_H
#define SIMULATION_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "fake_table.h"
#include "core/heap.h"
#include "random.h"
#include "stint.h"

#define US INT64_C(1000)
#define MS INT64_C(1000000)
#define S  INT64_C(1000000000)

#define HOSTS_MAX   4
#define APPS_MAX    8
#define CLIENTS_MAX 128
#define EPOCH_US    INT64_C(1700000000000000) /* of the database's clock */

/* What may happen in a run, each in percent of the chances there are. */
struct profile {
	const char *name;
	uint32_t lost;      /* batches whose answer is lost, applied or not */
	uint32_t rejected;  /* batches that the database refuses */
	uint32_t away;      /* lost connections that stay away for longer than the grace */
	uint32_t crashes;   /* of an agent, in a run */
	bool crowded;       /* far more clients than slots */
	bool relaxed;
	bool fixed;
	bool policy_changes;
	bool slow;          /* the database stalls now and then, for longer than a sub-window */
};

struct admission {
	int64_t at_ns; /* true time */
	uint32_t client, cost, host;
	uint8_t source;
	int64_t fallback_since_ns; /* of the host at that time; 0: not in fallback */
};

struct batch {
	struct batch *next; /* all of a run, for freeing */
	size_t count;
	struct lease_request requests[CORE_BATCH_MAX];
	char ids[CORE_BATCH_MAX][16];
	struct lease_grant grants[CORE_BATCH_MAX];
	int64_t t_us; /* read when the statement arrived, before it waited for rows */
	int hosts;
	bool applied;
};

enum event_kind {
	THINK, WANT, LOW, VERDICT, GIVE_UP, /* apps */
	ARRIVE, APPLY, REPLY, LOST, DOWN, UP, /* the database, as a host meets it */
	WAKE, HEAR, CRASH, RESTART, /* agents */
	CHANGE, /* of the policy */
};

struct event {
	enum event_kind kind;
	uint32_t host, app, serial, client, cost;
	uint32_t life; /* of the agent: what was under way for one that is dead is void */
	struct core_verdict verdict;
	struct batch *batch;
	enum lease_outcome outcome;
	struct core_policy policy;
};

struct app {
	uint32_t serial; /* of the check that waits; 0: none */
	uint32_t client, cost;
	int64_t asked_ns;
	int64_t pace_ns;
};

struct host {
	struct fake_table table;
	struct core *core; /* NULL: the agent is dead */
	struct app apps[APPS_MAX];
	int64_t offset_ns;
	int64_t wake_ns;
	int64_t heard_ns; /* when the last answer arrives: what follows on the connection comes no earlier */
	uint32_t life;
	bool reachable;
	struct batch *under_way;
};

struct world {
	struct profile profile;
	uint64_t random;
	int64_t now_ns, end_ns;
	struct heap agenda;
	struct batch *batches;
	struct event *events;
	size_t event_count, event_room;
	uint32_t free_events[1 << 14];
	size_t free_count;
	size_t steps;
	struct core_policy policy, changed;
	int64_t changed_ns; /* from then on the second holds in the database; 0: never */
	int64_t settled_ns; /* and everybody knows */
	int64_t phase_us[CLIENTS_MAX];
	struct grant_ring rings[CLIENTS_MAX];
	struct host hosts[HOSTS_MAX];
	uint32_t host_count, app_count, client_count;
	struct admission *admissions;
	size_t admission_count, admission_room;
	uint32_t serial;
	uint64_t checks, timeouts, asked;
	int64_t longest_wait_ns;
	char trouble[256];
};

struct context { /* of a core's callbacks */
	struct world *world;
	uint32_t host;
};

static inline uint32_t chance(struct world *w, uint32_t percent) {
	return random_below(&w->random, 100) < percent;
}

static inline int64_t between(struct world *w, int64_t low, int64_t high) {
	return low + (int64_t)(random_unit(&w->random) * (double)(high - low));
}

static inline int64_t host_now(const struct world *w, const struct host *host) {
	return w->now_ns + host->offset_ns;
}

static inline int64_t database_us(const struct world *w) {
	return EPOCH_US + w->now_ns / US;
}

static inline size_t id_text(char text[static 16], uint32_t client) {
	return (size_t)snprintf(text, 16, "client-%u", client);
}

static inline void *grown(void *array, size_t *room, size_t size) {
	*room = *room ? *room * 2 : 1024;
	array = realloc(array, *room * size);
	if (!array)
		abort();
	return array;
}

static inline void plan(struct world *w, int64_t at_ns, struct event event) {
	uint32_t index;
	if (w->free_count > 0) {
		index = w->free_events[--w->free_count];
	} else {
		if (w->event_count == w->event_room)
			w->events = grown(w->events, &w->event_room, sizeof *w->events);
		index = (uint32_t)w->event_count++;
	}
	w->events[index] = event;
	if (heap_push(&w->agenda, at_ns, index) != 0)
		abort();
}

static inline void plan_for(struct world *w, uint32_t host, int64_t after_ns, struct event event) {
	event.host = host;
	event.life = w->hosts[host].life;
	plan(w, w->now_ns + after_ns, event);
}

/* ---- Apps ------------------------------------------------------------------------- */

static inline void admit(struct world *w, uint32_t host, uint32_t client, uint32_t cost, uint8_t source) {
	if (w->admission_count == w->admission_room)
		w->admissions = grown(w->admissions, &w->admission_room, sizeof *w->admissions);
	const struct core *core = w->hosts[host].core;
	w->admissions[w->admission_count++] = (struct admission){
		.at_ns = w->now_ns, .client = client, .cost = cost, .host = host, .source = source,
		.fallback_since_ns = core ? core_fallback_since_ns(core) : 0,
	};
}

static inline void think(struct world *w, uint32_t host, uint32_t app) {
	int64_t pace_ns = w->hosts[host].apps[app].pace_ns;
	plan(w, w->now_ns + between(w, pace_ns / 4, pace_ns * 7 / 4), (struct event){.kind = THINK, .host = host, .app = app});
}

static inline void ask(struct world *w, uint32_t h, uint32_t a) {
	struct host *host = &w->hosts[h];
	struct app *app = &host->apps[a];
	if (!host->core) {
		think(w, h, a);
		return;
	}
	app->serial = ++w->serial;
	app->asked_ns = w->now_ns;
	w->asked++;
	struct event event = {.app = a, .serial = app->serial, .client = app->client, .cost = app->cost};
	event.kind = WANT;
	plan_for(w, h, between(w, 5 * US, 300 * US), event);
	event.kind = GIVE_UP;
	plan_for(w, h, 3 * S, event);
}

static inline void check(struct world *w, uint32_t h, uint32_t a) {
	struct host *host = &w->hosts[h];
	struct app *app = &host->apps[a];
	char id[16];
	if (w->now_ns >= w->end_ns)
		return;
	w->checks++;
	/* Half of all checks are of two clients: some are hot, most are not. */
	app->client = random_below(&w->random, chance(w, 50) && w->client_count > 2 ? 2 : w->client_count);
	app->cost = chance(w, 80) ? 1 : 1 + random_below(&w->random, 3);
	struct app_decision d = app_decides(&host->table, 0, id, id_text(id, app->client), app->cost, host_now(w, host));
	if (d.verdict == APP_ASKS) {
		ask(w, h, a);
		return;
	}
	if (d.verdict == APP_ALLOWED)
		admit(w, h, app->client, app->cost, d.fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE);
	if (d.fallback && host->core && (core_state(host->core) == CORE_RESYNC || core_state(host->core) == CORE_IN_STEP))
		snprintf(w->trouble, sizeof w->trouble, "host %u still has credits of the fallback", h);
	if (d.low)
		plan_for(w, h, between(w, 5 * US, 300 * US), (struct event){.kind = LOW, .client = app->client});
	think(w, h, a);
}

static inline void on_verdict(struct world *w, const struct event *e) {
	struct app *app = &w->hosts[e->host].apps[e->app];
	if (app->serial != e->serial)
		return; /* given up meanwhile: burnt */
	app->serial = 0;
	if (w->now_ns - app->asked_ns > w->longest_wait_ns)
		w->longest_wait_ns = w->now_ns - app->asked_ns;
	if (e->verdict.status == 0 && e->verdict.allowed && host_now(w, &w->hosts[e->host]) < e->verdict.deadline_ns)
		admit(w, e->host, app->client, app->cost, e->verdict.source);
	think(w, e->host, e->app);
}

static inline void on_give_up(struct world *w, const struct event *e) {
	struct app *app = &w->hosts[e->host].apps[e->app];
	if (app->serial != e->serial)
		return;
	app->serial = 0;
	w->timeouts++;
	think(w, e->host, e->app);
}

/* ---- The database --------------------------------------------------------------------- */

static inline void check_ring(struct world *w, const struct grant_ring *ring, const struct grant_terms *terms) {
	if (w->changed_ns)
		return; /* counts of the old limit may exceed the new one */
	for (int i = 0; i < ring->length; i++) {
		int64_t sum = 0;
		for (int k = i; k <= i + terms->runs && k < ring->length; k++)
			sum += ring->counts[k];
		if (sum > terms->max_requests)
			snprintf(w->trouble, sizeof w->trouble, "the books hold %lld in a window", (long long)sum);
	}
}

static inline void apply(struct world *w, struct batch *batch) {
	const struct grant_terms *policy = w->changed_ns ? &w->changed.terms : &w->policy.terms;
	for (size_t i = 0; i < batch->count; i++) {
		uint32_t client = (uint32_t)atoi(batch->ids[i] + strlen("client-"));
		struct grant_terms terms = *policy;
		terms.phase_us = w->phase_us[client] * (w->changed_ns ? 7 : 1) % terms.sub_window_us;
		grant_take(&w->rings[client], &terms, &batch->requests[i], batch->t_us, batch->hosts, &batch->grants[i]);
		check_ring(w, &w->rings[client], &terms);
	}
	batch->applied = true;
}

static inline void core_takes(void *context, int hosts, const struct lease_request *requests, size_t count) {
	const struct context *c = context;
	struct world *w = c->world;
	struct host *host = &w->hosts[c->host];
	struct batch *batch = malloc(sizeof *batch); /* large: what is not used isn't touched */
	assert(batch && !host->under_way && host->reachable && count <= CORE_BATCH_MAX);
	batch->next = w->batches;
	w->batches = batch;
	batch->count = count;
	batch->hosts = hosts;
	batch->applied = false;
	memcpy(batch->requests, requests, count * sizeof *requests);
	for (size_t i = 0; i < count; i++)
		snprintf(batch->ids[i], sizeof batch->ids[i], "%.*s", requests[i].client_id_len, requests[i].client_id);
	host->under_way = batch;
	plan_for(w, c->host, between(w, 50 * US, 800 * US), (struct event){.kind = ARRIVE, .batch = batch});
}

/* The statement has arrived: what becomes of it? */
static inline void on_arrive(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	bool alive = e->life == host->life;
	int64_t wait_ns = chance(w, 10) ? between(w, 0, 20 * MS) : between(w, 0, 500 * US);
	if (w->profile.slow && chance(w, 2))
		wait_ns = between(w, 50 * MS, 400 * MS);
	e->batch->t_us = database_us(w);
	if (alive && chance(w, w->profile.lost)) { /* and perhaps applied only after the agent has given it up */
		if (chance(w, 60))
			plan_for(w, e->host, between(w, 0, 200 * MS), (struct event){.kind = APPLY, .batch = e->batch, .outcome = LEASE_UNKNOWN});
		plan_for(w, e->host, between(w, 1 * MS, 100 * MS), (struct event){.kind = LOST, .batch = e->batch});
		return;
	}
	if (alive && chance(w, w->profile.rejected))
		plan_for(w, e->host, wait_ns, (struct event){.kind = REPLY, .batch = e->batch, .outcome = LEASE_REJECTED});
	else
		plan_for(w, e->host, wait_ns, (struct event){.kind = APPLY, .batch = e->batch});
}

static inline void on_apply(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	apply(w, e->batch);
	if (e->outcome == LEASE_UNKNOWN || e->life != host->life)
		return;
	int64_t after_ns = between(w, 50 * US, 800 * US);
	host->heard_ns = w->now_ns + after_ns;
	plan_for(w, e->host, after_ns, (struct event){.kind = REPLY, .batch = e->batch});
}

static inline void on_reply(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	host->under_way = NULL;
	core_on_grants(host->core, host_now(w, host), e->outcome, e->batch->grants, e->outcome == LEASE_DONE ? e->batch->count : 0);
}

static inline void on_lost(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	bool away = chance(w, w->profile.away);
	host->under_way = NULL;
	host->reachable = false;
	core_on_grants(host->core, host_now(w, host), LEASE_UNKNOWN, NULL, 0);
	core_database_lost(host->core, host_now(w, host));
	if (away && chance(w, 50))
		plan_for(w, e->host, between(w, 1 * MS, 50 * MS), (struct event){.kind = DOWN});
	plan_for(w, e->host, away ? between(w, 60 * MS, 900 * MS) : between(w, 1 * MS, 150 * MS), (struct event){.kind = UP});
}

/* ---- Agents ----------------------------------------------------------------------------- */

static inline void core_tells(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	const struct context *c = context;
	plan_for(c->world, c->host, between(c->world, 5 * US, 300 * US),
	         (struct event){.kind = VERDICT, .app = (uint32_t)peer, .serial = serial, .verdict = *verdict});
}

static inline void start_agent(struct world *w, uint32_t h) {
	static struct context contexts[HOSTS_MAX];
	static const struct core_io io = {core_takes, core_tells};
	struct host *host = &w->hosts[h];
	contexts[h] = (struct context){w, h};
	struct core_options options = {.grace_ns = 250 * MS, .idle_timeout_ns = 600 * MS, .seed = random_next(&w->random)};
	if (core_new(&host->core, &host->table.table, host_now(w, host), &options, &io, &contexts[h]) != 0)
		abort();
	core_set_policy(host->core, host_now(w, host), 0, w->settled_ns ? &w->changed : &w->policy);
	host->wake_ns = INT64_MAX;
	plan_for(w, h, between(w, 1 * MS, 50 * MS), (struct event){.kind = UP});
}

static inline void on_crash(struct world *w, uint32_t h) {
	struct host *host = &w->hosts[h];
	core_free(host->core);
	host->core = NULL;
	host->under_way = NULL;
	host->reachable = false;
	host->life++;
	for (uint32_t a = 0; a < w->app_count; a++)
		if (host->apps[a].serial) { /* the connection broke */
			host->apps[a].serial = 0;
			think(w, h, a);
		}
	plan_for(w, h, between(w, 1 * MS, 100 * MS), (struct event){.kind = RESTART});
}

static inline void on_change(struct world *w) {
	w->changed_ns = w->now_ns;
	for (uint32_t h = 0; h < w->host_count; h++) {
		struct host *host = &w->hosts[h];
		int64_t at_ns = w->now_ns + between(w, 1 * MS, 50 * MS);
		at_ns = at_ns > host->heard_ns ? at_ns : host->heard_ns + 1;
		if (at_ns > w->settled_ns)
			w->settled_ns = at_ns;
		plan_for(w, h, at_ns - w->now_ns, (struct event){.kind = HEAR, .policy = w->changed});
	}
}

/* After every event of an agent's, as the agent itself does it. */
static inline void pump(struct world *w, uint32_t h) {
	struct host *host = &w->hosts[h];
	if (!host->core)
		return;
	core_advance(host->core, host_now(w, host));
	int64_t next_ns = core_next_ns(host->core);
	if (next_ns == INT64_MAX)
		return;
	int64_t at_ns = next_ns - host->offset_ns;
	at_ns = at_ns > w->now_ns ? at_ns + 1 : w->now_ns + 1 * US;
	if (at_ns >= host->wake_ns)
		return;
	host->wake_ns = at_ns;
	plan_for(w, h, at_ns - w->now_ns, (struct event){.kind = WAKE});
}

static inline void at_agent(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	int64_t now_ns = host_now(w, host);
	char id[16];
	uint8_t id_len = (uint8_t)id_text(id, e->client);
	switch (e->kind) {
	case WANT:
		core_want(host->core, now_ns, e->app, e->serial, 0, id, id_len, e->cost, now_ns + 3 * S);
		break;
	case LOW: core_low(host->core, now_ns, 0, id, id_len); break;
	case REPLY: on_reply(w, e); break;
	case LOST: on_lost(w, e); break;
	case DOWN: core_database_down(host->core, now_ns); break;
	case UP:
		host->reachable = true;
		core_database_up(host->core, now_ns, (int)w->host_count);
		break;
	case HEAR: core_set_policy(host->core, now_ns, 0, &e->policy); break;
	case CRASH: on_crash(w, e->host); break;
	default: host->wake_ns = INT64_MAX; break;
	}
	pump(w, e->host);
}

static inline void dispatch(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	switch (e->kind) {
	case THINK: check(w, e->host, e->app); return;
	case VERDICT: if (e->life == host->life) on_verdict(w, e); return;
	case GIVE_UP: on_give_up(w, e); return;
	case ARRIVE: on_arrive(w, e); return;
	case APPLY: on_apply(w, e); return;
	case CHANGE: on_change(w); return;
	case RESTART:
		fake_table_take_over(&host->table);
		start_agent(w, e->host);
		return;
	default: break;
	}
	if (host->core && e->life == host->life)
		at_agent(w, e);
}

static inline void run(struct world *w) {
	uint32_t index;
	/* Some time after the end, for whoever still waits. */
	for (int64_t at_ns; (at_ns = heap_next_ns(&w->agenda)) < w->end_ns + 10 * S && w->trouble[0] == 0;) {
		heap_pop_due(&w->agenda, at_ns, &index);
		struct event event = w->events[index];
		w->now_ns = at_ns;
		if (w->free_count < sizeof w->free_events / sizeof w->free_events[0])
			w->free_events[w->free_count++] = index;
		dispatch(w, &event);
		if (++w->steps > 4000000)
			snprintf(w->trouble, sizeof w->trouble, "an agent never rests");
	}
}

#endif
