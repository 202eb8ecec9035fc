/*
 * peer.h - the agent's socket, spoken by hand: for what the library offers no
 * call for (an agent's status), and for what it would never send.
 */
#ifndef PEER_H
#define PEER_H

#include <stddef.h>

/* A connection, nothing said yet; the descriptor, or -1. */
int peer_connect(const char *socket_path);
/* HELLO and WELCOME. 0, or the agent's negative error, or -1000 when it did not answer within timeout_ms. The
 * descriptors that come along are closed. */
int peer_hello(int fd, int timeout_ms);
/* Waits for a packet: its length, 0 when the agent hung up, -1 on a timeout. */
long peer_receive(int fd, void *packet, size_t size, int timeout_ms);

/* Connects, asks for the status and hangs up: the JSON text (cut to size). 0 or -1. */
int peer_status(const char *socket_path, char *text, size_t size, int timeout_ms);

#endif
