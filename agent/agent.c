/*
 * agent.c - wiring: what comes from the socket, the database and the clock goes to
 * the core; what the core wants goes out. One thread.
 */
#include "agent.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "stint.h"
#include "log.h"
#include "monotonic.h"
#include "notify.h"

/* How often changes are polled where NOTIFY can't reach: in force within a second, with room for a slow answer. */
static const struct timeval heartbeat_interval = {.tv_usec = 500000};

/* How long a stopping agent tries to return leases. They would only expire otherwise. */
#define STOP_NS (1 * NS_PER_S)
static const struct timeval drained_interval = {.tv_usec = 10000};

/* Verdicts that are sent before others have their turn in the loop: each costs some microseconds, when it wakes an app. */
#define VERDICTS_MAX 1000

/* ---- The core's time --------------------------------------------------------- */

void agent_pump(struct agent *agent) {
	int64_t now_ns = monotonic_now_ns();
	core_advance(agent->core, now_ns);
	bool more = outbox_send(&agent->outbox, agent->server, VERDICTS_MAX);
	link_note_state(agent);
	int64_t next_ns = more ? now_ns : core_next_ns(agent->core);
	if (next_ns == INT64_MAX) {
		event_del(agent->wakeup);
		return;
	}
	int64_t wait_ns = next_ns > now_ns ? next_ns - now_ns : 0;
	struct timeval wait = {.tv_sec = wait_ns / NS_PER_S, .tv_usec = wait_ns % NS_PER_S / 1000 + 1};
	event_add(agent->wakeup, &wait);
}

static void on_wakeup(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	agent_pump(context);
}

/* What has arrived goes in one batch. */
void agent_pump_soon(struct agent *agent) {
	event_active(agent->wakeup, EV_TIMEOUT, 0);
}

/* ---- The core's wishes ------------------------------------------------------- */

static void on_grants(void *context, enum lease_outcome outcome, const struct lease_grant *grants, size_t count) {
	struct agent *agent = context;
	if (outcome == LEASE_REJECTED && locked_keeps_batch(agent))
		return;
	core_on_grants(agent->core, monotonic_now_ns(), outcome, grants, count);
	if (outcome == LEASE_DONE)
		agent_pump(agent);
	else /* once the connection's fate is known */
		agent_pump_soon(agent);
}

static void take(void *context, int hosts, const struct lease_request *requests, size_t count) {
	struct agent *agent = context;
	agent->link.taken_ns = monotonic_now_ns();
	database_take(agent->database, hosts, requests, count, on_grants, agent);
}

static void send_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	struct agent *agent = context;
	struct wire_verdict message = {
		.head = {.type = WIRE_VERDICT, .serial = serial},
		.status = verdict->status,
		.allowed = verdict->allowed,
		.source = verdict->source,
		.reason = verdict->reason,
		.deadline_ns = (uint64_t)verdict->deadline_ns,
		.limit = verdict->limit,
		.remaining = verdict->remaining,
		.retry_after_ms = verdict->retry_after_ms,
		.reset_after_ms = verdict->reset_after_ms,
	};
	outbox_put(&agent->outbox, agent->server, peer, &message);
}

void agent_apply_policy(struct agent *agent, int index, bool live) {
	struct core_policy policy;
	policy_to_core(&agent->policies.policy[index].row, live, &policy);
	policy.generation = agent->policies.policy[index].generation;
	core_set_policy(agent->core, monotonic_now_ns(), (uint16_t)index, &policy);
}

/* Of the policies that nobody's credits or debts are of, the one that was asked for longest ago. What the database is being told or asked
 * of stays. */
static int find_unused(const struct agent *agent) {
	int found = -1;
	for (int i = 0; i < (int)POLICY_CAPACITY; i++) {
		const struct policy *policy = &agent->policies.policy[i];
		if (policy->undeclared || !core_policy_is_unused(agent->core, (uint16_t)i))
			continue;
		if (found < 0 || policy->used_ns < agent->policies.policy[found].used_ns)
			found = i;
	}
	return found;
}

int agent_add_policy(struct agent *agent, const struct policy_row *row) {
	int index = policies_add(&agent->policies, row);
	if (index < 0 && !agent->link.loading && (index = find_unused(agent)) >= 0) {
		log_info("policy %s, which nobody uses, makes room for %s", agent->policies.policy[index].row.name, row->name);
		policies_replace(&agent->policies, index, row);
	}
	return index;
}

/* ---- Apps -------------------------------------------------------------------- */

/* An id that isn't text would make the database refuse it; a well-behaved library never sends one. */
static bool is_text(const char *id, size_t length) {
	return memchr(id, 0, length) == NULL;
}

static void on_want(void *context, server_peer peer, const struct wire_want *want, const char *id, size_t length) {
	struct agent *agent = context;
	int64_t now_ns = monotonic_now_ns();
	uint32_t timeout_ms = want->timeout_ms < STINT_TIMEOUT_MS_MAX ? want->timeout_ms : STINT_TIMEOUT_MS_MAX;
	int index = policies_find_number(&agent->policies, want->policy);
	int status = index < 0 ? STINT_ENOPOLICY : !is_text(id, length) ? STINT_ECLIENT
	           : want->cost < 1 || want->cost > STINT_MAX_REQUESTS_MAX ? STINT_ERANGE : 0;
	if (status != 0) {
		send_verdict(agent, peer, want->head.serial, &(struct core_verdict){.status = status});
		agent_pump_soon(agent);
		return;
	}
	agent->policies.policy[index].used_ns = now_ns;
	core_want(agent->core, now_ns, peer, want->head.serial, (uint16_t)index, id, (uint8_t)length, want->cost,
	          now_ns + timeout_ms * NS_PER_MS);
	agent_pump_soon(agent);
}

static void on_low(void *context, const struct wire_low *low, const char *id, size_t length) {
	struct agent *agent = context;
	int index = policies_find_number(&agent->policies, low->policy);
	if (index < 0 || !is_text(id, length))
		return;
	core_low(agent->core, monotonic_now_ns(), (uint16_t)index, id, (uint8_t)length);
	agent_pump_soon(agent);
}

static const struct server_events server_events = {
	.declare = declaration_on_message,
	.want = on_want,
	.low = on_low,
	.status = status_on_message,
};

/* ---- Timers and signals ------------------------------------------------------ */

static void on_heartbeat(evutil_socket_t fd, short what, void *context) {
	struct agent *agent = context;
	(void)fd;
	(void)what;
	server_note_alive(agent->server);
	link_on_heartbeat(agent);
}

static void on_expiry(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	link_on_expiry(context);
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
	} else if (core_is_drained(agent->core)) {
		event_del(agent->drained);
		database_stop_host(agent->database, on_host_stopped, agent);
	}
}

/* Unused leases go back to the database, so that other hosts can have them at once. */
static void stop_gracefully(struct agent *agent, const char *signal_name) {
	if (agent->stopping) {
		end_loop(agent);
		return;
	}
	agent->stopping = true;
	agent->stop_by_ns = monotonic_now_ns() + STOP_NS;
	log_info("%s: stopping", signal_name);
	notify_stopping();
	if (!agent->database || !agent->link.synced) {
		end_loop(agent);
		return;
	}
	core_drain(agent->core, monotonic_now_ns());
	agent_pump(agent);
	event_add(agent->drained, &drained_interval);
}

/* What apps and table depend on stays as it is until a restart. */
static void keep_fixed(const struct config *old, struct config *fresh) {
	if (strcmp(old->socket, fresh->socket) || strcmp(old->shm, fresh->shm) || old->max_clients != fresh->max_clients ||
	    config_is_memory(old) != config_is_memory(fresh))
		log_warning("reload: socket, shm, max_clients, and memory: or not, change with a restart only");
	memcpy(fresh->socket, old->socket, sizeof fresh->socket);
	memcpy(fresh->shm, old->shm, sizeof fresh->shm);
	fresh->max_clients = old->max_clients;
	if (config_is_memory(old) != config_is_memory(fresh))
		memcpy(fresh->database, old->database, sizeof fresh->database);
}

static void apply_config(struct agent *agent, const struct config *fresh) {
	bool reopen = strcmp(agent->config.database, fresh->database) || strcmp(agent->config.host, fresh->host) ||
	              agent->config.database_timeout_ms != fresh->database_timeout_ms ||
	              strcmp(agent->config.synchronous_commit, fresh->synchronous_commit);
	agent->config = *fresh;
	log_set_level((enum log_level)config_log_level(fresh));
	core_set_timing(agent->core, fresh->database_timeout_ms * NS_PER_MS, fresh->idle_timeout_s * NS_PER_S);
	if (reopen && agent->database)
		link_reopen(agent);
}

static void reload(struct agent *agent) {
	struct config fresh;
	char error[CONFIG_ERROR_MAX];
	char sentence[256];
	notify_reloading();
	if (config_load(&fresh, agent->config_path, error) != 0) {
		log_error("reload: %s; nothing was changed", error);
	} else {
		keep_fixed(&agent->config, &fresh);
		apply_config(agent, &fresh);
		log_info("reloaded");
	}
	status_sentence(agent, sentence, sizeof sentence);
	notify_ready(sentence);
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
	agent->wakeup = event_new(base, -1, 0, on_wakeup, agent);
	agent->heartbeat = event_new(base, -1, EV_PERSIST, on_heartbeat, agent);
	agent->expiry = event_new(base, -1, 0, on_expiry, agent);
	agent->watchdog = event_new(base, -1, EV_PERSIST, on_watchdog, agent);
	agent->drained = event_new(base, -1, EV_PERSIST, on_drained, agent);
	if (!agent->wakeup || !agent->heartbeat || !agent->expiry || !agent->watchdog || !agent->drained)
		return -1;
	for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
		agent->signals[i] = evsignal_new(base, numbers[i], on_signal, agent);
		if (!agent->signals[i] || event_add(agent->signals[i], NULL) != 0)
			return -1;
	}
	uint64_t watchdog_us = notify_watchdog_us() / 2; /* twice as often as systemd wants */
	struct timeval watchdog = {.tv_sec = (time_t)(watchdog_us / 1000000), .tv_usec = (suseconds_t)(watchdog_us % 1000000)};
	if (watchdog_us && event_add(agent->watchdog, &watchdog) != 0)
		return -1;
	event_active(agent->expiry, 0, 0);
	return event_add(agent->heartbeat, &heartbeat_interval);
}

static struct event_base *new_base(void) {
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;
	if (!config)
		return NULL;
	/* Leases begin and end at the microsecond; epoll alone knows milliseconds. */
	if (event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static int start_core(struct agent *agent) {
	static const struct core_io io = {.take = take, .verdict = send_verdict};
	struct core_options options = {
		.memory_only = config_is_memory(&agent->config),
		.grace_ns = agent->config.database_timeout_ms * NS_PER_MS,
		.idle_timeout_ns = agent->config.idle_timeout_s * NS_PER_S,
	};
	memcpy(&options.seed, agent->shm.directory->secret, sizeof options.seed);
	if (table_init(&agent->table, agent->shm.directory, agent->shm.table, agent->shm.taken_over) != 0)
		return -1;
	if (core_new(&agent->core, &agent->table, monotonic_now_ns(), &options, &io, agent) != 0)
		return -1;
	policies_init(&agent->policies, agent->shm.directory, agent->shm.taken_over);
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (agent->policies.policy[i].used) {
			if (config_is_memory(&agent->config))
				agent->policies.policy[i].row.policy_id = i + 1;
			agent_apply_policy(agent, i, true);
		}
	return 0;
}

static void make_instance(char instance[static 40]) {
	uint8_t random[16] = {0};
	if (getrandom(random, sizeof random, 0) < 0)
		memcpy(random, &(int64_t){monotonic_now_ns()}, sizeof(int64_t));
	for (size_t i = 0; i < sizeof random; i++)
		snprintf(instance + 2 * i, 3, "%02x", random[i]);
}

int agent_start(struct agent *agent, const struct config *config, const char *config_path, char error[static AGENT_ERROR_MAX]) {
	char why[SHM_ERROR_MAX];
	char server_why[SERVER_ERROR_MAX];
	*agent = (struct agent){.config = *config, .config_path = config_path, .started_ns = monotonic_now_ns()};
	agent->shm = (struct shm){.directory_fd = -1, .table_fd = -1, .lock_fd = -1};
	agent->link.state = CORE_CONNECTING;
	agent->link.state_since_ns = agent->started_ns;
	make_instance(agent->instance);
	agent->base = new_base();
	if (!agent->base || add_timers(agent) != 0)
		return fail(error, "cannot set up the event loop");
	if (shm_objects_open(&agent->shm, config->shm, (uint64_t)config->max_clients, why) != 0)
		return fail(error, why);
	if (start_core(agent) != 0)
		return fail(error, "out of memory");
	changes_inherit(agent);
	const struct server_options options = {
		.socket_path = agent->config.socket,
		.directory_fd = agent->shm.directory_fd,
		.table_fd = agent->shm.table_fd,
		.generation = agent->shm.directory->generation,
	};
	if (server_new(&agent->server, agent->base, &options, &server_events, agent, server_why) != 0)
		return fail(error, server_why);
	if (link_open(agent) != 0)
		return fail(error, "out of memory");
	log_info("stintd %s: %s on %s, room for %lld clients%s", STINT_VERSION, config->host, config->socket,
	         (long long)config->max_clients, agent->shm.taken_over ? ", table taken over" : "");
	return 0;
}

int agent_run(struct agent *agent) {
	char sentence[256];
	agent_pump(agent);
	status_sentence(agent, sentence, sizeof sentence);
	notify_ready(sentence);
	return event_base_dispatch(agent->base) < 0 ? -1 : 0;
}

static void free_event(struct event *event) {
	if (event)
		event_free(event);
}

void agent_stop(struct agent *agent) {
	declarations_free(agent);
	outbox_send(&agent->outbox, agent->server, SIZE_MAX); /* decided in the turn that ended the loop */
	server_free(agent->server);
	database_free(agent->database);
	core_free(agent->core);
	outbox_free(&agent->outbox);
	table_deinit(&agent->table);
	shm_objects_close(&agent->shm);
	free_event(agent->wakeup);
	free_event(agent->heartbeat);
	free_event(agent->expiry);
	free_event(agent->watchdog);
	free_event(agent->drained);
	for (size_t i = 0; i < sizeof agent->signals / sizeof agent->signals[0]; i++)
		free_event(agent->signals[i]);
	if (agent->base)
		event_base_free(agent->base);
}
