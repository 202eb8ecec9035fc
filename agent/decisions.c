/* decisions.c - what is still to be handed in, see decisions.h. */
#include "decisions.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_ROWS 64u

void decisions_free(struct decisions *decisions) {
	free(decisions->rows);
	*decisions = (struct decisions){.rows = NULL};
}

/* ---- Room ------------------------------------------------------------------------- */

/* Keeps the rows for which `keeps` says so; it may look at those that it has kept. */
static void keep(struct decisions *decisions,
                 bool (*keeps)(struct decisions *, const struct decision_row *, void *), void *context) {
	size_t count = decisions->count;
	decisions->count = 0;
	for (size_t i = 0; i < count; i++)
		if (keeps(decisions, &decisions->rows[i], context))
			decisions->rows[decisions->count++] = decisions->rows[i];
}

static bool is_not_recorded(struct decisions *decisions, const struct decision_row *row, void *context) {
	(void)decisions, (void)context;
	return row->recorded_ns == 0 || row->is_under_way;
}

struct merge {
	int64_t step; /* minutes */
	size_t left;  /* rows that are old enough to be merged */
};

static bool are_alike(const struct decision_row *a, const struct decision_row *b) {
	return a->policy_number == b->policy_number && a->source == b->source && a->run == b->run;
}

/* Adds the row to an earlier one of the same hour, day, or so, if there is one; that one gets the minute of the
 * row, which nobody else has. What the database may have keeps its minute. */
static bool is_apart(struct decisions *kept, const struct decision_row *row, void *context) {
	struct merge *merge = context;
	if (merge->left == 0 || row->is_sent)
		return true;
	merge->left--;
	for (size_t i = kept->count; i-- > 0 && kept->rows[i].minute / merge->step == row->minute / merge->step;) {
		struct decision_row *earlier = &kept->rows[i];
		if (earlier->is_sent || !are_alike(earlier, row))
			continue;
		for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
			earlier->count[outcome] += row->count[outcome];
		earlier->minute = row->minute;
		return false;
	}
	return true;
}

/* The older half is merged, by hours at first. Returns false if that is no help. */
static bool make_room(struct decisions *decisions) {
	const size_t enough = DECISIONS_MAX - DECISIONS_MAX / 8;
	if (decisions->count < DECISIONS_MAX)
		return true;
	keep(decisions, is_not_recorded, NULL);
	for (int64_t step = 60; decisions->count > enough && step < INT32_MAX; step *= 24)
		keep(decisions, is_apart, &(struct merge){.step = step, .left = decisions->count / 2});
	return decisions->count < DECISIONS_MAX;
}

static bool grow(struct decisions *decisions) {
	size_t capacity = decisions->capacity == 0 ? FIRST_ROWS : 2 * decisions->capacity;
	struct decision_row *rows = realloc(decisions->rows, capacity * sizeof(*rows));
	if (!rows)
		return false;
	decisions->rows = rows;
	decisions->capacity = capacity;
	return true;
}

bool decisions_add(struct decisions *decisions, const struct decision_row *row) {
	if (!make_room(decisions) || (decisions->count == decisions->capacity && !grow(decisions)))
		return false;
	decisions->rows[decisions->count++] = *row;
	return true;
}

void decisions_shift(struct decisions *decisions, int64_t minutes) {
	for (size_t i = 0; i < decisions->count; i++)
		decisions->rows[i].minute += minutes;
}

/* ---- Handing in --------------------------------------------------------------------- */

size_t decisions_choose(struct decisions *decisions, int64_t now_ns, const struct decision_row **rows,
                        size_t most) {
	size_t chosen = 0;
	for (size_t i = 0; i < decisions->count && chosen < most; i++) {
		struct decision_row *row = &decisions->rows[i];
		if ((row->recorded_ns != 0 && now_ns - row->recorded_ns < DECISIONS_CONFIRM_NS) ||
		    (chosen > 0 && row->run != rows[0]->run))
			continue;
		row->is_sent = row->is_under_way = true;
		rows[chosen++] = row;
	}
	return chosen;
}

struct recording {
	int64_t now_ns;
	void (*first)(void *context, const struct decision_row *);
	void *context;
};

static bool is_still_needed(struct decisions *decisions, const struct decision_row *row, void *context) {
	const struct recording *recording = context;
	(void)decisions;
	if (!row->is_under_way)
		return true;
	if (row->recorded_ns == 0 && recording->first)
		recording->first(recording->context, row);
	return row->recorded_ns == 0;
}

void decisions_recorded(struct decisions *decisions, int64_t now_ns,
                        void (*first)(void *context, const struct decision_row *), void *context) {
	keep(decisions, is_still_needed, &(struct recording){now_ns, first, context});
	for (size_t i = 0; i < decisions->count; i++)
		if (decisions->rows[i].is_under_way)
			decisions->rows[i].recorded_ns = now_ns;
	decisions_unanswered(decisions);
}

void decisions_unanswered(struct decisions *decisions) {
	for (size_t i = 0; i < decisions->count; i++)
		decisions->rows[i].is_under_way = false;
}
