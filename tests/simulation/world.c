/* world.c - a world is made from its seed; its events happen one after the other; it ends. */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN_NS  (10 * S)
#define LASTS_NS  (3 * S)
#define STEPS_MAX 4000000u

size_t id_text(char text[static 16], uint32_t client) {
	return (size_t)snprintf(text, 16, "client-%u", client);
}

/* ---- The agenda ------------------------------------------------------------------------ */

static uint32_t new_event(struct world *w) {
	if (w->free_count > 0)
		return w->free_events[--w->free_count];
	if (w->event_count == w->event_room) {
		w->event_room = w->event_room ? 2 * w->event_room : 1024;
		w->events = realloc(w->events, w->event_room * sizeof(*w->events));
		if (!w->events)
			abort();
	}
	return (uint32_t)w->event_count++;
}

void plan(struct world *w, int64_t at_ns, struct event event) {
	uint32_t index = new_event(w);
	w->events[index] = event;
	if (heap_push(&w->agenda, at_ns, index) != 0)
		abort();
}

void plan_for(struct world *w, uint32_t host, int64_t after_ns, struct event event) {
	event.host = host;
	event.life = w->hosts[host].life;
	plan(w, w->now_ns + after_ns, event);
}

/* ---- Beginning -------------------------------------------------------------------------- */

static struct grant_terms terms_of(int64_t max_requests, int64_t window_ms, int resolution, bool fixed) {
	int64_t sub_us = fixed ? window_ms * 1000 : grant_sub_window_us(window_ms, resolution);
	return (struct grant_terms){
		.max_requests = (int32_t)max_requests,
		.sub_window_us = sub_us,
		.runs = fixed ? 0 : resolution,
		.slack_us = fixed ? 0 : resolution * sub_us - window_ms * 1000,
	};
}

static int64_t choose_window_ms(struct world *w) {
	return w->faults.long_windows ? between(w, 60000, chance(w, 50) ? 200000 : 600000) : between(w, 100, 1200);
}

static struct core_policy make_policy(struct world *w) {
	int64_t window_ms = choose_window_ms(w), max_requests = between(w, 1,
	                                                                chance(w, 50)            ? 10
	                                                                : w->faults.long_windows ? 5000
	                                                                                         : 300);
	int resolution = (int)between(w, 1,
	                              (w->faults.long_windows ? (chance(w, 50) ? 4 : 29)
	                               : window_ms / 10 < 20  ? window_ms / 10
	                                                      : 20) +
	                                  1);
	/* No lower than the limit: what the database had leased out when it went away may be as much. */
	int64_t fallback_max = max_requests * between(w, 1, 3) + between(w, 0, 20),
			fallback_window_ms = choose_window_ms(w);
	return (struct core_policy){
		.live = true,
		.relaxed = w->faults.relaxed,
		.policy_id = 7,
		.time_window_ms = window_ms,
		.terms = terms_of(max_requests, window_ms, resolution, w->faults.fixed),
		.fallback_terms = terms_of(fallback_max, fallback_window_ms,
	                               fallback_window_ms / 10 < resolution ? 5 : resolution, false),
	};
}

static int64_t choose_rate_ppm(struct world *w) {
	return chance(w, 50) ? between(w, -RATE_MAX_PPM, RATE_MAX_PPM) : chance(w, 50) ? RATE_MAX_PPM : -RATE_MAX_PPM;
}

static void make_host(struct world *w, uint32_t h) {
	struct host *host = &w->hosts[h];
	host->offset_ns = between(w, 1 * S, 1000 * S);
	host->rate_ppm = choose_rate_ppm(w);
	fake_table_make(&host->table, w->faults.crowded ? 16 : 200, random_next(&w->random));
	for (uint32_t a = 0; a < w->app_count; a++)
		app_start(w, h, a);
	host->life = 1;
	host_start(w, h);
}

/* Now and then, as often as `count` says. */
static void plan_some(struct world *w, uint32_t count, struct event event) {
	for (uint32_t i = 0; i < count; i++) {
		event.host = random_below(&w->random, w->host_count);
		plan(w, between(w, w->now_ns, w->end_ns), event);
	}
}

/* To an agent, whichever lives there then. */
static void strike_agents(struct world *w, uint32_t count, enum event_kind kind, int64_t most_ns) {
	for (uint32_t i = 0; i < count; i++)
		plan_some(w, 1, (struct event){.kind = kind, .life = UINT32_MAX, .ns = between(w, 0, most_ns)});
}

static void plan_faults(struct world *w) {
	const struct faults *f = &w->faults;
	strike_agents(w, f->agent_crashes, CRASH, 0);
	strike_agents(w, f->agent_pauses, PAUSE, f->long_absences ? BACK_NS : 300 * MS);
	plan_some(w, f->database_crashes, (struct event){.kind = SERVER_CRASH});
	plan_some(w, f->promotions, (struct event){.kind = PROMOTE});
	for (uint32_t i = 0; i < f->steps_back; i++)
		plan_some(w, 1, (struct event){.kind = STEP, .ns = -between(w, 1 * MS, chance(w, 50) ? 5 * S : 3600 * S)});
	for (uint32_t i = 0; i < f->steps_forward; i++)
		plan_some(w, 1, (struct event){.kind = STEP, .ns = between(w, 1 * MS, chance(w, 50) ? 5 * S : 3600 * S)});
	if (f->policy_changes)
		plan(w, w->now_ns + between(w, 500 * MS, 2 * S), (struct event){.kind = CHANGE});
	if (f->promotions)
		plan(w, w->now_ns, (struct event){.kind = REPLICATE});
	plan(w, w->end_ns, (struct event){.kind = CALM});
	/* Where the clock was set back, the first statement finds the old counts and dates them anew: they are good
	 * for a window. */
	for (int i = 1; i <= 2; i++)
		plan(w, w->end_ns + i * w->quiet_ns, (struct event){.kind = PROBE});
}

/* Quiet: GRANT_STALE_US, which a clock that was set back is waited for, and two of the longest windows. */
static void set_end(struct world *w) {
	int64_t longest_ns =
		(w->policy.time_window_ms > w->changed.time_window_ms ? w->policy : w->changed).time_window_ms * MS;
	w->end_ns = BEGIN_NS + (w->faults.long_windows ? 3 * longest_ns : LASTS_NS);
	w->quiet_ns = (w->faults.long_windows ? 2 * longest_ns : 2 * S) + 3 * S;
}

struct world *world_new(uint64_t seed, bool traced) {
	struct world *w = calloc(1, sizeof(*w));
	if (!w)
		abort();
	w->faults = w->planned = faults_of(seed);
	w->seed = seed;
	w->traced = traced;
	w->random = seed * 1000003;
	w->now_ns = BEGIN_NS;
	w->timeline = 1;
	w->host_count = 1 + random_below(&w->random, HOSTS_MAX);
	w->app_count = 1 + random_below(&w->random, APPS_MAX);
	/* In every fourth world the events that concern all clients take their time, as they do with a million. */
	uint64_t walks = seed ^ 0xbf58476d1ce4e5b9;
	w->walk_slots = random_below(&walks, 4) == 0 ? 1 + random_below(&walks, 4) : 0;
	w->client_count =
		w->faults.crowded ? CLIENTS_MAX : 1 + random_below(&w->random, w->faults.long_windows ? 3 : 12);
	w->rate_ppm = choose_rate_ppm(w);
	w->policy = make_policy(w);
	w->changed = make_policy(w);
	set_end(w);
	for (uint32_t c = 0; c < CLIENTS_MAX; c++)
		w->phase_us[c] = between(w, 0, w->policy.terms.sub_window_us);
	for (uint32_t h = 0; h < w->host_count; h++)
		make_host(w, h);
	verdicts_forget(w);
	plan_faults(w);
	return w;
}

void world_free(struct world *w) {
	for (uint32_t h = 0; h < w->host_count; h++) {
		core_free(w->hosts[h].core);
		fake_table_free(&w->hosts[h].table);
		for (uint32_t c = 0; c < CLIENTS_MAX; c++) {
			meter_free(&w->hosts[h].fallback[c]);
			meter_free(&w->hosts[h].one_fallback[c]);
			meter_free(&w->hosts[h].lenient_use[c]);
		}
	}
	for (uint32_t c = 0; c < CLIENTS_MAX; c++)
		meter_free(&w->strict[c]);
	for (struct batch *batch = w->batches, *next; batch; batch = next) {
		next = batch->next;
		free(batch);
	}
	heap_deinit(&w->agenda);
	free(w->events);
	free(w);
}

/* ---- Events ------------------------------------------------------------------------------- */

static void trace(const struct world *w, const struct event *e) {
	static const char *const names[] = {
		[THINK] = "think",
		[DECIDE] = "decide",
		[WANT] = "want",
		[LOW] = "low",
		[VERDICT] = "verdict",
		[GIVE_UP] = "give up",
		[LOOK] = "look",
		[REFUND] = "refund",
		[RECALL] = "recall",
		[PING] = "ping",
		[PONG] = "pong",
		[ARRIVE] = "arrive",
		[APPLY] = "apply",
		[REPLY] = "reply",
		[LOST] = "lost",
		[DOWN] = "down",
		[UP] = "up",
		[WAKE] = "wake",
		[HEAR] = "hear",
		[PAUSE] = "pause",
		[CRASH] = "crash",
		[RESTART] = "restart",
		[CHANGE] = "change",
		[REPLICATE] = "replicate",
		[SERVER_CRASH] = "server crash",
		[PROMOTE] = "promote",
		[STEP] = "step",
		[CALM] = "calm",
		[PROBE] = "probe",
	};
	printf("%11.6f  %-12s host %u app %u client %u cost %u %s\n", (double)(w->now_ns - BEGIN_NS) / 1e9,
	       names[e->kind], e->host, e->app, e->client, e->cost,
	       e->kind == VERDICT ? e->verdict.allowed ? "allowed" : "denied" : "");
}

/* Faults are over. What is under way already still happens. */
static void calm(struct world *w) {
	struct faults *f = &w->faults;
	f->lost = f->rejected = f->locked = f->away = f->dropped = f->duplicated = f->app_deaths = f->app_pauses = 0;
	f->slow = false;
	w->is_calm = true;
	for (uint32_t h = 0; h < w->host_count; h++)
		if (w->hosts[h].core)
			watch_recovery(w, &w->hosts[h]);
}

static void happen(struct world *w, struct event *e) {
	if (e->life == UINT32_MAX)
		e->life = w->hosts[e->host].life;
	switch (e->kind) {
	case THINK:
	case DECIDE:
	case VERDICT:
	case GIVE_UP:
	case LOOK:
	case PONG:
	case REFUND: app_on_event(w, e); break;
	case ARRIVE:
	case APPLY:
	case CHANGE:
	case REPLICATE:
	case SERVER_CRASH:
	case PROMOTE:
	case STEP: database_on_event(w, e); break;
	case CALM: calm(w); break;
	case PROBE:
		for (uint32_t h = 0; h < w->host_count; h++)
			app_probe(w, h);
		break;
	default: host_on_event(w, e); break;
	}
}

void world_run(struct world *w) {
	uint32_t index;
	for (int64_t at_ns;
	     (at_ns = heap_next_ns(&w->agenda)) < w->end_ns + 2 * w->quiet_ns + 2 * S && !w->trouble[0];) {
		heap_pop_due(&w->agenda, at_ns, &index);
		struct event event = w->events[index];
		w->now_ns = at_ns;
		if (w->free_count < sizeof(w->free_events) / sizeof(w->free_events[0]))
			w->free_events[w->free_count++] = index;
		if (w->traced && event.kind != WAKE)
			trace(w, &event);
		happen(w, &event);
		if (++w->steps > STEPS_MAX)
			complain(w, "an agent never rests");
	}
	watch_end(w);
}
