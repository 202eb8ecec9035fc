/* outbox.c - verdicts that wait for their batch, see outbox.h. */
#include "outbox.h"

#include <stdlib.h>

#define ROOM_FIRST 64
/* Room beyond this, which only a flood needs, is given back after the flood. */
#define ROOM_KEPT 4096

static int make_room(struct outbox *outbox) {
	size_t room = outbox->room ? 2 * outbox->room : ROOM_FIRST;
	struct outbox_entry *grown;
	if (outbox->count < outbox->room)
		return 0;
	grown = realloc(outbox->entries, room * sizeof(*grown));
	if (!grown)
		return -1;
	outbox->entries = grown;
	outbox->room = room;
	return 0;
}

void outbox_put(struct outbox *outbox, struct server *server, server_peer peer,
                const struct wire_verdict *verdict) {
	if (make_room(outbox) != 0)
		server_send(server, peer, verdict, sizeof(*verdict));
	else
		outbox->entries[outbox->count++] = (struct outbox_entry){peer, *verdict};
}

void outbox_free(struct outbox *outbox) {
	free(outbox->entries);
	*outbox = (struct outbox){0};
}

bool outbox_send(struct outbox *outbox, struct server *server, size_t most) {
	size_t end = outbox->count - outbox->sent > most ? outbox->sent + most : outbox->count;
	for (; outbox->sent < end; outbox->sent++) {
		const struct outbox_entry *entry = &outbox->entries[outbox->sent];
		server_send(server, entry->peer, &entry->verdict, sizeof(entry->verdict));
	}
	if (outbox->sent < outbox->count)
		return true;
	outbox->count = outbox->sent = 0;
	if (outbox->room > ROOM_KEPT)
		outbox_free(outbox);
	return false;
}
