/*
 * sync.c - the agent and its database, besides leases: getting in step after each
 * connect, the heartbeat, expiry of idle rows. What has changed there is for changes.c.
 *
 *     up -> declare what apps said meanwhile, load policies -> in step
 *     now and then, and on NOTIFY: has anything changed?
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stint.h"
#include "agent.h"
#include "log.h"
#include "notify.h"

#include <event2/event.h>
#include <event2/util.h>

/* Attempts to connect are made every few hundred milliseconds; their failure is news this often. */
#define FAILURE_LOG_NS INT64_C(30000000000)

/* The database's clock against ours: more than this between two pulses is a step, not drift. */
#define CLOCK_STEP_US INT64_C(1000000)

/* How often this host writes that it lives, see stint.count_hosts(): rarely, since the versions of its row stay as long as anybody has an
 * old snapshot, and since there may be hundreds of hosts. Between that it asks whether anything is new, also to notice in time that
 * nobody answers; where notices of changes don't arrive, with each tick of agent.c. */
#define HEARTBEAT_NS INT64_C(6000000000)
#define PULSE_NS     INT64_C(3000000000)

/* Rows that one call of expiry looks at: some milliseconds. While it finds much to delete it goes on at
 * once, with pauses that leave the database three quarters of the time; it passes over many that are to stay without hurry,
 * and begins anew at its leisure. */
#define EXPIRE_ROWS 1000
static const struct timeval expiry_busy = {.tv_usec = 20000};
static const struct timeval expiry_passing = {.tv_usec = 200000};
static const struct timeval expiry_idle = {.tv_sec = 2};

/* ---- Getting in step --------------------------------------------------------- */

static void on_reported(void *context, enum lease_outcome outcome) {
	(void)context;
	if (outcome != LEASE_DONE)
		log_warning("the fallback period was not recorded");
}

static void report_fallback(struct agent *agent) {
	const struct link *link = &agent->link;
	int64_t ended_ms = (monotonic_now_ns() - link->fallback_ended_ns) / 1000000;
	log_info("fallback ended after %" PRId64 " ms: %" PRIu64 " credits used, %zu clients to charge", link->fallback_lasted_ms,
	         link->fallback_admitted, core_uncharged(agent->core));
	database_report_fallback(agent->database, link->fallback_lasted_ms, ended_ms, (int64_t)link->fallback_admitted,
	                         (int64_t)core_fallback_clients(agent->core), link->why, on_reported, agent);
}

/* It is known what was used once all of its leases are out of the table. */
static void follow_fallback(struct agent *agent, enum core_state state) {
	struct link *link = &agent->link;
	if (link->state == CORE_FALLBACK && state != CORE_FALLBACK) {
		link->fallback_ended_ns = monotonic_now_ns();
		link->fallback_lasted_ms = (link->fallback_ended_ns - link->state_since_ns) / 1000000;
		link->fallback_unreported = true;
	}
	if (!link->fallback_unreported)
		return;
	if (state != CORE_FALLBACK)
		link->fallback_admitted = core_counters(agent->core)->fallback_granted;
	if (state == CORE_FALLBACK || !core_is_walking(agent->core)) {
		link->fallback_unreported = false;
		report_fallback(agent);
	}
}

/* Since when this server may be the one that grants, at most; -1: always. An old primary that comes back has been known for long, but
 * until we lost it another one has granted. */
static int64_t server_age_us(const struct link *link, int64_t now_ns) {
	int64_t left_us = (now_ns - link->left_ns) / 1000, age_us = link->hello.server_age_us;
	return link->server[0] && age_us > left_us ? left_us : age_us;
}

/* How this server differs from the one that granted what is out here; NULL: it doesn't. */
static const char *find_difference(const struct link *link, int64_t *age_us) {
	const struct database_hello *hello = &link->hello;
	if (!link->server[0])
		return NULL;
	if (strcmp(link->server, hello->server) != 0)
		return "this is another server than before, or a dump was restored";
	if (strcmp(link->timeline, hello->timeline) != 0)
		return "a standby was promoted";
	if (hello->wal_end == 0 || hello->wal_end >= link->wal_end)
		return NULL;
	/* A crash keeps all that was on disk: so an older state of the disks was put back, whenever that was. */
	*age_us = 0;
	return "the database went back to an older state";
}

static void take_for_other(struct agent *agent, const char *difference, int64_t age_us) {
	const struct link *link = &agent->link;
	const struct database_hello *hello = &link->hello;
	int64_t now_ns = monotonic_now_ns();
	core_database_promoted(agent->core, now_ns, age_us < 0 ? 0 : age_us * 1000);
	int64_t held_ms = (core_held_until_ns(agent->core) - now_ns) / 1000000;
	bool same = !strcmp(link->server, hello->server);
	log_warning("%s: %s %s, was %s; what was committed last may be lost; no grants for %" PRId64 " ms", difference,
	            same ? "timeline" : "server", same ? hello->timeline : hello->server,
	            !link->server[0] ? "unknown" : same ? link->timeline : link->server, held_ms > 0 ? held_ms : 0);
}

/* An agent that has just been started may not know whose grants are in the table; it matters as long as leases may last. True: they
 * are another server's, and end with the hold. */
static bool note_server(struct agent *agent) {
	struct link *link = &agent->link;
	const struct database_hello *hello = &link->hello;
	int64_t age_us = server_age_us(link, monotonic_now_ns());
	core_know_lease(agent->core, hello->longest_lease_us);
	bool is_recent = age_us >= 0 && age_us < core_longest_lease_ns(agent->core) / 1000;
	const char *difference = find_difference(link, &age_us);
	bool may_differ = !difference && !link->server[0] && is_recent;
	if (difference)
		take_for_other(agent, difference, age_us);
	else if (may_differ)
		take_for_other(agent, "a standby was promoted, or this is another server", age_us);
	memcpy(link->server, hello->server, sizeof link->server);
	memcpy(link->timeline, hello->timeline, sizeof link->timeline);
	link->wal_end = hello->wal_end;
	return difference || may_differ;
}

void link_on_loaded(struct agent *agent, bool done) {
	struct link *link = &agent->link;
	link->syncing = false;
	if (!done) { /* the connection is lost, or the next heartbeat tries again */
		declarations_resume(agent);
		return;
	}
	link->synced = true;
	changes_settle(agent, note_server(agent));
	core_database_up(agent->core, monotonic_now_ns(), link->hello.live_hosts);
	changes_note(agent);
	declarations_resume(agent);
}

void link_start_sync(struct agent *agent) {
	agent->link.syncing = true;
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		agent->policies.policy[i].stale = true;
	declarations_pass_on(agent);
}

/* Once, not at each return. */
static void log_advice(struct link *link) {
	if (link->hello.advice[0] && strcmp(link->advice, link->hello.advice) != 0)
		log_warning("%s", link->hello.advice);
	memcpy(link->advice, link->hello.advice, sizeof link->advice);
}

static void on_up(void *context, const struct database_hello *hello) {
	struct agent *agent = context;
	agent->link.hello = *hello;
	agent->link.failed_logged_ns = 0;
	agent->link.clock_offset_us = 0;
	agent->link.expires = false;
	log_info("connected to the database as host %d, %d hosts live", hello->host_id, hello->live_hosts);
	log_advice(&agent->link);
	if (*database_lookup_error(agent->database))
		log_warning("%s; connected by an address of earlier", database_lookup_error(agent->database));
	link_start_sync(agent);
}

static void on_down(void *context, const char *why) {
	struct agent *agent = context;
	struct link *link = &agent->link;
	int64_t now_ns = monotonic_now_ns();
	bool lost = link->synced;
	if (lost)
		link->left_ns = now_ns;
	link->synced = link->syncing = link->expiring = link->locked = link->asking = false;
	snprintf(link->why, sizeof link->why, "%.*s", (int)sizeof link->why - 1, why);
	if (lost || now_ns - link->failed_logged_ns > FAILURE_LOG_NS || link->failed_logged_ns == 0) {
		log_warning("%s the database: %s", lost ? "lost" : database_was_reached(agent->database) ? "cannot use" : "cannot reach", why);
		link->failed_logged_ns = lost ? 0 : now_ns;
	}
	if (lost)
		core_database_lost(agent->core, now_ns);
	else
		core_database_down(agent->core, now_ns);
	declarations_resume(agent);
	agent_pump(agent);
}

static void on_notified(void *context) {
	struct agent *agent = context;
	if (agent->link.synced)
		changes_read(agent);
}

const struct database_events link_events = {.up = on_up, .down = on_down, .notified = on_notified};

/* ---- Heartbeat ------------------------------------------------------------------ */

static void watch_clock(struct link *link, int64_t now_us) {
	int64_t offset_us = now_us - monotonic_now_ns() / 1000;
	int64_t step_us = offset_us - link->clock_offset_us;
	if (link->clock_offset_us != 0 && llabs(step_us) > CLOCK_STEP_US)
		log_warning("the database's clock stepped by %+.1f s", (double)step_us / 1e6);
	link->clock_offset_us = offset_us;
}

static void watch_rival(struct agent *agent, bool rival) {
	if (rival && !agent->link.rival)
		log_warning("another agent calls itself \"%s\" too: give each a host of its own", agent->config.host);
	agent->link.rival = rival;
}

static void take_heartbeat(struct agent *agent, const struct database_pulse *pulse) {
	core_set_hosts(agent->core, pulse->live_hosts);
	agent->link.hello.live_hosts = pulse->live_hosts;
	agent->link.expires = pulse->expires;
	watch_rival(agent, pulse->rival);
	if (pulse->old_snapshot)
		log_warning("somebody has held an old snapshot of the database for a minute or longer (a transaction left open, a prepared one, a"
		            " replication slot; a superuser sees it in pg_stat_activity.backend_xmin and pg_replication_slots): statements get"
		            " slower as long as it lasts");
}

/* What it said when the connection came up is what it is judged by when it is synced with again, after a lock. */
static void note_wal_end(struct link *link, int64_t wal_end) {
	if (wal_end > link->wal_end)
		link->wal_end = wal_end;
	if (wal_end > link->hello.wal_end)
		link->hello.wal_end = wal_end;
}

static void on_pulsed(void *context, enum lease_outcome outcome, const struct database_pulse *pulse) {
	struct agent *agent = context;
	if (outcome != LEASE_DONE || !pulse)
		return;
	watch_clock(&agent->link, pulse->now_us);
	note_wal_end(&agent->link, pulse->wal_end);
	if (pulse->is_heartbeat)
		take_heartbeat(agent, pulse);
	if (pulse->change_id > agent->link.change_id)
		changes_read(agent);
}

static void heartbeat(struct agent *agent, int64_t now_ns) {
	int64_t since_ns = core_fallback_since_ns(agent->core);
	database_heartbeat(agent->database, status_state_name(core_state(agent->core)), core_client_count(agent->core),
	                   since_ns ? (now_ns - since_ns) / 1000000 : 0, on_pulsed, agent);
}

/* A tenth more or less, so that hosts which came together don't stay together. */
static int64_t jittered(int64_t period_ns) {
	uint32_t random;
	evutil_secure_rng_get_bytes(&random, sizeof random);
	return period_ns / 10 * 9 + period_ns / 5 / 1000 * (random % 1000);
}

static void pulse(struct agent *agent, int64_t now_ns) {
	struct link *link = &agent->link;
	bool beats = now_ns >= link->heartbeat_ns;
	if (!beats && database_hears(agent->database) && now_ns < link->pulse_ns)
		return;
	link->pulse_ns = now_ns + jittered(PULSE_NS);
	if (!beats) {
		database_pulse(agent->database, on_pulsed, agent);
		return;
	}
	link->heartbeat_ns = now_ns + jittered(HEARTBEAT_NS);
	heartbeat(agent, now_ns);
}

static void warn_of_unserved(struct agent *agent) {
	uint64_t unserved = core_counters(agent->core)->unserved;
	if (unserved == agent->link.unserved)
		return;
	log_warning("%" PRIu64 " checks were denied because their clients' rows can't be had: %s", unserved - agent->link.unserved,
	            database_last_error(agent->database));
	agent->link.unserved = unserved;
}

void link_on_heartbeat(struct agent *agent) {
	char sentence[256];
	status_sentence(agent, sentence, sizeof sentence);
	notify_status(sentence);
	warn_of_unserved(agent);
	if (!agent->database || !database_is_up(agent->database))
		return;
	if (!agent->link.synced && !agent->link.locked) {
		if (!agent->link.syncing)
			link_start_sync(agent);
		return;
	}
	pulse(agent, monotonic_now_ns());
	if (agent->link.locked) {
		locked_look_again(agent);
		return;
	}
	changes_note(agent); /* once a promotion's hold is over */
	declarations_pass_on(agent); /* what was refused when the database came back */
	declarations_ask_again(agent);
	declarations_resume(agent);
}

static void on_expired(void *context, enum lease_outcome outcome, int64_t examined, int64_t deleted) {
	struct agent *agent = context;
	agent->link.expiring = false;
	if (outcome == LEASE_DONE && deleted > EXPIRE_ROWS / 4)
		event_add(agent->expiry, &expiry_busy);
	else if (outcome == LEASE_DONE && examined >= EXPIRE_ROWS)
		event_add(agent->expiry, &expiry_passing);
}

void link_on_expiry(struct agent *agent) {
	event_add(agent->expiry, &expiry_idle);
	if (!agent->database || !agent->link.synced || !agent->link.expires || agent->link.expiring || agent->stopping)
		return;
	agent->link.expiring = true;
	database_expire_counters(agent->database, EXPIRE_ROWS, on_expired, agent);
}

/* ---- State ------------------------------------------------------------------------ */

static void log_state(enum core_state state) {
	if (state == CORE_FALLBACK)
		log_warning("fallback: this host's own limits are in force until the database is back");
	else
		log_info("%s", status_state_name(state));
}

void link_note_state(struct agent *agent) {
	struct link *link = &agent->link;
	enum core_state state = core_state(agent->core);
	follow_fallback(agent, state);
	if (state == link->state)
		return;
	link->state = state;
	link->state_since_ns = monotonic_now_ns();
	link->heartbeat_ns = 0; /* at once */
	link->fallbacks += state == CORE_FALLBACK;
	log_state(state);
	char sentence[256];
	status_sentence(agent, sentence, sizeof sentence);
	notify_status(sentence);
	if (state == CORE_FALLBACK)
		declarations_resume(agent);
}

int link_open(struct agent *agent) {
	const struct database_options options = {
		.conninfo = agent->config.database,
		.host = agent->config.host,
		.instance = agent->instance,
		.version = STINT_VERSION,
		.timeout_ms = (int)agent->config.database_timeout_ms,
		.keep_commit = config_keeps_commit(&agent->config),
	};
	if (config_is_memory(&agent->config))
		return 0;
	if (database_new(&agent->database, agent->base, &options, &link_events, agent) != 0)
		return -1;
	database_connect(agent->database);
	return 0;
}

void link_reopen(struct agent *agent) {
	struct link *link = &agent->link;
	database_free(agent->database); /* without callbacks: what was under way is unknown from here on */
	agent->database = NULL;
	if (link->synced)
		link->left_ns = monotonic_now_ns();
	link->synced = link->syncing = link->expiring = link->reading = link->unread = link->loading = link->passing_on = false;
	link->locked = link->asking = false;
	link->failed_logged_ns = 0;
	link->hello.timeline[0] = link->hello.server[0] = 0;
	declarations_forget_database(agent);
	core_database_changed(agent->core, monotonic_now_ns());
	if (link_open(agent) != 0) {
		log_error("out of memory");
		event_base_loopbreak(agent->base);
	}
	agent_pump(agent);
}
