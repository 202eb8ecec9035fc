/*
 * calls.c - the statements that the agent sends, but for those of take.c, call_back.c and report.c: how the
 * parameters of each are made, and how its answer is read. Each answer is checked before anybody sees it. An
 * answer that can't be is treated like a broken connection.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parameters.h"
#include "pg.h"
#include "private.h"
#include "protocol/limits.h"
#include "stint.h"

/* ---- Policies ------------------------------------------------------------------------- */

static bool read_word(const struct pg_answer *answer, int row, int column, int32_t (*number)(const char *),
                      int32_t *out) {
	char word[32];
	if (!pg_answer_text(answer, row, column, sizeof(word), word))
		return false;
	*out = number(word);
	return *out >= 0;
}

static bool read_policy(const struct pg_answer *answer, int row, struct policy_row *policy) {
	const int64_t window_min = STINT_TIME_WINDOW_MS_MIN, window_max = STINT_TIME_WINDOW_MS_MAX;
	return pg_answer_int4(answer, row, 1, INT32_MAX, &policy->policy_id) && policy->policy_id >= 1 &&
	       pg_answer_text(answer, row, 2, sizeof(policy->name), policy->name) &&
	       pg_answer_int(answer, row, 3, 1, STINT_MAX_REQUESTS_MAX, &policy->max_requests) &&
	       pg_answer_int(answer, row, 4, window_min, window_max, &policy->time_window_ms) &&
	       pg_answer_int(answer, row, 5, 1, STINT_FALLBACK_REQUESTS_MAX, &policy->fallback_max_requests) &&
	       pg_answer_int(answer, row, 6, window_min, window_max, &policy->fallback_time_window_ms) &&
	       read_word(answer, row, 7, limits_algorithm, &policy->algorithm) &&
	       pg_answer_int4(answer, row, 8, STINT_RESOLUTION_MAX, &policy->resolution) && policy->resolution >= 1 &&
	       read_word(answer, row, 9, limits_mode, &policy->mode) &&
	       pg_answer_bool(answer, row, 10, &policy->pinned) && pg_answer_bool(answer, row, 11, &policy->shadow);
}

/* Some names may have no row, none may have two. */
static bool read_policies(const struct pg_answer *answer, struct policy_row *policies, size_t count) {
	for (int row = 0; row < pg_answer_rows(answer); row++) {
		int64_t place;
		if (!pg_answer_int(answer, row, 0, 1, (int64_t)count, &place) || policies[place - 1].policy_id != 0 ||
		    !read_policy(answer, row, &policies[place - 1]))
			return false;
	}
	return true;
}

static bool finish_policies(struct session *s, const struct operation *op, enum lease_outcome outcome,
                            const struct pg_answer *answer) {
	struct policy_row *rows = NULL;
	(void)s;
	if (outcome == LEASE_DONE) {
		rows = calloc(op->count + 1, sizeof(*rows));
		if (!rows || !read_policies(answer, rows, op->count)) {
			free(rows);
			return false;
		}
	}
	op->done.policies(op->context, outcome, rows, op->count);
	free(rows);
	return true;
}

static const struct call call_policies = {
	"stint.get_policies",
	"select place, policy_id, name, max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, algorithm,"
	" resolution, mode, pinned, shadow from stint.get_policies($1::text[])",
	12,
	false,
	finish_policies,
};

void database_get_policies(struct database *db, const char *const *names, size_t count, database_policies *done,
                           void *context) {
	struct operation op = {.call = &call_policies, .count = count, .done.policies = done, .context = context};
	struct parameters p = {.pg.count = 0};
	struct pgarray array;
	size_t size = PGARRAY_HEAD_SIZE;
	for (size_t i = 0; i < count; i++)
		size += PGARRAY_TEXT_SIZE(strlen(names[i]));
	if (!pgarray_new(&array, size)) {
		session_start(&db->session, &op, NULL);
		return;
	}
	pgarray_begin(&array, PGARRAY_TEXT, count);
	for (size_t i = 0; i < count; i++)
		pgarray_put_text(&array, names[i], strlen(names[i]));
	parameters_add_array(&p, &array, 0);
	session_start(&db->session, &op, &p.pg);
	free(array.data);
}

static bool finish_declare(struct session *s, const struct operation *op, enum lease_outcome outcome,
                           const struct pg_answer *answer) {
	char status[16] = "";
	int32_t policy_id = 0;
	(void)s;
	if (outcome == LEASE_DONE &&
	    (pg_answer_rows(answer) != 1 || !pg_answer_text(answer, 0, 0, sizeof(status), status) ||
	     !pg_answer_int4(answer, 0, 1, INT32_MAX, &policy_id)))
		return false;
	op->done.declared(op->context, outcome, status, policy_id);
	return true;
}

static const struct call call_declare = {
	"stint.declare_policy",
	"select status, policy_id from stint.declare_policy($1::text, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::text,"
	" $7::int, $8::text, $9::boolean, $10::boolean)",
	2,
	false,
	finish_declare,
};

void database_declare(struct database *db, const struct policy_row *policy, bool again, database_declared *done,
                      void *context) {
	struct operation op = {.call = &call_declare, .done.declared = done, .context = context};
	struct parameters p = {.pg.count = 0};
	parameters_add_text(&p, policy->name);
	parameters_add_number(&p, policy->max_requests);
	parameters_add_number(&p, policy->time_window_ms);
	parameters_add_number(&p, policy->fallback_max_requests);
	parameters_add_number(&p, policy->fallback_time_window_ms);
	parameters_add_text(&p, limits_algorithm_word(policy->algorithm));
	parameters_add_number(&p, policy->resolution);
	parameters_add_text(&p, limits_mode_word(policy->mode));
	parameters_add_text(&p, policy->shadow ? "true" : "false");
	parameters_add_text(&p, again ? "true" : "false");
	session_start(&db->session, &op, &p.pg);
}

static bool read_change(const struct pg_answer *answer, int row, struct change_row *change) {
	change->is_reset = !pg_answer_is_null(answer, row, 4);
	return pg_answer_int(answer, row, 0, 1, INT64_MAX, &change->change_id) &&
	       pg_answer_int4(answer, row, 1, INT32_MAX, &change->policy_id) &&
	       (pg_answer_is_null(answer, row, 2) ||
	        pg_answer_text(answer, row, 2, sizeof(change->policy_name), change->policy_name)) &&
	       (pg_answer_is_null(answer, row, 3) ||
	        pg_answer_text(answer, row, 3, sizeof(change->client_id), change->client_id)) &&
	       (!change->is_reset || pg_answer_int(answer, row, 4, 0, INT64_MAX, &change->reset_age_us));
}

static bool finish_changes(struct session *s, const struct operation *op, enum lease_outcome outcome,
                           const struct pg_answer *answer) {
	int count = outcome == LEASE_DONE ? pg_answer_rows(answer) : 0;
	struct change_row *rows = calloc((size_t)count + 1, sizeof(*rows));
	bool good = rows || outcome != LEASE_DONE;
	(void)s;
	for (int i = 0; good && i < count; i++)
		good = read_change(answer, i, &rows[i]);
	if (good)
		op->done.changes(op->context, outcome, rows, (size_t)count);
	free(rows);
	return good;
}

static const struct call call_changes = {
	"stint.get_changes",
	"select change_id, policy_id, policy_name, client_id, reset_age_us from stint.get_changes($1::bigint)",
	5,
	false,
	finish_changes,
};

void database_get_changes(struct database *db, int64_t since, database_changes *done, void *context) {
	struct operation op = {.call = &call_changes, .done.changes = done, .context = context};
	struct parameters p = {.pg.count = 0};
	parameters_add_number(&p, since);
	session_start(&db->session, &op, &p.pg);
}

/* ---- The host's row ---------------------------------------------------------------------- */

static bool read_pulse(const struct pg_answer *answer, struct database_pulse *pulse) {
	return pg_answer_rows(answer) == 1 && pg_answer_int(answer, 0, 0, 1, INT64_MAX, &pulse->now_us) &&
	       pg_answer_int(answer, 0, 1, 0, INT64_MAX, &pulse->change_id);
}

static bool read_heartbeat(const struct pg_answer *answer, struct database_pulse *pulse) {
	pulse->is_heartbeat = true;
	return read_pulse(answer, pulse) && pg_answer_int4(answer, 0, 2, LIVE_HOSTS_MAX, &pulse->live_hosts) &&
	       pulse->live_hosts >= 1 && pg_answer_bool(answer, 0, 3, &pulse->rival) &&
	       pg_answer_bool(answer, 0, 4, &pulse->expires) && pg_answer_bool(answer, 0, 5, &pulse->old_snapshot);
}

static bool finish_pulse(struct session *s, const struct operation *op, enum lease_outcome outcome,
                         const struct pg_answer *answer) {
	struct database_pulse pulse = {.now_us = 0};
	int32_t server_pid = 0;
	if (outcome == LEASE_DONE &&
	    (!read_pulse(answer, &pulse) || !pg_answer_int(answer, 0, 2, 0, INT64_MAX, &pulse.wal_end) ||
	     !pg_answer_int4(answer, 0, 3, INT32_MAX, &server_pid)))
		return false;
	op->done.pulsed(op->context, outcome, outcome == LEASE_DONE ? &pulse : NULL);
	if (outcome == LEASE_DONE)
		session_is_same(s, server_pid);
	return true;
}

static const struct call call_pulse = {
	"stint.pulse", "select now_us, change_id, wal_end, pg_backend_pid() from stint.pulse()", 4, false,
	finish_pulse,
};

void database_pulse(struct database *db, database_pulsed *done, void *context) {
	struct operation op = {.call = &call_pulse, .done.pulsed = done, .context = context};
	struct pg_params none = {.count = 0};
	session_start(&db->session, &op, &none);
}

/* Connecting registers the host, so a host without a row connects again. */
static void register_again(struct session *s) {
	const struct database *db = s->context;
	session_set_error(s, "this host's row is gone: registering \"%s\" again", db->host);
	session_drop_soon(s);
}

static bool finish_heartbeat(struct session *s, const struct operation *op, enum lease_outcome outcome,
                             const struct pg_answer *answer) {
	struct database_pulse pulse = {.now_us = 0};
	bool gone = outcome == LEASE_DONE && pg_answer_rows(answer) == 0;
	bool beats = outcome == LEASE_DONE && !gone;
	int32_t server_pid = 0;
	if (beats && (!read_heartbeat(answer, &pulse) || !pg_answer_int4(answer, 0, 6, INT32_MAX, &server_pid)))
		return false;
	op->done.pulsed(op->context, outcome, beats ? &pulse : NULL);
	if (beats) {
		session_is_same(s, server_pid);
		session_expect_others(s, pulse.live_hosts);
	}
	if (gone)
		register_again(s);
	return true;
}

static const struct call call_heartbeat = {
	"stint.heartbeat",
	"select now_us, change_id, live_hosts, rival, expires, old_snapshot, pg_backend_pid()"
	" from stint.heartbeat($1::int, $2::text, $3::text, $4::bigint, $5::bigint, $6::boolean,"
	" $7::bigint, $8::int)",
	7,
	false,
	finish_heartbeat,
};

void database_heartbeat(struct database *db, const char *state, int64_t clients, int64_t fallback_ms,
                        int64_t in_force, database_pulsed *done, void *context) {
	struct operation op = {.call = &call_heartbeat, .done.pulsed = done, .context = context};
	struct parameters p = {.pg.count = 0};
	parameters_add_number(&p, db->host_id);
	parameters_add_text(&p, db->instance);
	parameters_add_text(&p, state);
	parameters_add_number(&p, clients);
	parameters_add_number(&p, fallback_ms);
	parameters_add_text(&p, db->session.pooled ? "true" : "false");
	parameters_add_number(&p, in_force);
	parameters_add_number(&p, db->mark);
	session_start(&db->session, &op, &p.pg);
}

static const struct call call_fallback = {
	"stint.report_fallback",
	"select stint.report_fallback($1::int, $2::bigint, $3::bigint, $4::bigint, $5::bigint, $6::text)",
	1,
	false,
	operation_tell_end,
};

void database_report_fallback(struct database *db, int64_t lasted_ms, int64_t ended_ms_ago, int64_t admitted,
                              int64_t clients, const char *reason, database_ended *done, void *context) {
	struct operation op = {.call = &call_fallback, .done.ended = done, .context = context};
	struct parameters p = {.pg.count = 0};
	parameters_add_number(&p, db->host_id);
	parameters_add_number(&p, lasted_ms);
	parameters_add_number(&p, ended_ms_ago);
	parameters_add_number(&p, admitted);
	parameters_add_number(&p, clients);
	parameters_add_text(&p, reason);
	session_start(&db->session, &op, &p.pg);
}

static const struct call call_stop = {
	"stint.stop_host", "select stint.stop_host($1::int, $2::text)", 1, false, operation_tell_end,
};

void database_stop_host(struct database *db, database_ended *done, void *context) {
	struct operation op = {.call = &call_stop, .done.ended = done, .context = context};
	struct parameters p = {.pg.count = 0};
	parameters_add_number(&p, db->host_id);
	parameters_add_text(&p, db->instance);
	session_start(&db->session, &op, &p.pg);
}

static const struct call call_await = {"stint.await_tables", "select stint.await_tables()", 1, false,
                                       operation_tell_end};

void database_await_tables(struct database *db, database_ended *done, void *context) {
	struct operation op = {.call = &call_await, .done.ended = done, .context = context};
	struct pg_params none = {.count = 0};
	session_start(&db->session, &op, &none);
}

/* ---- Expiry ----------------------------------------------------------------------------------- */

static bool finish_expire(struct session *s, const struct operation *op, enum lease_outcome outcome,
                          const struct pg_answer *answer) {
	int64_t examined = 0, deleted = 0;
	(void)s;
	if (outcome == LEASE_DONE &&
	    (pg_answer_rows(answer) != 1 || !pg_answer_int(answer, 0, 0, 0, INT64_MAX, &examined) ||
	     !pg_answer_int(answer, 0, 1, 0, INT64_MAX, &deleted)))
		return false;
	op->done.expired(op->context, outcome, examined, deleted);
	return true;
}

static const struct call call_expire = {
	"stint.expire_counters", "select examined, deleted from stint.expire_counters($1::int)", 2, false,
	finish_expire,
};

void database_expire_counters(struct database *db, int batch, database_expired *done, void *context) {
	struct operation op = {.call = &call_expire, .done.expired = done, .context = context};
	struct parameters p = {.pg.count = 0};
	parameters_add_number(&p, batch);
	session_start(&db->session, &op, &p.pg);
}

const struct call *const database_calls[] = {
	&call_take,   &call_take_first, &call_take_unlocked, &call_declare,  &call_policies, &call_changes,
	&call_pulse,  &call_heartbeat,  &call_expire,        &call_fallback, &call_stop,     &call_await,
	&call_recall, &call_recalls,    &call_decisions,     &call_denials,  NULL,
};
