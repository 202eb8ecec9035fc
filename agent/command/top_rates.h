/*
 * top_rates.h - how much this host decides in a second: the difference of two scrapes of its agent's metrics.
 */
#ifndef STINT_TOP_RATES_H
#define STINT_TOP_RATES_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "stint.h"

#define TOP_OUTCOMES 3
#define TOP_SOURCES  5

/* As the metrics and the rates' keys call them. */
extern const char *const top_outcome_names[TOP_OUTCOMES], *const top_source_names[TOP_SOURCES];

struct top_policy {
	char name[STINT_POLICY_NAME_MAX + 1];
	uint64_t decisions; /* those of outcomes and sources that only a newer agent has, too */
	uint64_t by_outcome[TOP_OUTCOMES], by_source[TOP_SOURCES];
};

/* Begins and ends as {0}. */
struct top_scrape {
	int64_t at_ns;  /* on the monotonic clock; 0: there was none */
	char agent[64]; /* which one: another after each start */
	struct top_policy *policies;
	size_t count;
};

/* Adds the counts of decisions in a text in Prometheus' format; lines that it doesn't know are skipped. Returns 0,
 * or -1: no memory. */
int top_scrape_read(struct top_scrape *, const char *text, size_t size);
void top_scrape_free(struct top_scrape *); /* makes it {0} */

/* Seconds between two scrapes of the same agent; 0: one is missing, or they are of two agents, so there are no
 * rates. */
double top_seconds(const struct top_scrape *before, const struct top_scrape *now);

/*
 * Returns an array of objects, one for each policy of the later scrape, those that decide most first: "policy",
 * and decisions per second: "decisions", and of these by outcome and by source. They are null where there are no
 * rates, where the policy is new, or where one of its counts began anew: what is not known isn't shown as a
 * number.
 */
json_t *top_rates(const struct top_scrape *before, const struct top_scrape *now);

#endif
