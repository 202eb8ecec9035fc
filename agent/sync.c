/* sync.c - getting in step with the database, see sync.h. */
#include "sync.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "stint.h"
#include "log.h"
#include "monotonic.h"

/* The agent tries to connect every few hundred milliseconds; it logs a failure only this often. */
#define FAILURE_LOG_NS (30 * NS_PER_S)

static void set_state(struct sync *sync, enum sync_state state) {
	sync->state = state;
	sync->changes->awaited = state == SYNC_LOADING;
}

static void tell_availability(struct sync *sync) {
	sync->events->availability_changed(sync->context);
}

static void note_why(struct sync *sync, const char *why) {
	snprintf(sync->why, sizeof(sync->why), "%.*s", (int)sizeof(sync->why) - 1, why);
}

/* ---- Which server it is -------------------------------------------------------- */

/* How long this server may have been the one that grants, at most; -1: always. An old primary that comes back has
 * been known for long, but another server may have granted until now, since we lost it. */
static int64_t server_age_us(const struct sync *sync, int64_t now_ns) {
	int64_t left_us = (now_ns - sync->left_ns) / NS_PER_US, age_us = sync->hello.server_age_us;
	return sync->changes->origin.server[0] && age_us > left_us ? left_us : age_us;
}

/* Says how this server differs from the one that granted the leases that are out here; NULL: it doesn't. */
static const char *find_difference(const struct origin *origin, const struct database_hello *hello,
                                   int64_t *age_us) {
	if (!origin->server[0])
		return NULL;
	if (strcmp(origin->server, hello->server) != 0)
		return "this is another server than before, or a dump was restored";
	if (strcmp(origin->timeline, hello->timeline) != 0)
		return origin->timeline[0] && hello->timeline[0] ? "a standby was promoted"
		                                                 : "a standby may have been promoted";
	if (hello->wal_end == 0 || hello->wal_end >= origin->wal_end)
		return NULL;
	/* A crash keeps all that was on disk. So somebody has put back an older state of the disks, perhaps just
	 * now. */
	*age_us = 0;
	return "the database went back to an older state";
}

static const char *or_unknown(const char *name) {
	return name[0] ? name : "unknown";
}

static void take_for_other(struct sync *sync, const char *difference, int64_t age_us) {
	const struct origin *origin = &sync->changes->origin;
	const struct database_hello *hello = &sync->hello;
	struct core *core = sync->driver->core;
	int64_t now_ns = monotonic_now_ns();
	core_database_promoted(core, now_ns, age_us < 0 ? 0 : age_us * NS_PER_US);
	int64_t held_ms = (core_held_until_ns(core) - now_ns) / NS_PER_MS;
	bool same = !strcmp(origin->server, hello->server);
	log_warning("%s: %s %s, was %s; what was committed last may be lost; no grants for %" PRId64 " ms", difference,
	            same ? "timeline" : "server", or_unknown(same ? hello->timeline : hello->server),
	            or_unknown(same ? origin->timeline : origin->server), max64(0, held_ms));
}

/* Notes which server this is. An agent that has just been started may not know which server granted the leases in
 * the table; that matters for as long as leases may last. Returns true if they are, or may be, another server's:
 * then they end with the hold. */
static bool meet_server(struct sync *sync) {
	struct origin *origin = &sync->changes->origin;
	const struct database_hello *hello = &sync->hello;
	struct core *core = sync->driver->core;
	int64_t age_us = server_age_us(sync, monotonic_now_ns());
	core_know_lease(core, hello->longest_lease_us);
	bool is_recent = age_us >= 0 && age_us < core_longest_lease_ns(core) / NS_PER_US;
	const char *difference = find_difference(origin, hello, &age_us);
	bool may_differ = !difference && !origin->server[0] && is_recent;
	if (difference)
		take_for_other(sync, difference, age_us);
	else if (may_differ)
		take_for_other(sync, "a standby was promoted, or this is another server", age_us);
	memcpy(origin->server, hello->server, sizeof(origin->server));
	memcpy(origin->timeline, hello->timeline, sizeof(origin->timeline));
	origin->wal_end = hello->wal_end;
	return difference || may_differ;
}

/* ---- Getting in step ----------------------------------------------------------- */

void sync_on_loaded(struct sync *sync, bool done) {
	if (sync->state != SYNC_LOADING)
		return;
	set_state(sync, done ? SYNC_DONE : SYNC_AWAY); /* AWAY: if still connected, a heartbeat tries again */
	if (done) {
		changes_settle(sync->changes, meet_server(sync));
		core_database_up(sync->driver->core, monotonic_now_ns(), sync->hello.live_hosts);
		changes_note(sync->changes);
	}
	tell_availability(sync);
}

void sync_start(struct sync *sync) {
	struct policies *policies = sync->driver->policies;
	set_state(sync, SYNC_LOADING);
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		policies->policy[i].stale = true;
	sync->events->started(sync->context);
}

/* ---- The connection ------------------------------------------------------------ */

/* Logs the same advice once, not each time that the database returns. */
static void log_advice(struct sync *sync) {
	if (sync->hello.advice[0] && strcmp(sync->advice, sync->hello.advice) != 0)
		log_warning("%s", sync->hello.advice);
	memcpy(sync->advice, sync->hello.advice, sizeof(sync->advice));
}

static void on_up(void *context, const struct database_hello *hello) {
	struct sync *sync = context;
	const char *lookup_error = database_lookup_error(sync->driver->database);
	sync->hello = *hello;
	sync->changes->newest = hello->change_id;
	sync->failed_logged_ns = 0;
	sync->events->connected(sync->context);
	log_info("connected to the database as host %d, %d hosts live", hello->host_id, hello->live_hosts);
	log_advice(sync);
	if (*lookup_error)
		log_warning("%s; connected by an address of earlier", lookup_error);
	sync_start(sync);
}

static void log_failure(struct sync *sync, bool lost, const char *why, int64_t now_ns) {
	if (!lost && sync->failed_logged_ns != 0 && now_ns - sync->failed_logged_ns <= FAILURE_LOG_NS)
		return;
	bool reached = database_was_reached(sync->driver->database);
	log_warning("%s the database: %s", lost ? "lost" : reached ? "cannot use" : "cannot reach", why);
	sync->failed_logged_ns = lost ? 0 : now_ns;
}

static void on_down(void *context, const char *why) {
	struct sync *sync = context;
	int64_t now_ns = monotonic_now_ns();
	bool lost = sync->state == SYNC_DONE;
	set_state(sync, SYNC_AWAY);
	note_why(sync, why);
	log_failure(sync, lost, why, now_ns);
	if (lost) {
		sync->left_ns = now_ns;
		core_database_lost(sync->driver->core, now_ns);
	} else {
		core_database_down(sync->driver->core, now_ns);
	}
	tell_availability(sync);
	driver_pump(sync->driver);
}

static void on_notified(void *context) {
	struct sync *sync = context;
	if (sync->state == SYNC_DONE)
		changes_read(sync->changes);
}

static void on_recalled(void *context) {
	const struct sync *sync = context;
	if (sync->state == SYNC_DONE)
		sync->events->recalled(sync->context);
}

const struct database_events sync_on_database = {.up = on_up,
                                                 .down = on_down,
                                                 .notified = on_notified,
                                                 .recalled = on_recalled};

void sync_lock_out(struct sync *sync, int64_t now_ns, const char *why) {
	set_state(sync, SYNC_LOCKED);
	sync->left_ns = now_ns;
	note_why(sync, why);
	core_database_lost(sync->driver->core, now_ns);
	tell_availability(sync);
}

/* Keeps sync->hello up to date, since the server is judged by it when the agent gets in step again after a
 * lock. */
void sync_on_pulse(struct sync *sync, const struct database_pulse *pulse) {
	struct origin *origin = &sync->changes->origin;
	origin->wal_end = max64(origin->wal_end, pulse->wal_end);
	sync->hello.wal_end = max64(sync->hello.wal_end, pulse->wal_end);
	if (!pulse->is_heartbeat)
		return;
	core_set_hosts(sync->driver->core, pulse->live_hosts);
	sync->hello.live_hosts = pulse->live_hosts;
}

int sync_open(struct sync *sync, struct event_base *base) {
	const struct config *config = sync->config;
	const struct database_options options = {
		.conninfo = config->database,
		.host = config->host,
		.instance = sync->instance,
		.version = STINT_VERSION,
		.mark = core_host(sync->driver->core),
		.timeout_ms = (int)config->database_timeout_ms,
		.keep_commit = config_keeps_commit(config),
		.pooled = config_is_pooled(config),
	};
	if (config_is_memory(config))
		return 0;
	if (database_new(&sync->driver->database, base, &options, &sync_on_database, sync) != 0)
		return -1;
	database_connect(sync->driver->database);
	return 0;
}

void sync_close(struct sync *sync) {
	database_free(sync->driver->database); /* calls nobody back: what was under way stays unknown */
	sync->driver->database = NULL;
	if (sync->state == SYNC_DONE)
		sync->left_ns = monotonic_now_ns();
	set_state(sync, SYNC_AWAY);
	sync->failed_logged_ns = 0;
	sync->hello.timeline[0] = sync->hello.server[0] = 0;
	changes_forget_database(sync->changes);
}
