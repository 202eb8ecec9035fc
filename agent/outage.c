/* outage.c - how long this host was on its own, see outage.h. */
#include "outage.h"

#include <inttypes.h>

#include "log.h"
#include "monotonic.h"

static void on_reported(void *context, enum lease_outcome outcome) {
	(void)context;
	if (outcome != LEASE_DONE)
		log_warning("the fallback period was not recorded");
}

static void report(const struct outage *outage, const char *why) {
	const struct core *core = outage->driver->core;
	int64_t ended_ms_ago = (monotonic_now_ns() - outage->ended_ns) / NS_PER_MS;
	log_info("fallback ended after %" PRId64 " ms: %" PRIu64 " credits used, %zu clients to charge",
	         outage->lasted_ms, outage->admitted, core_uncharged(core));
	database_report_fallback(outage->driver->database, outage->lasted_ms, ended_ms_ago, (int64_t)outage->admitted,
	                         (int64_t)core_fallback_clients(core), why, on_reported, NULL);
}

static void begin(struct outage *outage) {
	outage->began_ns = monotonic_now_ns();
	outage->count++;
}

static void end(struct outage *outage) {
	outage->ended_ns = monotonic_now_ns();
	outage->lasted_ms = (outage->ended_ns - outage->began_ns) / NS_PER_MS;
	outage->walk_end = core_walk_end(outage->driver->core);
	outage->unreported = true;
}

/* Reports the fallback once its use is known: when all its leases are out of the table, or at the latest when the
 * next fallback begins. */
static void report_when_known(struct outage *outage, enum core_state now, const char *why) {
	if (now != CORE_FALLBACK)
		outage->admitted = core_counters(outage->driver->core)->fallback_granted;
	if (now == CORE_FALLBACK || core_has_walked(outage->driver->core, outage->walk_end)) {
		outage->unreported = false;
		outage->admitted_before += outage->admitted;
		report(outage, why);
	}
}

void outage_follow(struct outage *outage, enum core_state before, enum core_state now, const char *why) {
	if (before == CORE_FALLBACK && now != CORE_FALLBACK)
		end(outage);
	if (outage->unreported)
		report_when_known(outage, now, why);
	if (before != CORE_FALLBACK && now == CORE_FALLBACK)
		begin(outage);
}
