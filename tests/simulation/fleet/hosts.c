/*
 * hosts.c - agents: when their cores are woken and answered, and how they are killed and started again. They are
 * connected to the database all the time, but for what a scenario does.
 */
#include <stdlib.h>

#include "fleet.h"

#define GRACE_NS        (500 * MS) /* as the agent's database_timeout_ms has it, and idle_timeout_s */
#define IDLE_TIMEOUT_NS (300 * S)

/* From the start of a process until it asks the first server for a connection, and the round trips until it is in
 * step then: connecting, the schema, policies, changes. */
#define START_NS    (20 * MS)
#define ROUND_TRIPS 6

struct context { /* of a core's callbacks */
	struct fleet *fleet;
	uint32_t host;
};

static struct context contexts[FLEET_HOSTS_MAX];

static void on_take(void *context, int hosts, const struct lease_request *requests, size_t count) {
	const struct context *c = context;
	c->fleet->hosts[c->host].under_way = server_take(c->fleet, c->host, hosts, requests, count);
}

static void on_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	const struct context *c = context;
	(void)peer;
	check_decided(c->fleet, serial, verdict);
}

static void on_recall(void *context, const struct lease_recall *recalls, size_t count) {
	const struct context *c = context;
	recalls_ask(c->fleet, recalls, count);
}

int host_bit(const struct fleet *f, uint32_t h) {
	return (int)((f->hosts[h].seed >> 56) % GRANT_HOSTS);
}

void host_on_recall(struct fleet *f, uint32_t h, uint32_t client) {
	char id[CLIENT_TEXT_LENGTH];
	check_write_id(id, client);
	core_recall(f->hosts[h].core, f->now_ns, 0, id, CLIENT_TEXT_LENGTH);
	host_pump(f, h);
}

void host_start(struct fleet *f, uint32_t h, bool with_database) {
	static const struct core_io io = {.take = on_take, .verdict = on_verdict, .recall = on_recall};
	const struct scenario *s = &f->scenario;
	struct fleet_host *host = &f->hosts[h];
	host->seed = random_next(&f->chance);
	struct core_options options = {.grace_ns = GRACE_NS, .idle_timeout_ns = IDLE_TIMEOUT_NS, .seed = host->seed};
	struct core_policy policy = {.live = true,
	                             .policy_id = 1,
	                             .time_window_ms = s->window_ms,
	                             .terms = f->terms,
	                             .fallback_terms = f->fallback_terms};
	contexts[h] = (struct context){f, h};
	if (core_new(&host->core, &host->table.table, f->now_ns, &options, &io, &contexts[h]) != 0)
		abort();
	core_set_policy(host->core, f->now_ns, 0, &policy);
	host->wake_ns = INT64_MAX;
	if (with_database)
		core_database_up(host->core, f->now_ns, (int)s->hosts);
	host_pump(f, h);
}

bool host_is_in_step(const struct fleet_host *host) {
	return core_state(host->core) == CORE_IN_STEP && core_uncharged(host->core) == 0;
}

/* When each was in step again: the figures keep the last. */
static void note_state(struct fleet *f, struct fleet_host *host) {
	int64_t took_ns = f->now_ns - host->wanted_ns;
	if (host->wanted_ns == 0 || core_state(host->core) < CORE_RESYNC)
		return;
	if (!host->is_in_reach && took_ns > f->figures.in_reach_ns)
		f->figures.in_reach_ns = took_ns;
	host->is_in_reach = true;
	if (!host_is_in_step(host))
		return;
	if (took_ns > f->figures.in_step_ns)
		f->figures.in_step_ns = took_ns;
	host->wanted_ns = 0;
}

void host_pump(struct fleet *f, uint32_t h) {
	struct fleet_host *host = &f->hosts[h];
	core_advance(host->core, f->now_ns);
	note_state(f, host);
	int64_t next_ns = core_next_ns(host->core);
	if (next_ns == INT64_MAX)
		return;
	int64_t at_ns = next_ns > f->now_ns ? next_ns : f->now_ns + US;
	if (at_ns >= host->wake_ns)
		return;
	host->wake_ns = at_ns;
	fleet_plan(f, at_ns, WAKE, h);
}

void host_on_answer(struct fleet *f, uint32_t h, enum lease_outcome outcome, const struct lease_grant *grants,
                    size_t count) {
	f->hosts[h].under_way = NULL;
	core_on_grants(f->hosts[h].core, f->now_ns, outcome, grants, outcome == LEASE_DONE ? count : 0);
	host_pump(f, h);
}

/* ---- What happens to them -------------------------------------------------------------------- */

static void restart(struct fleet *f, uint32_t h) {
	struct fleet_host *host = &f->hosts[h];
	if (host->under_way)
		server_forget(host->under_way);
	host->under_way = NULL;
	core_free(host->core);
	fake_table_take_over(&host->table);
	host->wanted_ns = f->now_ns;
	host->is_in_reach = false;
	host->life++;
	host_start(f, h, false);
	fleet_plan(f, f->now_ns + START_NS + ROUND_TRIPS * f->scenario.rtt_us * US, MEET, h);
}

static void lose_database(struct fleet *f, uint32_t h) {
	struct fleet_host *host = &f->hosts[h];
	if (host->under_way) {
		server_forget(host->under_way);
		host->under_way = NULL;
		core_on_grants(host->core, f->now_ns, LEASE_UNKNOWN, NULL, 0);
	}
	core_database_lost(host->core, f->now_ns);
	fleet_plan(f, f->now_ns + 100 * MS, MISS, h);
}

static void meet_database(struct fleet *f, uint32_t h) {
	struct fleet_host *host = &f->hosts[h];
	if (host->wanted_ns == 0)
		host->wanted_ns = f->now_ns;
	core_database_up(host->core, f->now_ns, (int)f->scenario.hosts);
}

void host_on_event(struct fleet *f, enum fleet_event kind, uint32_t h) {
	struct fleet_host *host = &f->hosts[h];
	if (kind == WAKE && host->wake_ns > f->now_ns)
		return; /* it was woken earlier, and wants to be later now */
	switch (kind) {
	case WAKE: host->wake_ns = INT64_MAX; break;
	case RESTART: restart(f, h); return;
	case LOSE: lose_database(f, h); break;
	case MISS: core_database_down(host->core, f->now_ns); break;
	default: meet_database(f, h); break; /* MEET */
	}
	host_pump(f, h);
}
