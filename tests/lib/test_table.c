/*
 * test_table.c - the decision in the table, and which tables are refused.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "interrupt.h"
#include "table_fixture.h"

#define LATER (fake_now_ns() + MS(60000))

static int setup(void **state) {
	*state = fixture_new(3);
	return 0;
}

struct answer {
	enum verdict verdict;
	bool low, fallback;
	uint32_t left, beyond;
};

/* Gives the answer to a check: see check.c. */
static struct answer ask(struct fixture *f, uint32_t cost) {
	struct decision d = {0};
	enum verdict verdict = decide(f->mapping, 3, "c", 1, cost, &d);
	struct unusual told = {.is_known = true, .left = d.left, .beyond = d.beyond};

	if (verdict == VERDICT_ALLOWED && d.unusual != 0)
		told = decide_unusual_admission(f->mapping, d.slot, d.word, d.found, d.left, d.now_ns);
	if (verdict == VERDICT_DENIED && d.unusual != 0)
		told = decide_unusual_denial(f->mapping, d.slot, d.key, d.found, d.times, d.now_ns);
	return (struct answer){told.is_known ? verdict : VERDICT_NONE, d.low, told.fallback, told.left, told.beyond};
}

static enum verdict ask_for(struct fixture *f, uint32_t policy, const char *id) {
	struct decision d;

	return decide(f->mapping, policy, id, strlen(id), 1, &d);
}

/* ---- A slot that changes hands ----------------------------------------------------- */

/* The slot was the client's when the check looked for it. */
static void takes_nothing_of_who_has_come_after_the_client(void **state) {
	struct fixture *f = *state;
	struct decision d = {0};
	struct lease_seen lease;
	uint64_t key = atomic_load(&f->slot->key);

	fake_slot_lease(f->slot, 0, 5, LATER, 0);
	assert_true(decide_sees_open(f->slot, 0, 1, 0, &lease));
	assert_false(decide_take_plainly(f->slot, &lease, key + 1, 1, clock_coarse_ns(), TELL_ALL, &d));
	assert_int_equal(credits(f, 0), 5);
	assert_true(decide_take_plainly(f->slot, &lease, key, 1, clock_coarse_ns(), TELL_ALL, &d));
	assert_int_equal(credits(f, 0), 4);
}

/* The agent lets another client move in, with credits. */
static void change_hands(void *arg) {
	struct fixture *f = arg;

	atomic_fetch_add(&f->slot->key, 1);
	fake_slot_lease(f->slot, 0, 5, LATER, 0);
}

static void look(void *arg) {
	struct fixture *f = arg;

	f->verdict = ask_for(f, 3, "c");
}

static void takes_nothing_of_who_comes_meanwhile(void **state) {
	struct fixture *f = *state;
	uint64_t key = atomic_load(&f->slot->key);
	unsigned steps = 1;

	/* two looks at the slot are further apart than that */
	for (; interrupt_after(steps, look, change_hands, f); steps += 3) {
		assert_int_equal(f->verdict, VERDICT_NONE);
		assert_int_equal(credits(f, 0), 5);
		fake_slot_lease(f->slot, 0, 0, 0, 0);
		atomic_store(&f->slot->key, key);
	}
	interrupt_or_skip();
	assert_true(steps > 100);
}

/* ---- Decisions -------------------------------------------------------------------- */

static void takes_until_nothing_is_left(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 7, LATER, 0);
	atomic_store(&f->slot->hint, 30);
	for (uint32_t left = 7; left-- > 0;) {
		struct answer d = ask(f, 1);
		assert_int_equal(d.verdict, VERDICT_ALLOWED);
		assert_int_equal(d.left, left);
		assert_int_equal(d.beyond, 30);
		assert_false(d.fallback);
	}
	assert_int_equal(ask(f, 1).verdict, VERDICT_NONE);
	assert_int_equal(credits(f, 0), 0);
}

static void takes_a_cost_whole_or_not(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 7, LATER, 0);
	assert_int_equal(ask(f, 8).verdict, VERDICT_NONE);
	assert_int_equal(credits(f, 0), 7);
	assert_int_equal(ask(f, 7).verdict, VERDICT_ALLOWED);
}

static void finds_only_its_client(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 7, LATER, 0);
	assert_int_equal(ask_for(f, 3, "d"), VERDICT_NONE);
	assert_int_equal(ask_for(f, 4, "c"), VERDICT_NONE);
	assert_int_equal(credits(f, 0), 7);
	assert_int_equal(atomic_load(&f->slot->referenced), 0);
	ask(f, 1);
	assert_int_equal(atomic_load(&f->slot->referenced), 1);
}

static void finds_every_client_of_many(void **state) {
	struct fixture *f = *state;
	char id[32];

	/* A third of the table: both buckets of each are used, full ones among them. */
	for (int i = 0; i < 340; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		fake_slot_lease(fake_table_put(&f->table, 0, id), 0, 1, LATER, 0);
	}
	for (int i = 0; i < 340; i++) {
		snprintf(id, sizeof(id), "client-%d", i);
		assert_int_equal(ask_for(f, 0, id), VERDICT_ALLOWED);
		assert_int_equal(ask_for(f, 0, id), VERDICT_NONE);
	}
}

/* Where the agent puts a client whose first home is taken: no tag is looked at. */
static void finds_a_client_at_its_second_home(void **state) {
	struct fixture *f = *state;
	struct place place = place_of(f->table.directory->secret, FAKE_BUCKETS, 5, "c", 1);
	struct slot *home = &f->table.slots[place.home[1]];

	assert_int_not_equal(place.home[0], place.home[1]);
	fake_slot_lease(home, 0, 2, LATER, 0);
	assert_int_equal(ask_for(f, 5, "c"), VERDICT_NONE);
	atomic_store(&home->key, place.key);
	assert_int_equal(ask_for(f, 5, "c"), VERDICT_ALLOWED);
	assert_int_equal(word_credits(atomic_load(&home->word[0])), 1);
}

/* The client is in the last place of its bucket that is nobody's home. */
static void equal_tags_are_told_apart_by_key(void **state) {
	struct fixture *f = *state;
	struct place place = place_of(f->table.directory->secret, FAKE_BUCKETS, 3, "c", 1);
	uint32_t first = place_bucket(&place, 0) * SLOTS_PER_BUCKET, at = first + SLOTS_PER_BUCKET - 1;

	for (; at == place.home[0] || at == place.home[1]; at--)
		;
	for (unsigned i = 0; i < SLOTS_PER_BUCKET; i++)
		atomic_store(&f->table.tags[place_bucket(&place, 0)].tag[i], place_tag(&place));
	atomic_store(&f->slot->key, 0);
	atomic_store(&f->table.slots[at].key, place.key);
	fake_slot_lease(&f->table.slots[at], 0, 1, LATER, 0);
	assert_int_equal(ask(f, 1).verdict, VERDICT_ALLOWED);
}

static void nothing_is_taken_after_the_deadline(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 7, fake_now_ns() - 1, 0);
	assert_int_equal(ask(f, 1).verdict, VERDICT_NONE);
	assert_int_equal(credits(f, 0), 7);
}

/* As in a process that last read the clock long ago: it takes a credit first, and then sees that it is late. */
static void what_is_taken_too_late_goes_back(void **state) {
	struct fixture *f = *state;
	uint64_t word;

	for (int which = 0; which < 2; which++) {
		fake_slot_lease(f->slot, which, 7, fake_now_ns() - 1, WORD_FALLBACK_BIT);
		word = atomic_load(&f->slot->word[which]);
		atomic_store(&decide_seen_ns, fake_now_ns() - MS(60000));
		assert_int_equal(ask(f, 3).verdict, VERDICT_NONE);
		assert_true(atomic_load(&f->slot->word[which]) == word);
	}
}

static void an_old_time_opens_no_lease_early(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 1, 5, LATER, 0);
	atomic_store(&f->slot->later_start_ns, fake_now_ns() - MS(1));
	atomic_store(&decide_seen_ns, fake_now_ns() - MS(30000));
	assert_int_equal(ask(f, 1).verdict, VERDICT_ALLOWED); /* the lease has begun, whatever the old time says */
	atomic_store(&f->slot->later_start_ns, fake_now_ns() + MS(20000));
	atomic_store(&decide_seen_ns, fake_now_ns() - MS(30000));
	assert_int_equal(ask(f, 1).verdict, VERDICT_NONE);
	assert_int_equal(credits(f, 1), 4);
}

static void credits_go_back_to_their_own_lease_only(void **state) {
	struct fixture *f = *state;
	_Atomic uint64_t *word = &f->slot->word[0];
	uint64_t taken_from;

	fake_slot_lease(f->slot, 0, 7, LATER, 0);
	taken_from = atomic_load(word);
	atomic_store(word, taken_from - 5);
	decide_put_back(word, taken_from, 3);
	assert_int_equal(credits(f, 0), 5);
	fake_slot_lease(f->slot, 0, 7, LATER, 0); /* the agent has made another meanwhile */
	decide_put_back(word, taken_from, 3);
	assert_int_equal(credits(f, 0), 7);
	fake_slot_lease(f->slot, 0, WORD_CREDITS_MASK - 2, LATER, 0); /* garbage, which must not carry */
	taken_from = atomic_load(word);
	decide_put_back(word, taken_from, 3);
	assert_true(atomic_load(word) == taken_from);
}

/* When the deadline is nearer than the coarse clock's lag, the fine clock decides. The credit is good to the
 * end, and not a moment longer. */
static void deadlines_are_met_finely(void **state) {
	struct fixture *f = *state;
	uint64_t deadline_ns = fake_now_ns() + MS(5);
	enum verdict verdict;
	uint64_t after_ns;

	fake_slot_lease(f->slot, 0, WORD_CREDITS_MASK, deadline_ns, 0);
	do {
		uint64_t before_ns = fake_now_ns();
		verdict = ask(f, 1).verdict;
		after_ns = fake_now_ns();
		if (after_ns < deadline_ns)
			assert_int_equal(verdict, VERDICT_ALLOWED);
		if (before_ns >= deadline_ns)
			assert_int_equal(verdict, VERDICT_NONE);
	} while (after_ns < deadline_ns + MS(2));
}

/* False: the edge came before the test could see that the later lease waits for it. */
static bool is_seen_to_wait(struct fixture *f, int now, uint64_t edge_ns) {
	enum verdict verdict;

	fake_slot_lease(f->slot, now, 1, edge_ns, 0);
	fake_slot_lease(f->slot, !now, 5, edge_ns + MS(60000), 0);
	atomic_store(&f->slot->later_start_ns, edge_ns);
	verdict = ask(f, 1).verdict;
	if (fake_now_ns() >= edge_ns)
		return false;
	assert_int_equal(verdict, VERDICT_ALLOWED);
	assert_int_equal(credits(f, now), 0);
	verdict = ask(f, 1).verdict;
	if (fake_now_ns() >= edge_ns)
		return false;
	assert_int_equal(verdict, VERDICT_NONE);
	return true;
}

static void the_later_lease_waits_for_its_start(void **state) {
	struct fixture *f = *state;
	uint64_t edge_ns;

	for (int now = 0; now < 2; now++) {
		do
			edge_ns = fake_now_ns() + MS(20);
		while (!is_seen_to_wait(f, now, edge_ns));
		while (fake_now_ns() < edge_ns)
			;
		assert_int_equal(ask(f, 1).verdict, VERDICT_ALLOWED);
		assert_int_equal(credits(f, !now), 4);
	}
}

static void a_single_lease_waits_too(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 1, 5, LATER, 0);
	atomic_store(&f->slot->later_start_ns, fake_now_ns() + MS(60000));
	assert_int_equal(ask(f, 1).verdict, VERDICT_NONE);
	atomic_store(&f->slot->later_start_ns, 0);
	assert_int_equal(ask(f, 1).verdict, VERDICT_ALLOWED);
}

static void fallback_credits_are_told(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 2, LATER, WORD_FALLBACK_BIT);
	assert_true(ask(f, 1).fallback);
	assert_int_equal(atomic_load(&f->slot->word[0]) & WORD_FALLBACK_BIT, WORD_FALLBACK_BIT);
}

/* What is left doesn't depend on the lease that a check takes from. */
static void both_leases_are_told_when_both_are_open(void **state) {
	struct fixture *f = *state;

	atomic_store(&f->slot->hint, 30 | HINT_BOTH_BIT);
	for (int which = 0; which < 2; which++) {
		atomic_store(&f->slot->later_start_ns, 0);
		fake_slot_lease(f->slot, which, 2, LATER, 0);
		fake_slot_lease(f->slot, !which, 50, LATER + MS(1000), 0);
		for (uint32_t left = 52; left-- > 0;) {
			struct answer d = ask(f, 1);
			assert_int_equal(d.left, left);
			assert_int_equal(d.beyond, 30);
		}
		/* The other one has not begun. */
		fake_slot_lease(f->slot, which, 2, LATER, 0);
		fake_slot_lease(f->slot, !which, 50, LATER + MS(1000), 0);
		atomic_store(&f->slot->later_start_ns, fake_now_ns() + MS(20000));
		assert_int_equal(ask(f, 1).left, 1);
		/* It is over. */
		fake_slot_lease(f->slot, !which, 50, fake_now_ns() - MS(20), 0);
		atomic_store(&f->slot->later_start_ns, 0);
		assert_int_equal(ask(f, 1).left, 0);
	}
}

/* The agent hands out ten more of what the store had left, as answer.c does. */
static void refill_the_other(void *arg) {
	struct fixture *f = arg;

	atomic_store(&f->slot->hint, HINT_UNKNOWN);
	fake_slot_lease(f->slot, 1, 15, LATER, 0);
	atomic_store(&f->slot->hint, 20 | HINT_BOTH_BIT);
}

static void look_at_both(void *arg) {
	struct fixture *f = arg;
	struct answer d = ask(f, 1);

	f->verdict = d.verdict;
	f->told = d.left + d.beyond;
}

/* The other lease has held so many credits before. */
static void tells_of_one_answer(struct fixture *f, uint32_t had) {
	unsigned steps = 1;

	do {
		fake_slot_lease(f->slot, 0, 7, LATER, 0);
		fake_slot_lease(f->slot, 1, had, LATER, 0);
		atomic_store(&f->slot->hint, (35 - had) | (had > 0 ? HINT_BOTH_BIT : 0));
	} while (interrupt_after(steps++, look_at_both, refill_the_other, f) && f->verdict == VERDICT_ALLOWED &&
	         f->told == 6 + 35);
	assert_int_equal(f->verdict, VERDICT_ALLOWED);
	assert_int_equal(f->told, 6 + 35);
	assert_true(steps > 100);
}

static void both_leases_and_the_hint_are_of_one_answer(void **state) {
	interrupt_or_skip();
	tells_of_one_answer(*state, 0);
	tells_of_one_answer(*state, 5);
}

static void low_water_is_crossed_once(void **state) {
	struct fixture *f = *state;
	int crossed = 0;

	fake_slot_lease(f->slot, 0, 10, LATER, 0);
	atomic_store(&f->slot->low_water, 2); /* the credits fall from 4 or more to less */
	for (int left = 9; left >= 0; left--) {
		struct answer d = ask(f, 1);
		assert_int_equal(d.low, left == 3);
		crossed += d.low;
	}
	assert_int_equal(crossed, 1);
	fake_slot_lease(f->slot, 0, 10, LATER, 0);
	assert_true(ask(f, 10).low);
	/* 0 means no mark, whatever limit the client has. */
	for (unsigned other = 0; other < 256; other += LOW_WATER_MARK_MASK + 1) {
		atomic_store(&f->slot->low_water, (uint8_t)other);
		fake_slot_lease(f->slot, 0, 10, LATER, 0);
		assert_false(ask(f, 10).low);
	}
}

static void denials_hold_for_their_costs_and_time(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 3, LATER, 0);
	fake_slot_deny(f->slot, 4, LATER, 3, hint_pack(0, 500, 600));
	assert_int_equal(ask(f, 1).verdict, VERDICT_ALLOWED);
	assert_int_equal(ask(f, 1).beyond, 3); /* what is beyond the denial; the hint is about its times now */
	assert_int_equal(ask(f, 3).verdict, VERDICT_NONE);
	assert_int_equal(ask(f, 4).verdict, VERDICT_DENIED);
	assert_int_equal(ask(f, 4).beyond, 3);
	assert_int_equal(ask(f, 1000000).verdict, VERDICT_DENIED);
	fake_slot_deny(f->slot, 4, fake_now_ns() - MS(1), 3, hint_pack(0, 500, 600));
	assert_int_equal(ask(f, 4).verdict, VERDICT_NONE);
	fake_slot_deny(f->slot, 0, LATER, 0, hint_pack(0, 0, 0));
	assert_int_equal(ask(f, 4).verdict, VERDICT_NONE);
}

/* The agent is about to change what goes with the denial. A check that wants only the verdict has it all the
 * same. */
static void a_verdict_alone_waits_for_nothing_that_goes_with_it(void **state) {
	struct fixture *f = *state;
	struct decision d;

	fake_slot_deny(f->slot, 1, LATER, 3, hint_pack(0, 500, 600));
	atomic_store(&f->slot->hint, HINT_UNKNOWN);
	assert_int_equal(ask(f, 1).verdict, VERDICT_NONE);
	assert_int_equal(decide_plainly(f->mapping, 3, "c", 1, 1, TELL_NOTHING, &d), VERDICT_DENIED);
	fake_slot_lease(f->slot, 0, 1, LATER, WORD_FALLBACK_BIT);
	assert_int_equal(decide_plainly(f->mapping, 3, "c", 1, 1, TELL_NOTHING, &d), VERDICT_ALLOWED);
	assert_int_equal(credits(f, 0), 0);
}

/* The app is told as left what the client could have now: nothing of a lease that is over or hasn't begun. */
static void a_denial_tells_what_is_open(void **state) {
	struct fixture *f = *state;

	fake_slot_deny(f->slot, 6, LATER, 7, hint_pack(0, 500, 600));
	fake_slot_lease(f->slot, 0, 3, fake_now_ns() + MS(30000), 0);
	fake_slot_lease(f->slot, 1, 5, LATER, 0);
	assert_int_equal(ask(f, 9).left, 8); /* both have begun */
	atomic_store(&f->slot->later_start_ns, fake_now_ns() + MS(30000));
	assert_int_equal(ask(f, 6).left, 3);
	fake_slot_lease(f->slot, 0, 3, fake_now_ns() - MS(1), 0);
	assert_int_equal(ask(f, 6).verdict, VERDICT_DENIED);
	assert_int_equal(ask(f, 6).left, 0);
	atomic_store(&f->slot->later_start_ns, fake_now_ns() - MS(1));
	assert_int_equal(ask(f, 6).left, 5);
}

static void a_retired_table_decides_nothing(void **state) {
	struct fixture *f = *state;

	fake_slot_lease(f->slot, 0, 3, LATER, 0);
	atomic_store(&f->table.table->state, TABLE_RETIRED);
	assert_true(mapping_is_retired(f->mapping));
	assert_int_equal(ask(f, 1).verdict, VERDICT_NONE);
	assert_int_equal(credits(f, 0), 3);
}

/* Whatever stands in the table, a check has a verdict or none, and reads nothing outside the mapping. */
static void garbage_harms_nothing(void **state) {
	struct fixture *f = *state;
	size_t bytes = FAKE_BUCKETS * (sizeof(struct tag_row) + SLOTS_PER_BUCKET * sizeof(struct slot));
	uint64_t random = 88172645463325252u;
	char id[32];

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < bytes / sizeof(random); i++) {
			random ^= random << 13, random ^= random >> 7, random ^= random << 17;
			((uint64_t *)f->table.tags)[i] = random;
		}
		for (int i = 0; i < 200; i++) {
			snprintf(id, sizeof(id), "client-%d", i);
			if (i < 20)
				fake_table_remove(&f->table, &f->table.slots[i]);
			assert_in_range(ask_for(f, 0, id), VERDICT_NONE, VERDICT_DENIED);
		}
	}
}

/* ---- Which tables are refused ---------------------------------------------------------- */

static int try_to_map(struct fixture *f) {
	struct mapping *m = NULL;
	int error = mapping_new(&m, f->table.directory_fd, f->table.table_fd, GENERATION);

	if (error == 0)
		mapping_free(m);
	return error;
}

#define REFUSES(field, value, error)                                                                              \
	do {                                                                                                          \
		__typeof__(field) kept = field;                                                                           \
		field = (__typeof__(field))(value);                                                                       \
		assert_int_equal(try_to_map(f), error);                                                                   \
		field = kept;                                                                                             \
		assert_int_equal(try_to_map(f), 0);                                                                       \
	} while (0)

static void refuses_headers_that_lie(void **state) {
	struct fixture *f = *state;
	struct directory_header *d = f->table.directory;
	struct table_header *t = f->table.table;

	REFUSES(d->magic, 0, STINT_EPROTOCOL);
	REFUSES(d->version, LAYOUT_VERSION + 1, STINT_EVERSION);
	REFUSES(d->generation, 43, STINT_EPROTOCOL);
	REFUSES(t->magic, 1, STINT_EPROTOCOL);
	REFUSES(t->version, 99, STINT_EVERSION);
	REFUSES(t->generation, 43, STINT_EPROTOCOL);
	static const uint64_t sizes[] =
		{0, 1, 4095, UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 63, UINT64_C(1) << 32};
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		REFUSES(d->directory_bytes, sizes[i], STINT_EPROTOCOL);
		REFUSES(d->table_bytes, sizes[i], STINT_EPROTOCOL);
		REFUSES(d->tags_offset, sizes[i], STINT_EPROTOCOL);
		REFUSES(d->slots_offset, sizes[i], STINT_EPROTOCOL);
		REFUSES(d->tallies_offset, sizes[i], STINT_EPROTOCOL);
	}
	REFUSES(d->policy_capacity, 0, STINT_EPROTOCOL);
	REFUSES(d->policy_capacity, POLICY_CAPACITY + 1, STINT_EPROTOCOL);
	REFUSES(d->policy_capacity, UINT32_MAX, STINT_EPROTOCOL);
	REFUSES(d->bucket_count, 0, STINT_EPROTOCOL);
	REFUSES(d->bucket_count, FAKE_BUCKETS + 1, STINT_EPROTOCOL);
	REFUSES(d->bucket_count, UINT32_MAX, STINT_EPROTOCOL);
	REFUSES(d->slots_per_bucket, 8, STINT_EPROTOCOL);
	REFUSES(d->tags_offset, d->tags_offset + 8, STINT_EPROTOCOL);
	REFUSES(d->slots_offset, d->slots_offset + 32, STINT_EPROTOCOL);
	REFUSES(d->tallies_offset, d->tallies_offset + 64, STINT_EPROTOCOL);
	REFUSES(d->tallies_offset, d->tallies_offset - sizeof(struct tally), STINT_EPROTOCOL); /* in the slots */
	REFUSES(d->tallies_offset, d->tallies_offset + sizeof(struct tally), STINT_EPROTOCOL); /* beyond the end */
	REFUSES(d->tally_stripes, 0, STINT_EPROTOCOL);
	REFUSES(d->tally_stripes, TALLY_SHARED - 1, STINT_EPROTOCOL);
	REFUSES(d->tally_stripes, d->tally_stripes + 1, STINT_EPROTOCOL);
	REFUSES(d->tally_stripes, UINT32_MAX, STINT_EPROTOCOL);
}

static void refuses_objects_that_are_too_small(void **state) {
	struct fixture *f = *state;
	off_t table_bytes = (off_t)f->table.directory->table_bytes;
	off_t directory_bytes = (off_t)f->table.directory->directory_bytes;
	int pipes[2];
	struct mapping *m;

	assert_int_equal(ftruncate(f->table.table_fd, table_bytes - 1), 0);
	assert_int_equal(try_to_map(f), STINT_EPROTOCOL);
	assert_int_equal(ftruncate(f->table.table_fd, 16), 0);
	assert_int_equal(try_to_map(f), STINT_EPROTOCOL);
	assert_int_equal(ftruncate(f->table.table_fd, table_bytes), 0);
	assert_int_equal(ftruncate(f->table.directory_fd, directory_bytes - 1), 0);
	assert_int_equal(try_to_map(f), STINT_EPROTOCOL);
	assert_int_equal(ftruncate(f->table.directory_fd, 0), 0);
	assert_int_equal(try_to_map(f), STINT_EPROTOCOL);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(mapping_new(&m, pipes[0], pipes[1], GENERATION), STINT_EPROTOCOL);
	assert_int_equal(mapping_new(&m, -1, -1, GENERATION), STINT_ESYSTEM);
	close(pipes[0]);
	close(pipes[1]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(takes_nothing_of_who_has_come_after_the_client),
		TEST(takes_nothing_of_who_comes_meanwhile),
		TEST(takes_until_nothing_is_left),
		TEST(takes_a_cost_whole_or_not),
		TEST(finds_only_its_client),
		TEST(finds_every_client_of_many),
		TEST(finds_a_client_at_its_second_home),
		TEST(equal_tags_are_told_apart_by_key),
		TEST(nothing_is_taken_after_the_deadline),
		TEST(what_is_taken_too_late_goes_back),
		TEST(an_old_time_opens_no_lease_early),
		TEST(credits_go_back_to_their_own_lease_only),
		TEST(deadlines_are_met_finely),
		TEST(the_later_lease_waits_for_its_start),
		TEST(a_single_lease_waits_too),
		TEST(fallback_credits_are_told),
		TEST(both_leases_are_told_when_both_are_open),
		TEST(both_leases_and_the_hint_are_of_one_answer),
		TEST(low_water_is_crossed_once),
		TEST(denials_hold_for_their_costs_and_time),
		TEST(a_verdict_alone_waits_for_nothing_that_goes_with_it),
		TEST(a_denial_tells_what_is_open),
		TEST(a_retired_table_decides_nothing),
		TEST(garbage_harms_nothing),
		TEST(refuses_headers_that_lie),
		TEST(refuses_objects_that_are_too_small),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
