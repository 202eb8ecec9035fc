/*
 * name_server.h - the only name server of a test that has a network and mounts of its own: it knows one name,
 * and can fall silent. It is a thread of the test's.
 */
#ifndef NAME_SERVER_H
#define NAME_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "scene.h"

#define NAME_SERVER_NAME "db.stint.test"

struct name_server {
	int fd;
	pthread_t thread;
	_Atomic bool silent, ends;
	_Atomic uint32_t addresses; /* 1: it answers 127.0.0.1; 2: 127.0.0.9, and then that */
	_Atomic uint32_t swallowed;
};

/* From here on this process, and all that it starts, ask no other name server. 0, or -1 with a line on stderr. */
int name_server_start(struct name_server *, const struct scene *scene);
void name_server_stop(struct name_server *);

#endif
