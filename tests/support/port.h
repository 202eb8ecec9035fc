/*
 * port.h - ports of 127.0.0.1 for servers that a test starts.
 */
#ifndef PORT_H
#define PORT_H

#include <stdbool.h>

/* A port that nobody uses, and that nobody else is given as long as this process lives; -1: none. A server binds
 * it all the same if it sets SO_REUSEADDR, as all do. */
int port_reserve(void);
/* Whether somebody listens there. */
bool port_is_open(int port);

#endif
