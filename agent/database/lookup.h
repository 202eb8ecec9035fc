/*
 * lookup.h - looks up the addresses of one host's name, as an errand: only getaddrinfo() honours nsswitch.conf,
 * and it blocks while name servers don't answer, for some seconds to a minute.
 */
#ifndef STINT_LOOKUP_H
#define STINT_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of one name; what comes after them is left out. */
#define LOOKUP_ADDRESSES_MAX 16

/* "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%interface" and a NUL. */
#define LOOKUP_ADDRESS_SIZE 64

struct lookup;

/* 0, or -1 with errno, as errand_start(), which also says what wake_fd is. */
int lookup_start(struct lookup **out, const char *name, int wake_fd);
void lookup_free(struct lookup *);                      /* one that isn't over ends by itself; NULL is ignored */
bool lookup_give_up(struct lookup *, int64_t hangs_ms); /* as errand_give_up() */

bool lookup_is_over(const struct lookup *);

/* Of one that is over. No address: lookup_error() says why. */
size_t lookup_count(const struct lookup *);
/* As a number; in the order in which to try them. */
const char *lookup_address(const struct lookup *, size_t index);
const char *lookup_error(const struct lookup *);

#endif
