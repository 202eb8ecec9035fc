/* pg_connect.c - see pg_connect.h. What the agent does beside its loop is waited for here. */
#include "pg_connect.h"

#include <poll.h>

#include "endpoints.h"
#include "monotonic.h"

static void wait_for_addresses(struct endpoints *endpoints, int timeout_ms) {
	int64_t began_ms = monotonic_now_ms();
	endpoints_look_up(endpoints);
	while (!endpoints_are_settled(endpoints) &&
	       pg_wait(endpoints_fd(endpoints), POLLIN, began_ms + endpoints_patience_ms(endpoints, timeout_ms)))
		endpoints_read(endpoints);
	endpoints_settle(endpoints);
}

/* The servers of a connection string, with addresses for their names. On failure *pg tells the error. */
static int find_addresses(struct pg **pg, const char *conninfo, int timeout_ms, struct pg_servers *out) {
	struct endpoints *endpoints;
	int result = PG_UNREACHABLE;
	*pg = NULL;
	*out = (struct pg_servers){.host = NULL};
	if (endpoints_new(&endpoints, conninfo) != 0)
		return PG_UNREACHABLE;
	wait_for_addresses(endpoints, timeout_ms);
	if (!endpoints_are_usable(endpoints))
		pg_fail(pg, endpoints_error(endpoints));
	else if (endpoints_list(endpoints, 0, out) == 0)
		result = PG_OK;
	endpoints_free(endpoints);
	return result;
}

int pg_connect(struct pg **out, const char *conninfo, int timeout_ms) {
	struct pg_servers servers;
	const struct pg_target target = {.conninfo = conninfo,
	                                 .name = "stint",
	                                 .servers = &servers,
	                                 .timeout_ms = timeout_ms,
	                                 .deadline_ms = monotonic_now_ms() + timeout_ms};
	if (find_addresses(out, conninfo, timeout_ms, &servers) != PG_OK)
		return PG_UNREACHABLE;
	int result = pg_open(out, &target);
	pg_servers_free(&servers);
	return result;
}
