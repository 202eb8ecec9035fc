/*
 * changes.c - what others have changed in the database: policies, and clients' overrides.
 *
 * Changes are read in one chain, oldest first, some hundred at a time. While a read is under way, what tells of further
 * changes only says that the chain isn't at its end. A client's leases are void when its override has changed; a policy
 * is marked as stale, and those that are stale are read again together, also one read at a time.
 */
#include <inttypes.h>
#include <string.h>

#include "agent.h"
#include "log.h"

/* ---- Policies ------------------------------------------------------------------ */

static void apply_drop(struct agent *agent, int index) {
	struct policy *policy = &agent->policies.policy[index];
	if (policy->row.policy_id == 0) /* not known there yet: declared here while the database was away */
		return;
	log_warning("policy %s was dropped: apps that declare it make it anew, other checks of it fail", policy->row.name);
	policy->row.policy_id = 0;
	agent_apply_policy(agent, index, false);
}

void changes_apply_row(struct agent *agent, int index, const struct policy_row *row) {
	if (row->policy_id == 0) {
		apply_drop(agent, index);
		return;
	}
	if (!policy_limits_equal(&agent->policies.policy[index].row, row))
		log_info("policy %s is now %" PRId64 " requests in %" PRId64 " ms", row->name, row->max_requests, row->time_window_ms);
	policies_set(&agent->policies, index, row);
	agent_apply_policy(agent, index, true);
}

static void on_policies(void *context, enum lease_outcome outcome, const struct policy_row *rows, size_t count) {
	struct agent *agent = context;
	struct link *link = &agent->link;
	link->loading = false;
	for (size_t i = 0; i < count; i++) {
		if (outcome == LEASE_DONE)
			changes_apply_row(agent, link->asked[i], &rows[i]);
		else
			agent->policies.policy[link->asked[i]].stale = true; /* with the next heartbeat */
	}
	if (link->syncing)
		link_on_loaded(agent, outcome == LEASE_DONE);
	else if (outcome == LEASE_DONE)
		changes_load_policies(agent); /* those that have become stale meanwhile */
	agent_pump(agent);
}

void changes_load_policies(struct agent *agent) {
	struct link *link = &agent->link;
	const char *names[POLICY_CAPACITY];
	size_t count = 0;
	if (link->loading)
		return;
	for (int i = 0; i < (int)POLICY_CAPACITY; i++) {
		struct policy *policy = &agent->policies.policy[i];
		if (!policy->used || !policy->stale)
			continue;
		policy->stale = false;
		link->asked[count] = (uint16_t)i;
		names[count++] = policy->row.name;
	}
	if (count == 0 && !link->syncing)
		return;
	link->loading = true;
	database_get_policies(agent->database, names, count, on_policies, agent);
}

/* ---- Changes ------------------------------------------------------------------- */

/* By its name, since one that was dropped and made again has another id. */
static void take_change(struct agent *agent, const struct change_row *row) {
	bool is_client = row->client_id[0] != 0;
	int index = is_client ? policies_find_id(&agent->policies, row->policy_id) : policies_find(&agent->policies, row->policy_name);
	if (index < 0)
		return;
	if (is_client)
		core_client_changed(agent->core, agent_now_ns(), (uint16_t)index, row->client_id, (uint8_t)strlen(row->client_id));
	else
		agent->policies.policy[index].stale = true;
}

static void on_changes(void *context, enum lease_outcome outcome, const struct change_row *rows, size_t count) {
	struct agent *agent = context;
	struct link *link = &agent->link;
	link->reading = false;
	if (outcome != LEASE_DONE) /* the next pulse tells of them again */
		return;
	for (size_t i = 0; i < count; i++) {
		take_change(agent, &rows[i]);
		if (rows[i].change_id > link->change_id)
			link->change_id = rows[i].change_id;
	}
	if (count > 0 || link->unread)
		changes_read(agent); /* until there are none */
	changes_load_policies(agent);
	agent_pump(agent);
}

void changes_read(struct agent *agent) {
	struct link *link = &agent->link;
	link->unread = true;
	if (link->reading)
		return;
	link->reading = true;
	link->unread = false;
	database_get_changes(agent->database, link->change_id, on_changes, agent);
}
