/*
 * fault_proxy.h - a network that fails on command: a process between one agent and
 * PostgreSQL. It listens on 127.0.0.1, forwards each connection to the server's Unix
 * socket, and does to the bytes what it is told to, at once and at any time.
 *
 * What lasts, until it is set otherwise (struct fault_line), for each direction:
 *
 *   delay, jitter   every piece arrives so much later; order is kept
 *   bytes per second
 *   dark            nothing is forwarded, in either direction; connections are accepted. What was sent
 *                   meanwhile arrives when it ends, even if its sender has hung up: as from a network
 *                   that keeps and resends
 *   refuse          new connections are refused
 *
 * What happens once: all connections are cut (FIN) or reset (RST), or an aimed fault
 * waits for a certain statement, by the name of the prepared statement in PostgreSQL's protocol:
 *
 *   the reply is lost    the request is forwarded, the server commits and says so, and of its reply not one
 *                        byte arrives; then the connection is cut, reset, or goes silent
 *   the reply is cut     in the middle of a row
 *   the request is cut   in the middle: the server never sees all of it
 *
 * The process dies with the test.
 */
#ifndef FAULT_PROXY_H
#define FAULT_PROXY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum fault_way { FAULT_UP, FAULT_DOWN }; /* FAULT_UP: to the server; FAULT_DOWN: from it */

struct fault_line { /* zeroed: a good network */
	uint32_t delay_us[2], jitter_us[2];
	uint32_t bytes_per_s[2]; /* 0: no limit */
	bool dark;
	bool refuse;
};

enum fault_aim {
	FAULT_NONE,
	FAULT_LOSE_REPLY_CUT,
	FAULT_LOSE_REPLY_RESET,
	FAULT_LOSE_REPLY_SILENCE, /* nothing passes until the next cut, or until the client hangs up */
	FAULT_TRUNCATE_REPLY,
	FAULT_TRUNCATE_REQUEST,
};

struct fault_controls;

struct fault_proxy {
	pid_t pid;
	uint16_t port;
	int wake;             /* eventfd */
	uint32_t hits_before; /* the aim */
	struct fault_controls *controls;
};

/* Starts it; `socket_path` is the server's, `seed` is the jitter's. 0, or -1 with errno. */
int fault_proxy_start(struct fault_proxy *, const char *socket_path, uint64_t seed);
void fault_proxy_stop(struct fault_proxy *);
/* A connection string for role and database over this proxy. */
void fault_proxy_conninfo(const struct fault_proxy *, const char *user, char text[static 256]);

void fault_proxy_set(struct fault_proxy *, const struct fault_line *line);
void fault_proxy_clear(struct fault_proxy *); /* a good network; an aim that was not hit is forgotten */
void fault_proxy_cut(struct fault_proxy *);
void fault_proxy_reset(struct fault_proxy *);

/* Aims at the (skip + 1)-th request from now whose statement's name begins with `statement`, on any connection. */
void fault_proxy_aim(struct fault_proxy *, enum fault_aim aim, const char *statement, uint32_t skip);
/* Waits until the aimed fault has happened; false after timeout_ms. */
bool fault_proxy_wait_hit(struct fault_proxy *, int timeout_ms);

uint32_t fault_proxy_hits(const struct fault_proxy *);     /* aimed faults that happened */
uint32_t fault_proxy_accepted(const struct fault_proxy *); /* connections, ever */
uint32_t fault_proxy_live(const struct fault_proxy *);     /* connections, now */

#endif
