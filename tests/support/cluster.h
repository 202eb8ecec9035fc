/*
 * cluster.h - the one PostgreSQL of a test: made, broken and mended by
 * tests/support/pg-cluster, asked through agent/pg.h.
 */
#ifndef CLUSTER_H
#define CLUSTER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "scene.h"

struct pg;

struct cluster {
	char dir[64];
	char conninfo[256]; /* as its superuser */
	char agent[256];    /* as a login role that has stint_agent's rights and no others */
	struct pg *pg;      /* the superuser's connection; NULL while there is none */
};

/* Makes and starts it, with an empty database. 0 or -1, with a line on stderr. */
int cluster_start(struct cluster *, const struct scene *scene);
/* The schema, by `stint db init`, and the agents' login role. */
int cluster_install(struct cluster *);
void cluster_close(struct cluster *);

int cluster_kill(struct cluster *);  /* SIGKILL, all of it */
int cluster_again(struct cluster *); /* starts it after a kill or a stop; returns when it answers */
int cluster_pause(struct cluster *); /* SIGSTOP: takes connections, never answers */
int cluster_resume(struct cluster *);

/* The Unix socket that it listens on. */
void cluster_socket(const struct cluster *, char path[static 108]);
pid_t cluster_postmaster(const struct cluster *); /* 0: it doesn't run */
/* The session of an agent, by its host's name; 0: it has none. */
pid_t cluster_backend(struct cluster *, const char *host);

/* SQL as superuser; reconnects when needed. */
int cluster_do(struct cluster *, const char *sql); /* 0 or -1, with a line on stderr */
/* The first cell as a number; `otherwise` when there is none. */
int64_t cluster_number(struct cluster *, const char *sql, int64_t otherwise);

#endif
