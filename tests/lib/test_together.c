/*
 * test_together.c - several limits in one check, all or nothing.
 */
#include <string.h>
#include <sys/wait.h>

#include "async_fixture.h"
#include "interrupt.h"

#define PARTS 3

static const char *const names[PARTS] = {"user", "address", "all"};

struct scene {
	struct fixture *f;
	struct stint_part part[PARTS];
	struct slot *slot[PARTS]; /* NULL: the table doesn't know the client */
};

/* The clients of the parts have so many credits; -1: the table doesn't know the client. */
static struct scene scene_of(struct fixture *f, const int credits[static PARTS]) {
	struct scene s = {.f = f};
	assert_true(stint_is_allowed(f->patient, "c")); /* the policy is known */
	for (int i = 0; i < PARTS; i++) {
		s.part[i] = (struct stint_part){f->patient, names[i], STINT_STRING, 1, 0};
		if (credits[i] < 0)
			continue;
		s.slot[i] = fake_table_put(&f->agent.table, 0, names[i]);
		fake_slot_lease(s.slot[i], 0, (uint32_t)credits[i], LATER, 0);
		atomic_store(&s.slot[i]->hint, 0);
	}
	return s;
}

static void expect_credits(const struct scene *s, const int credits[static PARTS]) {
	for (int i = 0; i < PARTS; i++)
		if (credits[i] >= 0)
			assert_int_equal(word_credits(atomic_load(&s->slot[i]->word[0])), credits[i]);
}

static unsigned wants(struct fixture *f) {
	return fake_agent_count(&f->agent, &f->agent.counts.want);
}

#define CREDITS(...) ((const int[PARTS]){__VA_ARGS__})

/* ---- Warm --------------------------------------------------------------------------------- */

static void all_take_their_cost_and_nobody_is_asked(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, 9, 7));
	s.part[2].cost = 3;
	unsigned before = wants(s.f);
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	assert_true(s.f->r.allowed);
	expect_credits(&s, CREDITS(4, 8, 4));
	assert_int_equal(s.f->r.part, 0); /* of those with least left, the first */
	assert_int_equal(s.f->r.ticket, 0);
	assert_int_equal(s.f->r.remaining, 4);
	assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, count, s.f), 1);
	assert_true(s.f->r.allowed);
	expect_credits(&s, CREDITS(3, 7, 1));
	assert_int_equal(s.f->r.part, 2);
	assert_int_equal(s.f->called, 0);
	assert_int_equal(wants(s.f), before);
}

static void when_one_denies_nothing_is_taken(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, 9, 0));
	fake_slot_deny(s.slot[2], 1, LATER, 0, hint_pack(0, 100, 100));
	for (int i = 0; i < 10; i++) {
		assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
		assert_false(s.f->r.allowed);
		assert_int_equal(s.f->r.part, 2);
		assert_int_equal(s.f->r.reason, STINT_OVER_LIMIT);
		assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, count, s.f), 1);
		assert_false(s.f->r.allowed);
	}
	expect_credits(&s, CREDITS(5, 9, 0));
}

static void the_longest_denial_is_told(void **state) {
	struct scene s = scene_of(*state, CREDITS(0, 0, 4));
	fake_slot_deny(s.slot[0], 1, LATER, 0, hint_pack(0, 100, 100));
	fake_slot_deny(s.slot[1], 1, LATER, 0, hint_pack(0, 900, 900));
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	assert_int_equal(s.f->r.part, 1);
	assert_true(s.f->r.retry_after_ms > 900);
}

/* A denial that the table knows is enough: nobody is asked about the others. */
static void a_denial_asks_nobody(void **state) {
	struct scene s = scene_of(*state, CREDITS(-1, 0, -1));
	fake_slot_deny(s.slot[1], 1, LATER, 0, hint_pack(0, 100, 100));
	unsigned before = wants(s.f);
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	assert_int_equal(s.f->r.part, 1);
	assert_int_equal(wants(s.f), before);
}

/* ---- Asking --------------------------------------------------------------------------------- */

/* Puts credits into the table for whoever is asked about. */
static void provide(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	struct scene *s = a->arg;
	for (int i = 0; i < PARTS; i++)
		if (strcmp(id, names[i]) == 0) {
			assert_int_equal(want->head.flags, WIRE_WANT_PROVIDE);
			if (!s->slot[i])
				s->slot[i] = fake_table_put(&a->table, 0, id);
			fake_slot_lease(s->slot[i], 0, 3, LATER, 0);
			atomic_store(&s->slot[i]->hint, 0);
		}
	fake_answer(a, fd, want->head.serial, a->verdict);
}

static void agent_provides(struct scene *s) {
	fake_agent_lock(&s->f->agent);
	s->f->agent.arg = s;
	s->f->agent.want = provide;
	fake_agent_unlock(&s->f->agent);
}

static void the_agent_provides_what_the_table_lacks(void **state) {
	struct scene s = scene_of(*state, CREDITS(-1, 9, -1));
	unsigned before = wants(s.f);
	agent_provides(&s);
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	assert_true(s.f->r.allowed);
	assert_int_equal(wants(s.f), before + 2);
	expect_credits(&s, CREDITS(2, 8, 2));
}

static void the_agent_provides_for_who_does_not_wait(void **state) {
	struct scene s = scene_of(*state, CREDITS(-1, 9, -1));
	agent_provides(&s);
	assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, count, s.f), 0);
	assert_int_not_equal(s.f->r.ticket, 0);
	s.part[0].client_id = s.part[2].client_id = "overwritten"; /* the ids were copied */
	loop(s.f, 1);
	assert_int_equal(s.f->status, 0);
	assert_int_equal(s.f->allowed, 1);
	expect_credits(&s, CREDITS(2, 8, 2));
}

static void what_the_agent_denies_is_denied(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, -1, 7));
	fake_agent_lock(&s.f->agent);
	s.f->agent.verdict = (struct wire_verdict){.source = STINT_SOURCE_DATABASE,
	                                           .reason = STINT_OVER_LIMIT,
	                                           .limit = 100,
	                                           .retry_after_ms = 5};
	fake_agent_unlock(&s.f->agent);
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), 0);
	assert_false(s.f->r.allowed);
	assert_int_equal(s.f->r.part, 1);
	assert_int_equal(s.f->r.source, STINT_SOURCE_DATABASE);
	assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, count, s.f), 0);
	loop(s.f, 1);
	assert_int_equal(s.f->allowed, 0);
	expect_credits(&s, CREDITS(5, -1, 7));
}

static void see_detail(int status, const struct stint_result *result, void *arg) {
	assert_string_equal(stint_error_detail(), "part 1: policy \"patient\": out of memory");
	count(status, result, arg);
}

static void an_error_of_one_part_is_the_checks(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, -1, 7));
	fake_agent_lock(&s.f->agent);
	s.f->agent.verdict.status = STINT_ENOMEM;
	fake_agent_unlock(&s.f->agent);
	assert_int_equal(stint_check_all(s.part, PARTS, &s.f->r), STINT_ENOMEM);
	assert_string_equal(stint_error_detail(), "part 1: policy \"patient\": out of memory");
	assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, see_detail, s.f), 0);
	loop(s.f, 1);
	assert_int_equal(s.f->status, STINT_ENOMEM);
	expect_credits(&s, CREDITS(5, -1, 7));
}

/* ---- Without the agent ------------------------------------------------------------------------ */

/* The process decides about the client that the table doesn't know; what it denies is taken of nobody. */
static void what_the_process_denies_is_put_back(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *one =
		limiter_new(f, (struct stint_options){.timeout_ms = 1, .local_max_requests = 1, .policy = "one"});
	struct scene s = scene_of(f, CREDITS(5, 9, -1));
	s.part[2].limiter = one;
	fake_agent_stop(&f->agent);
	while (stint_check(one, "another", 1, &f->r) != 0 || f->r.reason == STINT_UNAVAILABLE)
		; /* until it is missed for long enough */
	assert_int_equal(stint_check_all(s.part, PARTS, &f->r), 0);
	assert_true(f->r.allowed);
	assert_int_equal(f->r.part, 2);
	assert_int_equal(f->r.source, STINT_SOURCE_LOCAL);
	expect_credits(&s, CREDITS(4, 8, -1));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_check_all(s.part, PARTS, &f->r), 0);
		assert_false(f->r.allowed);
		assert_int_equal(f->r.part, 2);
		expect_credits(&s, CREDITS(4, 8, -1));
	}
	stint_limiter_free(one);
}

/* Two that the process decides about: the first has room, the second hasn't. */
static void what_the_process_counted_is_taken_back(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *two =
		limiter_new(f, (struct stint_options){.timeout_ms = 1, .local_max_requests = 2, .policy = "two"});
	struct stint_limiter *one =
		limiter_new(f, (struct stint_options){.timeout_ms = 1, .local_max_requests = 1, .policy = "one"});
	struct stint_part parts[] = {{two, "c", 1, 1, 0}, {one, "c", 1, 1, 0}};
	assert_int_equal(stint_check_all(parts, 2, &f->r), 0);
	assert_true(f->r.allowed);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(stint_check_all(parts, 2, &f->r), 0);
		assert_false(f->r.allowed);
		assert_int_equal(f->r.part, 1);
	}
	assert_int_equal(stint_peek(two, "c", 1, &f->r), 0);
	assert_int_equal(f->r.remaining, 1);
	assert_int_equal(stint_check_all_async(parts, 1, &f->r, count, f), 1);
	assert_true(f->r.allowed);
	stint_limiter_free(one);
	stint_limiter_free(two);
}

static void an_agent_that_does_not_answer_is_waited_for_once(void **state) {
	struct fixture *f = *state;
	struct stint_limiter *hasty = limiter_new(f, (struct stint_options){.timeout_ms = 50, .policy = "hasty"});
	struct scene s = scene_of(f, CREDITS(5, -1, -1));
	s.part[2].limiter = hasty; /* the shortest timeout is everybody's */
	set(f, &f->agent.mute, true);
	assert_int_equal(stint_check_all(s.part, PARTS, &f->r), 0);
	assert_false(f->r.allowed);
	assert_int_equal(f->r.reason, STINT_UNAVAILABLE);
	assert_int_equal(f->r.part, 1);
	expect_credits(&s, CREDITS(5, -1, -1));
	stint_limiter_free(hasty);
}

/* ---- Cancelled ---------------------------------------------------------------------------------- */

static void it_can_be_cancelled(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, -1, -1));
	set(s.f, &s.f->agent.mute, true);
	assert_int_equal(stint_check_all_async(s.part, PARTS, &s.f->r, count, s.f), 0);
	assert_int_equal(stint_cancel(s.f->st, s.f->r.ticket), 1);
	assert_int_equal(s.f->called, 1);
	assert_int_equal(s.f->status, STINT_ECANCELED);
	expect_credits(&s, CREDITS(5, -1, -1));
}

/* Whichever part the agent is asked about. */
static void freeing_any_of_its_limiters_cancels_it(void **state) {
	struct fixture *f = *state;
	struct scene s = scene_of(f, CREDITS(5, -1, 9));
	struct stint_limiter *other = limiter_new(f, (struct stint_options){.policy = "other", .timeout_ms = 60000});
	s.part[2].limiter = other;
	set(f, &f->agent.mute, true);
	assert_int_equal(stint_check_all_async(s.part, PARTS, &f->r, count, f), 0);
	stint_limiter_free(other);
	assert_int_equal(f->called, 1);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_int_equal(stint_check_all_async(s.part, 2, &f->r, count, f), 0); /* closing frees this one */
}

static int status_of_more;

/* Asks about another limiter's client, which is cold, and one of the limiter that is being freed. */
static void start_one_more(int status, const struct stint_result *result, void *arg) {
	struct scene *s = arg;
	struct stint_result r;
	(void)result;
	assert_int_equal(status, STINT_ECANCELED);
	status_of_more = stint_check_all_async(s->part, 2, &r, count, s->f);
	s->f->called++;
}

/* Its answer would come when the limiter isn't there any more. */
static void none_begins_while_one_of_its_limiters_is_being_freed(void **state) {
	struct fixture *f = *state;
	struct scene s = scene_of(f, CREDITS(5, -1, -1));
	struct stint_limiter *other = limiter_new(f, (struct stint_options){.policy = "other", .timeout_ms = 60000});
	assert_true(stint_is_allowed(other, "c"));
	s.part[0].limiter = other;
	set(f, &f->agent.mute, true);
	assert_int_equal(stint_check_async(other, "cold", 1, &f->r, start_one_more, &s), 0);
	stint_limiter_free(other);
	assert_int_equal(f->called, 1);
	assert_int_equal(status_of_more, STINT_ECANCELED);
}

/* ---- Forks ----------------------------------------------------------------------------------------- */

static void cancel(void *arg) {
	struct fixture *f = arg;
	stint_cancel(f->st, f->r.ticket);
}

/* What the children have shown. */
static struct {
	bool was_in_program;
	int count, failed;
} children;

/* As if another thread forked, when a function of the C library has just returned: the library itself sees to it
 * that a fork finds it in order. */
static void close_in_child(void *arg) {
	struct fixture *f = arg;
	bool returns = !children.was_in_program && interrupt_is_in_program();
	int status = 0;
	children.was_in_program = interrupt_is_in_program();
	if (!returns)
		return;
	pid_t child = fork();
	if (child == 0) {
		stint_close(f->st);
		_exit(0);
	}
	waitpid(child, &status, 0);
	children.count++;
	children.failed += status != 0;
}

static void a_fork_frees_nothing_twice(void **state) {
	struct fixture *f = *state;
	interrupt_or_skip();
	struct scene s = scene_of(f, CREDITS(5, -1, -1));
	set(f, &f->agent.mute, true);
	assert_int_equal(stint_check_all_async(s.part, PARTS, &f->r, count, f), 0);
	interrupt_often(cancel, close_in_child, f);
	assert_int_equal(f->status, STINT_ECANCELED);
	assert_true(children.count > 3);
	assert_int_equal(children.failed, 0);
}

/* ---- Arguments ----------------------------------------------------------------------------------- */

static void bad_parts_are_refused(void **state) {
	struct fixture *f = *state;
	struct stint_part parts[STINT_PARTS_MAX + 1];
	for (size_t i = 0; i < STINT_PARTS_MAX + 1; i++)
		parts[i] = (struct stint_part){f->api, "abcdefghijklmnopqrstuvwxyz" + i, 1, 1, 0};

	assert_int_equal(stint_check_all(parts, 0, &f->r), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "0 parts, must be 1 to 16");
	assert_int_equal(stint_check_all(parts, STINT_PARTS_MAX + 1, &f->r), STINT_ERANGE);
	parts[2].client_id = "a";
	assert_int_equal(stint_check_all(parts, 3, &f->r), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "parts 0 and 2 are the same client of policy \"api\"");
	parts[2].limiter = f->patient;
	parts[1].cost = 0;
	assert_int_equal(stint_check_all(parts, 3, &f->r), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "part 1: cost is 0, must be 1 to 1000000000");
	parts[1].cost = 1;
	parts[1].length = 0;
	assert_int_equal(stint_check_all_async(parts, 3, &f->r, count, f), STINT_ECLIENT);
	assert_non_null(strstr(stint_error_detail(), "part 1: client_id"));
	parts[1].length = 1;
	parts[1].limiter = NULL;
	assert_int_equal(stint_check_all(parts, 3, &f->r), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "part 1: limiter is NULL");
	assert_int_equal(wants(f), 0);
}

static void a_part_of_another_attachment_is_refused(void **state) {
	struct fixture *f = *state;
	struct stint *other;
	struct stint_limiter *elsewhere;
	assert_int_equal(stint_open(&other, f->agent.path), 0);
	assert_int_equal(stint_limiter_new(&elsewhere, other,
	                                   &(struct stint_options){.policy = "api",
	                                                           .max_requests = 1,
	                                                           .time_window_ms = 1000}),
	                 0);
	const struct stint_part parts[] = {{f->api, "a", 1, 1, 0}, {elsewhere, "b", 1, 1, 0}};
	assert_int_equal(stint_check_all(parts, 2, &f->r), STINT_ERANGE);
	assert_non_null(strstr(stint_error_detail(), "part 1: its limiter is of another attachment"));
	stint_limiter_free(elsewhere);
	stint_close(other);
	assert_int_equal(wants(f), 0);
}

static void sizes_of_no_version_are_refused(void **state) {
	struct fixture *f = *state;
	const struct stint_part parts[] = {{f->api, "a", 1, 1, 0}, {f->api, "b", 1, 1, 0}};
	const size_t part_sizes[] = {0, 8, sizeof(parts[0]) - 1, sizeof(parts[0]) + 4, 1000, SIZE_MAX / 2, SIZE_MAX};
	for (size_t i = 0; i < sizeof(part_sizes) / sizeof(*part_sizes); i++)
		assert_int_equal(stint_check_all_sized(parts, part_sizes[i], 2, &f->r, sizeof(f->r)), STINT_EVERSION);
	assert_int_equal(stint_check_all_sized(parts, sizeof(parts[0]), 1, &f->r, 8), STINT_EVERSION);
	assert_int_equal(wants(f), 0);
}

/* What a later stint.h might have. */
struct later_part {
	struct stint_part known;
	int64_t unknown;
};

static void parts_of_a_later_app_are_told_apart(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, 9, 7));
	struct later_part parts[PARTS];
	for (int i = 0; i < PARTS; i++)
		parts[i] = (struct later_part){s.part[i], 0};
	assert_int_equal(stint_check_all_sized(&parts[0].known, sizeof(parts[0]), PARTS, &s.f->r, sizeof(s.f->r)), 0);
	assert_true(s.f->r.allowed);
	expect_credits(&s, CREDITS(4, 8, 6));
}

/* Of the last part, so that each one is looked at; its highest byte, so that all of it is. */
static void a_field_of_a_part_that_is_not_known_must_be_0(void **state) {
	struct scene s = scene_of(*state, CREDITS(5, 9, 7));
	struct later_part parts[PARTS];
	for (int i = 0; i < PARTS; i++)
		parts[i] = (struct later_part){s.part[i], 0};
	parts[2].unknown = INT64_MIN;
	const struct stint_part *first = &parts[0].known;
	assert_int_equal(stint_check_all_sized(first, sizeof(parts[0]), PARTS, &s.f->r, sizeof(s.f->r)), STINT_ERANGE);
	assert_string_equal(stint_error_detail(),
	                    "part 2: a field is set that version " STINT_VERSION " doesn't know");
	assert_int_equal(stint_check_all_async_sized(first, sizeof(parts[0]), PARTS, &s.f->r, sizeof(s.f->r), count,
	                                             s.f),
	                 STINT_ERANGE);
	expect_credits(&s, CREDITS(5, 9, 7));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(all_take_their_cost_and_nobody_is_asked),
		TEST(when_one_denies_nothing_is_taken),
		TEST(the_longest_denial_is_told),
		TEST(a_denial_asks_nobody),
		TEST(the_agent_provides_what_the_table_lacks),
		TEST(the_agent_provides_for_who_does_not_wait),
		TEST(what_the_agent_denies_is_denied),
		TEST(an_error_of_one_part_is_the_checks),
		TEST(what_the_process_denies_is_put_back),
		TEST_ABSENT(what_the_process_counted_is_taken_back),
		TEST(an_agent_that_does_not_answer_is_waited_for_once),
		TEST(it_can_be_cancelled),
		TEST(freeing_any_of_its_limiters_cancels_it),
		TEST(none_begins_while_one_of_its_limiters_is_being_freed),
		TEST(a_fork_frees_nothing_twice),
		TEST(bad_parts_are_refused),
		TEST(a_part_of_another_attachment_is_refused),
		TEST(sizes_of_no_version_are_refused),
		TEST(parts_of_a_later_app_are_told_apart),
		TEST(a_field_of_a_part_that_is_not_known_must_be_0),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
