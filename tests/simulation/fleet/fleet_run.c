/*
 * fleet_run.c - a fleet is made; its events happen one after the other; it ends.
 */
#include <stdlib.h>

#include "fleet.h"

#define BEGIN_NS (1000 * S)

/* A table has room for all clients, but no host's takes more memory than its part of this. */
#define TABLES_BYTES (UINT64_C(4) << 30)
#define CLIENT_BYTES 160u /* of a table, and of the core beside it, at most */

/* An event is its kind and what it is about, in one number. */
#define VALUE_BITS 27u

#define OUTAGE_NS (60 * S)

void fleet_plan(struct fleet *f, int64_t at_ns, enum fleet_event kind, uint32_t value) {
	if (heap_push(&f->agenda, at_ns, (uint32_t)kind << VALUE_BITS | value) != 0)
		abort();
}

static void *make(size_t count, size_t size) {
	void *memory = calloc(count, size);
	if (!memory)
		abort();
	return memory;
}

/* Of whom the n-th has 1/n of what the first has. */
static double *zipf_sums(uint32_t count) {
	double *sums = make(count, sizeof(*sums)), sum = 0;
	for (uint32_t i = 0; i < count; i++)
		sums[i] = sum += 1.0 / (i + 1);
	return sums;
}

static struct grant_terms terms_of(int32_t limit, int64_t window_ms, int resolution) {
	int64_t size_us = grant_sub_window_us(window_ms, resolution);
	return (struct grant_terms){.max_requests = limit,
	                            .sub_window_us = size_us,
	                            .runs = resolution,
	                            .slack_us = resolution * size_us - window_ms * 1000};
}

static void make_clients(struct fleet *f) {
	const struct scenario *s = &f->scenario;
	f->rows = make(s->clients, sizeof(*f->rows));
	f->admitted = make(s->clients, sizeof(*f->admitted));
	f->exact = make(s->clients, sizeof(*f->exact));
	f->burst_ns = make(s->clients, sizeof(*f->burst_ns));
	for (uint32_t client = 0; client < s->clients; client++) {
		int64_t phase_us = (int64_t)(random_unit(&f->chance) * (double)f->terms.sub_window_us);
		f->rows[client] =
			(struct row){.phase_us = phase_us, .holder = NOBODY, .first_in = NOBODY, .last_in = NOBODY};
	}
	if (s->by_zipf)
		f->client_share = zipf_sums(s->clients);
	if (s->is_uneven)
		f->host_share = zipf_sums(s->hosts);
}

static void make_hosts(struct fleet *f) {
	uint64_t room = TABLES_BYTES / CLIENT_BYTES / f->scenario.hosts;
	uint64_t wanted = f->scenario.clients < 32 ? 64 : 2 * (uint64_t)f->scenario.clients;
	f->hosts = make(f->scenario.hosts, sizeof(*f->hosts));
	f->statement_count = 2 * f->scenario.hosts + 16;
	f->statements = make(f->statement_count, sizeof(struct statement *));
	for (uint32_t h = 0; h < f->scenario.hosts; h++) {
		fake_table_make(&f->hosts[h].table, wanted < room ? wanted : room, random_next(&f->chance));
		host_start(f, h, true);
	}
}

static void plan_incident(struct fleet *f) {
	for (uint32_t h = 0; h < f->scenario.hosts; h++) {
		int64_t within_ns = (int64_t)(random_unit(&f->chance) * (double)S);
		if (f->scenario.incident == RESTARTS) {
			fleet_plan(f, f->count_from_ns + within_ns, RESTART, h);
		} else if (f->scenario.incident == OUTAGE) {
			fleet_plan(f, f->outage_ns, LOSE, h);
			/* an agent tries every two seconds */
			fleet_plan(f, f->count_from_ns + 2 * within_ns, MEET, h);
		}
	}
}

struct fleet *fleet_new(const struct scenario *s, uint64_t seed) {
	struct fleet *f = make(1, sizeof(*f));
	f->scenario = *s;
	f->chance = seed * 1000003;
	f->arrivals = seed * 7000003 + 1;
	f->begin_ns = f->now_ns = BEGIN_NS;
	f->count_from_ns = BEGIN_NS + (int64_t)(s->warm_s * 1e9);
	f->outage_ns = f->count_from_ns - OUTAGE_NS;
	f->end_ns = f->count_from_ns + (int64_t)(s->counted_s * 1e9);
	f->terms = terms_of(s->limit, s->window_ms, s->resolution);
	f->fallback_terms = terms_of(2 * s->limit, s->window_ms, s->resolution);
	f->asks = make(ASKS_MAX, sizeof(*f->asks));
	make_clients(f);
	make_hosts(f);
	arrivals_start(f);
	plan_incident(f);
	fleet_plan(f, f->count_from_ns, COUNT, 0);
	return f;
}

/* Whose row somebody has locked isn't looked at: it is the others who should not notice. */
static void begin_counting(struct fleet *f) {
	f->is_counting = true;
	for (uint32_t client = 0; client < f->scenario.locked; client++)
		if (f->rows[client].holder == NOBODY)
			f->rows[client].holder = SOMEBODY;
}

static void happen(struct fleet *f, enum fleet_event kind, uint32_t value) {
	switch (kind) {
	case CHECK:
	case HOT_CHECK:
	case BURST:
	case AGAIN: arrivals_on_event(f, kind, value); break;
	case COUNT: begin_counting(f); break;
	case WAKE:
	case RESTART:
	case LOSE:
	case MISS:
	case MEET: host_on_event(f, kind, value); break;
	case READ: recalls_on_read(f); break;
	default: server_on_event(f, kind, value); break;
	}
}

void fleet_run(struct fleet *f) {
	uint32_t event;
	while (heap_next_ns(&f->agenda) < f->end_ns) {
		f->now_ns = heap_next_ns(&f->agenda);
		heap_pop_due(&f->agenda, f->now_ns, &event);
		happen(f, (enum fleet_event)(event >> VALUE_BITS), event & ((UINT32_C(1) << VALUE_BITS) - 1));
	}
}

static void free_admissions(struct admissions *a, uint32_t count) {
	for (uint32_t i = 0; i < count; i++)
		free(a[i].at_ns);
	free(a);
}

void fleet_free(struct fleet *f) {
	for (uint32_t h = 0; h < f->scenario.hosts; h++) {
		core_free(f->hosts[h].core);
		fake_table_free(&f->hosts[h].table);
	}
	free_admissions(f->admitted, f->scenario.clients);
	free_admissions(f->exact, f->scenario.clients);
	server_free(f);
	heap_deinit(&f->agenda);
	free(f->hosts);
	free(f->rows);
	free(f->burst_ns);
	free(f->asks);
	free(f->client_share);
	free(f->host_share);
	free(f);
}
