/*
 * pack.h - dozens of agents of one database, or hundreds, each a host of its own, and apps on the first of them.
 * For tests in which all of them lose the database at once, and come back.
 */
#ifndef PACK_H
#define PACK_H

#include "books.h"
#include "cluster.h"
#include "crowd.h"
#include "host.h"
#include "scene.h"
#include "stage.h"

#define PACK_MAX 400u

struct pack {
	const struct scene *scene;
	struct cluster cluster; /* the test's to make */
	struct host host[PACK_MAX];
	uint32_t count; /* of hosts */
	struct crowd crowd;
	struct books books;
};

/* Starts so many agents, and waits until all are in step; `options` are the same for all but for their names. 0 or
 * -1. Counts as a check. */
int pack_start_agents(struct pack *, uint32_t count, const struct host_options *options, int timeout_ms);
/* Starts an app on each of the first hosts, with so many checks a second. 0 or -1. Counts as a check. */
int pack_start_apps(struct pack *, uint32_t apps, const struct journal_plan *plan, uint32_t rate);
/* Waits until all are in step. Gives how many are in the end. */
uint32_t pack_wait_in_step(const struct pack *, int timeout_ms);
/* Reads the books again and again for so long. */
void pack_look(struct pack *, int64_t ms);
/* Stops apps and agents, and checks I1, I2, I4 and I6 of all that was done; the database was away at these times.
 * Gives the number of violations; *checked: what was looked at. */
uint64_t pack_judge(struct pack *, const struct journal_plan *plan, const struct stage_away *away, size_t faults,
                    uint64_t *checked);
void pack_free(struct pack *);

#endif
