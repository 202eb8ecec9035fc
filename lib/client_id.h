/*
 * client_id.h - which client_id is accepted.
 *
 * PostgreSQL refuses text that is not UTF-8, and one bad id must not fail a
 * whole batch; so an id is checked here, before anything else reads it.
 */
#ifndef STINT_CLIENT_ID_H
#define STINT_CLIENT_ID_H

#include <stdbool.h>
#include <stddef.h>

/* Returns the length in bytes of an id that ends with a NUL; 0 when it is NULL, empty, longer than
 * STINT_CLIENT_ID_MAX or not UTF-8. */
size_t client_id_length(const char *id);

/* Whether these bytes are an id. A NUL among them is none of UTF-8 as PostgreSQL has it. */
bool client_id_is_valid(const char *id, size_t length);

#endif
