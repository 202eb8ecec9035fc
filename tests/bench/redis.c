/* redis.c - see redis.h. */
#include "redis.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "process.h"

#define START_MS 10000

/* Debian's redis-tools has the server without its service: it is the program that also repairs dumps, and its
 * name decides. */
#define SERVER                                                                                                    \
	"command -v redis-server >/dev/null && exec redis-server \"$@\";"                                             \
	"exec -a redis-server \"$(command -v redis-check-rdb)\" \"$@\""

static const char script[] = "local count = redis.call('INCR', KEYS[1])"
							 " if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end"
							 " return count";

static int fail(const redisContext *context, const redisReply *reply) {
	fprintf(stderr, "redis: %s\n",
	        reply != NULL && reply->str != NULL ? reply->str
	        : context != NULL                   ? context->errstr
	                                            : "out of memory");
	return -1;
}

static redisContext *try_to_connect(const struct redis *redis) {
	redisContext *context = redisConnectUnix(redis->socket);

	if (context != NULL && context->err == 0)
		return context;
	redisFree(context);
	return NULL;
}

struct redisContext *redis_connect(const struct redis *redis) {
	redisContext *context = try_to_connect(redis);

	if (context == NULL)
		fprintf(stderr, "redis: no connection to %s\n", redis->socket);
	return context;
}

static redisContext *wait_for_it(const struct redis *redis) {
	for (uint64_t deadline_ns = monotonic_ns() + START_MS * NS_PER_MS; monotonic_ns() < deadline_ns;
	     sleep_ms(10)) {
		redisContext *context = try_to_connect(redis);

		if (context != NULL)
			return context;
	}
	fprintf(stderr, "redis: no server on %s after %d ms\n", redis->socket, START_MS);
	return NULL;
}

static int load_script(struct redis *redis, redisContext *context) {
	redisReply *reply = redisCommand(context, "SCRIPT LOAD %s", script);
	int status = 0;

	if (reply == NULL || reply->type != REDIS_REPLY_STRING)
		status = fail(context, reply);
	else
		snprintf(redis->sha, sizeof(redis->sha), "%s", reply->str);
	freeReplyObject(reply);
	return status;
}

int redis_start(struct redis *redis, const struct scene *scene, int64_t window_ms) {
	const char *argv[] = {"bash",         "-c",          SERVER,   "bash", "--port",       "0",
	                      "--unixsocket", redis->socket, "--save", "",     "--appendonly", "no",
	                      "--dir",        scene->dir,    NULL};
	redisContext *context;
	char log[108];
	int status;

	scene_path(scene, "redis.sock", redis->socket);
	scene_path(scene, "redis.log", log);
	snprintf(redis->window_ms, sizeof(redis->window_ms), "%" PRId64, window_ms);
	redis->server = process_start(argv, log);
	if (redis->server < 0 || (context = wait_for_it(redis)) == NULL)
		return -1;
	status = load_script(redis, context);
	redisFree(context);
	return status;
}

void redis_stop(struct redis *redis) {
	process_stop(redis->server, START_MS);
	redis->server = 0;
}

int64_t redis_count(const struct redis *redis, struct redisContext *context, const char *id) {
	const char *argv[] = {"EVALSHA", redis->sha, "1", id, redis->window_ms};
	redisReply *reply = redisCommandArgv(context, 5, argv, NULL);
	int64_t count;

	if (reply != NULL && reply->type == REDIS_REPLY_INTEGER)
		count = reply->integer;
	else
		count = fail(context, reply);
	freeReplyObject(reply);
	return count;
}
