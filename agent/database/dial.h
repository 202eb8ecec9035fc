/*
 * dial.h - connects to a server, as an errand. libpq blocks meanwhile: it reads a service file, a password file,
 * certificates and keys, asks who the user is, speaks to Kerberos' key distribution centre, and works out a
 * password's proof. Each can take long, or hang.
 *
 * A dial that is left before it is over may be a slow one, or hang for ever and keep its thread. Once one is still
 * there 5 s later, the next one has to wait: the longer, the more were left and are not over. One that is started
 * earlier ends at once, with an error. So few threads are lost in a long outage, and there is a new attempt after
 * it even if what hangs never ends.
 */
#ifndef STINT_DIAL_H
#define STINT_DIAL_H

#include <stdbool.h>

struct dial;
struct pg;
struct pg_servers;

/* When so many were left and are not over, no other one begins before one of them ends. */
#define DIALS_HANGING_MAX 16

/* Starts pg_open() and pg_pipeline(). The servers become the dial's, also on failure. 0, or -1 with errno:
 * errand_start(), which also says what wake_fd is. */
int dial_start(struct dial **out, const char *conninfo, const char *name, int timeout_ms,
               struct pg_servers *servers, int wake_fd);
void dial_free(struct dial *); /* one that isn't over ends by itself; NULL is ignored */

bool dial_is_over(const struct dial *);
/* Of one that is over: is there a connection? *pg becomes the caller's; if there is none, it tells the error. */
bool dial_receive(struct dial *, struct pg **pg);

#endif
