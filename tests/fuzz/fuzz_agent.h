/*
 * fuzz_agent.h - a whole agent but for its main(), made anew for each input in a folder of the process's own,
 * and peers that speak to it over its real socket. All in one thread: nothing happens but in a turn of its
 * event loop.
 */
#ifndef FUZZ_AGENT_H
#define FUZZ_AGENT_H

#include <errno.h>
#include <event2/event.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent.h"
#include "fuzz.h"
#include "log.h"
#include "monotonic.h"
#include "stint.h"

static char fuzz_dir[64];
static struct config fuzz_config;

static inline void fuzz_unlink_objects(void) {
	char name[256];
	snprintf(name, sizeof(name), "%s.directory", fuzz_config.shm);
	shm_unlink(name);
	snprintf(name, sizeof(name), "%s.table", fuzz_config.shm);
	shm_unlink(name);
}

static inline void fuzz_clear_away(void) {
	char path[128];
	unlink(fuzz_config.socket);
	snprintf(path, sizeof(path), "%s/.s.PGSQL.5432", fuzz_dir);
	unlink(path);
	rmdir(fuzz_dir);
}

/* Called once. */
static inline void fuzz_agent_set_up(void) {
	fuzz_make_dir(fuzz_dir);
	snprintf(fuzz_config.socket, sizeof(fuzz_config.socket), "%s/agent.sock", fuzz_dir);
	snprintf(fuzz_config.shm, sizeof(fuzz_config.shm), "%s", strrchr(fuzz_dir, '/'));
	snprintf(fuzz_config.host, sizeof(fuzz_config.host), "fuzz");
	fuzz_config.max_clients = 16;
	fuzz_config.idle_timeout_s = 1;
	fuzz_config.database_timeout_ms = 10;
	log_set_level(LOG_LEVEL_ERROR);
	atexit(fuzz_clear_away);
}

static inline void fuzz_turn(struct agent *agent) {
	for (int i = 0; i < 2; i++)
		event_base_loop(agent->base, EVLOOP_NONBLOCK);
}

static inline void fuzz_agent_start(struct agent *agent, const char *database) {
	char error[AGENT_ERROR_MAX];
	snprintf(fuzz_config.database, sizeof(fuzz_config.database), "%s", database);
	fuzz_must(agent_start(agent, &fuzz_config, NULL, error) == 0, "%s", error);
	fuzz_unlink_objects(); /* nobody needs their names any more, and after a crash they would stay */
	driver_pump(&agent->driver);
	fuzz_turn(agent);
}

static inline void fuzz_agent_stop(struct agent *agent) {
	fuzz_turn(agent);
	fuzz_must(server_peer_count(agent->driver.server) == 0, "%zu peers are still there",
	          server_peer_count(agent->driver.server));
	agent_stop(agent);
}

/* ---- Peers --------------------------------------------------------------------------------- */

static inline int fuzz_connect(struct agent *agent) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	memcpy(address.sun_path, fuzz_config.socket, sizeof(fuzz_config.socket));
	fuzz_must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0, "no connection: %s",
	          strerror(errno));
	fuzz_turn(agent);
	return fd;
}

static inline void fuzz_say(int fd, const void *head, size_t size, const char *text, size_t length) {
	char message[WIRE_MESSAGE_MAX];
	memcpy(message, head, size);
	memcpy(message + size, text, length);
	(void)!send(fd, message, size + length, MSG_NOSIGNAL);
}

static inline void fuzz_say_hello(int fd) {
	struct wire_hello hello = {
		.head.type = WIRE_HELLO,
		.wire_version = WIRE_VERSION,
		.layout_version = LAYOUT_VERSION,
		.monotonic_ns = (uint64_t)monotonic_now_ns(),
	};
	fuzz_say(fd, &hello, sizeof(hello), "", 0);
}

/* Receives the first `size` bytes of the next answer of this type, and passes over others. False: there is
 * none. */
static inline bool fuzz_receive(int fd, uint16_t type, void *message, size_t size) {
	union {
		struct wire_head head;
		char bytes[WIRE_MESSAGE_MAX];
	} any;
	ssize_t got;
	/* the kernel closes descriptors that nobody asks for */
	while ((got = recv(fd, &any, sizeof(any), MSG_DONTWAIT)) > 0) {
		if (any.head.type != type || (size_t)got < size)
			continue;
		memcpy(message, &any, size);
		return true;
	}
	return false;
}

#endif
