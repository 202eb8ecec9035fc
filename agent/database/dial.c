/* dial.c - see dial.h. */
#include "dial.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "errand.h"
#include "monotonic.h"
#include "pg.h"

/* A dial that is left may be a slow one: it ends by its deadline or by its answer, some time later. One that is
 * still there after so long hangs. */
#define GRACE_MS 5000

/* As long as a dial hangs, the next one waits for so long after the last one was left, for twice as long with each
 * more that was left, and at most for an hour. */
#define WAIT_MIN_MS 1000
#define WAIT_MAX_MS 3600000

struct dial {
	struct errand errand;
	_Atomic int64_t *left_ms; /* its entry below; NULL: it has none */
	char *conninfo, *name;
	int timeout_ms;
	struct pg_servers servers;
	int result; /* of pg_open() and pg_pipeline() */
	struct pg *pg;
};

/* When each was left that is not over yet; 0: no dial's. */
static _Atomic int64_t all_left_ms[DIALS_HANGING_MAX];

static int64_t wait_ms(unsigned count) {
	int64_t wait = count > 0 ? WAIT_MIN_MS : 0;
	for (unsigned i = 1; i < count && wait < WAIT_MAX_MS; i++)
		wait *= 2;
	return wait < WAIT_MAX_MS ? wait : WAIT_MAX_MS;
}

static bool is_too_early(void) {
	int64_t now_ms = monotonic_now_ms(), last_ms = 0;
	unsigned count = 0;
	bool one_hangs = false;
	for (int i = 0; i < DIALS_HANGING_MAX; i++) {
		int64_t left_ms = atomic_load(&all_left_ms[i]);
		count += left_ms != 0;
		one_hangs |= left_ms != 0 && now_ms - left_ms >= GRACE_MS;
		last_ms = left_ms > last_ms ? left_ms : last_ms;
	}
	return count == DIALS_HANGING_MAX || (one_hangs && now_ms - last_ms < wait_ms(count));
}

/* Returns the entry of a dial that is left now; NULL: there is none. */
static _Atomic int64_t *note_left(void) {
	for (int i = 0; i < DIALS_HANGING_MAX; i++) {
		int64_t free_one = 0;
		if (atomic_compare_exchange_strong(&all_left_ms[i], &free_one, monotonic_now_ms()))
			return &all_left_ms[i];
	}
	return NULL;
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
	_Atomic int64_t *left_ms = dial->left_ms;
	pg_close(dial->pg);
	pg_servers_free(&dial->servers);
	free(dial->conninfo);
	free(dial->name);
	free(dial);
	if (left_ms)
		atomic_store(left_ms, 0);
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
	if (!dial_is_over(dial))
		dial->left_ms = note_left(); /* who leaves last clears it */
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
