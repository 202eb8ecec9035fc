/*
 * changes.c - what others have changed in the database: policies, and clients' overrides.
 *
 * Changes are read in one chain, oldest first, some hundred at a time. While a read is under way, what tells of further
 * changes only says that the chain isn't at its end. A client's leases are void when its override has changed; a policy
 * is marked as stale, and those that are stale are read again together, also one read at a time.
 *
 * The directory says up to which change the leases in the table are in force. So an agent that takes a table over begins
 * there: a client that was blocked while no agent lived would otherwise keep its lease, which in a month's window lasts for
 * days. Where the list doesn't tell what has changed, everything may have.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "log.h"

/* More than these take longer to read than all clients take to ask again. */
#define CHANGES_MAX 10000

/* ---- Policies ------------------------------------------------------------------ */

static void apply_drop(struct agent *agent, int index) {
	struct policy *policy = &agent->policies.policy[index];
	if (policy->row.policy_id == 0) /* not known there yet: declared here while the database was away */
		return;
	log_warning("policy %s was dropped: apps that declare it make it anew, other checks of it fail", policy->row.name);
	policy->row.policy_id = 0;
	word_settle(&policy->word);
	agent_apply_policy(agent, index, false);
}

void changes_apply_row(struct agent *agent, int index, const struct policy_row *row) {
	if (row->policy_id == 0) {
		apply_drop(agent, index);
		return;
	}
	if (!policy_limits_equal(&agent->policies.policy[index].row, row)) {
		log_info("policy %s is now %" PRId64 " requests in %" PRId64 " ms", row->name, row->max_requests, row->time_window_ms);
		word_settle(&agent->policies.policy[index].word);
	}
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
	declarations_resume(agent); /* those that found no room meanwhile */
	changes_note(agent);
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
		core_client_changed(agent->core, monotonic_now_ns(), (uint16_t)index, row->client_id, (uint8_t)strlen(row->client_id));
	else
		agent->policies.policy[index].stale = true;
	/* Its limits may be what the directory says, and have been something else, or another policy's, in between. */
	if (!is_client && agent->link.inherited)
		core_void_policy(agent->core, monotonic_now_ns(), (uint16_t)index);
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
	if (link->change_id > link->hello.change_id) /* as a database that is synced with again, after a lock, is judged by it */
		link->hello.change_id = link->change_id;
	if (count > 0 || link->unread)
		changes_read(agent); /* until there are none */
	else
		link->inherited = false;
	changes_load_policies(agent);
	changes_note(agent);
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

/* ---- While nobody looked ------------------------------------------------------- */

void changes_inherit(struct agent *agent) {
	const struct directory_header *directory = agent->policies.directory;
	struct link *link = &agent->link;
	link->inherited = agent->shm.taken_over;
	link->change_id = link->inherited ? atomic_load(&directory->change_id) : -1;
	if (link->change_id < 0)
		return;
	snprintf(link->server, sizeof link->server, "%.*s", (int)sizeof link->server - 1, directory->server);
	snprintf(link->timeline, sizeof link->timeline, "%.*s", (int)sizeof link->timeline - 1, directory->timeline);
	link->wal_end = directory->wal_end;
}

static void void_all(struct agent *agent) {
	log_info("what was leased under earlier limits is void: it can't be told what has changed since");
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (agent->policies.policy[i].used)
			core_void_policy(agent->core, monotonic_now_ns(), (uint16_t)i);
}

void changes_settle(struct agent *agent, bool promoted) {
	struct link *link = &agent->link;
	int64_t newest = link->hello.change_id;
	bool is_known = link->change_id >= 0 && newest >= link->change_id && newest - link->change_id <= CHANGES_MAX;
	if (is_known && !promoted && newest > link->change_id) {
		changes_read(agent);
		return;
	}
	if (!is_known && !promoted && (link->change_id >= 0 || link->inherited))
		void_all(agent);
	link->change_id = newest;
	link->inherited = false;
}

/* An agent may be killed between any two stores. */
static void note_server(struct directory_header *directory, const struct link *link) {
	atomic_store(&directory->change_id, -1);
	atomic_thread_fence(memory_order_seq_cst);
	snprintf(directory->server, sizeof directory->server, "%s", link->server);
	snprintf(directory->timeline, sizeof directory->timeline, "%s", link->timeline);
	directory->wal_end = link->wal_end;
}

/* During the hold after a promotion, leases of another server's are out; while the core walks, some that are void. */
void changes_note(struct agent *agent) {
	struct directory_header *directory = agent->policies.directory;
	const struct link *link = &agent->link;
	enum core_state state = core_state(agent->core);
	if ((state != CORE_IN_STEP && state != CORE_RESYNC) || link->loading || core_is_walking(agent->core))
		return;
	if (strcmp(directory->server, link->server) || strcmp(directory->timeline, link->timeline) || directory->wal_end != link->wal_end)
		note_server(directory, link);
	atomic_store(&directory->change_id, link->change_id);
}
