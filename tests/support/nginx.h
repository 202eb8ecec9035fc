/*
 * nginx.h - a real nginx in a folder of the scene, with this build's module, behind a Unix socket; and a client
 * that speaks to it.
 */
#ifndef NGINX_H
#define NGINX_H

#include <stdbool.h>
#include <sys/types.h>

#include "scene.h"

struct nginx {
	char dir[80];
	char socket[108];
	pid_t master; /* 0: not running */
};

/* Whether this machine has nginx, and the module was built. */
bool nginx_is_there(void);

/* Writes its configuration: `http` is the text of the block http. 0 or -1. */
int nginx_prepare(struct nginx *, const struct scene *scene, const char *name, int workers, const char *http);
/* The same without the module. */
int nginx_prepare_plain(struct nginx *, const struct scene *scene, const char *name, int workers,
                        const char *http);
/* Starts it, and waits until it answers. 0, or -1 with its log on stderr. */
int nginx_start(struct nginx *);
/* The same under valgrind, whose words are in dir/valgrind.PID. */
int nginx_start_in_valgrind(struct nginx *);
/* The same under callgrind. */
int nginx_start_in_callgrind(struct nginx *);
/* After this process of it has ended under callgrind: how many instructions it ran; 0 if that isn't known. */
double nginx_read_instructions(const struct nginx *, pid_t);
/* Its first worker; 0: there is none. */
pid_t nginx_find_worker(const struct nginx *);
/* Runs `nginx -t`; what it says goes to `said`. Its exit status. */
int nginx_test(const struct nginx *, char *said, size_t size);
void nginx_reload(const struct nginx *);
/* Starts the program anew beside the running one, which is told to end in order. Gives the old master; -1: no new
 * one came. */
pid_t nginx_replace(struct nginx *);
/* Waits until the old one has ended: its requests first. False when it did not within 20 s. */
bool nginx_is_replaced(pid_t old);
/* It ends in order, requests under way first. False when it did not within 20 s. */
bool nginx_stop(struct nginx *);
/* How many lines of a file of its folder, error.log or access.log, have a text. */
int nginx_count(const struct nginx *, const char *file, const char *text);
/* Waits until there are so many; false when they don't come, or more do. A request is logged after its answer. */
bool nginx_wait_count(const struct nginx *, const char *file, const char *text, int count);
/* After it has ended under valgrind: how many of its reports have errors. */
int nginx_count_faulty(const struct nginx *, int *reports);
/* Checks that its log tells of nothing bad, a line of TAP for each kind. */
void nginx_check_log(const struct nginx *);
/* How many processes of it there are, masters and workers, those that are ending included. */
int nginx_processes(const struct nginx *);

/* ---- The client ---------------------------------------------------------------- */

struct answer {
	int status;       /* 0: the connection ended before an answer came */
	char head[4096];  /* status line and header fields, each with its CRLF */
	char fields[512]; /* what nginx_fields() found last */
};

/* A connection to it; -1: none. */
int nginx_connect(const struct nginx *);
/* Sends a request for a path, with further header lines, "" or ended by CRLF. */
bool nginx_ask(int fd, const char *path, const char *headers);
/* Reads an answer, which takes no longer than timeout_ms. */
void nginx_read(int fd, struct answer *, int timeout_ms);
/* Whether something can be read. */
bool nginx_is_answered(int fd);
/* All of it once, over a connection of its own. */
int nginx_get(const struct nginx *, const char *path, const char *headers, struct answer *);
/* The values of a header field, ", " between them. */
const char *nginx_fields(struct answer *, const char *name);

/* ---- Requests that wait ---------------------------------------------------------- */

/* Sends a request for path-0, path-1, ..., each over a connection of its own. */
void nginx_ask_many(const struct nginx *, const char *path, int *fds, int count);
/* Waits until so many requests are under way, HTTP/2 included, by stub_status at /count. */
bool nginx_wait_under_way(const struct nginx *, int count);
int nginx_count_answered(const int *fds, int count);
/* Reads all answers, each within 30 s, and closes the connections. How many have this status. */
int nginx_read_many(int *fds, int count, int status);

#endif
