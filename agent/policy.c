/* policy.c - the policies of this host, what is valid of them, and their copy in the directory; see policy.h. */
#include "policy.h"

#include <string.h>

#include "protocol/limits.h"
#include "stint.h"

static bool in_range(int64_t value, int64_t least, int64_t most) {
	return value >= least && value <= most;
}

static int64_t sub_window_ms(const struct policy_row *row) {
	return limits_sub_window_ms((enum stint_algorithm)row->algorithm, row->time_window_ms, row->resolution);
}

/* Whoever writes into the socket or the directory. */
static bool limits_are_valid(const struct policy_row *row) {
#define IS_IN_RANGE(name, min, max) &&in_range(row->name, min, max)
	return in_range(row->algorithm, STINT_SLIDING_WINDOW, STINT_FIXED_WINDOW) &&
	       in_range(row->mode, STINT_STRICT, STINT_RELAXED) LIMITS_NUMBERS(IS_IN_RANGE) &&
	       sub_window_ms(row) >= STINT_SUB_WINDOW_MS_MIN;
#undef IS_IN_RANGE
}

int policy_from_declaration(struct policy_row *row, const struct wire_declare *message, const char *name, size_t length) {
	if (!limits_is_policy_name(name, length))
		return STINT_EPOLICY;
	*row = (struct policy_row){
		.max_requests = message->max_requests,
		.time_window_ms = message->time_window_ms,
		.fallback_max_requests = message->fallback_max_requests ? message->fallback_max_requests
		                                                        : limits_default_fallback(message->max_requests),
		.fallback_time_window_ms = message->fallback_time_window_ms ? message->fallback_time_window_ms : message->time_window_ms,
		.algorithm = (int32_t)message->algorithm,
		.mode = (int32_t)message->mode,
		.resolution = message->resolution ? (int32_t)message->resolution : LIMITS_DEFAULT_RESOLUTION,
	};
	memcpy(row->name, name, length);
	if (message->head.flags & WIRE_DECLARE_MUST_EXIST)
		return 0;
	return limits_are_valid(row) ? 0 : STINT_ERANGE;
}

bool policy_limits_equal(const struct policy_row *a, const struct policy_row *b) {
	return a->max_requests == b->max_requests && a->time_window_ms == b->time_window_ms &&
	       a->fallback_max_requests == b->fallback_max_requests &&
	       a->fallback_time_window_ms == b->fallback_time_window_ms && a->algorithm == b->algorithm &&
	       a->resolution == b->resolution && a->mode == b->mode;
}

static struct grant_terms terms_for(const struct policy_row *row, int64_t max_requests, int64_t window_ms) {
	if (row->algorithm == STINT_FIXED_WINDOW)
		return (struct grant_terms){.max_requests = (int32_t)max_requests, .sub_window_us = window_ms * 1000};
	int64_t sub_us = grant_sub_window_us(window_ms, row->resolution);
	return (struct grant_terms){
		.max_requests = (int32_t)max_requests,
		.sub_window_us = sub_us,
		.runs = row->resolution,
		.slack_us = row->resolution * sub_us - window_ms * 1000,
	};
}

void policy_to_core(const struct policy_row *row, bool live, struct core_policy *out) {
	*out = (struct core_policy){
		.live = live,
		.relaxed = row->mode == STINT_RELAXED,
		.policy_id = row->policy_id,
		.time_window_ms = row->time_window_ms,
		.terms = terms_for(row, row->max_requests, row->time_window_ms),
		.fallback_terms = terms_for(row, row->fallback_max_requests, row->fallback_time_window_ms),
	};
}

/* ---- The directory -------------------------------------------------------- */

static struct policy_entry *entry_at(const struct policies *policies, int index) {
	return &directory_entries(policies->directory)[index];
}

/* 2^32 ms are 49 days, more than the longest window. */
static uint32_t weighs_ms(const struct policy_row *row, int64_t window_ms) {
	struct grant_terms terms = terms_for(row, 1, window_ms);
	return (uint32_t)grant_weighs_ms(&terms);
}

static void write_entry(struct policies *policies, int index) {
	struct policy_entry *entry = entry_at(policies, index);
	const struct policy_row *row = &policies->policy[index].row;
	memcpy(entry->name, row->name, sizeof entry->name);
	atomic_store(&entry->algorithm, (uint32_t)row->algorithm);
	atomic_store(&entry->max_requests, row->max_requests);
	atomic_store(&entry->time_window_ms, row->time_window_ms);
	atomic_store(&entry->fallback_max_requests, row->fallback_max_requests);
	atomic_store(&entry->fallback_time_window_ms, row->fallback_time_window_ms);
	atomic_store(&entry->sub_window_ms, sub_window_ms(row));
	atomic_store(&entry->resolution, (uint16_t)row->resolution);
	atomic_store(&entry->mode, (uint16_t)row->mode);
	atomic_store(&entry->weighs_ms, weighs_ms(row, row->time_window_ms));
	atomic_store(&entry->fallback_weighs_ms, weighs_ms(row, row->fallback_time_window_ms));
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
	};
	memcpy(row->name, entry->name, sizeof row->name - 1);
	return limits_is_policy_name(row->name, strlen(row->name)) && limits_are_valid(row);
}

void policies_init(struct policies *policies, struct directory_header *directory, bool take_over) {
	memset(policies, 0, sizeof *policies);
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

/* First the generation: who takes the new name for the old number is refused. */
void policies_replace(struct policies *policies, int index, const struct policy_row *row) {
	policies->policy[index] = (struct policy){.used = true, .generation = policies->policy[index].generation + 1};
	atomic_store(&entry_at(policies, index)->generation, policies->policy[index].generation);
	policies_set(policies, index, row);
}

void policies_set(struct policies *policies, int index, const struct policy_row *row) {
	policies->policy[index].row = *row;
	write_entry(policies, index);
}

const char *policy_algorithm_name(int32_t algorithm) {
	return algorithm == STINT_FIXED_WINDOW ? "fixed_window" : "sliding_window";
}

const char *policy_mode_name(int32_t mode) {
	return mode == STINT_RELAXED ? "relaxed" : "strict";
}
