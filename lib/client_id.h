/*
 * client_id.h - which client_id is accepted.
 *
 * PostgreSQL refuses text that is not UTF-8, and one bad id must not fail a
 * whole batch; so an id is checked here, before anything else reads it.
 */
#ifndef STINT_CLIENT_ID_H
#define STINT_CLIENT_ID_H

#include <stddef.h>

/* Returns the id's length in bytes; 0 when it is NULL, empty, longer than STINT_CLIENT_ID_MAX or not UTF-8. */
size_t client_id_length(const char *id);

#endif
