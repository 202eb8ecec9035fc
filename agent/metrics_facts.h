/* metrics_facts.h - gathers the metrics from all modules. Changes nothing. */
#ifndef STINT_METRICS_FACTS_H
#define STINT_METRICS_FACTS_H

#include <stdbool.h>
#include <stddef.h>

#include "metrics.h"
#include "status.h"

/* Returns what the kernel says of this process; not when it started. */
struct metrics_process metrics_process_look(void);

/* The text, made in slices of a fraction of a millisecond each, since apps that ask the agent wait meanwhile. */
struct metrics_scrape;

struct metrics_scrape *metrics_scrape_new(const struct status_sources *); /* NULL without memory */
void metrics_scrape_free(struct metrics_scrape *);                        /* NULL is ignored */

/* Returns the next piece, of *size bytes, which may be none, for the caller to free, and whether there are more;
 * NULL without memory: then there is no use in going on. */
char *metrics_scrape_next(struct metrics_scrape *, size_t *size, bool *more);

#endif
