/* policies.c - the policies that apps of this host use, and their copy in the directory; see policies.h. */
#include "policies.h"

#include <string.h>

#include "policy.h"

/* ---- The directory -------------------------------------------------------- */

static struct policy_entry *entry_at(const struct policies *policies, int index) {
	return &directory_entries(policies->directory)[index];
}

static void write_entry(struct policies *policies, int index) {
	struct policy_entry *entry = entry_at(policies, index);
	const struct policy_row *row = &policies->policy[index].row;
	memcpy(entry->name, row->name, sizeof(entry->name));
	atomic_store(&entry->algorithm, (uint32_t)row->algorithm);
	atomic_store(&entry->max_requests, row->max_requests);
	atomic_store(&entry->time_window_ms, row->time_window_ms);
	atomic_store(&entry->fallback_max_requests, row->fallback_max_requests);
	atomic_store(&entry->fallback_time_window_ms, row->fallback_time_window_ms);
	atomic_store(&entry->sub_window_ms, policy_sub_window_ms(row));
	atomic_store(&entry->resolution, (uint16_t)row->resolution);
	atomic_store(&entry->mode, (uint8_t)row->mode);
	atomic_store(&entry->shadow, (uint8_t)row->shadow);
	atomic_store(&entry->weighs_ms, policy_weighs_ms(row, row->time_window_ms));
	atomic_store(&entry->fallback_weighs_ms, policy_weighs_ms(row, row->fallback_time_window_ms));
	atomic_store(&entry->state, POLICY_LIVE);
}

static bool read_entry(const struct policies *policies, int index, struct policy_row *row) {
	const struct policy_entry *entry = entry_at(policies, index);
	if (atomic_load(&entry->state) != POLICY_LIVE)
		return false;
	*row = (struct policy_row){
		.max_requests = atomic_load(&entry->max_requests),
		.time_window_ms = atomic_load(&entry->time_window_ms),
		.fallback_max_requests = atomic_load(&entry->fallback_max_requests),
		.fallback_time_window_ms = atomic_load(&entry->fallback_time_window_ms),
		.algorithm = (int32_t)atomic_load(&entry->algorithm),
		.resolution = (int32_t)atomic_load(&entry->resolution),
		.mode = (int32_t)atomic_load(&entry->mode),
		.shadow = atomic_load(&entry->shadow) != 0,
	};
	memcpy(row->name, entry->name, sizeof(row->name) - 1);
	return policy_is_valid(row);
}

/* ---- The list ------------------------------------------------------------- */

void policies_init(struct policies *policies, struct directory_header *directory, bool take_over) {
	memset(policies, 0, sizeof(*policies));
	policies->directory = directory;
	for (int i = 0; take_over && i < (int)POLICY_CAPACITY; i++) {
		policies->policy[i].used = read_entry(policies, i, &policies->policy[i].row);
		policies->policy[i].generation = atomic_load(&entry_at(policies, i)->generation);
	}
}

int policies_find(const struct policies *policies, const char *name) {
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (policies->policy[i].used && strcmp(policies->policy[i].row.name, name) == 0)
			return i;
	return -1;
}

int policies_find_id(const struct policies *policies, int32_t policy_id) {
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (policies->policy[i].used && policies->policy[i].row.policy_id == policy_id)
			return i;
	return -1;
}

uint32_t policies_number(const struct policies *policies, int index) {
	return policy_number_make((uint32_t)index, policies->policy[index].generation);
}

int policies_find_number(const struct policies *policies, uint32_t number) {
	int index = (int)policy_number_index(number);
	return policies->policy[index].used && policies_number(policies, index) == number ? index : -1;
}

int policies_add(struct policies *policies, const struct policy_row *row) {
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		if (!policies->policy[i].used) {
			policies->policy[i] = (struct policy){.used = true, .generation = policies->policy[i].generation};
			policies_set(policies, i, row);
			return i;
		}
	return -1;
}

/* Changes the generation first, so that an app which sees the new policy under the old number is refused. */
void policies_replace(struct policies *policies, int index, const struct policy_row *row) {
	policies->policy[index] = (struct policy){.used = true, .generation = policies->policy[index].generation + 1};
	atomic_store(&entry_at(policies, index)->generation, policies->policy[index].generation);
	tallies_clear(&policies->tallies, index);
	policies_set(policies, index, row);
}

void policies_set(struct policies *policies, int index, const struct policy_row *row) {
	policies->policy[index].row = *row;
	write_entry(policies, index);
}
