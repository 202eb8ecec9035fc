/*
 * pg_connect.h - a connection for who may wait for it: the command line, and tests. It searches for the servers,
 * looks up their names and connects.
 */
#ifndef STINT_PG_CONNECT_H
#define STINT_PG_CONNECT_H

#include "pg.h"

/* All that within timeout_ms. On failure *out is still a valid object (or NULL: out of memory) that tells
 * pg_error(). */
int pg_connect(struct pg **out, const char *conninfo, int timeout_ms);

#endif
