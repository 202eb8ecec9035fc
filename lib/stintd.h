/*
 * stintd.h - what an attachment knows of the agent: where it listens, since when
 * it is missed, and the tables that it has handed out.
 *
 * This outlives connections, and the child of a fork goes on with its parent's
 * copy. So it changes by atomic operations alone, and is consistent at any
 * instant.
 */
#ifndef STINT_STINTD_H
#define STINT_STINTD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "absence.h"
#include "mapping.h"

struct stintd {
	struct sockaddr_un address;
	struct absence absence;
	_Atomic(struct mapping *) mappings; /* newest first; old ones may be in use until stint_close() */
	_Atomic uint64_t connections;       /* how many were made, across forks: the newest one's number */
	_Atomic bool ending;                /* stint_close() runs: no request begins */
};

#endif
