/*
 * answers.h - what the database answers to the agent's operations, and the callbacks that are told. database.h
 * says when they are.
 */
#ifndef STINT_ANSWERS_H
#define STINT_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/store.h"
#include "policy_row.h"

struct database_pulse {
	int64_t now_us;
	int64_t wal_end; /* as in database_hello; 0 in a heartbeat */
	int64_t change_id;
	bool is_heartbeat; /* the rest is known */
	int32_t live_hosts;
	bool rival;        /* another live instance uses this host's name */
	bool expires;      /* until the next heartbeat it is this host's turn to expire counters */
	bool old_snapshot; /* somebody keeps old versions of rows from being removed; told to one host, now and then */
};

struct change_row {
	int64_t change_id;
	int32_t policy_id;
	char policy_name[64]; /* then */
	char client_id[256];  /* "": the policy itself changed */
	bool is_reset;        /* an operator had the client reset ... */
	int64_t reset_age_us; /* ... so long before the answer */
};

struct recall_row { /* a client whose leases are called back */
	int64_t recall_id;
	int32_t policy_id;
	char client_id[256];
};

struct database_decision { /* what this host has decided in a minute, under one policy in one way */
	int64_t minute;        /* since 1970 */
	const char *policy;
	int32_t source; /* enum stint_source */
	int64_t allowed, denied, shadow_denied;
};

struct database_denial { /* how often this host has denied a client in an hour, for one reason */
	int64_t hour;        /* since 1970 */
	const char *policy, *client_id;
	int32_t reason; /* enum core_denied_by */
	int64_t denied, error;
};

typedef void database_grants(void *context, enum lease_outcome outcome, const struct lease_grant *grants,
                             size_t count);
typedef void database_declared(void *context, enum lease_outcome outcome, const char *status, int32_t policy_id);
/* rows[i] is the policy of names[i]; count is the same. policy_id 0: there is none */
typedef void database_policies(void *context, enum lease_outcome outcome, const struct policy_row *rows,
                               size_t count);
typedef void database_changes(void *context, enum lease_outcome outcome, const struct change_row *rows,
                              size_t count);
/* pulse NULL though LEASE_DONE: the host's row is gone; `down` and then `up` follow */
typedef void database_pulsed(void *context, enum lease_outcome outcome, const struct database_pulse *pulse);
typedef void database_expired(void *context, enum lease_outcome outcome, int64_t examined, int64_t deleted);
/* newest: all up to that recall are known now */
typedef void database_recalls(void *context, enum lease_outcome outcome, const struct recall_row *rows,
                              size_t count, int64_t newest);
typedef void database_ended(void *context, enum lease_outcome outcome);

#endif
