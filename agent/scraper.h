/*
 * scraper.h - makes the metrics' text for whoever wants it, one after the other, a slice in each turn of the event
 * loop: with as many policies as there may be it takes some 20 ms, and apps that ask the agent wait for a slice
 * only.
 */
#ifndef STINT_SCRAPER_H
#define STINT_SCRAPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

struct event_base;
struct scraper;
struct scraper_job;

/* Is told the next piece of the text, which may be empty, and whether there are more. text NULL: there is no
 * memory, or the agent stops; nothing more comes. Not called before scraper_begin() has returned. */
typedef void scraper_sink(void *context, const char *text, size_t size, bool more);

struct scraper *scraper_new(struct event_base *, const struct status_sources *); /* NULL without memory */
void scraper_free(struct scraper *); /* those who wait are told that nothing comes; NULL is ignored */

/* Returns the job, until the sink is told the last piece; NULL without memory. */
struct scraper_job *scraper_begin(struct scraper *, scraper_sink *, void *context);
void scraper_cancel(struct scraper_job *); /* the sink hears nothing more; not to be called by it */

/* Answers an app that has asked, in pieces. If too many have, with none. */
void scraper_on_message(struct scraper *, server_peer peer, uint32_t serial);

#endif
