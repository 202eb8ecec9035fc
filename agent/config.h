/*
 * config.h - what the agent is told: the file's section [stint], overridden by
 * STINT_<KEY> from the environment. config_keys() is the one list of keys; the
 * help text and the checks come from it.
 */
#ifndef STINT_CONFIG_H
#define STINT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config {
	char socket[108]; /* no path of a Unix socket is longer */
	char shm[200];    /* begins with a slash, contains no other */
	char database[2048];
	char host[256];
	char log_level[16];
	char synchronous_commit[16];
	char pooler[16];
	char metrics_listen[128];
	int64_t max_clients;
	int64_t database_timeout_ms;
	int64_t idle_timeout_s;
};

struct config_key {
	const char *name;
	size_t offset;
	size_t size; /* of a text's field; 0: a number */
	int64_t least, most;
	const char *standard; /* default; NULL: none, must be set */
	const char *help;
};

const struct config_key *config_keys(size_t *count);

#define CONFIG_ERROR_MAX 512

/* Reads the file (path NULL: none) and the environment. Returns 0, or -1 with a sentence in error. */
int config_load(struct config *config, const char *path, char error[static CONFIG_ERROR_MAX]);
/* Whether the file holds a password and everybody may read it, or write another database into it. */
bool config_is_exposed(const struct config *config, const char *path);
bool config_is_memory(const struct config *config);
bool config_keeps_commit(const struct config *config); /* synchronous_commit stays as in the database, even off */
bool config_is_pooled(const struct config *config);    /* by way of a pooler in transaction mode */
int config_log_level(const struct config *config);     /* an enum log_level; -1: no such level */

#endif
