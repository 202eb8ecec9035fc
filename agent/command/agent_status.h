/*
 * agent_status.h - asks this host's agent for its status, over its socket.
 */
#ifndef STINT_AGENT_STATUS_H
#define STINT_AGENT_STATUS_H

#include <jansson.h>
#include <stddef.h>

/* The status as an object that the caller owns; or NULL and the reason in why. */
json_t *agent_status_fetch(const char *socket_path, char *why, size_t why_size);

/* The path itself, or where NULL stands for: $STINT_SOCKET, else the default. */
const char *agent_status_socket(const char *socket_path);

#endif
