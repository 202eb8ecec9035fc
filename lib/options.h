/*
 * options.h - struct stint_options: ranges, defaults, and what the agent is told
 * of it.
 */
#ifndef STINT_OPTIONS_H
#define STINT_OPTIONS_H

#include <stdint.h>

#include "stint.h"
#include "protocol/wire.h"

/* 0, or an error whose detail names the option, its value and its range. */
int options_check(const struct stint_options *);

/* What follows of options that were checked. */
struct wire_declare options_declaration(const struct stint_options *);
int options_timeout_ms(const struct stint_options *);
int64_t options_fallback_max_requests(const struct stint_options *);
int64_t options_fallback_time_window_ms(const struct stint_options *);

#endif
