/*
 * lookup.h - looks up the addresses of one host's name beside the caller, who never waits.
 *
 * getaddrinfo() blocks for as long as name servers don't answer, some seconds to a minute, and only it honours nsswitch.conf.
 * So each lookup has a thread of its own. One that hangs can't be stopped: lookup_free() leaves it to itself, and it frees
 * what it has when it ends. Nothing waits for it, not even the end of the process.
 */
#ifndef STINT_LOOKUP_H
#define STINT_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>

/* Of one name; what comes after them is left out. */
#define LOOKUP_ADDRESSES_MAX 16

/* "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%interface" and a NUL. */
#define LOOKUP_ADDRESS_SIZE 64

/* Under way at once in this process, those included that nobody waits for any more. */
#define LOOKUPS_MAX 32

struct lookup;

/*
 * When it is over, it writes to a copy of the descriptor wake_fd, an eventfd. 0, or -1 with errno: no memory, thread or
 * descriptor (EAGAIN: also when there are LOOKUPS_MAX).
 */
int lookup_start(struct lookup **out, const char *name, int wake_fd);
void lookup_free(struct lookup *); /* NULL is ignored */

bool lookup_is_over(const struct lookup *);

/* Of one that is over. No address: lookup_error() says why. */
size_t lookup_count(const struct lookup *);
const char *lookup_address(const struct lookup *, size_t index); /* as a number, in the order in which to try them */
const char *lookup_error(const struct lookup *);

#endif
