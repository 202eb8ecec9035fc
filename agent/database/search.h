/*
 * search.h - finds the servers that a connection string names, as an errand: meanwhile libpq reads a service file,
 * whose file system may hang, or asks an LDAP server that such a file names.
 */
#ifndef STINT_SEARCH_H
#define STINT_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

struct search;
struct pg_servers;

/* 0, or -1 with errno, as errand_start(), which also says what wake_fd is. */
int search_start(struct search **out, const char *conninfo, int wake_fd);
void search_free(struct search *);                      /* one that isn't over ends by itself; NULL is ignored */
bool search_give_up(struct search *, int64_t hangs_ms); /* as errand_give_up() */

bool search_is_over(const struct search *);
/* Of one that is over, once: what it has found becomes the caller's. False: there was no memory. */
bool search_receive(struct search *, struct pg_servers *out);

#endif
