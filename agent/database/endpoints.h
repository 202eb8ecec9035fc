/*
 * endpoints.h - the servers that a connection string names, and their addresses. libpq would look up the names
 * itself, and block. So it is given addresses beside the names, each name once for each of its addresses
 * (host=db,db hostaddr=10.0.0.1,10.0.0.2).
 *
 * A name is out when its last lookup failed, or took longer than the caller had patience. The addresses that the
 * name had last are used then, and nobody waits for its next lookup. Sockets, addresses and servers with a
 * hostaddr need no lookup.
 *
 * Each attempt asks libpq anew which servers there are (search.h), since a service file may name others meanwhile.
 * Without an answer there is nothing to connect to: libpq would read the same file.
 *
 * A lookup that hangs may never end. After a while it is given up, and the name asked for once more. Each time
 * that takes twice as long as before, until there is an answer, since only few may be given up (errand.h). The
 * same holds for the search.
 */
#ifndef STINT_ENDPOINTS_H
#define STINT_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>

struct endpoints;
struct pg_servers;

int endpoints_new(struct endpoints **out, const char *conninfo); /* 0, or -1: no memory or descriptor */
void endpoints_free(struct endpoints *); /* what is under way ends by itself; NULL is ignored */

/* Starts to search for the servers, and then to look up each name, unless that is still under way. */
void endpoints_look_up(struct endpoints *);
int endpoints_fd(const struct endpoints *); /* readable when there is something for endpoints_read() */
void endpoints_read(struct endpoints *);
/* There is nothing more to wait for. */
bool endpoints_are_settled(const struct endpoints *);
/* How long to wait for that when an attempt to connect may take timeout_ms: all of it only if no address is
 * known. */
int endpoints_patience_ms(const struct endpoints *, int timeout_ms);
/* Patience is over: what hasn't come by now is out. */
void endpoints_settle(struct endpoints *);

/* At least one server's address is known, or needs no lookup. */
bool endpoints_are_usable(const struct endpoints *);
/* If one address has no answer, another one can be tried. */
bool endpoints_are_several(const struct endpoints *);
/* At least one address is of a name that is out, or the servers themselves are those of before. */
bool endpoints_are_remembered(const struct endpoints *);
/* Why something is out; "" when nothing is. */
const char *endpoints_error(const struct endpoints *);

/* What to connect to, beginning with the first-th of all addresses, counted round; to be freed with
 * pg_servers_free(). 0, or -1: no memory. */
int endpoints_list(const struct endpoints *, unsigned first, struct pg_servers *out);

#endif
