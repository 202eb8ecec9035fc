/*
 * network.h - a stage on which each host reaches the database over a network of its own, which can be broken.
 */
#ifndef NETWORK_H
#define NETWORK_H

#include <stdint.h>

#include "fault_proxy.h"
#include "stage.h"

#define NETWORK_ALL UINT32_MAX

struct network {
	struct stage stage;
	struct fault_proxy proxy[STAGE_HOSTS]; /* by host */
};

/* Like stage_set(): the database, and hosts in step with it. 0 or -1. */
int network_set(struct network *, const struct scene *scene, uint32_t host_count, uint64_t seed);
void network_strike(struct network *); /* the proxies only */

/* Puts a fault on one host's network, or on those of all hosts. */
void network_fault(struct network *, uint32_t host, const struct fault_line *line);
void network_clear(struct network *);
void network_each(struct network *, uint32_t host, void (*end)(struct fault_proxy *));

#endif
