/* changes.c - what others have changed in the database, see changes.h. */
#include "changes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "stint.h"
#include "log.h"
#include "monotonic.h"
#include "policy.h"

/* To read more changes than this takes longer than to have all clients ask again. */
#define CHANGES_MAX 10000

/* ---- Policies ------------------------------------------------------------------ */

static void apply_drop(struct change_reader *changes, int index) {
	struct policy *policy = &changes->driver->policies->policy[index];
	if (policy->row.policy_id == 0) /* the database doesn't know it yet: declared here while that was away */
		return;
	log_warning("policy %s was dropped: apps that declare it make it anew, other checks of it fail",
	            policy->row.name);
	policy->row.policy_id = 0;
	word_settle(&policy->word);
	driver_apply_policy(changes->driver, index, false);
}

void changes_apply_row(struct change_reader *changes, int index, const struct policy_row *row) {
	struct policies *policies = changes->driver->policies;
	struct policy *policy = &policies->policy[index];
	if (row->policy_id == 0) {
		apply_drop(changes, index);
		return;
	}
	if (!policy_limits_equal(&policy->row, row)) {
		log_info("policy %s is now %" PRId64 " requests in %" PRId64 " ms%s", row->name, row->max_requests,
		         row->time_window_ms, policy_shadow_words(row));
		if (!policy->guessed) /* a guess is no news: only now the agent knows the limits */
			word_settle(&policy->word);
	}
	policy->guessed = false;
	policies_set(policies, index, row);
	driver_apply_policy(changes->driver, index, true);
}

static void on_policies(void *context, enum lease_outcome outcome, const struct policy_row *rows, size_t count) {
	struct change_reader *changes = context;
	struct policies *policies = changes->driver->policies;
	bool done = outcome == LEASE_DONE;
	policies->loading = false;
	for (size_t i = 0; i < count; i++) {
		if (done)
			changes_apply_row(changes, changes->asked[i], &rows[i]);
		else
			policies->policy[changes->asked[i]].stale = true; /* the next heartbeat loads it again */
	}
	if (done && !changes->awaited)
		changes_load_policies(changes); /* some may have become stale meanwhile */
	changes->loaded(changes->context, done);
	changes_note(changes);
	driver_pump(changes->driver);
}

void changes_load_policies(struct change_reader *changes) {
	struct policies *policies = changes->driver->policies;
	const char *names[POLICY_CAPACITY];
	size_t count = 0;
	if (policies->loading)
		return;
	for (int i = 0; i < (int)POLICY_CAPACITY; i++) {
		struct policy *policy = &policies->policy[i];
		if (!policy->used || !policy->stale)
			continue;
		policy->stale = false;
		changes->asked[count] = (uint16_t)i;
		names[count++] = policy->row.name;
	}
	if (count == 0 && !changes->awaited)
		return;
	policies->loading = true;
	database_get_policies(changes->driver->database, names, count, on_policies, changes);
}

/* ---- Changes ------------------------------------------------------------------- */

/* A reset longer ago concerns nobody: no window is so long. */
#define RESET_AGE_MAX_US (STINT_TIME_WINDOW_MS_MAX * INT64_C(2000))

static void take_client(const struct change_reader *changes, uint16_t index, const struct change_row *row) {
	struct core *core = changes->driver->core;
	int64_t now_ns = monotonic_now_ns();
	uint8_t length = (uint8_t)strlen(row->client_id);
	if (!row->is_reset) {
		core_client_changed(core, now_ns, index, row->client_id, length);
		return;
	}
	/* The database has looked at its clock after the read began: so the reset is no older than this. */
	int64_t age_ns = now_ns - changes->read_ns + min64(row->reset_age_us, RESET_AGE_MAX_US) * NS_PER_US;
	core_client_reset(core, now_ns, index, row->client_id, length, age_ns);
}

/* Finds a changed policy by its name, since a policy that was dropped and made again has another id. */
static void take_change(struct change_reader *changes, const struct change_row *row) {
	struct policies *policies = changes->driver->policies;
	bool is_client = row->client_id[0] != 0;
	int index = is_client ? policies_find_id(policies, row->policy_id) : policies_find(policies, row->policy_name);
	if (index < 0)
		return;
	if (is_client)
		take_client(changes, (uint16_t)index, row);
	else
		policies->policy[index].stale = true;
	/* Even if the policy's limits are those in the directory, they may have been others in between, or the name
	 * may have been another policy's. */
	if (!is_client && changes->inherited)
		core_void_policy(changes->driver->core, monotonic_now_ns(), (uint16_t)index);
}

static void on_changes(void *context, enum lease_outcome outcome, const struct change_row *rows, size_t count) {
	struct change_reader *changes = context;
	changes->reading = false;
	if (outcome != LEASE_DONE) /* the next pulse tells of these changes again */
		return;
	for (size_t i = 0; i < count; i++) {
		take_change(changes, &rows[i]);
		changes->change_id = max64(changes->change_id, rows[i].change_id);
	}
	/* After a lock, when the agent gets in step again, changes_settle() compares with `newest`. */
	changes->newest = max64(changes->newest, changes->change_id);
	if (count > 0 || changes->unread)
		changes_read(changes); /* until there are no more */
	else
		changes->inherited = false;
	changes_load_policies(changes);
	changes_note(changes);
	driver_pump(changes->driver);
}

void changes_read(struct change_reader *changes) {
	changes->unread = true;
	if (changes->reading)
		return;
	changes->reading = true;
	changes->unread = false;
	changes->read_ns = monotonic_now_ns();
	database_get_changes(changes->driver->database, changes->change_id, on_changes, changes);
}

void changes_forget_database(struct change_reader *changes) {
	changes->reading = changes->unread = changes->driver->policies->loading = false;
}

/* ---- While nobody looked ------------------------------------------------------- */

void changes_inherit(struct change_reader *changes, bool taken_over) {
	const struct directory_header *directory = changes->driver->policies->directory;
	struct origin *origin = &changes->origin;
	changes->inherited = taken_over;
	changes->change_id = taken_over ? atomic_load(&directory->change_id) : -1;
	changes->in_force = -1;
	if (changes->change_id < 0)
		return;
	snprintf(origin->server, sizeof(origin->server), "%.*s", DATABASE_SERVER_MAX - 1, directory->server);
	snprintf(origin->timeline, sizeof(origin->timeline), "%.8s", directory->timeline);
	origin->wal_end = directory->wal_end;
}

static void void_all(struct driver *driver) {
	log_info("what was leased under earlier limits is void: it can't be told what has changed since");
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (driver->policies->policy[i].used)
			core_void_policy(driver->core, monotonic_now_ns(), (uint16_t)i);
}

void changes_settle(struct change_reader *changes, bool promoted) {
	int64_t known = changes->change_id, newest = changes->newest;
	bool is_known = known >= 0 && newest >= known && newest - known <= CHANGES_MAX;
	changes->noting = false; /* another server numbers its changes anew */
	changes->in_force = -1;
	if (is_known && !promoted && newest > known) {
		changes_read(changes);
		return;
	}
	if (!is_known && !promoted && (known >= 0 || changes->inherited))
		void_all(changes->driver);
	changes->change_id = newest;
	changes->inherited = false;
}

/* The agent may be killed between any two stores: until all are made, the directory says "unknown" (-1). */
static void note_origin(struct directory_header *directory, const struct origin *origin) {
	atomic_store(&directory->change_id, -1);
	atomic_thread_fence(memory_order_seq_cst);
	snprintf(directory->server, sizeof(directory->server), "%s", origin->server);
	snprintf(directory->timeline, sizeof(directory->timeline), "%s", origin->timeline);
	directory->wal_end = origin->wal_end;
}

static bool is_noted(const struct directory_header *directory, const struct origin *origin) {
	return strcmp(directory->server, origin->server) == 0 && strcmp(directory->timeline, origin->timeline) == 0 &&
	       directory->wal_end == origin->wal_end;
}

/* During the hold after a promotion, leases of another server are still out. While policies are loaded, leases
 * are good that a change has ended. */
static bool may_note(const struct change_reader *changes) {
	enum core_state state = core_state(changes->driver->core);
	return (state == CORE_IN_STEP || state == CORE_RESYNC) && !changes->driver->policies->loading;
}

/* A change is in force once all clients have met it, however much else happens meanwhile. */
void changes_note(struct change_reader *changes) {
	const struct core *core = changes->driver->core;
	struct directory_header *directory = changes->driver->policies->directory;
	if (!may_note(changes)) {
		changes->noting = false;
		return;
	}
	if (!changes->noting) {
		changes->noting = true;
		changes->noted_id = changes->change_id;
		changes->noted_walk_end = core_walk_end(core);
	}
	if (!core_has_walked(core, changes->noted_walk_end))
		return;
	if (!is_noted(directory, &changes->origin))
		note_origin(directory, &changes->origin);
	atomic_store(&directory->change_id, changes->noted_id);
	changes->in_force = changes->noted_id;
	changes->noting = false;
}
