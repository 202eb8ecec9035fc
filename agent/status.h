/*
 * status.h - says what is going on, as JSON for `stint status` and as a sentence for systemd. Reads all modules,
 * changes nothing.
 */
#ifndef STINT_STATUS_H
#define STINT_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "driver.h"
#include "outage.h"
#include "server.h"
#include "shm.h"
#include "sync.h"

struct status_sources { /* where the status is read; filled once */
	const struct config *config;
	const struct shm *shm;
	const struct driver *driver;
	const struct sync *sync;
	const struct outage *outage;
	const char *instance;
	int64_t started_ns;
	int64_t started_wall_ns; /* the same moment in Unix time, as the clock was then; 0: unknown */
};

void status_on_message(const struct status_sources *, server_peer peer, uint32_t serial); /* JSON, in pieces */
/* Answers an app that has asked for a text. more: it isn't all of it, another call has the rest. */
void status_send_text(const struct status_sources *, server_peer peer, uint32_t serial, const char *text,
                      size_t size, bool more);
void status_sentence(const struct status_sources *, char *text, size_t size);
const char *status_state_name(enum core_state state);

#endif
