/* dial.c - see dial.h. */
#include "dial.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "errand.h"
#include "monotonic.h"
#include "pg.h"

/* As long as a dial hangs, the next one waits for so long, for twice as long with each more that hangs, and at
 * most for an hour. */
#define WAIT_MIN_MS 1000
#define WAIT_MAX_MS 3600000

struct dial {
	struct errand errand;
	bool hangs; /* it was left before it was over */
	char *conninfo, *name;
	int timeout_ms;
	struct pg_servers servers;
	int result; /* of pg_open() and pg_pipeline() */
	struct pg *pg;
};

static _Atomic unsigned hanging;
static _Atomic int64_t left_ms; /* when one that hangs was left, last */

static int64_t wait_ms(unsigned count) {
	int64_t wait = count > 0 ? WAIT_MIN_MS : 0;
	for (unsigned i = 1; i < count && wait < WAIT_MAX_MS; i++)
		wait *= 2;
	return wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
}

static bool is_too_early(void) {
	unsigned count = atomic_load(&hanging);
	return count >= DIALS_HANGING_MAX || monotonic_now_ms() - atomic_load(&left_ms) < wait_ms(count);
}

static void refuse(struct errand *errand) {
	struct dial *dial = (struct dial *)errand;
	dial->result = pg_fail(&dial->pg, "earlier attempts to connect hang, in a file or a service that libpq asks");
}

static void connect_it(struct errand *errand) {
	struct dial *dial = (struct dial *)errand;
	const struct pg_target target = {.conninfo = dial->conninfo,
	                                 .name = dial->name,
	                                 .servers = &dial->servers,
	                                 .timeout_ms = dial->timeout_ms,
	                                 .deadline_ms = monotonic_now_ms() + dial->timeout_ms};
	dial->result = pg_open(&dial->pg, &target);
	if (dial->result == PG_OK)
		dial->result = pg_pipeline(dial->pg);
}

static void free_dial(struct errand *errand) {
	struct dial *dial = (struct dial *)errand;
	bool hung = dial->hangs;
	pg_close(dial->pg);
	pg_servers_free(&dial->servers);
	free(dial->conninfo);
	free(dial->name);
	free(dial);
	atomic_fetch_sub(&hanging, hung);
}

int dial_start(struct dial **out, const char *conninfo, const char *name, int timeout_ms,
               struct pg_servers *servers, int wake_fd) {
	struct dial *dial = *out = calloc(1, sizeof(*dial));
	if (!dial) {
		pg_servers_free(servers);
		return -1;
	}
	dial->errand = (struct errand){.run = is_too_early() ? refuse : connect_it, .free = free_dial};
	dial->conninfo = strdup(conninfo);
	dial->name = strdup(name);
	dial->timeout_ms = timeout_ms;
	dial->servers = *servers;
	*servers = (struct pg_servers){.host = NULL};
	if (dial->conninfo && dial->name && errand_start(&dial->errand, wake_fd) == 0)
		return 0;
	free_dial(&dial->errand);
	*out = NULL;
	return -1;
}

void dial_free(struct dial *dial) {
	if (!dial)
		return;
	if (!dial_is_over(dial)) {
		dial->hangs = true; /* who leaves last reads it */
		atomic_store(&left_ms, monotonic_now_ms());
		atomic_fetch_add(&hanging, 1);
	}
	errand_leave(&dial->errand);
}

bool dial_is_over(const struct dial *dial) {
	return errand_is_over(&dial->errand);
}

bool dial_receive(struct dial *dial, struct pg **pg) {
	*pg = dial->pg;
	dial->pg = NULL;
	return dial->result == PG_OK;
}
