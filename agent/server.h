/*
 * server.h - the agent's Unix socket: accepts apps, checks every message against
 * lib/protocol/wire.h, hands out the table's descriptors, sends answers. Knows nothing of
 * leases.
 *
 * A peer is cut off when it sends anything malformed or out of order, or when it
 * leaves more than SERVER_UNREAD_MAX bytes of answers unread.
 */
#ifndef STINT_SERVER_H
#define STINT_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/wire.h"

struct event_base;
struct server;

/* The answers to STINT_ASYNC_MAX pending checks fit into this. */
#define SERVER_UNREAD_MAX (4u << 20)

/* Names one connection for ever: a connection that is gone is never mistaken for a later one. */
typedef uint64_t server_peer;

struct server_events { /* `text` is the message's variable end, not terminated */
	void (*declare)(void *context, server_peer peer, const struct wire_declare *message, const char *text,
	                size_t length);
	void (*want)(void *context, server_peer peer, const struct wire_want *message, const char *text,
	             size_t length);
	void (*low)(void *context, const struct wire_low *message, const char *text, size_t length);
	void (*charge)(void *context, const struct wire_charge *message, const char *text, size_t length);
	void (*status)(void *context, server_peer peer, const struct wire_head *message);
};

struct server_options {
	const char *socket_path;
	int directory_fd; /* both are sent to apps and stay the caller's */
	int table_fd;
	uint64_t generation;
};

#define SERVER_ERROR_MAX 256

/* Starts to listen. Returns 0, or -1 with a sentence in error (another agent listens there, no rights, ...). */
int server_new(struct server **out, struct event_base *base, const struct server_options *options,
               const struct server_events *events, void *context, char error[static SERVER_ERROR_MAX]);
void server_free(struct server *); /* closes everything, removes the socket */

/* Sends one message, unless the peer is gone. */
void server_send(struct server *, server_peer peer, const void *message, size_t size);
size_t server_peer_count(const struct server *);
size_t
server_app_count(const struct server *); /* of the peers, who has said hello and hasn't asked for a status */
uint64_t server_refused_count(const struct server *); /* apps whose library is of another version, so far */
bool server_is_connected(const struct server *, server_peer peer); /* still */

/* Notes on the socket that the agent is alive, for apps that later find it dead: to be called twice a second. */
void server_note_alive(const struct server *);

#endif
