/*
 * outbox.h - keeps verdicts until the next batch is on its way to the database. To wake an app costs several
 * microseconds; otherwise the batch would wait for that, once for each app that is answered.
 */
#ifndef STINT_OUTBOX_H
#define STINT_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "server.h"
#include "protocol/wire.h"

struct outbox_entry {
	server_peer peer;
	struct wire_verdict verdict;
};

struct outbox { /* starts as all zeros */
	struct outbox_entry *entries;
	size_t sent, count, room;
};

/* Keeps a copy of the verdict. Without memory, sends it at once. */
void outbox_put(struct outbox *, struct server *, server_peer peer, const struct wire_verdict *verdict);
/* Sends at most `most` verdicts, in the order they came. Returns whether there are more. */
bool outbox_send(struct outbox *, struct server *, size_t most);
void outbox_free(struct outbox *);

#endif
