/*
 * endpoints.h - the servers that a connection string names, and where they are. libpq would look up their names itself, and
 * block; so it is given addresses beside the names: each name once for each of its addresses (host=db,db hostaddr=10.0.0.1,10.0.0.2).
 *
 * The addresses that a name had last are remembered, and used while the name servers are out. A name is out when its last lookup failed,
 * or took longer than its caller had patience: then nobody waits for the next one, if there is an address to go on with. Sockets,
 * addresses and what has a hostaddr need no lookup.
 *
 * Which servers those are is asked anew each time, since a service file may name others meanwhile. Without an answer
 * there is nothing to connect to: libpq would read the same file.
 *
 * A lookup that hangs may never end: some time it is given up, and the name asked for once more. Each time that takes
 * twice as long as before, until there is an answer, since few may be given up (errand.h). So it is with the search.
 */
#ifndef STINT_ENDPOINTS_H
#define STINT_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>

struct endpoints;
struct pg_servers;

int endpoints_new(struct endpoints **out, const char *conninfo); /* 0, or -1: no memory or descriptor */
void endpoints_free(struct endpoints *); /* what is under way ends by itself; NULL is ignored */

/* Starts to search for the servers, and then to look up each name, but for what is still under way. */
void endpoints_look_up(struct endpoints *);
int endpoints_fd(const struct endpoints *); /* readable when there is something for endpoints_read() */
void endpoints_read(struct endpoints *);
/* There is nothing more to wait for. */
bool endpoints_are_settled(const struct endpoints *);
/* How long to wait for that, if one attempt to connect may take timeout_ms: all of it only without any address. */
int endpoints_patience_ms(const struct endpoints *, int timeout_ms);
/* Patience is over: what hasn't come by now is out. */
void endpoints_settle(struct endpoints *);

bool endpoints_are_usable(const struct endpoints *); /* at least one server's address is known, or needs no lookup */
/* At least one address is of a name that is out, or the servers themselves are those of before. */
bool endpoints_are_remembered(const struct endpoints *);
/* Why something is out; "" when nothing is. */
const char *endpoints_error(const struct endpoints *);

/* What to connect to, the first-th of all addresses (counted round) first; to be freed with pg_servers_free(). 0 or -1: no memory. */
int endpoints_list(const struct endpoints *, unsigned first, struct pg_servers *out);

#endif
