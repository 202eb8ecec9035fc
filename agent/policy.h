/*
 * policy.h - a policy's limits: which are valid, what an app declares when it leaves some out, and how the core
 * gets them.
 */
#ifndef STINT_POLICY_H
#define STINT_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol/wire.h"
#include "core/core.h"
#include "policy_row.h"

/* Fills in defaults and checks the limits. Returns 0, STINT_ERANGE or STINT_EPOLICY. */
int policy_from_declaration(struct policy_row *row, const struct wire_declare *message, const char *name,
                            size_t length);
bool policy_is_valid(const struct policy_row *row); /* checks name and limits, whoever wrote them */
bool policy_limits_equal(const struct policy_row *a, const struct policy_row *b);
void policy_to_core(const struct policy_row *row, bool live, struct core_policy *out);
int64_t policy_sub_window_ms(const struct policy_row *row);
uint32_t policy_weighs_ms(const struct policy_row *row, int64_t window_ms); /* see grant_weighs_ms() */
const char *policy_algorithm_name(int32_t algorithm);
const char *policy_mode_name(int32_t mode);
const char *policy_shadow_words(const struct policy_row *row); /* for the log, behind the limits */

#endif
