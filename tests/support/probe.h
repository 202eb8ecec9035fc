/*
 * probe.h - an app of the test's own, in the test's process: one attachment, one policy.
 */
#ifndef PROBE_H
#define PROBE_H

#include "host.h"
#include "stint.h"

struct probe {
	struct stint *stint;
	struct stint_limiter *limiter;
};

/* 0, or the library's error. To be closed in any case. */
int probe_open(struct probe *, const struct host *host, const struct stint_options *options);
void probe_close(struct probe *);

/* One check by an app that comes for it and goes. By what it was admitted, an enum stint_source; 0: it was not. */
int probe_once(const struct host *host, const struct stint_options *options, const char *client);

#endif
