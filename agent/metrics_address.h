/* metrics_address.h - where metrics are served: a Unix socket, or a port of a loopback address. */
#ifndef STINT_METRICS_ADDRESS_H
#define STINT_METRICS_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

struct metrics_address {
	struct sockaddr_storage address;
	socklen_t length;
};

/* Reads an absolute path, or 127.0.0.1:PORT or [::1]:PORT. Returns false if it is neither: metrics tell the names
 * of policies, so they don't go to the network by themselves. */
bool metrics_address_parse(struct metrics_address *, const char *text);

#endif
