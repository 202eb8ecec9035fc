/*
 * recalls.c - how the leases of a client are called back. The first recall after a pause makes the database send a
 * notice. Whoever hears it reads what is called back, and reads again until nothing is new: what others call back
 * meanwhile needs no notice. A recall costs its statement, and one of each host for each read.
 */
#include "fleet.h"

#define READ_AGAIN_NS (120 * MS) /* as agents do */
/* The database calls a client back once in a sub-window, which counts for so long at least, and at most. */
#define SAME_LEAST_NS (500 * MS)
#define SAME_MOST_NS  (6 * S)

void recalls_ask(struct fleet *f, const struct lease_recall *recalls, size_t count) {
	int64_t notice_ns = f->now_ns + 2 * f->scenario.rtt_us * US + MS;
	int64_t sub_ns = f->terms.sub_window_us * US, same_ns = sub_ns < SAME_LEAST_NS ? SAME_LEAST_NS : sub_ns;
	same_ns = same_ns < SAME_MOST_NS ? same_ns : SAME_MOST_NS;
	f->figures.statements += f->is_counting;
	for (size_t i = 0; i < count; i++) {
		uint32_t client = check_client_of(recalls[i].client_id);
		struct row *row = &f->rows[client];
		if (row->recalled_ns != 0 && f->now_ns - row->recalled_ns < same_ns)
			continue;
		row->recalled_ns = f->now_ns;
		if (f->recalled_count == RECALLED_MAX)
			continue; /* this one is lost */
		f->recalled[f->recalled_count++] = client;
		if (!f->reads_recalls)
			fleet_plan(f, notice_ns, READ, 0);
		f->reads_recalls = true;
	}
}

void recalls_on_read(struct fleet *f) {
	uint32_t clients[RECALLED_MAX], count = f->recalled_count;
	for (uint32_t i = 0; i < count; i++)
		clients[i] = f->recalled[i];
	f->recalled_count = 0;
	f->figures.statements += f->is_counting ? f->scenario.hosts : 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct grant_ring *ring = &f->rows[clients[i]].ring;
		for (uint32_t h = 0; h < f->scenario.hosts; h++)
			if ((ring->servers | ring->servers_before) >> host_bit(f, h) & 1)
				host_on_recall(f, h, clients[i]);
	}
	f->reads_recalls = count > 0;
	if (count > 0)
		fleet_plan(f, f->now_ns + READ_AGAIN_NS, READ, 0);
}
