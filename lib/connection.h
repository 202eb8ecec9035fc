/*
 * connection.h - sends and receives packets on a socket to the agent, and never
 * waits.
 */
#ifndef STINT_CONNECTION_H
#define STINT_CONNECTION_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

#include "protocol/wire.h"

struct packet {
	size_t length;
	int fd_count;
	int fd[2];
	alignas(8) unsigned char bytes[WIRE_MESSAGE_MAX];
};

enum received {
	RECEIVED_PACKET,
	RECEIVED_NOTHING, /* no packet has come yet */
	RECEIVED_END,     /* the agent hung up, or this process had no room for its descriptors */
	RECEIVED_GARBAGE, /* a packet longer than any message */
};

/* Returns a connected socket, close-on-exec and non-blocking, on which hello has been sent; -1 with errno when the
 * agent is out of reach. Never waits: an agent with a full backlog is out of reach, too (EAGAIN), and so is one
 * that hello can't be sent to: both sides would wait for each other. */
int connection_open(const struct sockaddr_un *, const void *hello, size_t size);

/* Returns when the agent that listened at this address was last alive, in CLOCK_MONOTONIC nanoseconds, if it was
 * killed; 0 if nobody knows. */
uint64_t connection_last_alive_ns(const struct sockaddr_un *);

/* Sends head and name as one packet, all or nothing. Returns false when the socket is full: try again when it is
 * writable. Returns true when the connection is gone: connection_receive() tells. */
bool connection_send(int fd, const void *head, size_t head_size, const char *name, size_t name_length);

/* The same, for what nobody can send again: returns whether it was sent. */
bool connection_send_once(int fd, const void *head, size_t head_size, const char *name, size_t name_length);

/* Receives one packet. Its descriptors are the caller's; packet_close() closes those that were not taken. */
enum received connection_receive(int fd, struct packet *);
void packet_close(struct packet *);

#endif
