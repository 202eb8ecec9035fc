/* apps.c - processes that check: from the table, or by way of the agent, which they wait for and miss as
 * lib/absence.h has it. */
#include <string.h>

#include "world.h"

#define PROBE_APP APPS_MAX /* as the peer of a verdict */

/* Of looking for an agent that isn't there. */
#define LOOK_NS    (50 * MS)
#define SILENCE_NS (1 * S)

/* The next time at which some clock may say that leases of the client end, or begin, and another one that they
 * don't. */
static int64_t edge_ns(struct world *w, uint32_t client) {
	const struct grant_terms *terms = &policy_in_force(w)->terms;
	const struct grant_ring *ring = &w->server.rings[client];
	int64_t size_us = terms->sub_window_us,
			phase_us = ring->sub_window_us == size_us ? ring->current_us : w->phase_us[client];
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

static uint64_t clock_of(const struct world *w) {
	return (uint64_t)w->now_ns;
}

void app_start(struct world *w, uint32_t h, uint32_t a) {
	struct app *app = &w->hosts[h].apps[a];
	app->pace_ns = between(w, 500 * US, chance(w, 50) ? 2 * MS : 30 * MS) * (w->faults.long_windows ? 300 : 1);
	app->timeout_ns = a % 2 ? between(w, 5 * MS, 400 * MS) : PATIENCE_NS;
	/* It has been welcomed once. One that never found an agent may decide by itself: the exception that stint.h
	 * names. */
	absence_found(&app->absence, clock_of(w));
	absence_end(&app->absence);
	app_think(w, h, a);
}

/* The check goes on without an answer of the agent's. */
static void decide_alone(struct world *w, uint32_t h, uint32_t a) {
	struct app *app = &w->hosts[h].apps[a];
	app->serial = 0;
	if (absence_grace_left_ns(&app->absence, clock_of(w)) == 0)
		watch_alone(w, h, app->client);
	app_think(w, h, a);
}

/* An agent that isn't stopped says WELCOME at once, whatever its database does. */
static void connect_to(const struct world *w, const struct host *host, struct app *app) {
	absence_found(&app->absence, clock_of(w));
	if (host->paused_until_ns <= w->now_ns)
		absence_end(&app->absence);
	app->life = host->life;
}

/* On the present connection or, if the agent listens, the next one. */
static void look_for_agent(struct world *w, uint32_t h, uint32_t a) {
	struct host *host = &w->hosts[h];
	struct app *app = &host->apps[a];
	if (host->core) {
		if (app->life != host->life)
			connect_to(w, host, app);

		send(w, h,
		     (struct event){.kind = WANT,
		                    .app = a,
		                    .serial = app->serial,
		                    .client = app->client,
		                    .cost = app->cost,
		                    .ns = app->asked_ns + app->timeout_ns - w->now_ns});
		return;
	}
	absence_recall(&app->absence, (uint64_t)host->alive_ns, clock_of(w));
	absence_note(&app->absence, clock_of(w));
	if (absence_is_waited_for(&app->absence, (uint64_t)app->timeout_ns, clock_of(w)))
		plan(w, w->now_ns + between(w, MS, LOOK_NS),
		     (struct event){.kind = LOOK, .host = h, .app = a, .serial = app->serial});
	else
		decide_alone(w, h, a);
}

static void ask(struct world *w, uint32_t h, uint32_t a) {
	struct app *app = &w->hosts[h].apps[a];
	if (app->life && w->now_ns < app->silent_until_ns) {
		decide_alone(w, h, a);
		return;
	}
	app->serial = ++w->serial;
	app->asked_ns = w->now_ns;
	w->asked++;
	plan(w, w->now_ns + app->timeout_ns,
	     (struct event){.kind = GIVE_UP, .host = h, .app = a, .serial = app->serial});
	look_for_agent(w, h, a);
	if (!app->serial)
		return;
	if (chance(w, w->faults.app_deaths)) { /* another process takes its place; the answer finds nobody */
		app->serial = 0;
		app_think(w, h, a);
	}
}

static enum stint_source source_of(bool fallback) {
	return fallback ? STINT_SOURCE_FALLBACK : STINT_SOURCE_LEASE;
}

/* The process was admitted by the table. It uses that, or gives it back after some time: see stint_refund(). */
static void use(struct world *w, uint32_t h, const struct app *app, const struct app_decision *d) {
	if (d->part > 0 || !chance(w, w->faults.refunds)) {
		if (d->part > 0)
			watch_admission(w, h, app->client, d->part, source_of(d->part_fallback), d->part_until_ns);
		watch_admission(w, h, app->client, app->cost - d->part, source_of(d->fallback), d->until_ns);
		return;
	}
	watch_burnt(w, h, app->client, app->cost);
	plan(w, w->now_ns + between(w, 0, chance(w, 90) ? 1 * MS : 300 * MS),
	     (struct event){.kind = REFUND,
	                    .host = h,
	                    .client = app->client,
	                    .cost = app->cost,
	                    .slot = d->slot,
	                    .bank = (uint32_t)d->bank,
	                    .found = d->found});
}

static void refund(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	char id[16];
	if (app_find(&host->table, 0, id, id_text(id, e->client)) == e->slot)
		app_puts_back(&host->table.table.slots[e->slot], (int)e->bank, e->found, e->cost);
}

/* `at_ns` is when the process read its clock: it may have been stopped since then. */
static void decide(struct world *w, uint32_t h, uint32_t a, int64_t at_ns) {
	struct host *host = &w->hosts[h];
	struct app *app = &host->apps[a];
	char id[16];
	struct app_decision d = app_decides(&host->table, 0, id, id_text(id, app->client), app->cost,
	                                    host_now(w, host) - (w->now_ns - at_ns));
	if (d.verdict == APP_ASKS) {
		ask(w, h, a);
		return;
	}
	if ((d.fallback || (d.part > 0 && d.part_fallback)) && host->core && core_state(host->core) >= CORE_RESYNC &&
	    !core_is_walking(host->core))
		complain(w, "host %u still has credits of the fallback", h);
	bool is_late = host_now(w, host) >= d.until_ns || (d.part > 0 && host_now(w, host) >= d.part_until_ns);
	if (d.verdict == APP_ALLOWED && !is_late && !chance(w, w->faults.app_deaths))
		use(w, h, app, &d);
	if (d.verdict == APP_DENIED)
		verdicts_on_denial(w, h, app->client, app->cost, false);
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
		plan(w, w->now_ns + between(w, 0, 400 * MS),
		     (struct event){.kind = DECIDE, .host = h, .app = a, .ns = w->now_ns});
	else
		decide(w, h, a, w->now_ns);
}

static void hear_anything(const struct world *w, struct app *app) {
	absence_end(&app->absence);
	app->heard_ns = w->now_ns;
	app->silent_until_ns = 0;
}

static void hear(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	struct app *app = &host->apps[e->app];
	if (e->life != host->life)
		return; /* of an agent that is dead: burnt */
	hear_anything(w, app);
	bool was_given_up = app->serial != e->serial;
	if (was_given_up && e->verdict.allowed)
		watch_burnt(w, e->host, e->client, e->cost);
	if (was_given_up)
		return;
	app->serial = 0;
	watch_wait(w, w->now_ns - (app->asked_ns > host->there_since_ns ? app->asked_ns : host->there_since_ns));
	if (e->verdict.status != 0 && !w->short_of_memory)
		complain(w, "host %u answers a check with error %d", e->host, e->verdict.status);
	if (e->verdict.allowed && host_now(w, host) < e->verdict.deadline_ns)
		watch_admission(w, e->host, app->client, app->cost, e->verdict.source, e->verdict.deadline_ns);
	else if (e->verdict.allowed)
		watch_burnt(w, e->host, app->client, app->cost);
	app_think(w, e->host, e->app);
}

static void give_up(struct world *w, const struct event *e) {
	struct host *host = &w->hosts[e->host];
	struct app *app = &host->apps[e->app];
	if (app->serial != e->serial)
		return;
	w->timeouts++;
	if (host->core && w->now_ns - host->there_since_ns >= PATIENCE_NS && app->timeout_ns == PATIENCE_NS)
		complain(w, "host %u did not answer a check of client %u", e->host, app->client);
	if (app->life && app->heard_ns < app->asked_ns) {
		absence_note(&app->absence, clock_of(w));
		plan_for(w, e->host, between(w, 5 * US, 300 * US), (struct event){.kind = PING, .app = e->app});
		app->silent_until_ns = w->now_ns + SILENCE_NS;
	}
	decide_alone(w, e->host, e->app);
}

/* The connections broke: who waits, waits for the next one. */
void apps_lose_agent(struct world *w, uint32_t h) {
	for (uint32_t a = 0; a < w->app_count; a++) {
		struct app *app = &w->hosts[h].apps[a];
		if (app->life)
			absence_begin(&app->absence, clock_of(w));
		app->life = 0;
		app->silent_until_ns = 0;
		if (app->serial)
			look_for_agent(w, h, a);
	}
}

/* One more client for each host, when all faults are over and a window has passed: it must be admitted. */
void app_probe(struct world *w, uint32_t h) {
	watch_recovered(w, h);
	plan_for(w, h, 0,
	         (struct event){.kind = WANT,
	                        .app = PROBE_APP,
	                        .serial = ++w->serial,
	                        .client = h,
	                        .cost = 1,
	                        .ns = PATIENCE_NS});
}

void app_on_event(struct world *w, const struct event *e) {
	switch (e->kind) {
	case THINK: check(w, e->host, e->app); break;
	case REFUND: refund(w, e); break;
	case DECIDE: decide(w, e->host, e->app, e->ns); break;
	case GIVE_UP: give_up(w, e); break;
	case PONG:
		if (e->life == w->hosts[e->host].life)
			hear_anything(w, &w->hosts[e->host].apps[e->app]);
		break;
	case LOOK:
		if (w->hosts[e->host].apps[e->app].serial == e->serial)
			look_for_agent(w, e->host, e->app);
		break;
	default:
		if (e->app == PROBE_APP)
			watch_probe(w, e->host, &e->verdict);
		else
			hear(w, e);
		break;
	}
}
