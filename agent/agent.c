/* agent.c - wires the modules of stintd together, see agent.h. They all run in one thread. */
#include "agent.h"

#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "stint.h"
#include "log.h"
#include "monotonic.h"
#include "notify.h"

/* How often the agent polls for changes where NOTIFY can't reach it: a change is to be in force within a second,
 * even when the answer is slow. */
static const struct timeval tick_interval = {.tv_usec = 500000};

/* How long a stopping agent tries to return leases. Leases that it can't return expire later. */
#define STOP_NS (1 * NS_PER_S)
static const struct timeval drained_interval = {.tv_usec = 10000};

static void tell_systemd(const struct agent *agent) {
	char sentence[256];
	status_sentence(&agent->status, sentence, sizeof(sentence));
	notify_status(sentence);
}

static void tell_systemd_ready(const struct agent *agent) {
	char sentence[256];
	status_sentence(&agent->status, sentence, sizeof(sentence));
	notify_ready(sentence);
}

/* ---- Apps -------------------------------------------------------------------- */

static void on_declare(void *context, server_peer peer, const struct wire_declare *message, const char *name,
                       size_t length) {
	struct agent *agent = context;
	declarations_on_message(&agent->declarations, peer, message, name, length);
}

static void on_want(void *context, server_peer peer, const struct wire_want *want, const char *id, size_t length) {
	struct agent *agent = context;
	driver_on_want(&agent->driver, peer, want, id, length);
}

static void on_low(void *context, const struct wire_low *low, const char *id, size_t length) {
	struct agent *agent = context;
	driver_on_low(&agent->driver, low, id, length);
}

static void on_charge(void *context, const struct wire_charge *charge, const char *id, size_t length) {
	struct agent *agent = context;
	driver_on_charge(&agent->driver, charge, id, length);
}

static void on_status(void *context, server_peer peer, const struct wire_head *message) {
	const struct agent *agent = context;
	if (message->flags & WIRE_STATUS_METRICS)
		scraper_on_message(agent->scraper, peer, message->serial);
	else
		status_on_message(&agent->status, peer, message->serial);
}

static const struct server_events server_events = {
	.declare = on_declare,
	.want = on_want,
	.low = on_low,
	.charge = on_charge,
	.status = on_status,
};

/* ---- From below -------------------------------------------------------------- */

static void log_state(enum core_state state) {
	if (state == CORE_FALLBACK)
		log_warning("fallback: this host's own limits are in force until the database is back");
	else
		log_info("%s", status_state_name(state));
}

static void on_acted(void *context, enum core_state before, enum core_state now) {
	struct agent *agent = context;
	outage_follow(&agent->outage, before, now, agent->sync.why);
	if (now == before)
		return;
	heartbeat_hasten(&agent->heartbeat);
	log_state(now);
	tell_systemd(agent);
	if (now == CORE_FALLBACK)
		declarations_resume(&agent->declarations);
}

static bool on_refused_batch(void *context) {
	struct agent *agent = context;
	return locked_keeps_batch(&agent->locked);
}

static void on_denied(void *context, const struct core_denied *denied) {
	struct agent *agent = context;
	audit_on_denied(&agent->audit, denied);
}

static void on_policy_leaves(void *context, int index) {
	struct agent *agent = context;
	audit_policy_leaves(&agent->audit, index);
}

static const struct driver_events driver_events = {
	.acted = on_acted,
	.keeps_batch = on_refused_batch,
	.denied = on_denied,
	.policy_leaves = on_policy_leaves,
};

static void on_loaded(void *context, bool done) {
	struct agent *agent = context;
	sync_on_loaded(&agent->sync, done);
	declarations_resume(&agent->declarations); /* some may have found no room meanwhile */
}

static void on_connected(void *context) {
	struct agent *agent = context;
	heartbeat_restart(&agent->heartbeat);
}

static void on_sync_started(void *context) {
	struct agent *agent = context;
	declarations_pass_on(&agent->declarations);
}

static void on_availability_changed(void *context) {
	struct agent *agent = context;
	declarations_resume(&agent->declarations);
}

static void on_recalled(void *context) {
	struct agent *agent = context;
	recalls_read(&agent->recalls);
}

static const struct sync_events sync_events = {
	.connected = on_connected,
	.started = on_sync_started,
	.availability_changed = on_availability_changed,
	.recalled = on_recalled,
};

/* ---- Wiring ------------------------------------------------------------------ */

static void wire_to_core(struct agent *agent) {
	agent->driver = (struct driver){
		.policies = &agent->policies,
		.state = CORE_CONNECTING,
		.state_since_ns = monotonic_now_ns(),
		.events = &driver_events,
		.context = agent,
	};
	agent->changes = (struct change_reader){
		.driver = &agent->driver,
		.change_id = -1,
		.loaded = on_loaded,
		.context = agent,
	};
	agent->sync = (struct sync){
		.driver = &agent->driver,
		.changes = &agent->changes,
		.config = &agent->config,
		.instance = agent->instance,
		.events = &sync_events,
		.context = agent,
	};
}

static int64_t wall_now_ns(void) {
	struct timespec now;
	return clock_gettime(CLOCK_REALTIME, &now) == 0 ? now.tv_sec * NS_PER_S + now.tv_nsec : 0;
}

static void wire_to_sync(struct agent *agent) {
	struct driver *driver = &agent->driver;
	struct sync *sync = &agent->sync;
	agent->declarations = (struct declarations){.driver = driver, .changes = &agent->changes, .sync = sync};
	agent->locked = (struct locked){.driver = driver, .sync = sync, .config = &agent->config};
	agent->expiry = (struct expiry){.driver = driver, .sync = sync};
	agent->recalls = (struct recalls){.driver = driver};
	agent->outage = (struct outage){.driver = driver};
	agent->heartbeat = (struct heartbeat){
		.driver = driver,
		.sync = sync,
		.changes = &agent->changes,
		.declarations = &agent->declarations,
		.locked = &agent->locked,
		.expiry = &agent->expiry,
		.recalls = &agent->recalls,
		.config = &agent->config,
	};
	agent->audit = (struct audit){.driver = driver, .sync = sync, .witness = {.policies = &agent->policies}};
	agent->status = (struct status_sources){
		.config = &agent->config,
		.shm = &agent->shm,
		.driver = driver,
		.sync = sync,
		.outage = &agent->outage,
		.instance = agent->instance,
		.started_ns = monotonic_now_ns(),
		.started_wall_ns = wall_now_ns(),
	};
}

void agent_wire(struct agent *agent) {
	wire_to_core(agent);
	wire_to_sync(agent);
}

/* ---- Timers and signals ------------------------------------------------------ */

static void warn_of_unserved(struct agent *agent) {
	uint64_t unserved = core_counters(agent->driver.core)->unserved;
	if (unserved == agent->unserved)
		return;
	const char *error = database_last_error(agent->driver.database);
	log_warning("%" PRIu64 " checks were denied because their clients' rows can't be had: %s",
	            unserved - agent->unserved, error[0] ? error : "somebody has locked them");
	agent->unserved = unserved;
}

void agent_tick(struct agent *agent) {
	server_note_alive(agent->driver.server);
	tell_systemd(agent);
	warn_of_unserved(agent);
	heartbeat_tick(&agent->heartbeat);
	audit_tick(&agent->audit, monotonic_now_ns(), agent->heartbeat.clock_offset_us);
}

static void on_tick(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	agent_tick(context);
}

static void on_watchdog(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	(void)context;
	notify_watchdog();
}

static void end_loop(struct agent *agent) {
	event_base_loopbreak(agent->base);
}

static void on_host_stopped(void *context, enum lease_outcome outcome) {
	(void)outcome;
	end_loop(context);
}

static void on_drained(evutil_socket_t fd, short what, void *context) {
	struct agent *agent = context;
	(void)fd;
	(void)what;
	if (monotonic_now_ns() >= agent->stop_by_ns) {
		end_loop(agent);
	} else if (core_is_drained(agent->driver.core)) {
		event_del(agent->drained);
		database_stop_host(agent->driver.database, on_host_stopped, agent);
	}
}

/* Returns unused leases to the database, so that other hosts can have them at once. */
static void stop_gracefully(struct agent *agent, const char *signal_name) {
	if (agent->stopping) {
		end_loop(agent);
		return;
	}
	agent->stopping = true;
	agent->stop_by_ns = monotonic_now_ns() + STOP_NS;
	expiry_stop(&agent->expiry);
	log_info("%s: stopping", signal_name);
	notify_stopping();
	if (!agent->driver.database || agent->sync.state != SYNC_DONE) {
		end_loop(agent);
		return;
	}
	core_drain(agent->driver.core, monotonic_now_ns());
	driver_pump(&agent->driver);
	audit_finish(&agent->audit, monotonic_now_ns());
	event_add(agent->drained, &drained_interval);
}

void agent_reopen(struct agent *agent) {
	sync_close(&agent->sync);
	declarations_forget_database(&agent->declarations);
	locked_forget_database(&agent->locked);
	expiry_forget_database(&agent->expiry);
	recalls_forget_database(&agent->recalls);
	audit_forget_database(&agent->audit);
	core_database_changed(agent->driver.core, monotonic_now_ns());
	if (sync_open(&agent->sync, agent->base) != 0) {
		log_error("out of memory");
		end_loop(agent);
	}
	driver_pump(&agent->driver);
}

static void *begin_metrics(void *context, metrics_sink *sink, void *sink_context) {
	const struct agent *agent = context;
	return scraper_begin(agent->scraper, sink, sink_context);
}

static void cancel_metrics(void *job) {
	scraper_cancel(job);
}

/* Returns 0, or -1 with a sentence in error: then they are not served. */
static int serve_metrics(struct agent *agent, char error[static METRICS_SERVER_ERROR_MAX]) {
	const char *where = agent->config.metrics_listen;
	const struct metrics_source source = {.begin = begin_metrics, .cancel = cancel_metrics, .context = agent};
	metrics_server_free(agent->metrics);
	agent->metrics = NULL;
	return where[0] ? metrics_server_new(&agent->metrics, agent->base, where, &source, error) : 0;
}

static void serve_metrics_elsewhere(struct agent *agent) {
	char error[METRICS_SERVER_ERROR_MAX];
	if (serve_metrics(agent, error) != 0)
		log_error("reload: %s", error);
}

/* Keeps the settings that the apps and the table depend on: they change with a restart only. */
static void keep_fixed(const struct config *old, struct config *fresh) {
	if (strcmp(old->socket, fresh->socket) || strcmp(old->shm, fresh->shm) ||
	    old->max_clients != fresh->max_clients || config_is_memory(old) != config_is_memory(fresh))
		log_warning("reload: socket, shm, max_clients, and memory: or not, change with a restart only");
	memcpy(fresh->socket, old->socket, sizeof(fresh->socket));
	memcpy(fresh->shm, old->shm, sizeof(fresh->shm));
	fresh->max_clients = old->max_clients;
	if (config_is_memory(old) != config_is_memory(fresh))
		memcpy(fresh->database, old->database, sizeof(fresh->database));
}

static void apply_config(struct agent *agent, const struct config *fresh) {
	bool reopen = strcmp(agent->config.database, fresh->database) || strcmp(agent->config.host, fresh->host) ||
	              agent->config.database_timeout_ms != fresh->database_timeout_ms ||
	              strcmp(agent->config.synchronous_commit, fresh->synchronous_commit) ||
	              strcmp(agent->config.pooler, fresh->pooler);
	/* Where they couldn't be served so far, it is tried again. */
	bool metrics_move = strcmp(agent->config.metrics_listen, fresh->metrics_listen) || !agent->metrics;
	agent->config = *fresh;
	if (metrics_move)
		serve_metrics_elsewhere(agent);
	log_set_level((enum log_level)config_log_level(fresh));
	core_set_timing(agent->driver.core, fresh->database_timeout_ms * NS_PER_MS, fresh->idle_timeout_s * NS_PER_S);
	if (reopen && agent->driver.database)
		agent_reopen(agent);
}

static void reload(struct agent *agent) {
	struct config fresh;
	char error[CONFIG_ERROR_MAX];
	notify_reloading();
	if (config_load(&fresh, agent->config_path, error) != 0) {
		log_error("reload: %s; nothing was changed", error);
	} else {
		keep_fixed(&agent->config, &fresh);
		apply_config(agent, &fresh);
		log_info("reloaded");
	}
	tell_systemd_ready(agent);
}

static void on_signal(evutil_socket_t number, short what, void *context) {
	(void)what;
	if (number == SIGHUP)
		reload(context);
	else
		stop_gracefully(context, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* ---- Starting ------------------------------------------------------------------ */

static int fail(char *error, const char *why) {
	snprintf(error, AGENT_ERROR_MAX, "%s", why);
	return -1;
}

static int add_timers(struct agent *agent) {
	struct event_base *base = agent->base;
	static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
	agent->tick = event_new(base, -1, EV_PERSIST, on_tick, agent);
	agent->watchdog = event_new(base, -1, EV_PERSIST, on_watchdog, agent);
	agent->drained = event_new(base, -1, EV_PERSIST, on_drained, agent);
	if (!agent->tick || !agent->watchdog || !agent->drained)
		return -1;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		agent->signals[i] = evsignal_new(base, numbers[i], on_signal, agent);
		if (!agent->signals[i] || event_add(agent->signals[i], NULL) != 0)
			return -1;
	}
	uint64_t watchdog_us = notify_watchdog_us() / 2; /* twice as often as systemd wants */
	struct timeval watchdog = {.tv_sec = (time_t)(watchdog_us / 1000000),
	                           .tv_usec = (suseconds_t)(watchdog_us % 1000000)};
	if (watchdog_us && event_add(agent->watchdog, &watchdog) != 0)
		return -1;
	if (driver_start(&agent->driver, base) != 0 || expiry_start(&agent->expiry, base) != 0 ||
	    recalls_start(&agent->recalls, base) != 0)
		return -1;
	return event_add(agent->tick, &tick_interval);
}

static struct event_base *new_base(void) {
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;
	if (!config)
		return NULL;
	/* Leases begin and end at the microsecond; without this flag, timers are only precise to the millisecond. */
	if (event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static int start_core(struct agent *agent) {
	struct core_options options = {
		.memory_only = config_is_memory(&agent->config),
		.grace_ns = agent->config.database_timeout_ms * NS_PER_MS,
		.idle_timeout_ns = agent->config.idle_timeout_s * NS_PER_S,
	};
	memcpy(&options.seed, agent->shm.directory->secret, sizeof(options.seed));
	if (table_init(&agent->table, agent->shm.directory, agent->shm.table, agent->shm.taken_over) != 0)
		return -1;
	struct driver *driver = &agent->driver;
	if (core_new(&driver->core, &agent->table, monotonic_now_ns(), &options, &driver_io, driver) != 0)
		return -1;
	policies_init(&agent->policies, agent->shm.directory, agent->shm.taken_over);
	agent->policies.tallies = tallies_of(agent->shm.directory, agent->shm.table);
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (agent->policies.policy[i].used) {
			if (config_is_memory(&agent->config))
				agent->policies.policy[i].row.policy_id = i + 1;
			driver_apply_policy(driver, i, true);
		}
	return 0;
}

static void make_instance(char instance[static 40]) {
	uint8_t random[16] = {0};
	if (getrandom(random, sizeof(random), 0) < 0)
		memcpy(random, &(int64_t){monotonic_now_ns()}, sizeof(int64_t));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(instance + 2 * i, 3, "%02x", random[i]);
}

int agent_start(struct agent *agent, const struct config *config, const char *config_path,
                char error[static AGENT_ERROR_MAX]) {
	char why[SHM_ERROR_MAX];
	char server_why[SERVER_ERROR_MAX];
	char metrics_why[METRICS_SERVER_ERROR_MAX];
	*agent = (struct agent){.config = *config, .config_path = config_path};
	agent_wire(agent);
	agent->shm = (struct shm){.directory_fd = -1, .table_fd = -1, .lock_fd = -1};
	make_instance(agent->instance);
	agent->base = new_base();
	if (!agent->base || add_timers(agent) != 0)
		return fail(error, "cannot set up the event loop");
	agent->scraper = scraper_new(agent->base, &agent->status);
	if (!agent->scraper)
		return fail(error, "out of memory");
	if (shm_objects_open(&agent->shm, config->shm, (uint64_t)config->max_clients, why) != 0)
		return fail(error, why);
	if (start_core(agent) != 0)
		return fail(error, "out of memory");
	changes_inherit(&agent->changes, agent->shm.taken_over);
	const struct server_options options = {
		.socket_path = agent->config.socket,
		.directory_fd = agent->shm.directory_fd,
		.table_fd = agent->shm.table_fd,
		.generation = agent->shm.directory->generation,
	};
	if (server_new(&agent->driver.server, agent->base, &options, &server_events, agent, server_why) != 0)
		return fail(error, server_why);
	if (serve_metrics(agent, metrics_why) != 0)
		return fail(error, metrics_why);
	if (sync_open(&agent->sync, agent->base) != 0)
		return fail(error, "out of memory");
	log_info("stintd %s: %s on %s, room for %lld clients%s", STINT_VERSION, config->host, config->socket,
	         (long long)config->max_clients, agent->shm.taken_over ? ", table taken over" : "");
	return 0;
}

int agent_run(struct agent *agent) {
	driver_pump(&agent->driver);
	tell_systemd_ready(agent);
	return event_base_dispatch(agent->base) < 0 ? -1 : 0;
}

static void free_event(struct event *event) {
	if (event)
		event_free(event);
}

void agent_stop(struct agent *agent) {
	declarations_free(&agent->declarations);
	metrics_server_free(agent->metrics);
	scraper_free(agent->scraper);
	/* Send what was decided in the turn that ended the loop. */
	outbox_send(&agent->driver.outbox, agent->driver.server, SIZE_MAX);
	server_free(agent->driver.server);
	database_free(agent->driver.database);
	core_free(agent->driver.core);
	outbox_free(&agent->driver.outbox);
	table_deinit(&agent->table);
	shm_objects_close(&agent->shm);
	driver_stop(&agent->driver);
	expiry_free(&agent->expiry);
	recalls_free(&agent->recalls);
	audit_free(&agent->audit);
	free_event(agent->tick);
	free_event(agent->watchdog);
	free_event(agent->drained);
	for (size_t i = 0; i < sizeof(agent->signals) / sizeof(agent->signals[0]); i++)
		free_event(agent->signals[i]);
	if (agent->base)
		event_base_free(agent->base);
}
