/* dial.c - see dial.h. */
#include "dial.h"

#include <stdlib.h>
#include <string.h>

#include "errand.h"
#include "monotonic.h"
#include "pg.h"

struct dial {
	struct errand errand;
	char *conninfo, *name;
	int timeout_ms;
	struct pg_servers servers;
	int result; /* of pg_open() and pg_pipeline() */
	struct pg *pg;
};

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
	pg_close(dial->pg);
	pg_servers_free(&dial->servers);
	free(dial->conninfo);
	free(dial->name);
	free(dial);
}

int dial_start(struct dial **out, const char *conninfo, const char *name, int timeout_ms,
               struct pg_servers *servers, int wake_fd) {
	struct dial *dial = *out = calloc(1, sizeof(*dial));
	if (!dial) {
		pg_servers_free(servers);
		return -1;
	}
	dial->errand = (struct errand){.run = connect_it, .free = free_dial};
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
	errand_leave((struct errand *)dial);
}

bool dial_is_over(const struct dial *dial) {
	return errand_is_over(&dial->errand);
}

bool dial_receive(struct dial *dial, struct pg **pg) {
	*pg = dial->pg;
	dial->pg = NULL;
	return dial->result == PG_OK;
}
