/*
 * host.h - one host of a test: an agent with a socket, shared memory, a
 * configuration and a log of its own.
 */
#ifndef HOST_H
#define HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "scene.h"

struct host {
	uint32_t number;
	char name[32];
	char socket[108];
	char config[108];
	char log[108];
	char shm[64];
	pid_t agent; /* 0: not running */
};

struct host_options { /* 0 and NULL: the agent's own default */
	const char *database;
	int max_clients;
	int database_timeout_ms;
	int idle_timeout_s;
	const char *pooler; /* transaction */
	const char *name;   /* default host-A, host-B, ... */
	const char *socket; /* default one of its own */
};

/* Writes its configuration. 0 or -1. */
int host_prepare(struct host *, const struct scene *scene, uint32_t number, const struct host_options *options);
/* Starts the agent and waits until it welcomes. 0 or -1 with the end of its log on stderr. */
int host_start(struct host *);
/* While the agent runs: another configuration, but for its names, and SIGHUP. 0 or -1. */
int host_reload(const struct host *, const struct host_options *options);
void host_launch(struct host *); /* starts it, and doesn't wait */
void host_end(struct host *);    /* SIGTERM, and doesn't wait */
int host_stop(struct host *);    /* SIGTERM; its exit status, or -1 when it did not end */
void host_kill(struct host *);   /* SIGKILL */
void host_pause(struct host *);  /* SIGSTOP */
void host_resume(struct host *);
bool host_is_running(struct host *);

/* Waits until the agent's status says that it is in step with its database; false after timeout_ms. */
bool host_wait_in_step(const struct host *, int timeout_ms);
/* What its status says of its database now: "in step", "fallback", ...; "" when it doesn't answer. */
void host_state(const struct host *, char state[static 24]);
/* Gives a text of its status, as of database.timeline; "" when it doesn't tell. */
void host_text(const struct host *, const char *section, const char *name, char *text, size_t size);
/* Gives a number of its status, as of table.clients or counters.wants; 0 or 1 for a boolean; -1: it doesn't
 * tell. */
int64_t host_number(const struct host *, const char *section, const char *name);
/* Gives how many lines of its log have a text. */
int host_log_count(const struct host *, const char *text);
/* Waits until one has: an agent may say it a moment after others have noticed. */
bool host_wait_log(const struct host *, const char *text, int timeout_ms);
/* Prints the last lines of its log on stderr. */
void host_print_log(const struct host *);

#endif
