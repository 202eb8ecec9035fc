/*
 * scenarios.c - the fleets that are simulated: limits that people set, from one host with one hot client to
 * hundreds of hosts with clients that each check once in some seconds.
 */
#include "scenario.h"

#include <stdio.h>
#include <string.h>

#define MINUTE_MS 60000
#define HOUR_MS   3600000

/* What most have in common. The resolution is the default of such a window: less, if it is of a second. */
#define USUAL   .resolution = 20, .processors = 2, .rtt_us = 500
#define FAR(us) .resolution = 10, .processors = 2, .rtt_us = (us)

const struct scenario scenarios[] = {
	{"slow-1", 1, 200, 0.2, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 90, .counted_s = 600, USUAL,
     .reach = {.rows = 130, .wait = 1, .exact = 100}},
	{"slow-4", 4, 200, 0.2, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 90, .counted_s = 600, USUAL,
     .reach = {.rows = 450, .wait = 3, .exact = 100}},
	{"near-4", 4, 200, 1.333, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 90, .counted_s = 600, USUAL,
     .reach = {.rows = 750, .wait = 20, .exact = 98.5}},
	{"nearer-4", 4, 200, 1.583, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 90, .counted_s = 600, USUAL,
     .reach = {.exact = 96}},
	{"half-20", 20, 200, 0.8, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 180, .counted_s = 300, USUAL,
     .reach = {.rows = 1100, .exact = 100}},
	{"rare-1", 1, 2000, 0.01, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 180, .counted_s = 300, USUAL,
     .reach = {.rows = 1500, .exact = 100}},
	{"hour-1", 1, 200, 0.19, .limit = 1000, .window_ms = HOUR_MS, .warm_s = 3600, .counted_s = 3600, USUAL,
     .reach = {.rows = 50, .wait = 1, .exact = 99.5}},
	{"alone", 1, 1, 13, .is_sticky = true, .limit = 1000, .window_ms = MINUTE_MS, .warm_s = 90, .counted_s = 1200,
     USUAL, .reach = {.rows = 60, .wait = 1, .exact = 100}},
	{"one-of-50", 50, 1, 13, .is_sticky = true, .limit = 1000, .window_ms = MINUTE_MS, .warm_s = 90,
     .counted_s = 1200, USUAL, .reach = {.rows = 60, .wait = 1, .exact = 100}},
	{"one-of-200", 200, 1, 13, .is_sticky = true, .limit = 1000, .window_ms = MINUTE_MS, .warm_s = 90,
     .counted_s = 1200, USUAL, .reach = {.rows = 60, .wait = 1, .exact = 100}},
	{"small-50", 50, 200, 0.15, .limit = 10, .window_ms = MINUTE_MS, .warm_s = 90, .counted_s = 600, USUAL,
     .reach = {.rows = 1100, .exact = 95}},
	{"zipf-4", 4, 100000, 0.2, .by_zipf = true, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 90,
     .counted_s = 60, USUAL, .reach = {.rows = 250, .wait = 20, .exact = 99}},
	{"million-200", 200, 1000000, 0.1, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 60, .counted_s = 10,
     .resolution = 20, .rtt_us = 500, .processors = 32},
	{"far-1", 3, 10, 80, .limit = 100, .window_ms = 1000, .warm_s = 5, .counted_s = 60, FAR(1000),
     .reach = {.wait = 15, .exact = 98}},
	{"far-5", 3, 10, 80, .limit = 100, .window_ms = 1000, .warm_s = 5, .counted_s = 60, FAR(5000)},
	{"far-20", 3, 10, 80, .limit = 100, .window_ms = 1000, .warm_s = 5, .counted_s = 60, FAR(20000),
     .reach = {.wait = 20, .exact = 95}},
	{"far-50", 3, 10, 80, .limit = 100, .window_ms = 1000, .warm_s = 5, .counted_s = 60, FAR(50000)},
	{"far-100", 3, 10, 80, .limit = 100, .window_ms = 1000, .warm_s = 5, .counted_s = 60, FAR(100000),
     .reach = {.wait = 30, .exact = 80}},
	{"burst", 4, 60, 0.2, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 120, .counted_s = 14, USUAL,
     .incident = BURSTS, .burst = 150, .reach = {.exact = 98}},
	{"burst-again", 4, 60, 0.2, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 120, .counted_s = 14, USUAL,
     .incident = BURSTS, .burst = 150, .again_ms = 50, .reach = {.exact = 98}},
	{"pressure-8", 8, 50, 3.333, .is_uneven = true, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 130,
     .counted_s = 600, USUAL},
	{"pressure-8s", 8, 10, 200, .is_uneven = true, .limit = 100, .window_ms = 1000, .warm_s = 5, .counted_s = 60,
     FAR(500)},
	{"hot-200", 200, 1, 0.2, .hot_rate = 1000, .limit = 75000, .window_ms = MINUTE_MS, .warm_s = 90,
     .counted_s = 60, USUAL, .reach = {.hot_rows = 200}},
	{"cold-500", 500, 1001, 0.2, .limit = 1000, .window_ms = MINUTE_MS, .warm_s = 90, .counted_s = 60, USUAL},
	{"hot-500", 500, 1001, 0.2, .hot_rate = 166.7, .limit = 1000, .window_ms = MINUTE_MS, .warm_s = 90,
     .counted_s = 60, USUAL, .reach = {.hot_rows = 200}},
	{"new-4", 4, 100000, 0.01, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 10, .counted_s = 30, USUAL},
	{"locked-4", 4, 100000, 0.01, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 10, .counted_s = 30, USUAL,
     .locked = 1000},
	{"calm-200", 200, 30000, 0.1, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 70, .counted_s = 10, USUAL},
	{"restart-200", 200, 30000, 0.1, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 70, .counted_s = 10, USUAL,
     .incident = RESTARTS, .reach = {.in_reach_s = 5}},
	/* In a minute each host sees 30,000 checks, of nearly as many clients. */
	{"outage-200", 200, 1000000, 0.1, .limit = 100, .window_ms = MINUTE_MS, .warm_s = 70, .counted_s = 20,
     .resolution = 10, .rtt_us = 500, .processors = 32, .incident = OUTAGE,
     .reach = {.in_reach_s = 5, .wait_ratio = 2}},
};

const size_t scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);

const struct scenario *scenario_find(const char *name) {
	for (size_t i = 0; i < scenario_count; i++)
		if (strcmp(scenarios[i].name, name) == 0)
			return &scenarios[i];
	return NULL;
}

static double checks_of(const struct scenario *s) {
	return (s->rate * s->clients + s->hot_rate) * (s->warm_s + s->counted_s);
}

void scenario_shorten(struct scenario *s, double checks) {
	double part = checks / checks_of(s);
	uint32_t least = s->clients < 20 ? s->clients : 20;
	if (part >= 1)
		return;
	uint32_t clients = s->clients * part > least ? (uint32_t)(s->clients * part) : least;
	s->locked = (uint32_t)((uint64_t)s->locked * clients / s->clients);
	s->clients = clients;
	part = checks / checks_of(s);
	if (part < 1 && s->incident == NO_INCIDENT)
		s->counted_s = s->counted_s * part > 20 ? s->counted_s * part : s->counted_s < 20 ? s->counted_s : 20;
}

static void describe_time(int64_t ms, char *text, size_t size) {
	if (ms % HOUR_MS == 0)
		snprintf(text, size, "%lld h", (long long)ms / HOUR_MS);
	else if (ms % 1000 == 0)
		snprintf(text, size, "%lld s", (long long)ms / 1000);
	else
		snprintf(text, size, "%lld ms", (long long)ms);
}

void scenario_describe(const struct scenario *s, char *text, size_t size) {
	static const char *const incidents[] = {"", ", then a burst", ", all restart", ", after an outage of 60 s"};
	char window[32], rtt[32] = "", hot[48] = "", locked[32] = "";
	describe_time(s->window_ms, window, sizeof(window));
	if (s->rtt_us >= 1000)
		snprintf(rtt, sizeof(rtt), ", RTT %g ms", (double)s->rtt_us / 1000);
	if (s->hot_rate > 0)
		snprintf(hot, sizeof(hot), ", one at %g/s", s->hot_rate);
	if (s->locked > 0)
		snprintf(locked, sizeof(locked), ", %u locked", s->locked);
	snprintf(text, size, "%d in %s, %u %s%s at %g/s%s, %u %s%s%s%s%s%s", s->limit, window, s->clients,
	         s->clients == 1 ? "client" : "clients", s->by_zipf ? " (Zipf)" : "", s->rate, hot, s->hosts,
	         s->hosts == 1 ? "host" : "hosts", s->is_sticky ? ", sticky" : "", s->is_uneven ? ", uneven" : "", rtt,
	         locked, incidents[s->incident]);
}
