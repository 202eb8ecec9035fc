/*
 * options.h - struct stint_options: its ranges, its defaults, and the DECLARE
 * that it makes.
 */
#ifndef STINT_OPTIONS_H
#define STINT_OPTIONS_H

#include <stdint.h>

#include "stint.h"
#include "protocol/wire.h"

/* Returns 0, or an error whose detail names the option, its value and its range. */
int options_check(const struct stint_options *);

/* The same of one of them; the number may be 0, which stands for the default. */
int options_check_policy(const char *name);
int options_check_optional(const char *name, int64_t value, int64_t min, int64_t max);

/* Return what follows from options that options_check() has accepted. */
struct wire_declare options_declaration(const struct stint_options *);
int options_timeout_ms(const struct stint_options *);
int64_t options_fallback_max_requests(const struct stint_options *);
int64_t options_fallback_time_window_ms(const struct stint_options *);

#endif
