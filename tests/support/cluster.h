/*
 * cluster.h - a PostgreSQL of a test, most often its only one: made, broken and mended by
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
	char dir[96];
	char log[108];      /* the log of pg-cluster; the server's own is dir/pg/log */
	char conninfo[256]; /* the superuser's connection string */
	char agent[256];    /* that of a login role with stint_agent's rights and no others */
	struct pg *pg;      /* the superuser's connection; NULL while there is none */
};

#define CLUSTER_SETTINGS 8

struct cluster_options {                    /* 0 and NULL: as usual */
	const char *name;                       /* its folder in the scene; NULL: the scene's own */
	const char *wal;                        /* a folder for its write-ahead log */
	const char *settings[CLUSTER_SETTINGS]; /* "max_connections=20", ... */
};

/* Makes and starts it, with an empty database. 0 or -1, with a line on stderr. */
int cluster_start(struct cluster *, const struct scene *scene);
int cluster_start_with(struct cluster *, const struct scene *scene, const struct cluster_options *options);
/* Makes a copy of a cluster that runs. It follows that one and takes no writes until it is promoted. */
int cluster_start_standby(struct cluster *standby, const struct cluster *primary, const struct scene *scene,
                          const char *name);
/* Makes another cluster, into which a dump of one that runs is restored, with its roles. */
int cluster_start_restored(struct cluster *, const struct cluster *from, const struct scene *scene,
                           const char *name);
int cluster_promote(struct cluster *);
/* Makes the schema by `stint db init`, and the agents' login role. */
int cluster_install(struct cluster *);
void cluster_close(struct cluster *);

int cluster_kill(struct cluster *);  /* SIGKILL for all of its processes */
int cluster_again(struct cluster *); /* starts it after a kill or a stop; returns when it answers */
int cluster_again_with(struct cluster *, const char *setting); /* with this setting in place of its own */
int cluster_stop(struct cluster *);                            /* it ends in order */
int cluster_remove(struct cluster *);
int cluster_pause(struct cluster *); /* SIGSTOP: takes connections, never answers */
int cluster_resume(struct cluster *);

/* The Unix socket that it listens on. */
void cluster_socket(const struct cluster *, char path[static 108]);
pid_t cluster_postmaster(const struct cluster *); /* 0: it doesn't run */
/* The session of an agent, by its host's name; 0: it has none. */
pid_t cluster_backend(struct cluster *, const char *host);
/* Ends the sessions of all agents. 0 or -1. */
int cluster_end_backends(struct cluster *);

/* SQL as superuser; reconnects when needed. */
int cluster_do(struct cluster *, const char *sql); /* 0 or -1, with a line on stderr */
/* The first cell as a number; `otherwise` when there is none. */
int64_t cluster_number(struct cluster *, const char *sql, int64_t otherwise);

#endif
