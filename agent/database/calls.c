/*
 * calls.c - the statements that the agent sends, one section each: how
 * its parameters are made and its answer is read. What the database answers is checked
 * before anybody sees it: an answer that can't be is treated like a broken connection.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "private.h"
#include "pg.h"
#include "pgarray.h"
#include "stint.h"

/* No window lasts longer than 31 days, and no answer looks further than a few windows ahead. Far from overflow, too. */
#define DURATION_MAX_US (INT64_C(366) * 86400 * 1000000)
#define LIVE_HOSTS_MAX 1000000 /* more agents than any database takes connections */

/* ---- Parameters ---------------------------------------------------------------- */

/* Parameters of one statement, and room for the texts of its numbers. */
struct parameters {
	struct pg_params pg;
	char numbers[PG_PARAMS_MAX][24]; /* -9223372036854775808 and a NUL */
};

static void add_text(struct parameters *p, const char *text) {
	p->pg.values[p->pg.count++] = text;
}

static void add_number(struct parameters *p, int64_t number) {
	char *text = p->numbers[p->pg.count];
	snprintf(text, sizeof(p->numbers[0]), "%lld", (long long)number);
	add_text(p, text);
}

/* The array that begins at `offset`, and ends where the buffer ends now. */
static void add_array(struct parameters *p, const struct pgarray *array, size_t offset) {
	int i = p->pg.count++;
	p->pg.values[i] = array->data + offset;
	p->pg.lengths[i] = (int)(array->length - offset);
	p->pg.formats[i] = 1;
}

/* ---- take_leases ------------------------------------------------------------------ */

static const size_t take_needs[] = {
	offsetof(struct lease_request, need), offsetof(struct lease_request, least), offsetof(struct lease_request, want),
	offsetof(struct lease_request, next_want), offsetof(struct lease_request, charge),
};

#define INT4_ARRAYS 8u /* policy_ids, those above, return_firsts, return_seconds */

static size_t take_size(const struct lease_request *requests, size_t count) {
	size_t size = (INT4_ARRAYS + 2) * PGARRAY_HEAD_SIZE + count * (INT4_ARRAYS * PGARRAY_INT4_SIZE + PGARRAY_INT8_SIZE);
	for (size_t i = 0; i < count; i++)
		size += PGARRAY_TEXT_SIZE(requests[i].client_id_len);
	return size;
}

static void add_int4_field(struct parameters *p, struct pgarray *array, const struct lease_request *requests, size_t count,
                           size_t field) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_INT4, count);
	for (size_t i = 0; i < count; i++) {
		int32_t value;
		memcpy(&value, (const char *)&requests[i] + field, sizeof(value));
		pgarray_put_int4(array, value);
	}
	add_array(p, array, start);
}

static void add_client_ids(struct parameters *p, struct pgarray *array, const struct lease_request *requests, size_t count) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_TEXT, count);
	for (size_t i = 0; i < count; i++)
		pgarray_put_text(array, requests[i].client_id, requests[i].client_id_len);
	add_array(p, array, start);
}

static void add_return_sub_windows(struct parameters *p, struct pgarray *array, const struct lease_request *requests,
                                   size_t count) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_INT8, count);
	for (size_t i = 0; i < count; i++)
		pgarray_put_int8(array, requests[i].return_sub_window);
	add_array(p, array, start);
}

static bool read_int4(const struct pg_answer *answer, int row, int column, int64_t high, int32_t *out) {
	int64_t value = 0;
	bool good = pg_answer_int(answer, row, column, 0, high, &value);
	*out = (int32_t)value;
	return good;
}

static bool read_grant(const struct pg_answer *answer, int row, struct lease_grant *grant) {
	const int64_t credits = STINT_MAX_REQUESTS_MAX;
	grant->answered = true;
	return read_int4(answer, row, 1, credits, &grant->granted) &&
	       pg_answer_int(answer, row, 2, 1, INT64_MAX, &grant->sub_window) &&
	       pg_answer_int(answer, row, 3, 0, DURATION_MAX_US, &grant->valid_us) &&
	       read_int4(answer, row, 4, credits, &grant->granted_next) &&
	       pg_answer_int(answer, row, 5, 0, DURATION_MAX_US, &grant->starts_in_us) &&
	       pg_answer_int(answer, row, 6, 0, DURATION_MAX_US, &grant->next_valid_us) &&
	       read_int4(answer, row, 7, credits, &grant->remaining) &&
	       pg_answer_int(answer, row, 8, -1, DURATION_MAX_US, &grant->retry_us) &&
	       pg_answer_int(answer, row, 9, 0, DURATION_MAX_US, &grant->reset_us) &&
	       read_int4(answer, row, 10, credits, &grant->max_requests) &&
	       read_int4(answer, row, 11, credits, &grant->charged);
}

/* Rows come in any order, some may be missing, none may come twice. */
static bool read_grants(const struct pg_answer *answer, struct lease_grant *grants, size_t count) {
	for (int row = 0; row < pg_answer_rows(answer); row++) {
		int64_t request;
		if (!pg_answer_int(answer, row, 0, 1, (int64_t)count, &request) || grants[request - 1].answered ||
		    !read_grant(answer, row, &grants[request - 1]))
			return false;
	}
	return true;
}

static bool finish_take(struct database *db, const struct operation *op, enum lease_outcome outcome,
                        const struct pg_answer *answer) {
	struct lease_grant *grants = NULL;
	(void)db;
	if (outcome == LEASE_DONE) {
		grants = calloc(op->count + 1, sizeof(*grants));
		if (!grants || !read_grants(answer, grants, op->count)) {
			free(grants);
			return false;
		}
	}
	op->done.grants(op->context, outcome, grants, op->count);
	free(grants);
	return true;
}

static const struct call call_take = {
	"stint.take_leases",
	"select request, granted, sub_window, valid_us, granted_next, starts_in_us, next_valid_us, remaining, retry_us, reset_us,"
	" max_requests, charged from stint.take_leases($1::int, $2::int[], $3::text[], $4::int[], $5::int[], $6::int[],"
	" $7::int[], $8::int[], $9::bigint[], $10::int[], $11::int[])",
	12, false, finish_take,
};

void database_take(struct database *db, int live_hosts, const struct lease_request *requests, size_t count,
                   database_grants *done, void *context) {
	struct operation op = {.call = &call_take, .count = count, .done.grants = done, .context = context};
	struct parameters p = {.pg.count = 0};
	struct pgarray array;
	if (!pgarray_new(&array, take_size(requests, count))) {
		database_start(db, &op, NULL);
		return;
	}
	add_number(&p, live_hosts);
	add_int4_field(&p, &array, requests, count, offsetof(struct lease_request, policy_id));
	add_client_ids(&p, &array, requests, count);
	for (size_t i = 0; i < sizeof(take_needs) / sizeof(take_needs[0]); i++)
		add_int4_field(&p, &array, requests, count, take_needs[i]);
	add_return_sub_windows(&p, &array, requests, count);
	add_int4_field(&p, &array, requests, count, offsetof(struct lease_request, return_first));
	add_int4_field(&p, &array, requests, count, offsetof(struct lease_request, return_second));
	database_start(db, &op, &p.pg);
	free(array.data);
}

/* ---- Policies ------------------------------------------------------------------------- */

/* As the database spells what stint.h numbers. */
static const char *const algorithms[] = {[STINT_SLIDING_WINDOW] = "sliding_window", [STINT_FIXED_WINDOW] = "fixed_window"};
static const char *const modes[] = {[STINT_STRICT] = "strict", [STINT_RELAXED] = "relaxed"};

static bool read_name(const struct pg_answer *answer, int row, int column, const char *const names[static 2], int32_t *out) {
	char name[32];
	if (!pg_answer_text(answer, row, column, sizeof(name), name))
		return false;
	*out = strcmp(name, names[0]) != 0;
	return !strcmp(name, names[*out]);
}

static bool read_policy(const struct pg_answer *answer, int row, struct policy_row *policy) {
	const int64_t window_min = STINT_TIME_WINDOW_MS_MIN, window_max = STINT_TIME_WINDOW_MS_MAX;
	return read_int4(answer, row, 0, INT32_MAX, &policy->policy_id) &&
	       pg_answer_text(answer, row, 1, sizeof(policy->name), policy->name) &&
	       pg_answer_int(answer, row, 2, 1, STINT_MAX_REQUESTS_MAX, &policy->max_requests) &&
	       pg_answer_int(answer, row, 3, window_min, window_max, &policy->time_window_ms) &&
	       pg_answer_int(answer, row, 4, 1, STINT_FALLBACK_REQUESTS_MAX, &policy->fallback_max_requests) &&
	       pg_answer_int(answer, row, 5, window_min, window_max, &policy->fallback_time_window_ms) &&
	       read_name(answer, row, 6, algorithms, &policy->algorithm) &&
	       read_int4(answer, row, 7, STINT_RESOLUTION_MAX, &policy->resolution) && policy->resolution >= 1 &&
	       read_name(answer, row, 8, modes, &policy->mode) && pg_answer_bool(answer, row, 9, &policy->pinned);
}

static bool finish_policies(struct database *db, const struct operation *op, enum lease_outcome outcome,
                            const struct pg_answer *answer) {
	int count = outcome == LEASE_DONE ? pg_answer_rows(answer) : 0;
	struct policy_row *rows = calloc((size_t)count + 1, sizeof(*rows));
	bool good = rows != NULL || outcome != LEASE_DONE;
	(void)db;
	for (int i = 0; good && i < count; i++)
		good = read_policy(answer, i, &rows[i]);
	if (good)
		op->done.policies(op->context, outcome, rows, (size_t)count);
	free(rows);
	return good;
}

static const struct call call_policies = {
	"stint.get_policies",
	"select policy_id, name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm,"
	" resolution, mode, pinned from stint.get_policies()",
	10, false, finish_policies,
};

void database_get_policies(struct database *db, database_policies *done, void *context) {
	struct operation op = {.call = &call_policies, .done.policies = done, .context = context};
	struct pg_params none = {.count = 0};
	database_start(db, &op, &none);
}

static bool finish_declare(struct database *db, const struct operation *op, enum lease_outcome outcome,
                           const struct pg_answer *answer) {
	char status[16] = "";
	int32_t policy_id = 0;
	(void)db;
	if (outcome == LEASE_DONE && (pg_answer_rows(answer) != 1 || !pg_answer_text(answer, 0, 0, sizeof(status), status) ||
	                              !read_int4(answer, 0, 1, INT32_MAX, &policy_id)))
		return false;
	op->done.declared(op->context, outcome, status, policy_id);
	return true;
}

static const struct call call_declare = {
	"stint.declare_policy",
	"select status, policy_id from stint.declare_policy($1::text, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::text,"
	" $7::int, $8::text, $9::boolean)",
	2, false, finish_declare,
};

void database_declare(struct database *db, const struct policy_row *policy, bool again, database_declared *done,
                      void *context) {
	struct operation op = {.call = &call_declare, .done.declared = done, .context = context};
	struct parameters p = {.pg.count = 0};
	add_text(&p, policy->name);
	add_number(&p, policy->max_requests);
	add_number(&p, policy->time_window_ms);
	add_number(&p, policy->fallback_max_requests);
	add_number(&p, policy->fallback_time_window_ms);
	add_text(&p, algorithms[policy->algorithm == STINT_FIXED_WINDOW]);
	add_number(&p, policy->resolution);
	add_text(&p, modes[policy->mode == STINT_RELAXED]);
	add_text(&p, again ? "true" : "false");
	database_start(db, &op, &p.pg);
}

static bool read_change(const struct pg_answer *answer, int row, struct change_row *change) {
	return pg_answer_int(answer, row, 0, 1, INT64_MAX, &change->change_id) &&
	       read_int4(answer, row, 1, INT32_MAX, &change->policy_id) &&
	       (pg_answer_is_null(answer, row, 2) ||
	        pg_answer_text(answer, row, 2, sizeof(change->client_id), change->client_id));
}

static bool finish_changes(struct database *db, const struct operation *op, enum lease_outcome outcome,
                           const struct pg_answer *answer) {
	int count = outcome == LEASE_DONE ? pg_answer_rows(answer) : 0;
	struct change_row *rows = calloc((size_t)count + 1, sizeof(*rows));
	bool good = rows != NULL || outcome != LEASE_DONE;
	(void)db;
	for (int i = 0; good && i < count; i++)
		good = read_change(answer, i, &rows[i]);
	if (good)
		op->done.changes(op->context, outcome, rows, (size_t)count);
	free(rows);
	return good;
}

static const struct call call_changes = {
	"stint.get_changes", "select change_id, policy_id, client_id from stint.get_changes($1::bigint)", 3, false, finish_changes,
};

void database_get_changes(struct database *db, int64_t since, database_changes *done, void *context) {
	struct operation op = {.call = &call_changes, .done.changes = done, .context = context};
	struct parameters p = {.pg.count = 0};
	add_number(&p, since);
	database_start(db, &op, &p.pg);
}

/* ---- The host's row ---------------------------------------------------------------------- */

static bool read_pulse(const struct pg_answer *answer, struct database_pulse *pulse) {
	return pg_answer_rows(answer) == 1 && pg_answer_int(answer, 0, 0, 1, INT64_MAX, &pulse->now_us) &&
	       read_int4(answer, 0, 1, LIVE_HOSTS_MAX, &pulse->live_hosts) && pulse->live_hosts >= 1 &&
	       pg_answer_int(answer, 0, 2, 0, INT64_MAX, &pulse->change_id) && pg_answer_bool(answer, 0, 3, &pulse->rival);
}

/* Registering is part of connecting, so a host without a row connects again. */
static void register_again(struct database *db) {
	database_set_error(db, "this host's row is gone: registering \"%s\" again", db->host);
	database_drop_soon(db);
}

static bool finish_heartbeat(struct database *db, const struct operation *op, enum lease_outcome outcome,
                             const struct pg_answer *answer) {
	struct database_pulse pulse = {.now_us = 0};
	bool gone = outcome == LEASE_DONE && pg_answer_rows(answer) == 0;
	bool beats = outcome == LEASE_DONE && !gone;
	if (beats && !read_pulse(answer, &pulse))
		return false;
	op->done.pulsed(op->context, outcome, beats ? &pulse : NULL);
	if (gone)
		register_again(db);
	return true;
}

static const struct call call_heartbeat = {
	"stint.heartbeat",
	"select now_us, live_hosts, change_id, rival from stint.heartbeat($1::int, $2::text, $3::text, $4::bigint, $5::bigint)",
	4, false, finish_heartbeat,
};

void database_heartbeat(struct database *db, const char *state, int64_t clients, int64_t fallback_ms, database_pulsed *done,
                        void *context) {
	struct operation op = {.call = &call_heartbeat, .done.pulsed = done, .context = context};
	struct parameters p = {.pg.count = 0};
	add_number(&p, db->host_id);
	add_text(&p, db->instance);
	add_text(&p, state);
	add_number(&p, clients);
	add_number(&p, fallback_ms);
	database_start(db, &op, &p.pg);
}

static bool finish_ended(struct database *db, const struct operation *op, enum lease_outcome outcome,
                         const struct pg_answer *answer) {
	(void)db, (void)answer;
	op->done.ended(op->context, outcome);
	return true;
}

static const struct call call_fallback = {
	"stint.report_fallback",
	"select stint.report_fallback($1::int, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::text)", 1, false, finish_ended,
};

void database_report_fallback(struct database *db, int64_t lasted_ms, int64_t ended_ms_ago, int64_t admitted, int64_t clients,
                              const char *reason, database_ended *done, void *context) {
	struct operation op = {.call = &call_fallback, .done.ended = done, .context = context};
	struct parameters p = {.pg.count = 0};
	add_number(&p, db->host_id);
	add_number(&p, lasted_ms);
	add_number(&p, ended_ms_ago);
	add_number(&p, admitted);
	add_number(&p, clients);
	add_text(&p, reason);
	database_start(db, &op, &p.pg);
}

static const struct call call_stop = {
	"stint.stop_host", "select stint.stop_host($1::int, $2::text)", 1, false, finish_ended,
};

void database_stop_host(struct database *db, database_ended *done, void *context) {
	struct operation op = {.call = &call_stop, .done.ended = done, .context = context};
	struct parameters p = {.pg.count = 0};
	add_number(&p, db->host_id);
	add_text(&p, db->instance);
	database_start(db, &op, &p.pg);
}

/* ---- Expiry ----------------------------------------------------------------------------------- */

static bool finish_expire(struct database *db, const struct operation *op, enum lease_outcome outcome,
                          const struct pg_answer *answer) {
	int64_t examined = 0, deleted = 0;
	(void)db;
	if (outcome == LEASE_DONE &&
	    (pg_answer_rows(answer) != 1 || !pg_answer_int(answer, 0, 0, 0, INT64_MAX, &examined) ||
	     !pg_answer_int(answer, 0, 1, 0, INT64_MAX, &deleted)))
		return false;
	op->done.expired(op->context, outcome, examined, deleted);
	return true;
}

static const struct call call_expire = {
	"stint.expire_counters", "select examined, deleted from stint.expire_counters($1::int)", 2, false, finish_expire,
};

void database_expire_counters(struct database *db, int batch, database_expired *done, void *context) {
	struct operation op = {.call = &call_expire, .done.expired = done, .context = context};
	struct parameters p = {.pg.count = 0};
	add_number(&p, batch);
	database_start(db, &op, &p.pg);
}

const struct call *const database_calls[] = {
	&call_take, &call_declare, &call_policies, &call_changes, &call_heartbeat, &call_expire, &call_fallback, &call_stop, NULL,
};
