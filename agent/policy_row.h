/*
 * policy_row.h - a policy as its row in the database has it: what the agent's parts hand to one another.
 */
#ifndef STINT_POLICY_ROW_H
#define STINT_POLICY_ROW_H

#include <stdbool.h>
#include <stdint.h>

struct policy_row {
	int32_t policy_id;
	char name[64];
	int64_t max_requests;
	int64_t time_window_ms;
	int64_t fallback_max_requests;
	int64_t fallback_time_window_ms;
	int32_t algorithm; /* enum stint_algorithm */
	int32_t resolution;
	int32_t mode; /* enum stint_mode */
	bool pinned;
	bool shadow; /* apps admit whom it denies */
};

#endif
