/*
 * message.h - reads packets from the agent, and checks them as if an enemy had
 * sent them.
 *
 * Each function copies the message out and returns 0, or an error after which
 * this agent's connection must end; then the calling thread's detail says what
 * was wrong. The functions use no socket and keep no state.
 */
#ifndef STINT_MESSAGE_H
#define STINT_MESSAGE_H

#include "connection.h"
#include "protocol/wire.h"

int message_read_head(const struct packet *, struct wire_head *);
int message_read_welcome(const struct packet *, struct wire_welcome *);
int message_read_declared(const struct packet *, struct wire_declared *);
int message_read_verdict(const struct packet *, struct wire_verdict *);

/* Sets the calling thread's detail and returns STINT_EPROTOCOL. */
int message_refuse(const char *what);

#endif
