/*
 * connection.h - packets to and from the agent, without waiting for either.
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

enum receipt {
	RECEIPT_PACKET,
	RECEIPT_NOTHING, /* for now */
	RECEIPT_END,     /* the agent hung up, or its descriptors found no room in this process */
	RECEIPT_GARBAGE, /* longer than any message */
};

/* A connected socket, close-on-exec and non-blocking, on which hello has been said; -1 with errno when the agent is out of reach.
 * Never waits: a full backlog is out of reach, too (EAGAIN), and so is who can't be told hello: both sides would wait for the
 * other. */
int connection_open(const struct sockaddr_un *, const void *hello, size_t size);

/* When the agent that listened there was last alive, by CLOCK_MONOTONIC, if it was killed; 0: nobody knows. */
uint64_t connection_last_alive_ns(const struct sockaddr_un *);

/* Sends head and name as one packet, all or nothing. False when the socket is full: try again when it is writable. A
 * connection that is gone counts as sent: receiving tells. */
bool connection_send(int fd, const void *head, size_t head_size, const char *name, size_t name_length);

/* The packet's descriptors are the caller's; packet_close() closes those that were not taken. */
enum receipt connection_receive(int fd, struct packet *);
void packet_close(struct packet *);

#endif
