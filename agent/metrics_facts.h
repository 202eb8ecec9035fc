/* metrics_facts.h - gathers the metrics from all modules. Changes nothing. */
#ifndef STINT_METRICS_FACTS_H
#define STINT_METRICS_FACTS_H

#include <stddef.h>

#include "metrics.h"
#include "status.h"

/* Returns what the kernel says of this process; not when it started. */
struct metrics_process metrics_process_look(void);

/* Returns the text, of *size bytes, that the caller frees; NULL without memory. */
char *metrics_text(const struct status_sources *, size_t *size);

/* Answers an app that has asked, in pieces. */
void metrics_on_message(const struct status_sources *, server_peer peer, uint32_t serial);

#endif
