/*
 * endpoints.h - the servers that a connection string names, and where they are. libpq would look up their names itself, and
 * block; so it is given addresses beside the names: each name once for each of its addresses (host=db,db hostaddr=10.0.0.1,10.0.0.2).
 *
 * The addresses that a name had last are remembered, and used while the name servers are out. A name is out when its last lookup failed,
 * or took longer than its caller had patience: then nobody waits for the next one, if there is an address to go on with. Sockets,
 * addresses and what has a hostaddr need no lookup.
 */
#ifndef STINT_ENDPOINTS_H
#define STINT_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>

struct endpoints;
struct pg_servers;

int endpoints_new(struct endpoints **out, const struct pg_servers *servers); /* 0, or -1: no memory or descriptor */
void endpoints_free(struct endpoints *); /* lookups under way end by themselves; NULL is ignored */
bool endpoints_are_those(const struct endpoints *, const struct pg_servers *servers);

/* Starts to look up each name, but those of which a lookup is still under way. */
void endpoints_look_up(struct endpoints *);
int endpoints_fd(const struct endpoints *); /* readable when there is something for endpoints_read() */
void endpoints_read(struct endpoints *);
/* There is nothing more to wait for. */
bool endpoints_are_settled(const struct endpoints *);
/* How long to wait for that, if one attempt to connect may take timeout_ms: all of it only without any address. */
int endpoints_patience_ms(const struct endpoints *, int timeout_ms);
/* Patience is over: the names that were waited for are out. */
void endpoints_settle(struct endpoints *);

bool endpoints_are_usable(const struct endpoints *);     /* at least one server's address is known, or needs no lookup */
bool endpoints_are_remembered(const struct endpoints *); /* at least one address is of a name that is out */
/* Why a name is out; "" when none is. */
const char *endpoints_error(const struct endpoints *);

/* What to connect to, the first-th of all addresses (counted round) first; to be freed with pg_servers_free(). 0 or -1: no memory. */
int endpoints_list(const struct endpoints *, unsigned first, struct pg_servers *out);

#endif
