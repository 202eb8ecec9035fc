/*
 * victim.h - an agent in which something fails, and the app that is its customer and must not suffer: what the
 * tests of the agent share.
 */
#ifndef VICTIM_H
#define VICTIM_H

#include <stdbool.h>
#include <stdint.h>

#include "host.h"
#include "nth.h"
#include "proof.h"
#include "scene.h"
#include "stint.h"

#define VICTIM_LIMIT    8  /* of the policy, in an hour */
#define VICTIM_FALLBACK 10 /* the limit of a host on its own, and of a process on its own */

struct victim {
	const struct scene *scene;
	struct host host;
	struct nth_control *control;
	char control_path[108];
	struct proof proof;
	off_t said_before; /* bytes of its log that are older than its start */
	uint64_t refused;  /* starts that ended with an error */
	int descriptors;   /* the most descriptors that an agent had in which nothing failed; 0: not known yet */
	int64_t blocks;    /* what such an agent left allocated at its end */
};

/* 0 or -1. `database`: memory: or a connection string. `socket`: NULL: of its own. */
int victim_prepare(struct victim *, const struct scene *scene, uint32_t number, const char *database,
                   const char *socket);
/* Counts a violation and says of what. */
void victim_complain(struct victim *, const char *what, int64_t value);

/* Starts it with that plan. True: it serves. False: it ended with a clear error, or there is a violation. */
bool victim_start(struct victim *, const struct nth_plan *plan);
/* The same when it can't serve: 0 when it ended with a clear error, -1 when it had to be killed. */
int victim_start_in_vain(struct victim *, const struct nth_plan *plan);
/* Ends it by SIGTERM. It must end with status 0, and leave no more allocated than agents in which nothing
 * failed. */
void victim_stop(struct victim *);
/* Nothing fails any more. */
void victim_spare(struct victim *);
/* It must have no more descriptors than agents in which nothing failed. */
void victim_count_descriptors(struct victim *);
/* The agent ended with an error. One without failures must now come up where it left off. */
void victim_start_again(struct victim *);

/* How many N to leave out: all are tried when $NTH_STEP is 1; by default about `runs` of `calls`. */
uint64_t victim_step(uint64_t calls, uint64_t runs);

/* ---- The app ------------------------------------------------------------------------ */

struct customer {
	struct victim *victim;
	struct stint *stint;
	struct stint_limiter *limiter;
	int64_t admitted[8]; /* by enum stint_source, of the client below */
	char client[40];
};

/* Starts the agent with that plan and opens it for a client. False: the agent ended with an error, and another
 * one has been started in its place. */
bool customer_meet(struct customer *, struct victim *victim, const struct nth_plan *plan, const char *client);
/* Attaches to the agent, for its policy and this client. */
bool customer_open(struct customer *, struct victim *victim, const char *client);
/* Makes checks, which must end in time with a verdict or an error that is allowed. */
void customer_check(struct customer *, int times);
/* Checks until somebody else decides than the process itself, or the host on its own. */
void customer_recover(struct customer *, int64_t limit_ms);
/* It must have got no more than the limits. Gives what the database must have counted. */
int64_t customer_close(struct customer *);

#endif
