/*
 * driver.h - drives the core: hands it what apps want and what the database grants, lets it act after each event,
 * sends what it has decided, and wakes it when it has planned something.
 *
 * It stands above the core, the socket and the connection to the database; all else that the agent does stands
 * above it.
 */
#ifndef STINT_DRIVER_H
#define STINT_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/core.h"
#include "database/database.h"
#include "durations.h"
#include "outbox.h"
#include "policies.h"
#include "server.h"

struct event;
struct event_base;

struct driver_events {
	/* The core has acted. Its states before and now are often the same. */
	void (*acted)(void *context, enum core_state before, enum core_state now);
	/* A batch was refused. Returns true if its answer comes later, by core_on_grants(). */
	bool (*keeps_batch)(void *context);
	/* A verdict denies this client. */
	void (*denied)(void *context, const struct core_denied *);
	/* Another policy is about to take this one's place. */
	void (*policy_leaves)(void *context, int index);
};

struct driver {
	struct core *core;
	struct server *server;
	struct database *database; /* NULL: memory; replaced when the configuration changes */
	struct policies *policies;
	struct outbox outbox;  /* empty but for the time of one event */
	struct event *wakeup;  /* fires at the core's next time */
	enum core_state state; /* as last reported */
	int64_t state_since_ns;
	int64_t taken_ns; /* when the last batch was sent */
	struct durations batches;
	const struct driver_events *events;
	void *context;
};

extern const struct core_io driver_io; /* for core_new(); its context is the driver */

int driver_start(struct driver *, struct event_base *base); /* 0, or -1 without memory */
void driver_stop(struct driver *);

/* To be called after any event: lets the core act, sends its verdicts, plans its next time. */
void driver_pump(struct driver *);
void driver_pump_soon(struct driver *); /* the same, after all that has arrived by now was read */

/* What apps send. */
void driver_on_want(struct driver *, server_peer peer, const struct wire_want *want, const char *id,
                    size_t length);
void driver_on_low(struct driver *, const struct wire_low *low, const char *id, size_t length);
void driver_on_charge(struct driver *, const struct wire_charge *, const char *id, size_t length);

/* Tells the core of a policy's terms, or that there is no such policy any more. */
void driver_apply_policy(struct driver *, int index, bool live);
/* Adds a policy, if need be in an unused one's place. Returns its index; -1: all are used, or policies are being
 * loaded, when none makes room. */
int driver_add_policy(struct driver *, const struct policy_row *row);

#endif
