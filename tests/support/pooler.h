/*
 * pooler.h - a PgBouncer between the agents and the database, with its socket in a folder of the scene.
 */
#ifndef POOLER_H
#define POOLER_H

#include <stdbool.h>
#include <sys/types.h>

#include "cluster.h"
#include "scene.h"

struct pooler {
	char dir[96];
	char agent[256]; /* the agents' connection string, by way of it */
	pid_t pid;       /* 0: not running */
	int pool_size;   /* connections to the server, at most; 0: PgBouncer's 20, or 1 in transaction mode */
};

/* Starts it in front of a cluster; mode: "session", "transaction". Returns when it takes connections. 0 or -1 with
 * the end of its log on stderr. The folder's name is `name` in all modes: agents find the one after the other. */
int pooler_start(struct pooler *, const struct scene *scene, const struct cluster *cluster, const char *name,
                 const char *mode);
void pooler_kill(struct pooler *); /* SIGKILL */
/* While it runs: from now on it connects to this cluster. Agents keep their connections to it. 0 or -1. */
int pooler_turn(struct pooler *, const struct cluster *cluster, const char *mode);

#endif
