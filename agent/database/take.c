/*
 * take.c - the statements that ask for leases: they carry a batch's requests, as arrays in binary, and bring its
 * grants.
 */
#include <stdlib.h>
#include <string.h>

#include "parameters.h"
#include "private.h"
#include "stint.h"

/* No window lasts longer than 31 days, and no answer looks further ahead than a few windows. Sums are far from
 * overflow. */
#define DURATION_MAX_US (INT64_C(366) * 86400 * 1000000)

/* When a sub-window may start, at the latest: in the year 148,000. A window can be added without overflow. */
#define SUB_WINDOW_MAX_US (INT64_MAX / 2)

/* Of the longer call. */
#define INT4_ARRAYS 12u
#define INT8_ARRAYS 2u

static size_t take_size(const struct lease_request *requests, size_t count) {
	size_t size = (INT4_ARRAYS + INT8_ARRAYS + 1) * PGARRAY_HEAD_SIZE +
	              count * (INT4_ARRAYS * PGARRAY_INT4_SIZE + INT8_ARRAYS * PGARRAY_INT8_SIZE);
	for (size_t i = 0; i < count; i++)
		size += PGARRAY_TEXT_SIZE(requests[i].client_id_len);
	return size;
}

static void add_int4_field(struct parameters *p, struct pgarray *array, const struct lease_request *requests,
                           size_t count, size_t field) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_INT4, count);
	for (size_t i = 0; i < count; i++) {
		int32_t value;
		memcpy(&value, (const char *)&requests[i] + field, sizeof(value));
		pgarray_put_int4(array, value);
	}
	parameters_add_array(p, array, start);
}

static void add_client_ids(struct parameters *p, struct pgarray *array, const struct lease_request *requests,
                           size_t count) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_TEXT, count);
	for (size_t i = 0; i < count; i++)
		pgarray_put_text(array, requests[i].client_id, requests[i].client_id_len);
	parameters_add_array(p, array, start);
}

static void add_report_sub_windows(struct parameters *p, struct pgarray *array,
                                   const struct lease_request *requests, size_t count, size_t report) {
	size_t start = array->length;
	pgarray_begin(array, PGARRAY_INT8, count);
	for (size_t i = 0; i < count; i++)
		pgarray_put_int8(array, requests[i].report[report].sub_window);
	parameters_add_array(p, array, start);
}

static bool read_grant(const struct pg_answer *answer, int row, struct lease_grant *grant) {
	const int64_t credits = STINT_MAX_REQUESTS_MAX;
	if (!pg_answer_bool(answer, row, 15, &grant->busy))
		return false;
	if (grant->busy)
		return true; /* the rest means nothing */
	grant->answered = true;
	return pg_answer_int4(answer, row, 1, credits, &grant->granted) &&
	       pg_answer_int(answer, row, 2, 1, SUB_WINDOW_MAX_US, &grant->sub_window) &&
	       pg_answer_int(answer, row, 3, 0, DURATION_MAX_US, &grant->valid_us) &&
	       pg_answer_int4(answer, row, 4, credits, &grant->granted_next) &&
	       pg_answer_int(answer, row, 5, 0, DURATION_MAX_US, &grant->starts_in_us) &&
	       pg_answer_int(answer, row, 6, 1, SUB_WINDOW_MAX_US, &grant->next_sub_window) &&
	       pg_answer_int(answer, row, 7, 0, DURATION_MAX_US, &grant->next_valid_us) &&
	       pg_answer_int4(answer, row, 8, credits, &grant->remaining) &&
	       pg_answer_int(answer, row, 9, -1, DURATION_MAX_US, &grant->retry_us) &&
	       pg_answer_int(answer, row, 10, 0, DURATION_MAX_US, &grant->reset_us) &&
	       pg_answer_int4(answer, row, 11, credits, &grant->max_requests) &&
	       pg_answer_int4(answer, row, 12, credits, &grant->charged) &&
	       pg_answer_bool(answer, row, 13, &grant->next_is_open) &&
	       pg_answer_int4(answer, row, 14, INT32_MAX, &grant->recallable);
}

/* Rows come in any order, some may be missing, none may come twice. */
static bool read_grants(const struct pg_answer *answer, struct lease_grant *grants, size_t count) {
	for (int row = 0; row < pg_answer_rows(answer); row++) {
		int64_t request;
		if (!pg_answer_int(answer, row, 0, 1, (int64_t)count, &request))
			return false;
		struct lease_grant *grant = &grants[request - 1];
		if (grant->answered || grant->busy || !read_grant(answer, row, grant))
			return false;
	}
	return true;
}

static bool finish_take(struct session *s, const struct operation *op, enum lease_outcome outcome,
                        const struct pg_answer *answer) {
	struct lease_grant *grants = NULL;
	(void)s;
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

#define GRANT_COLUMNS                                                                                             \
	"request, granted, sub_window, valid_us, granted_next, starts_in_us, next_sub_window, next_valid_us, "        \
	"remaining, retry_us, reset_us, max_requests, charged, next_is_open, recallable"

#define TAKE_PARAMETERS                                                                                           \
	"($1::int, $2::int[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[], $9::int[],"          \
	" $10::int[], $11::bigint[], $12::int[], $13::int[], $14::bigint[], $15::int[], $16::int[])"

const struct call call_take = {
	"stint.take_leases", "select " GRANT_COLUMNS ", busy from stint.take_leases" TAKE_PARAMETERS, 16, false,
	finish_take,
};

/* Waits for no row that somebody has locked. */
const struct call call_take_unlocked = {
	"stint.take_unlocked_leases",
	"select " GRANT_COLUMNS ", busy from stint.take_unlocked_leases" TAKE_PARAMETERS,
	16,
	false,
	finish_take,
};

/* For clients that are all new to the agent: it needs fewer parameters, and the server less time. */
const struct call call_take_first = {
	"stint.take_first_leases",
	"select " GRANT_COLUMNS
	", false from stint.take_first_leases($1::int, $2::int[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[],"
	" $8::int[])",
	16,
	false,
	finish_take,
};

static bool are_all_first(const struct lease_request *requests, size_t count) {
	for (size_t i = 0; i < count; i++)
		if (!requests[i].first)
			return false;
	return count > 0;
}

static const struct call *call_for(const struct lease_request *requests, size_t count) {
	if (are_all_first(requests, count))
		return &call_take_first;
	for (size_t i = 0; i < count; i++)
		if (requests[i].skip)
			return &call_take_unlocked;
	return &call_take;
}

static void add_needs(struct parameters *p, struct pgarray *array, const struct lease_request *requests,
                      size_t count) {
	static const size_t fields[] = {offsetof(struct lease_request, need), offsetof(struct lease_request, least),
	                                offsetof(struct lease_request, want), offsetof(struct lease_request, span),
	                                offsetof(struct lease_request, span_least)};
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		add_int4_field(p, array, requests, count, fields[i]);
}

/* Parameters of clients that the agent knows: what it asks for in advance, what it owes, what has become of
 * credits. */
static void add_debts(struct parameters *p, struct pgarray *array, const struct lease_request *requests,
                      size_t count) {
	add_int4_field(p, array, requests, count, offsetof(struct lease_request, next_want));
	add_int4_field(p, array, requests, count, offsetof(struct lease_request, charge));
	for (size_t i = 0; i < LEASE_REPORTS; i++) {
		size_t report = offsetof(struct lease_request, report) + i * sizeof(struct lease_report);
		add_report_sub_windows(p, array, requests, count, i);
		add_int4_field(p, array, requests, count, report + offsetof(struct lease_report, unspent));
		add_int4_field(p, array, requests, count, report + offsetof(struct lease_report, spent));
	}
}

void database_take(struct database *db, int host, const struct lease_request *requests, size_t count,
                   database_grants *done, void *context) {
	struct operation op = {.call = call_for(requests, count),
	                       .count = count,
	                       .done.grants = done,
	                       .context = context};
	struct parameters p = {.pg.count = 0};
	struct pgarray array;
	if (!pgarray_new(&array, take_size(requests, count))) {
		session_start(&db->session, &op, NULL);
		return;
	}
	parameters_add_number(&p, host);
	add_int4_field(&p, &array, requests, count, offsetof(struct lease_request, policy_id));
	add_client_ids(&p, &array, requests, count);
	add_needs(&p, &array, requests, count);
	if (op.call != &call_take_first)
		add_debts(&p, &array, requests, count);
	session_start(&db->session, &op, &p.pg);
	free(array.data);
}
