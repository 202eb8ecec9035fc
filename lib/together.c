/*
 * together.c - takes from several clients' leases, all or nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "count.h"
#include "describe.h"
#include "error.h"
#include "limiter.h"
#include "receipt.h"
#include "request.h"
#include "sized.h"
#include "together.h"

/* ---- The parts ------------------------------------------------------------- */

/* Puts the part's number in front of what this thread's last error said. */
static int error_of_part(int error, size_t number) {
	char detail[256];
	snprintf(detail, sizeof(detail), "%s", stint_error_detail());
	return error_set(error, "part %zu: %s", number, detail);
}

static bool is_same_client(const struct question *a, const struct question *b) {
	return a->length == b->length && memcmp(a->id, b->id, a->length) == 0 &&
	       strcmp(a->limiter->policy, b->limiter->policy) == 0;
}

/* Two parts of one client would take from the same lease, and neither would know of the other. */
static int check_part(const struct together *t, uint32_t number) {
	const struct question *part = &t->part[number];
	if (part->limiter->attachment != t->part[0].limiter->attachment)
		return error_set(STINT_ERANGE, "part %u: its limiter is of another attachment than part 0's", number);
	for (uint32_t i = 0; i < number; i++)
		if (is_same_client(&t->part[i], part))
			return error_set(STINT_ERANGE, "parts %u and %u are the same client of policy \"%s\"", i, number,
			                 part->limiter->policy);
	return 0;
}

static int add_part(struct together *t, const struct stint_part *part, size_t size) {
	uint32_t number = t->count++;
	int error = part->limiter
	                ? question_make(&t->part[number], part->limiter, part->client_id, part->length, part->cost)
	                : error_set(STINT_ERANGE, "limiter is NULL");
	if (!error && size != sizeof(*part))
		error = sized_check_unknown_of_part(part, size);
	return error ? error_of_part(error, number) : check_part(t, number);
}

int together_make(struct together *t, const struct stint_part *parts, size_t part_size, size_t count) {
	int error = sized_check_part(part_size);
	*t = (struct together){0};
	if (error)
		return error;
	if (count < 1 || count > STINT_PARTS_MAX)
		return error_set(STINT_ERANGE, "%zu parts, must be 1 to %d", count, STINT_PARTS_MAX);
	int timeout_ms = STINT_TIMEOUT_MS_MAX;
	for (size_t i = 0; i < count && !error; i++) {
		error =
			add_part(t, (const struct stint_part *)(const void *)((const char *)parts + i * part_size), part_size);
		if (!error && t->part[i].limiter->timeout_ms < timeout_ms)
			timeout_ms = t->part[i].limiter->timeout_ms;
	}
	t->until_ns = clock_fine_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	return error;
}

struct together *together_keep(const struct together *t) {
	size_t bytes = sizeof(*t);
	for (uint32_t i = 0; i < t->count; i++)
		bytes += t->part[i].length;
	struct together *kept = malloc(bytes);
	if (!kept)
		return NULL;
	*kept = *t;
	char *id = (char *)(kept + 1);
	for (uint32_t i = 0; i < t->count; i++) {
		memcpy(id, t->part[i].id, t->part[i].length);
		kept->part[i].id = id;
		id += t->part[i].length;
	}
	return kept;
}

int together_count_error(const struct together *t, int error) {
	return t->count > 0 && t->part[0].limiter ? count_error(t->part[0].limiter, error) : error;
}

int together_blame(const struct together *t, int error) {
	return error_of_part(error, t->asked);
}

int together_check_limiters(const struct together *t) {
	for (uint32_t i = 0; i < t->count; i++)
		if (limiter_is_ending(t->part[i].limiter))
			return error_set(STINT_ECANCELED, "part %u: policy \"%s\": %s", i, t->part[i].limiter->policy,
			                 stint_strerror(STINT_ECANCELED));
	return 0;
}

bool together_has(const struct together *t, const struct stint_limiter *limiter) {
	for (uint32_t i = 0; i < t->count; i++)
		if (t->part[i].limiter == limiter)
			return true;
	return false;
}

/* ---- From the table ----------------------------------------------------------- */

enum step {
	STEP_ALLOWED,
	STEP_DENIED,
	STEP_EXCUSED, /* denied, by a shadow policy */
	STEP_MISSING, /* the table doesn't tell of the part `asked` */
};

/* What was taken for one part; nothing, if it was excused. */
struct taken {
	struct decision decision;
	struct stint_result result;
};

/* What it means for the whole that this is the verdict of one part. */
static enum step step_of(const struct stint_result *verdict) {
	if (verdict->shadow_denied)
		return STEP_EXCUSED;
	return verdict->allowed ? STEP_ALLOWED : STEP_DENIED;
}

/* Asks the table about one part: just to see what it has, or to take that. */
static enum step ask_table(struct together *t, uint32_t number, bool look, struct taken *taken) {
	const struct question *q = &t->part[number];
	const struct binding *binding = atomic_load_explicit(&q->limiter->binding, memory_order_acquire);
	enum verdict verdict = VERDICT_NONE;
	taken->result = (struct stint_result){.part = number};
	if (binding)
		verdict = (look ? decide_look : decide_closely)(binding->mapping, binding->policy, q->id, q->length,
		                                                q->cost, &taken->decision);
	if (verdict != VERDICT_NONE && describe(verdict, binding, &taken->decision, q->cost, &taken->result))
		return step_of(&taken->result);
	t->asked = number;
	return STEP_MISSING;
}

/* Of several parts that deny, the one that denies for longest is told. */
static enum step look_at_all(struct together *t) {
	enum step step = STEP_ALLOWED;
	struct taken seen;
	for (uint32_t i = 0; i < t->count; i++) {
		enum step part = t->alone[i] || t->excused[i] ? STEP_ALLOWED : ask_table(t, i, true, &seen);
		if (part == STEP_DENIED && (step != STEP_DENIED || seen.result.retry_after_ms > t->result.retry_after_ms))
			t->result = seen.result;
		if (part == STEP_DENIED || (part == STEP_MISSING && step == STEP_ALLOWED))
			step = part;
	}
	return step;
}

static void put_back(const struct together *t, const struct taken *taken, uint32_t count) {
	for (uint32_t i = 0; i < count; i++) {
		uint64_t receipt = taken[i].result.receipt;
		if (taken[i].result.shadow_denied)
			continue;
		if (t->alone[i] && receipt != 0)
			limiter_give_back(&t->part[i], receipt_window(receipt));
		else if (!t->alone[i])
			decide_undo(&taken[i].decision, t->part[i].cost);
	}
}

static enum step take(struct together *t, uint32_t number, struct taken *taken) {
	if (t->excused[number]) {
		taken->result = t->excuse;
		return STEP_EXCUSED;
	}
	if (!t->alone[number])
		return ask_table(t, number, false, taken);
	limiter_decide_alone(&t->part[number], &taken->result);
	limiter_tell(t->part[number].limiter, &taken->result);
	taken->result.part = number;
	return step_of(&taken->result);
}

/* Credits must be admitted soon after they were taken, and before their lease ends: see decide.h. This process may
 * have been stopped since the first were. */
static bool are_in_time(struct together *t, const struct taken *taken) {
	struct decision now;
	decide_look_at_clock(&now);
	for (uint32_t i = 0; i < t->count; i++) {
		const struct decision *d = &taken[i].decision;
		if (t->alone[i] || taken[i].result.shadow_denied || decide_is_still_good(d, now.now_ns))
			continue;
		t->asked = i;
		return false;
	}
	return true;
}

/* Whether one part of an admission is told, and not the other: of those that were excused the one that would be
 * denied for longest; else the one that has least left. */
static bool is_told_before(const struct stint_result *one, const struct stint_result *other) {
	if (one->shadow_denied != other->shadow_denied)
		return one->shadow_denied;
	return one->shadow_denied ? one->retry_after_ms > other->retry_after_ms : one->remaining < other->remaining;
}

static void note_admission(struct together *t, const struct taken *taken) {
	t->result = taken[0].result;
	for (uint32_t i = 0; i < t->count; i++) {
		if (is_told_before(&taken[i].result, &t->result))
			t->result = taken[i].result;
		t->low[i] = !t->alone[i] && !taken[i].result.shadow_denied && taken[i].decision.low;
	}
}

/* Counts an admission for each part, whose verdicts these are. */
static void count_admission(const struct together *t, const struct taken *taken) {
	for (uint32_t i = 0; i < t->count; i++)
		count_verdict_of(&t->part[i], &taken[i].result);
}

/* Counts a denial for the part that is told: nothing was taken of the others, nor were they denied. */
static void count_denial(const struct together *t) {
	count_verdict_of(&t->part[t->result.part], &t->result);
}

static enum step take_all(struct together *t) {
	struct taken taken[STINT_PARTS_MAX];
	for (uint32_t i = 0; i < t->count; i++) {
		enum step step = take(t, i, &taken[i]);
		if (step == STEP_ALLOWED || step == STEP_EXCUSED)
			continue;
		put_back(t, taken, i);
		if (step == STEP_DENIED)
			t->result = taken[i].result;
		return step;
	}
	if (!are_in_time(t, taken)) {
		put_back(t, taken, t->count);
		return STEP_MISSING;
	}
	note_admission(t, taken);
	count_admission(t, taken);
	return STEP_ALLOWED;
}

void together_tell_low(const struct together *t, struct channel *channel) {
	for (uint32_t i = 0; i < t->count; i++)
		if (t->low[i])
			channel_send_low(channel, t->part[i].limiter, t->part[i].id, t->part[i].length);
}

/* ---- Deciding --------------------------------------------------------------------- */

bool together_decide(struct together *t) {
	for (;;) {
		enum step step = look_at_all(t);
		if (step == STEP_ALLOWED)
			step = take_all(t);
		if (step == STEP_DENIED)
			count_denial(t);
		if (step != STEP_MISSING)
			return true;
		if (clock_fine_ns() < t->until_ns)
			return false;
		t->alone[t->asked] = true; /* as if the agent didn't answer: nobody waits any longer */
	}
}

struct question together_question(const struct together *t) {
	struct question q = t->part[t->asked];
	q.look = true;
	q.of_several = true;
	q.until_ns = t->until_ns;
	return q;
}

/* The agent isn't asked about this part again: it may not have left its denial in the table. */
static void excuse(struct together *t, const struct stint_result *told) {
	t->excused[t->asked] = true;
	if (!t->excuse.shadow_denied || told->retry_after_ms > t->excuse.retry_after_ms)
		t->excuse = *told;
}

bool together_hear(struct together *t, int status, const struct stint_result *verdict) {
	if (status == REQUEST_DECIDE_ALONE)
		t->alone[t->asked] = true;
	if (status != 0 || verdict->allowed)
		return false;
	struct stint_result told = *verdict;
	told.part = t->asked;
	limiter_tell(t->part[t->asked].limiter, &told);
	if (told.allowed) {
		excuse(t, &told);
		return false;
	}
	t->result = told;
	count_denial(t);
	return true;
}
