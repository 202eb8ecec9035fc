/* audit.c - adds up what was decided, and hands it in; see audit.h. */
#include "audit.h"

#include <event2/util.h>
#include <string.h>

#include "log.h"
#include "units.h"

#define US_PER_MINUTE INT64_C(60000000)

/* Rows of one statement: a millisecond or two, for which this host's leases may wait. */
#define AUDIT_ROWS 64

/* What a minute has brought is handed in at some time in this one after its end, so that hosts don't come
 * together. */
#define SPREAD_NS (30 * NS_PER_S)

/* How often clients are handed in. */
#define DENIALS_NS (300 * NS_PER_S)

/* Of clients, so many when the agent stops: 32 policies' worth. */
#define FINISH_STATEMENTS 8

/* When a statement failed. If it was the connection, others see to that. */
#define RETRY_NS (10 * NS_PER_S)

/* ---- Adding up ------------------------------------------------------------------------ */

/* Returns what the tallies say, or what was counted already where they say less: somebody has scribbled there. */
static uint64_t look(struct audit *audit, int index, unsigned source, enum tally_outcome outcome) {
	const struct tallies *tallies = &audit->driver->policies->tallies;
	uint64_t *counted = &audit->counted[index][tally_place(source, outcome)];
	uint64_t now = tallies_verdicts(tallies, index, source, outcome);
	if (now < *counted)
		*counted = now;
	return now;
}

static void meet(struct audit *audit, int index) {
	const struct policies *policies = audit->driver->policies;
	uint32_t generation = policies->policy[index].generation;
	if (audit->is_known[index] && audit->generation[index] == generation)
		return;
	audit->is_known[index] = true;
	audit->generation[index] = generation;
	for (unsigned source = STINT_SOURCE_LEASE; source < STINT_SOURCE_LEASE + TALLY_SOURCES; source++)
		for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
			audit->counted[index][tally_place(source, outcome)] =
				tallies_handed_in(&policies->tallies, index, source, outcome);
}

static void add_up_source(struct audit *audit, int index, unsigned source) {
	const struct policies *policies = audit->driver->policies;
	uint64_t now[TALLY_OUTCOMES], sum = 0, *counted = &audit->counted[index][tally_place(source, 0)];
	struct decision_row row = {
		.minute = audit->minute,
		.policy_number = policies_number(policies, index),
		.run = audit->run,
		.source = (uint8_t)source,
	};
	for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++) {
		now[outcome] = look(audit, index, source, outcome);
		sum += row.count[outcome] = now[outcome] - counted[outcome];
	}
	memcpy(row.policy, policies->policy[index].row.name, sizeof(row.policy));
	/* Without room it stays in the tallies, and is of the next minute. */
	if (sum > 0 && decisions_add(&audit->decisions, &row))
		memcpy(counted, now, sizeof(now));
}

static void add_up_policy(struct audit *audit, int index) {
	if (!audit->driver->policies->policy[index].used)
		return;
	meet(audit, index);
	for (unsigned source = STINT_SOURCE_LEASE; source < STINT_SOURCE_LEASE + TALLY_SOURCES; source++)
		add_up_source(audit, index, source);
}

static void add_up(struct audit *audit) {
	for (int i = 0; i < (int)POLICY_CAPACITY; i++)
		add_up_policy(audit, i);
}

/* ---- Minutes ------------------------------------------------------------------------------ */

static uint32_t choose_number(void) {
	uint32_t number;
	evutil_secure_rng_get_bytes(&number, sizeof(number));
	return number;
}

#define RUNS (INT16_MAX + 1)

/* The agent before this one may have counted in the same minute. */
static void begin_first_run(struct audit *audit) {
	audit->run = audit->denials_run = (uint16_t)(choose_number() % RUNS);
}

/* Decisions from here on are other rows than those before, even of the same minute. Runs are taken in turn: if one
 * came again, two rows would be one to the database, which refuses them in one statement. (Denials are added to
 * the row that is there, as long as its hour lasts.) */
static void begin_run(struct audit *audit) {
	audit->run = (uint16_t)((audit->run + 1) % RUNS);
}

static int64_t minute_at(const struct audit *audit, int64_t now_ns) {
	return (now_ns / NS_PER_US + audit->clock_offset_us) / US_PER_MINUTE;
}

static void learn_clock(struct audit *audit, int64_t offset_us) {
	if (offset_us != 0 && audit->clock_offset_us == 0 && audit->minute != 0) {
		int64_t minutes = (offset_us + US_PER_MINUTE / 2) / US_PER_MINUTE;
		decisions_shift(&audit->decisions, minutes);
		audit->minute += minutes;
	}
	if (offset_us != 0)
		audit->clock_offset_us = offset_us;
}

/* The clock may be set. A minute that comes again is counted apart; at a minute's edge the clock may go back by
 * what a statement takes. */
static void follow_clock(struct audit *audit, int64_t now_ns) {
	int64_t minute = minute_at(audit, now_ns);
	if (audit->minute == 0) {
		begin_first_run(audit);
		audit->minute = minute;
	} else if (minute > audit->minute || minute < audit->minute - 1) {
		add_up(audit);
		if (minute < audit->minute) {
			begin_run(audit);
			audit->denials_run = audit->run;
		}
		audit->minute = minute;
		audit->due_ns = now_ns + choose_number() % 1000 * (SPREAD_NS / 1000);
	}
}

/* ---- Handing in ------------------------------------------------------------------------------- */

static void on_first_recorded(void *context, const struct decision_row *row) {
	const struct audit *audit = context;
	const struct policies *policies = audit->driver->policies;
	int index = policies_find_number(policies, row->policy_number);
	for (unsigned outcome = 0; index >= 0 && outcome < TALLY_OUTCOMES; outcome++)
		tallies_hand_in(&policies->tallies, index, row->source, (enum tally_outcome)outcome, row->count[outcome]);
}

/* Told once, until it works again. */
static void note_refusal(const struct audit *audit, enum lease_outcome outcome, bool *is_refused,
                         const char *what) {
	if (outcome == LEASE_REJECTED && !*is_refused)
		log_warning("%s can't be recorded: %s", what, database_last_error(audit->driver->database));
	*is_refused = outcome == LEASE_REJECTED;
}

static void on_handed_in(void *context, enum lease_outcome outcome) {
	struct audit *audit = context;
	audit->under_way = false;
	if (outcome == LEASE_DONE) {
		decisions_recorded(&audit->decisions, audit->now_ns, on_first_recorded, audit);
	} else {
		decisions_unanswered(&audit->decisions);
		audit->due_ns = audit->now_ns + RETRY_NS;
	}
	note_refusal(audit, outcome, &audit->is_refused, "what was decided");
}

/* What somebody has scribbled into a tally may be any number. */
static int64_t clamp(uint64_t count) {
	return count > INT64_MAX ? INT64_MAX : (int64_t)count;
}

static void hand_in(struct audit *audit, int64_t now_ns) {
	const struct decision_row *rows[AUDIT_ROWS];
	struct database_decision decisions[AUDIT_ROWS];
	size_t count = decisions_choose(&audit->decisions, now_ns, rows, AUDIT_ROWS);
	if (count == 0) {
		audit->due_ns = INT64_MAX; /* the next minute */
		return;
	}
	for (size_t i = 0; i < count; i++)
		decisions[i] = (struct database_decision){
			.minute = rows[i]->minute,
			.policy = rows[i]->policy,
			.source = rows[i]->source,
			.allowed = clamp(rows[i]->count[TALLY_ALLOWED]),
			.denied = clamp(rows[i]->count[TALLY_DENIED]),
			.shadow_denied = clamp(rows[i]->count[TALLY_SHADOW_DENIED]),
		};
	audit->under_way = true;
	database_report_decisions(audit->driver->database, rows[0]->run, decisions, count, on_handed_in, audit);
}

/* ---- Clients that are denied -------------------------------------------------------------------- */

/* Before the clock is known, there is no hour that it could be of. */
static void add_denial(void *context, const struct denial *denial) {
	struct audit *audit = context;
	if (audit->clock_offset_us != 0)
		denials_add(&audit->denials, audit->minute / 60, audit->denials_run, denial);
}

void audit_on_denied(struct audit *audit, const struct core_denied *denied) {
	const struct policies *policies = audit->driver->policies;
	add_denial(audit, &(struct denial){
						  .policy = policies->policy[denied->policy].row.name,
						  .client_id = denied->id,
						  .client_id_len = denied->id_len,
						  .reason = (uint8_t)denied->by,
						  .count = 1,
					  });
}

static void on_denials_handed_in(void *context, enum lease_outcome outcome) {
	struct audit *audit = context;
	audit->denials_under_way = false;
	note_refusal(audit, outcome, &audit->denials_are_refused, "who was denied");
	if (outcome == LEASE_DONE) {
		denials_recorded(&audit->denials, audit->minute / 60);
		return;
	}
	denials_unanswered(&audit->denials);
	audit->denials_due_ns = audit->now_ns + RETRY_NS;
}

/* Returns false if there is nothing more to be handed in. */
static bool hand_in_denials(struct audit *audit) {
	struct denial_row rows[AUDIT_ROWS];
	struct database_denial denials[AUDIT_ROWS];
	size_t count = denials_choose(&audit->denials, rows, AUDIT_ROWS);
	for (size_t i = 0; i < count; i++)
		denials[i] = (struct database_denial){
			.hour = rows[i].hour,
			.policy = rows[i].policy,
			.client_id = rows[i].client_id,
			.reason = rows[i].reason,
			.denied = clamp(rows[i].denied),
			.error = clamp(rows[i].error),
		};
	if (count == 0)
		return false;
	audit->denials_under_way = true;
	database_report_denials(audit->driver->database, rows[0].run, denials, count, on_denials_handed_in, audit);
	return true;
}

/* At the first time, hosts that started together part. */
static void hand_in_denials_if_due(struct audit *audit) {
	if (audit->denials_due_ns == 0)
		audit->denials_due_ns = audit->now_ns + choose_number() % 1000 * (DENIALS_NS / 1000);
	if (audit->now_ns < audit->denials_due_ns || hand_in_denials(audit))
		return;
	audit->denials_due_ns = audit->now_ns + DENIALS_NS;
	denials_begin_round(&audit->denials);
}

/* ---- The agent's time ----------------------------------------------------------------------------- */

static bool can_hand_in(const struct audit *audit) {
	return audit->sync->state == SYNC_DONE && audit->clock_offset_us != 0 &&
	       database_is_up(audit->driver->database);
}

void audit_tick(struct audit *audit, int64_t now_ns, int64_t clock_offset_us) {
	if (!audit->driver->database)
		return; /* memory */
	audit->now_ns = now_ns;
	learn_clock(audit, clock_offset_us);
	follow_clock(audit, now_ns);
	witness_look(&audit->witness, audit->driver->core, now_ns, add_denial, audit);
	if (!can_hand_in(audit))
		return;
	if (now_ns >= audit->due_ns && !audit->under_way)
		hand_in(audit, now_ns);
	if (!audit->denials_under_way)
		hand_in_denials_if_due(audit);
}

void audit_policy_leaves(struct audit *audit, int index) {
	if (audit->minute == 0)
		return;
	add_up_policy(audit, index);
	begin_run(audit); /* it may come back in this minute */
}

/* More than one statement's worth is left to the next agent, who finds it in the tallies; but for the clients. */
void audit_finish(struct audit *audit, int64_t now_ns) {
	if (audit->minute == 0)
		return;
	witness_look(&audit->witness, audit->driver->core, now_ns, add_denial, audit);
	add_up(audit);
	begin_run(audit);
	if (!can_hand_in(audit))
		return;
	if (!audit->under_way)
		hand_in(audit, now_ns);
	for (int i = 0; i < FINISH_STATEMENTS && hand_in_denials(audit); i++)
		;
}

void audit_forget_database(struct audit *audit) {
	audit->under_way = audit->denials_under_way = false;
	decisions_unanswered(&audit->decisions);
	denials_unanswered(&audit->denials);
}

void audit_free(struct audit *audit) {
	decisions_free(&audit->decisions);
	denials_free(&audit->denials);
	witness_free(&audit->witness);
}
