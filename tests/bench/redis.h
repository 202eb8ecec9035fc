/*
 * redis.h - a private Redis server, and the limiter that everybody writes for it: INCR, and PEXPIRE at the
 * first, in one script, one round trip by hiredis over a Unix socket.
 */
#ifndef BENCH_REDIS_H
#define BENCH_REDIS_H

#include <stdint.h>
#include <sys/types.h>

#include "scene.h"

struct redisContext;

struct redis {
	char socket[108];
	char window_ms[24];
	char sha[48]; /* of the script, loaded */
	pid_t server;
};

/* Starts the server, which keeps nothing on disk. 0 or -1, with a line on stderr. */
int redis_start(struct redis *, const struct scene *scene, int64_t window_ms);
void redis_stop(struct redis *);

/* NULL: no connection, with a line on stderr. */
struct redisContext *redis_connect(const struct redis *);
/* One check: how many there were of this client in its window; -1, with a line on stderr. */
int64_t redis_count(const struct redis *, struct redisContext *, const char *id);

#endif
