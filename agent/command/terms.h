/*
 * terms.h - what there is to a policy's limit beside max_requests: columns of the database and members of the
 * agent's status, in the order in which they are shown.
 */
#ifndef STINT_TERMS_H
#define STINT_TERMS_H

#define TERMS_BY_DEFAULT "fallback_max_requests", "fallback_time_window_ms", "algorithm", "resolution", "mode"
#define TERMS            "time_window_ms", TERMS_BY_DEFAULT, "shadow"

#endif
