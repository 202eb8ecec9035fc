/*
 * count.c - counts what isn't decided by the table, and what is while there is no table.
 */
#include <errno.h>

#include "count.h"
#include "decide.h"
#include "wiped_page.h"

/* Threads differ in where their errno is, by multiples of large powers of two: the product's upper bits differ. */
static uint32_t choose_shared(void) {
	return (uint32_t)((uintptr_t)&errno * UINT64_C(0x9e3779b97f4a7c15) >> 32) % TALLY_SHARED;
}

static void add(struct tally *row, uint32_t cpus, unsigned place, uint64_t count) {
	struct tally *shared = &row[cpus + choose_shared()];
	atomic_fetch_add_explicit(&shared->count[place], count, memory_order_relaxed);
}

COLD static void note_shared(struct tally *row, uint32_t cpus, uint64_t last) {
	struct tally *shared = &row[cpus + choose_shared()];
	atomic_store_explicit(&shared->count[TALLY_LAST_DENIED], last, memory_order_relaxed);
}

static uint64_t last_of(const struct binding *binding, const struct slot *slot) {
	return (uint64_t)(slot - binding->mapping->slots) + 1;
}

/* The agent looks now and then, and takes it for one of many: it doesn't matter if the thread is moved to another
 * CPU before this, or after. */
HOT APART void count_note_denied(const struct binding *binding, const struct slot *slot) {
	uint32_t cpu = UINT32_MAX;
#ifdef COUNT_BY_CPU
	__asm__ volatile("movl %%fs:4(%[own]), %[cpu]" : [cpu] "=r"(cpu) : [own] "r"(__rseq_offset));
#endif
	if (SELDOM(cpu >= binding->tally_cpus))
		note_shared(binding->tallies, binding->tally_cpus, last_of(binding, slot));
	else
		atomic_store_explicit(&binding->tallies[cpu].count[TALLY_LAST_DENIED], last_of(binding, slot),
		                      memory_order_relaxed);
}

COLD void count_shared(struct tally *row, uint32_t cpus, unsigned place) {
	add(row, cpus, place, 1);
}

/* ---- Owed ------------------------------------------------------------------------ */

/* A fork wipes it: what the parent owes, the parent pays. */
struct owed {
	_Atomic uint64_t verdict[TALLY_COUNTS];
	_Atomic uint64_t error[TALLY_COUNTS];
};

struct owed *owed_new(void) {
	return wiped_page_new(sizeof(struct owed));
}

void owed_free(struct owed *owed) {
	wiped_page_free(owed, sizeof(*owed));
}

/* Returns the limiter's binding, if what is counted by it is still seen: its table is in use, and its place in the
 * directory not another policy's by now. */
static const struct binding *find_binding(const struct stint_limiter *limiter) {
	const struct binding *binding = atomic_load(&limiter->binding);
	if (!binding || mapping_is_retired(binding->mapping) ||
	    atomic_load(&binding->entry->generation) != policy_number_generation(binding->policy))
		return NULL;
	return binding;
}

/* Errors aren't of a policy, which there may not be: any table will do that is in use. */
static const struct mapping *find_mapping(const struct stint_limiter *limiter) {
	const struct mapping *mapping = atomic_load(&limiter->stintd->mappings);
	return mapping && !mapping_is_retired(mapping) ? mapping : NULL;
}

static struct tally *error_row(const struct mapping *mapping) {
	return mapping_tallies(mapping, mapping->policy_capacity);
}

static uint32_t cpus_of(const struct mapping *mapping) {
	return mapping->tally_stripes - TALLY_SHARED;
}

static void pay(struct tally *row, uint32_t cpus, _Atomic uint64_t owed[static TALLY_COUNTS]) {
	for (unsigned place = 0; place < TALLY_COUNTS; place++) {
		uint64_t count = atomic_exchange(&owed[place], 0);
		if (count > 0)
			add(row, cpus, place, count);
	}
}

void count_owed(struct stint_limiter *limiter) {
	const struct binding *binding = find_binding(limiter);
	const struct mapping *mapping = find_mapping(limiter);
	if (!limiter->owed)
		return;
	if (binding)
		pay(binding->tallies, binding->tally_cpus, limiter->owed->verdict);
	if (mapping)
		pay(error_row(mapping), cpus_of(mapping), limiter->owed->error);
}

/* The limiter may have been bound since the caller looked. */
static void owe(struct stint_limiter *limiter, _Atomic uint64_t *count) {
	atomic_fetch_add(count, 1);
	count_owed(limiter);
}

/* ---- Counting -------------------------------------------------------------------- */

static void count_by(struct stint_limiter *limiter, const struct binding *binding,
                     const struct stint_result *result) {
	if (binding)
		add(binding->tallies, binding->tally_cpus, count_place(result), 1);
	else if (limiter->owed)
		owe(limiter, &limiter->owed->verdict[count_place(result)]);
}

static bool denies(const struct stint_result *result) {
	return !result->allowed || result->shadow_denied;
}

/* Of whom the agent denies it knows, and must not take that for another client's. */
void count_verdict(struct stint_limiter *limiter, const struct stint_result *result) {
	const struct binding *binding = find_binding(limiter);
	count_by(limiter, binding, result);
	if (binding && denies(result))
		note_shared(binding->tallies, binding->tally_cpus, 0);
}

void count_verdict_of(const struct question *q, const struct stint_result *result) {
	const struct binding *binding = find_binding(q->limiter);
	count_by(q->limiter, binding, result);
	if (!binding || !denies(result))
		return;
	const struct slot *slot = decide_find_slot(binding->mapping, binding->policy, q->id, q->length);
	note_shared(binding->tallies, binding->tally_cpus, slot ? last_of(binding, slot) : 0);
}

int count_error(struct stint_limiter *limiter, int error) {
	if (error < 0 && limiter->owed)
		owe(limiter, &limiter->owed->error[tally_error_place(error)]);
	return error;
}
