/* hosts.c - agents: what reaches them, when they are stopped, killed, and started again. */
#include <stdlib.h>
#include <string.h>

#include "world.h"

struct context { /* of a core's callbacks */
	struct world *world;
	uint32_t host;
};

static struct context contexts[HOSTS_MAX];

static void on_take(void *context, int hosts, const struct lease_request *requests, size_t count) {
	const struct context *c = context;
	database_takes(c->world, c->host, hosts, requests, count);
}

/* Who waits, and for what: an app that has given up doesn't know it any more when the answer comes. */
static uint64_t peer_of(const struct event *want) {
	return want->app | (uint64_t)want->cost << 16 | (uint64_t)want->client << 32;
}

static void on_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	const struct context *c = context;
	struct event event = {.kind = VERDICT,
	                      .app = peer & UINT16_MAX,
	                      .cost = peer >> 16 & UINT16_MAX,
	                      .client = (uint32_t)(peer >> 32),
	                      .serial = serial,
	                      .verdict = *verdict};
	verdicts_on_answer(c->world, c->host, event.app, serial, verdict);
	plan_for(c->world, c->host, between(c->world, 5 * US, 300 * US), event);
}

static void on_recall(void *context, const struct lease_recall *recalls, size_t count) {
	const struct context *c = context;
	database_recalls(c->world, recalls, count);
}

void host_start(struct world *w, uint32_t h) {
	static const struct core_io io = {.take = on_take, .verdict = on_verdict, .recall = on_recall};
	struct host *host = &w->hosts[h];
	contexts[h] = (struct context){w, h};
	int64_t idle_timeout_ns = w->faults.long_windows ? 300 * S : 600 * MS;
	struct core_options options = {.grace_ns = 250 * MS,
	                               .idle_timeout_ns = idle_timeout_ns,
	                               .seed = random_next(&w->random),
	                               .walk_slots = w->walk_slots};
	if (core_new(&host->core, &host->table.table, host_now(w, host), &options, &io, &contexts[h]) != 0)
		abort();
	core_set_policy(host->core, host_now(w, host), 0, w->settled_ns ? &w->changed : &w->policy);
	host->wake_ns = INT64_MAX;
	host->timeline = 0;
	plan_for(w, h, between(w, 1 * MS, 50 * MS), (struct event){.kind = UP});
}

/* Until then; an agent that was there for a moment only has not been found by all. */
static void leave(struct world *w, struct host *host, int64_t until_ns) {
	if (w->now_ns - host->there_since_ns >= THERE_NS)
		host->away_since_ns = w->now_ns;
	host->there_since_ns = until_ns;
}

/* An agent says so on its socket when it starts, and twice a second. */
static void note_alive(struct world *w, struct host *host) {
	int64_t there_ns = w->now_ns - host->there_since_ns;
	if (there_ns >= 0)
		host->alive_ns = w->now_ns - between(w, 0, there_ns < 500 * MS ? there_ns : 500 * MS);
}

static void crash(struct world *w, uint32_t h) {
	struct host *host = &w->hosts[h];
	int64_t back_ns = between(w, 1 * MS, w->faults.long_absences ? BACK_NS : 100 * MS);
	note_alive(w, host);
	leave(w, host, w->now_ns + back_ns);
	core_free(host->core);
	host->core = NULL;
	w->kill_ns[w->kill_count++ % KILLS_MAX] = w->now_ns;
	host->kills_ns[host->kills++ % KILLS_MAX] = host_now(w, host);
	host->under_way = NULL;
	host->reachable = false;
	host->life++;
	host->paused_until_ns = 0;
	apps_lose_agent(w, h);
	plan_for(w, h, back_ns, (struct event){.kind = RESTART});
}

/* As agent/sync.c does it. */
static void meet_timeline(struct world *w, struct host *host) {
	int64_t age_ns = database_ns(w) - w->promoted_ns;
	bool is_other = host->timeline != 0 && host->timeline != w->timeline;
	bool is_recent = w->timeline > 1 && age_ns < core_longest_lease_ns(host->core);
	if (is_other || (host->timeline == 0 && is_recent))
		core_database_promoted(host->core, host_now(w, host), age_ns);
	host->timeline = w->timeline;
}

static void connect(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	if (host->reachable)
		return; /* an earlier attempt was made already */
	host->reachable = true;
	meet_timeline(w, host);
	core_database_up(host->core, host_now(w, host), (int)w->host_count);
}

static void reply(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	if (e->batch != host->under_way)
		return; /* the connection is another meanwhile */
	host->under_way = NULL;
	host->heard = e->outcome == LEASE_DONE ? e->batch : NULL;
	core_on_grants(host->core, host_now(w, host), e->outcome, e->batch->grants,
	               e->outcome == LEASE_DONE ? e->batch->count : 0);
	host->heard = NULL;
}

/* After every event of an agent's, as the agent itself does it. */
static void pump(struct world *w, uint32_t h) {
	struct host *host = &w->hosts[h];
	if (!host->core)
		return;
	if (core_state(host->core) < CORE_RESYNC)
		host->apart_ns = w->now_ns;
	core_advance(host->core, host_now(w, host));
	watch_recovery(w, host);
	int64_t next_ns = core_next_ns(host->core);
	if (next_ns == INT64_MAX)
		return;
	int64_t wait_ns = true_ns(next_ns - host_now(w, host), host->rate_ppm);
	int64_t at_ns = w->now_ns + (wait_ns > 0 ? wait_ns + 1 : 1 * US);
	if (at_ns >= host->wake_ns)
		return;
	host->wake_ns = at_ns;
	plan_for(w, h, at_ns - w->now_ns, (struct event){.kind = WAKE, .ns = at_ns});
}

static void handle(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	int64_t now_ns = host_now(w, host);
	char id[16];
	uint8_t id_len = (uint8_t)id_text(id, e->client);
	switch (e->kind) {
	case WANT: core_want(host->core, now_ns, peer_of(e), e->serial, 0, id, id_len, e->cost, now_ns + e->ns); break;
	case PING:
		plan_for(w, e->host, between(w, 5 * US, 300 * US), (struct event){.kind = PONG, .app = e->app});
		break;
	case LOW: core_low(host->core, now_ns, 0, id, id_len); break;
	case REPLY: reply(w, e); break;
	case LOST:
		if (!e->batch || e->batch == host->under_way)
			connection_breaks(w, e->host, e->ns);
		break;
	case DOWN:
		if (!host->reachable)
			core_database_down(host->core, now_ns);
		break;
	case UP: connect(w, e); break;
	case RECALL: core_recall(host->core, now_ns, 0, id, id_len); break;
	case HEAR: core_set_policy(host->core, now_ns, 0, &e->policy); break;
	case CRASH: crash(w, e->host); break;
	case PAUSE:
		if (w->is_calm) /* it was stopped once more, while it was stopped before */
			break;
		leave(w, host, w->now_ns + e->ns);
		host->paused_until_ns = w->now_ns + e->ns;
		host->backlog = 0;
		break;
	default: host->wake_ns = INT64_MAX; break; /* WAKE */
	}
	pump(w, e->host);
}

void host_on_event(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	if (e->kind == RESTART) {
		fake_table_take_over(&host->table);
		host_start(w, e->host);
	} else if (!host->core || e->life != host->life || (e->kind == WAKE && e->ns != host->wake_ns)) {
		return; /* to one that is dead, or wakes earlier by now */
	} else if (w->now_ns < host->paused_until_ns && e->kind != CRASH) {
		plan(w, host->paused_until_ns + ++host->backlog, *e); /* in order */
	} else {
		handle(w, e);
	}
}
