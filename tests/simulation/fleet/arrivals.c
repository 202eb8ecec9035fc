/*
 * arrivals.c - who checks when, and on which host: clients send by a Poisson process each, which together are one,
 * a hot client by one of its own; and bursts.
 */
#include <math.h>

#include "fleet.h"

static int64_t until_next_ns(struct fleet *f, double rate) {
	return (int64_t)(-log(1 - random_unit(&f->arrivals)) / rate * 1e9) + 1;
}

static uint32_t host_for(struct fleet *f, uint32_t client) {
	uint32_t host = random_by_share(&f->arrivals, f->host_share, f->scenario.hosts);
	return f->scenario.is_sticky ? client % f->scenario.hosts : host;
}

/* Each client begins at some time within the first window: one over its limit is admitted in bursts, which would
 * come at the same time otherwise. */
static bool has_begun(const struct fleet *f, uint32_t client) {
	double part = (client * 2654435761u) * 0x1p-32, window_s = (double)f->scenario.window_ms / 1e3;
	double ramp_s = window_s < f->scenario.warm_s ? window_s : f->scenario.warm_s;
	return (double)f->now_ns >= (double)f->begin_ns + part * ramp_s * 1e9;
}

static void check_of_crowd(struct fleet *f) {
	uint32_t first = f->scenario.hot_rate > 0; /* who is not the hot client */
	uint32_t client = first + random_by_share(&f->arrivals, f->client_share, f->scenario.clients - first);
	uint32_t host = host_for(f, client);
	if (has_begun(f, client))
		check_make(f, host, client, false, true);
	if (f->scenario.incident != BURSTS || f->now_ns < f->count_from_ns)
		fleet_plan(f, f->now_ns + until_next_ns(f, f->scenario.rate * (f->scenario.clients - first)), CHECK, 0);
}

static void check_of_hot(struct fleet *f) {
	check_make(f, host_for(f, 0), 0, false, true);
	fleet_plan(f, f->now_ns + until_next_ns(f, f->scenario.hot_rate), HOT_CHECK, 0);
}

/* ---- Bursts ------------------------------------------------------------------------------- */

static void burst(struct fleet *f, uint32_t client) {
	f->burst_ns[client] = f->now_ns;
	for (uint32_t i = 0; i < f->scenario.burst; i++)
		check_make(f, client % f->scenario.hosts, client, true, true);
}

void arrivals_denied(struct fleet *f, uint32_t client) {
	int64_t at_ns = f->now_ns + f->scenario.again_ms * MS;
	if (f->scenario.again_ms > 0 && at_ns < f->burst_ns[client] + BURST_MS * MS)
		fleet_plan(f, at_ns, AGAIN, client);
}

static void plan_bursts(struct fleet *f) {
	int64_t room_ns = f->end_ns - f->count_from_ns - 2 * S;
	for (uint32_t client = 0; client < f->scenario.clients; client++)
		fleet_plan(f, f->count_from_ns + room_ns * client / f->scenario.clients, BURST, client);
}

void arrivals_start(struct fleet *f) {
	bool is_hot = f->scenario.hot_rate > 0;
	if (f->scenario.clients > is_hot)
		fleet_plan(f, f->now_ns + until_next_ns(f, f->scenario.rate * (f->scenario.clients - is_hot)), CHECK, 0);
	if (is_hot)
		fleet_plan(f, f->now_ns + until_next_ns(f, f->scenario.hot_rate), HOT_CHECK, 0);
	if (f->scenario.incident == BURSTS)
		plan_bursts(f);
}

void arrivals_on_event(struct fleet *f, enum fleet_event kind, uint32_t value) {
	switch (kind) {
	case CHECK: check_of_crowd(f); break;
	case HOT_CHECK: check_of_hot(f); break;
	case BURST: burst(f, value); break;
	default: check_make(f, value % f->scenario.hosts, value, true, false); break; /* AGAIN */
	}
}
