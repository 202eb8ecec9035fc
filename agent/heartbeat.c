/* heartbeat.c - the agent's sign of life in the database, and what is new there; see heartbeat.h. */
#include "heartbeat.h"

#include <event2/util.h>
#include <stdlib.h>

#include "log.h"
#include "monotonic.h"
#include "status.h"

/* When the database's clock moves against ours by more than this between two pulses, that is a step, not drift. */
#define CLOCK_STEP_US INT64_C(1000000)

/* How often this host writes that it lives, see stint.count_hosts(). It writes rarely, since the versions of its
 * row stay as long as anybody has an old snapshot, and since there may be hundreds of hosts. In between it asks
 * whether anything is new, also to notice in time when the database doesn't answer. Where notices don't arrive, it
 * asks with each tick. */
#define HEARTBEAT_NS (6 * NS_PER_S)
#define PULSE_NS     (3 * NS_PER_S)

static void watch_clock(struct heartbeat *heartbeat, int64_t now_us) {
	int64_t offset_us = now_us - monotonic_now_ns() / NS_PER_US;
	int64_t step_us = offset_us - heartbeat->clock_offset_us;
	if (heartbeat->clock_offset_us != 0 && llabs(step_us) > CLOCK_STEP_US)
		log_warning("the database's clock stepped by %+.1f s", (double)step_us / 1e6);
	heartbeat->clock_offset_us = offset_us;
}

static void watch_rival(struct heartbeat *heartbeat, bool rival) {
	if (rival && !heartbeat->rival)
		log_warning("another agent calls itself \"%s\" too: give each a host of its own", heartbeat->config->host);
	heartbeat->rival = rival;
}

static void take_heartbeat(struct heartbeat *heartbeat, const struct database_pulse *pulse) {
	heartbeat->expiry->is_ours = pulse->expires;
	watch_rival(heartbeat, pulse->rival);
	heartbeat->sync->old_snapshots += pulse->old_snapshot;
	if (pulse->old_snapshot)
		log_warning(
			"somebody has held an old snapshot of the database for a minute or longer (a transaction left open,"
			" a prepared one, a replication slot; a superuser sees it in pg_stat_activity.backend_xmin and"
			" pg_replication_slots): statements get slower as long as it lasts");
}

static void on_pulsed(void *context, enum lease_outcome outcome, const struct database_pulse *pulse) {
	struct heartbeat *heartbeat = context;
	if (outcome != LEASE_DONE || !pulse)
		return;
	watch_clock(heartbeat, pulse->now_us);
	sync_on_pulse(heartbeat->sync, pulse);
	if (pulse->is_heartbeat)
		take_heartbeat(heartbeat, pulse);
	if (pulse->change_id > heartbeat->changes->change_id)
		changes_read(heartbeat->changes);
}

/* Makes the period up to a tenth longer or shorter, so that hosts that started together don't stay together. */
static int64_t jittered(int64_t period_ns) {
	uint32_t random;
	evutil_secure_rng_get_bytes(&random, sizeof(random));
	return period_ns / 10 * 9 + period_ns / 5 / 1000 * (random % 1000);
}

static void beat(struct heartbeat *heartbeat, int64_t now_ns) {
	const struct core *core = heartbeat->driver->core;
	int64_t since_ns = core_fallback_since_ns(core);
	heartbeat->beat_ns = now_ns + jittered(HEARTBEAT_NS);
	database_heartbeat(heartbeat->driver->database, status_state_name(core_state(core)), core_client_count(core),
	                   since_ns ? (now_ns - since_ns) / NS_PER_MS : 0, heartbeat->changes->in_force, on_pulsed,
	                   heartbeat);
}

static void beat_or_pulse(struct heartbeat *heartbeat, int64_t now_ns) {
	struct database *database = heartbeat->driver->database;
	bool beats = now_ns >= heartbeat->beat_ns;
	if (!beats && database_hears(database) && now_ns < heartbeat->pulse_ns)
		return;
	heartbeat->pulse_ns = now_ns + jittered(PULSE_NS);
	if (beats)
		beat(heartbeat, now_ns);
	else
		database_pulse(database, on_pulsed, heartbeat);
}

void heartbeat_tick(struct heartbeat *heartbeat) {
	const struct database *database = heartbeat->driver->database;
	struct sync *sync = heartbeat->sync;
	if (!database || !database_is_up(database) || sync->state == SYNC_LOADING)
		return;
	if (sync->state == SYNC_AWAY) {
		sync_start(sync);
		return;
	}
	beat_or_pulse(heartbeat, monotonic_now_ns());
	if (sync->state == SYNC_LOCKED) {
		locked_look_again(heartbeat->locked);
		return;
	}
	if (!database_hears(database) && core_client_count(heartbeat->driver->core) > 0)
		recalls_read(heartbeat->recalls);
	changes_note(heartbeat->changes);              /* works once a promotion's hold is over */
	declarations_pass_on(heartbeat->declarations); /* some may have been refused when the database came back */
	declarations_ask_again(heartbeat->declarations);
	declarations_resume(heartbeat->declarations);
}

void heartbeat_hasten(struct heartbeat *heartbeat) {
	heartbeat->beat_ns = 0;
}

void heartbeat_restart(struct heartbeat *heartbeat) {
	heartbeat->clock_offset_us = 0;
	heartbeat->expiry->is_ours = false;
}
