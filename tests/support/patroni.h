/*
 * patroni.h - a PostgreSQL that Patroni looks after, on two nodes with an etcd, in a network of the test's own
 * (private_network.h): there, all addresses and ports are free.
 *
 * Patroni's synchronous_mode is on: the standby that may take the primary's place has all that was committed.
 */
#ifndef PATRONI_H
#define PATRONI_H

#include <stdbool.h>
#include <sys/types.h>

#include "cluster.h"
#include "scene.h"

#define PATRONI_NODES 2

/* Patroni's own settings, as small as it lets them be useful. It wants ttl to be loop_wait + 2 * retry_timeout at
 * least. */
#define PATRONI_TTL_S           10
#define PATRONI_LOOP_WAIT_S     1
#define PATRONI_RETRY_TIMEOUT_S 4

struct patroni_node {
	char name[4];
	char address[16];
	char dir[96]; /* dir/pg/data is the server's, as pg-cluster has it */
	char config[108];
	char log[108]; /* Patroni's and the server's */
	pid_t pid;     /* of its Patroni; 0: not running */
};

struct patroni {
	pid_t etcd;
	char log[108]; /* of etcd and patronictl */
	struct patroni_node node[PATRONI_NODES];
	int left_out; /* the node that is not asked; -1: both are */
	/* Whichever node takes writes, but for one whose Patroni was killed: its server may still live. Of cluster.h
	 * only what asks it by SQL may be used. */
	struct cluster cluster;
};

/* NULL, or why there can't be one here. */
const char *patroni_cannot(void);
/* Starts all of it, with an empty database. Returns when both nodes are there. 0, or -1 with the logs' ends on
 * stderr. */
int patroni_start(struct patroni *, const struct scene *scene);
/* Waits until one node is the leader and the other one its synchronous standby, and Patroni knows. */
bool patroni_wait_healthy(struct patroni *, int timeout_ms);
/* The node that takes writes; -1: none does within timeout_ms. */
int patroni_wait_primary(struct patroni *, int timeout_ms);

/* `patronictl switchover`: the other node becomes the leader. 0 or -1. */
int patroni_switch_over(struct patroni *);
/* `patronictl edit-config`: "failsafe_mode=true". 0 or -1. */
int patroni_set(struct patroni *, const char *setting);
/* SIGKILL for a node's Patroni; for its server. */
void patroni_kill(struct patroni *, int node);
void patroni_kill_server(struct patroni *, int node);
/* After patroni_kill(). 0 or -1. */
int patroni_again(struct patroni *, int node);
void patroni_pause_etcd(struct patroni *); /* SIGSTOP: takes connections, never answers */
void patroni_resume_etcd(struct patroni *);
/* Ends all of it in order. */
void patroni_stop(struct patroni *);

#endif
