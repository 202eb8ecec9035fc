/*
 * private_network.h - a network of the test's own, in which nobody else is and the kernel's packet filter does
 * what the test says. Only root may make one.
 */
#ifndef PRIVATE_NETWORK_H
#define PRIVATE_NETWORK_H

#include <stdbool.h>

#include "stage.h"

#define PRIVATE_PORT "5432" /* the database's: the network is empty, so it is free */

/* Puts this process, and all that it starts, into the network. False: this machine doesn't let it. Then that is
 * a skipped test: "`cannot`: why". */
bool private_network_enter(const char *cannot);
/* Its own address works, and rules of the packet filter have a place. Counts as a check. */
bool private_network_set(void);
/* A command that must end with status 0: else it is noted. */
bool private_network_run(const char *const *argv);
/* Adds rules, one transaction of nft's. They belong to the chain "inet stint_test loss". */
bool private_network_filter(const char *rules);
/* A database that listens in the network, and hosts that reach it as `server`. 0 or -1. */
int private_network_stage(struct stage *, const struct scene *scene, uint32_t hosts, const char *server);

#endif
