/* apps.c - processes that check: from the table, or by way of the agent. */
#include <string.h>

#include "world.h"

#define PROBE_APP APPS_MAX /* as the peer of a verdict */

/* The next time at which some clock may say that leases of the client end, or begin, and another one that they don't. */
static int64_t edge_ns(struct world *w, uint32_t client) {
	const struct grant_terms *terms = &policy_in_force(w)->terms;
	const struct grant_ring *ring = &w->server.rings[client];
	int64_t size_us = terms->sub_window_us, phase_us = ring->sub_window_us == size_us ? ring->head_us : w->phase_us[client];
	int64_t to_edge_ns = (size_us - (database_us(w) - phase_us) % size_us) * US;
	int64_t doubt_ns = size_us * US / 2000, slack_ns = terms->slack_us * US / 2;
	int64_t at_ns = to_edge_ns + (chance(w, 50) ? slack_ns : -slack_ns) + between(w, -doubt_ns, doubt_ns);
	return w->now_ns + (at_ns > 0 ? true_ns(at_ns, w->rate_ppm) : 0);
}

void app_think(struct world *w, uint32_t h, uint32_t a) {
	struct app *app = &w->hosts[h].apps[a];
	int64_t at_ns = w->now_ns + between(w, app->pace_ns / 4, app->pace_ns * 7 / 4);
	if (app->burst > 0) {
		app->burst--;
		at_ns = w->now_ns + between(w, 0, 1 * MS);
	} else if (w->faults.long_windows && chance(w, 50)) {
		int64_t to_ns = edge_ns(w, app->client);
		if (to_ns - w->now_ns < 4 * S) { /* by then, who holds nothing but what nobody uses has returned it */
			at_ns = to_ns;
			app->burst = random_below(&w->random, 40);
		}
	}
	plan(w, at_ns, (struct event){.kind = THINK, .host = h, .app = a});
}

/* A datagram to the agent: some microseconds; perhaps twice. */
static void send(struct world *w, uint32_t host, struct event event) {
	plan_for(w, host, between(w, 5 * US, 300 * US), event);
	if (chance(w, w->faults.duplicated))
		plan_for(w, host, between(w, 5 * US, 5 * MS), event);
}

static void ask(struct world *w, uint32_t h, uint32_t a) {
	struct host *host = &w->hosts[h];
	struct app *app = &host->apps[a];
	if (!host->core) {
		app_think(w, h, a);
		return;
	}
	app->serial = ++w->serial;
	app->asked_ns = w->now_ns;
	w->asked++;
	struct event event = {.kind = WANT, .app = a, .serial = app->serial, .client = app->client, .cost = app->cost};
	send(w, h, event);
	event.kind = GIVE_UP;
	plan_for(w, h, PATIENCE_NS, event);
	if (chance(w, w->faults.app_deaths)) { /* another process takes its place; the answer finds nobody */
		app->serial = 0;
		app_think(w, h, a);
	}
}

/* `at_ns` is when the process read its clock: it may have been stopped since then. */
static void decide(struct world *w, uint32_t h, uint32_t a, int64_t at_ns) {
	struct host *host = &w->hosts[h];
	struct app *app = &host->apps[a];
	char id[16];
	struct app_decision d = app_decides(&host->table, 0, id, id_text(id, app->client), app->cost, host_now(w, host) - (w->now_ns - at_ns));
	if (d.verdict == APP_ASKS) {
		ask(w, h, a);
		return;
	}
	if (d.fallback && host->core && core_state(host->core) >= CORE_RESYNC && !core_is_walking(host->core))
		complain(w, "host %u still has credits of the fallback", h);
	bool is_late = host_now(w, host) >= d.until_ns;
	if (d.verdict == APP_ALLOWED && !is_late && !chance(w, w->faults.app_deaths))
		watch_admission(w, h, app->client, app->cost, d.fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE, d.until_ns);
	if (d.low && !chance(w, w->faults.dropped))
		send(w, h, (struct event){.kind = LOW, .client = app->client});
	app_think(w, h, a);
}

static void check(struct world *w, uint32_t h, uint32_t a) {
	struct app *app = &w->hosts[h].apps[a];
	if (w->now_ns >= w->end_ns)
		return;
	w->checks++;
	/* Half of all checks are of two clients: some are hot, most are not. */
	if (app->burst == 0)
		app->client = random_below(&w->random, chance(w, 50) && w->client_count > 2 ? 2 : w->client_count);
	app->cost = chance(w, 80) ? 1 : 1 + random_below(&w->random, COST_MAX);
	if (chance(w, w->faults.app_pauses))
		plan(w, w->now_ns + between(w, 0, 400 * MS), (struct event){.kind = DECIDE, .host = h, .app = a, .ns = w->now_ns});
	else
		decide(w, h, a, w->now_ns);
}

static void hear(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	struct app *app = &host->apps[e->app];
	if (e->life != host->life || app->serial != e->serial)
		return; /* given up meanwhile: burnt */
	app->serial = 0;
	watch_wait(w, w->now_ns - app->asked_ns);
	if (e->verdict.status != 0 && !w->short_of_memory)
		complain(w, "host %u answers a check with error %d", e->host, e->verdict.status);
	if (e->verdict.allowed && host_now(w, host) < e->verdict.deadline_ns)
		watch_admission(w, e->host, app->client, app->cost, e->verdict.source, e->verdict.deadline_ns);
	app_think(w, e->host, e->app);
}

static void give_up(struct world *w, const struct event *e) {
	struct app *app = &w->hosts[e->host].apps[e->app];
	if (app->serial != e->serial)
		return;
	app->serial = 0;
	w->timeouts++;
	complain(w, "host %u did not answer a check of client %u", e->host, app->client);
	app_think(w, e->host, e->app);
}

/* The connection broke: who waited decides by itself, and goes on. */
void apps_lose_agent(struct world *w, uint32_t h) {
	for (uint32_t a = 0; a < w->app_count; a++)
		if (w->hosts[h].apps[a].serial) {
			w->hosts[h].apps[a].serial = 0;
			app_think(w, h, a);
		}
}

/* One more client for each host, when all faults are over and a window has passed: it must be admitted. */
void app_probe(struct world *w, uint32_t h) {
	plan_for(w, h, 0, (struct event){.kind = WANT, .app = PROBE_APP, .serial = ++w->serial, .client = h, .cost = 1});
}

void app_on_event(struct world *w, const struct event *e) {
	switch (e->kind) {
	case THINK: check(w, e->host, e->app); break;
	case DECIDE: decide(w, e->host, e->app, e->ns); break;
	case GIVE_UP: give_up(w, e); break;
	default:
		if (e->app == PROBE_APP)
			watch_probe(w, e->host, &e->verdict);
		else
			hear(w, e);
		break;
	}
}
