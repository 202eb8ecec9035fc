/*
 * agent_status.h - asks this host's agent for its status or its metrics, over its socket.
 */
#ifndef STINT_AGENT_STATUS_H
#define STINT_AGENT_STATUS_H

#include <jansson.h>
#include <stddef.h>

/* Returns the status as an object that the caller owns; or NULL, with the reason in why. */
json_t *agent_status_fetch(const char *socket_path, char *why, size_t why_size);

/* Returns its metrics, of *size bytes, as a text that the caller frees; or NULL, with the reason in why. */
char *agent_metrics_fetch(const char *socket_path, size_t *size, char *why, size_t why_size);

/* Returns the path itself; for NULL, $STINT_SOCKET, else the default. */
const char *agent_status_socket(const char *socket_path);

#endif
