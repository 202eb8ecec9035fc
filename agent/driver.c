/* driver.c - drives the core, see driver.h. */
#include "driver.h"

#include <event2/event.h>
#include <string.h>

#include "stint.h"
#include "log.h"
#include "monotonic.h"
#include "policy.h"

/* Verdicts that are sent before other events have their turn: a verdict that wakes an app costs microseconds. */
#define VERDICTS_MAX 1000

/* ---- The core's time --------------------------------------------------------- */

static void report_state(struct driver *driver) {
	enum core_state before = driver->state, now = core_state(driver->core);
	driver->state = now;
	if (now != before)
		driver->state_since_ns = monotonic_now_ns();
	driver->events->acted(driver->context, before, now);
}

void driver_pump(struct driver *driver) {
	int64_t now_ns = monotonic_now_ns();
	core_advance(driver->core, now_ns);
	bool more = outbox_send(&driver->outbox, driver->server, VERDICTS_MAX);
	report_state(driver);
	int64_t next_ns = more ? now_ns : core_next_ns(driver->core);
	if (next_ns == INT64_MAX) {
		event_del(driver->wakeup);
		return;
	}
	int64_t wait_ns = max64(0, next_ns - now_ns);
	struct timeval wait = {.tv_sec = wait_ns / NS_PER_S, .tv_usec = wait_ns % NS_PER_S / NS_PER_US + 1};
	event_add(driver->wakeup, &wait);
}

static void on_wakeup(evutil_socket_t fd, short what, void *context) {
	(void)fd;
	(void)what;
	driver_pump(context);
}

/* All that has arrived by now goes into one batch. */
void driver_pump_soon(struct driver *driver) {
	event_active(driver->wakeup, EV_TIMEOUT, 0);
}

int driver_start(struct driver *driver, struct event_base *base) {
	driver->wakeup = event_new(base, -1, 0, on_wakeup, driver);
	return driver->wakeup ? 0 : -1;
}

void driver_stop(struct driver *driver) {
	if (driver->wakeup)
		event_free(driver->wakeup);
}

/* ---- The core's wishes ------------------------------------------------------- */

static void on_grants(void *context, enum lease_outcome outcome, const struct lease_grant *grants, size_t count) {
	struct driver *driver = context;
	durations_add(&driver->batches, monotonic_now_ns() - driver->taken_ns);
	if (outcome == LEASE_REJECTED && driver->events->keeps_batch(driver->context))
		return;
	core_on_grants(driver->core, monotonic_now_ns(), outcome, grants, count);
	if (outcome == LEASE_DONE)
		driver_pump(driver);
	else /* by then the connection's fate is known */
		driver_pump_soon(driver);
}

static void take(void *context, int host, const struct lease_request *requests, size_t count) {
	struct driver *driver = context;
	driver->taken_ns = monotonic_now_ns();
	database_take(driver->database, host, requests, count, on_grants, driver);
}

static void send_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	struct driver *driver = context;
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
	outbox_put(&driver->outbox, driver->server, peer, &message);
}

/* Whether it arrived isn't looked at: nothing depends on it. */
static void on_recall_sent(void *context, enum lease_outcome outcome) {
	(void)context;
	(void)outcome;
}

static void recall(void *context, const struct lease_recall *recalls, size_t count) {
	struct driver *driver = context;
	database_recall(driver->database, recalls, count, on_recall_sent, driver);
}

static void tell_denied(void *context, const struct core_denied *denied) {
	const struct driver *driver = context;
	driver->events->denied(driver->context, denied);
}

const struct core_io driver_io = {
	.take = take,
	.verdict = send_verdict,
	.recall = recall,
	.denied = tell_denied,
};

/* ---- Apps -------------------------------------------------------------------- */

/* The database would refuse an id that isn't text; a well-behaved library never sends one. */
static bool is_text(const char *id, size_t length) {
	return !memchr(id, 0, length);
}

static bool is_cost(uint32_t cost) {
	return cost >= 1 && cost <= STINT_MAX_REQUESTS_MAX;
}

static int check_want(int index, const struct wire_want *want, const char *id, size_t length) {
	if (index < 0)
		return STINT_ENOPOLICY;
	if (!is_text(id, length))
		return STINT_ECLIENT;
	return is_cost(want->cost) ? 0 : STINT_ERANGE;
}

static core_event_want *event_of(const struct wire_want *want) {
	if (!(want->head.flags & WIRE_WANT_PROVIDE))
		return core_want;
	return want->head.flags & WIRE_WANT_LOOK ? core_look : core_provide;
}

/* Returns how long ago it was sent: long ago, if this agent was stopped meanwhile. A look takes nothing, and is as
 * good as new. */
static int32_t age_ms(const struct wire_want *want, int64_t now_ns) {
	int32_t age = (int32_t)((uint32_t)(now_ns / NS_PER_MS) - want->sent_ms);
	return want->sent_ms == 0 || (want->head.flags & WIRE_WANT_LOOK) || age < 0 ? 0 : age;
}

/* Returns how much longer the app waits; below 0: it has given up. */
static int64_t left_ms(const struct wire_want *want, int64_t now_ns) {
	uint32_t timeout_ms = want->timeout_ms < STINT_TIMEOUT_MS_MAX ? want->timeout_ms : STINT_TIMEOUT_MS_MAX;
	return (int64_t)timeout_ms - age_ms(want, now_ns);
}

void driver_on_want(struct driver *driver, server_peer peer, const struct wire_want *want, const char *id,
                    size_t length) {
	int64_t now_ns = monotonic_now_ns();
	int64_t timeout_ms = left_ms(want, now_ns);
	if (timeout_ms < 0) /* what it takes would be lost */
		return;
	int index = policies_find_number(driver->policies, want->policy);
	int status = check_want(index, want, id, length);
	if (status != 0) {
		send_verdict(driver, peer, want->head.serial, &(struct core_verdict){.status = status});
	} else {
		driver->policies->policy[index].used_ns = now_ns;
		event_of(want)(driver->core, now_ns, peer, want->head.serial, (uint16_t)index, id, (uint8_t)length,
		               want->cost, now_ns + timeout_ms * NS_PER_MS);
	}
	driver_pump_soon(driver);
}

void driver_on_low(struct driver *driver, const struct wire_low *low, const char *id, size_t length) {
	int index = policies_find_number(driver->policies, low->policy);
	if (index < 0 || !is_text(id, length))
		return;
	core_low(driver->core, monotonic_now_ns(), (uint16_t)index, id, (uint8_t)length);
	driver_pump_soon(driver);
}

void driver_on_charge(struct driver *driver, const struct wire_charge *charge, const char *id, size_t length) {
	int index = policies_find_number(driver->policies, charge->policy);
	if (index < 0 || !is_text(id, length) || !is_cost(charge->cost))
		return;
	core_charge(driver->core, monotonic_now_ns(), (uint16_t)index, id, (uint8_t)length, charge->cost);
	driver_pump_soon(driver);
}

/* ---- Policies ---------------------------------------------------------------- */

void driver_apply_policy(struct driver *driver, int index, bool live) {
	const struct policy *policy = &driver->policies->policy[index];
	struct core_policy terms;
	policy_to_core(&policy->row, live, &terms);
	terms.generation = policy->generation;
	core_set_policy(driver->core, monotonic_now_ns(), (uint16_t)index, &terms);
}

/* Returns the index of the policy that was asked for longest ago, of those under which nobody has credits or
 * debts; or -1. Policies that the database has still to be told of stay. */
static int find_unused(const struct driver *driver) {
	int found = -1;
	for (int i = 0; i < (int)POLICY_CAPACITY; i++) {
		const struct policy *policy = &driver->policies->policy[i];
		if (policy->undeclared || !core_policy_is_unused(driver->core, (uint16_t)i))
			continue;
		if (found < 0 || policy->used_ns < driver->policies->policy[found].used_ns)
			found = i;
	}
	return found;
}

int driver_add_policy(struct driver *driver, const struct policy_row *row) {
	struct policies *policies = driver->policies;
	int index = policies_add(policies, row);
	if (index < 0 && !policies->loading && (index = find_unused(driver)) >= 0) {
		log_info("policy %s, which nobody uses, makes room for %s", policies->policy[index].row.name, row->name);
		driver->events->policy_leaves(driver->context, index);
		policies_replace(policies, index, row);
	}
	return index;
}
