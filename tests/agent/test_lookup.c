/*
 * test_lookup.c - names of servers are looked up beside the loop: errand.h, lookup.h, endpoints.h.
 */
#include "name_service_fixture.h"

/* ---- One name ------------------------------------------------------------------------- */

static struct lookup *look_up(const char *name) {
	int fd = eventfd(0, EFD_CLOEXEC);
	struct lookup *lookup;
	assert_int_equal(lookup_start(&lookup, name, fd), 0);
	wait_for(fd);
	close(fd);
	assert_true(lookup_is_over(lookup));
	return lookup;
}

static void a_lookup_finds_addresses_in_order(void **state) {
	(void)state;
	service.addresses = "fe80::1%lo 10.0.0.2 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
	struct lookup *lookup = look_up("db");
	assert_int_equal(lookup_count(lookup), 3);
	assert_string_equal(lookup_address(lookup, 0), "fe80::1%lo");
	assert_string_equal(lookup_address(lookup, 1), "10.0.0.2");
	assert_string_equal(lookup_address(lookup, 2), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	lookup_free(lookup);
}

static void more_addresses_than_fit_are_left_out(void **state) {
	char many[1024] = "";
	(void)state;
	for (int i = 0; i < LOOKUP_ADDRESSES_MAX + 4; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "10.0.1.%d ", i);
	service.addresses = many;
	struct lookup *lookup = look_up("db");
	assert_int_equal(lookup_count(lookup), LOOKUP_ADDRESSES_MAX);
	assert_string_equal(lookup_address(lookup, LOOKUP_ADDRESSES_MAX - 1), "10.0.1.15");
	lookup_free(lookup);
}

static void a_lookup_says_why_it_found_nothing(void **state) {
	(void)state;
	struct lookup *lookup = look_up("nobody");
	assert_int_equal(lookup_count(lookup), 0);
	assert_string_equal(lookup_error(lookup), gai_strerror(EAI_NONAME));
	lookup_free(lookup);
}

static void nobody_waits_for_a_lookup_that_hangs(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC);
	struct lookup *lookup;
	(void)state;
	set_silent(true);
	assert_int_equal(lookup_start(&lookup, "db", fd), 0);
	assert_false(lookup_is_over(lookup));
	lookup_free(lookup);
	close(fd); /* the lookup has a copy, to which it writes */
}

static void no_more_lookups_hang_than_are_allowed(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC), started = 0;
	struct lookup *lookup;
	(void)state;
	set_silent(true);
	while (started <= ERRANDS_MAX && lookup_start(&lookup, "db", fd) == 0) {
		lookup_free(lookup);
		started++;
	}
	assert_int_equal(started, ERRANDS_MAX);
	assert_int_equal(errno, EAGAIN);
	assert_null(lookup);
	set_silent(false);
	for (int i = 0; lookup_start(&lookup, "well", fd) != 0 && i < PATIENCE_MS; i++)
		usleep(1000);
	assert_non_null(lookup);
	while (!lookup_is_over(lookup))
		wait_for(fd);
	lookup_free(lookup);
	close(fd);
}

/* ---- All names of a connection string ---------------------------------------------------- */

static void each_address_becomes_an_endpoint(void **state) {
	struct endpoints *e = endpoints_of("host=db,/run/pg,10.9.9.9,backup port=1,2,3,4");
	(void)state;
	set_silent(true);
	look_up_until(e, endpoints_are_usable);
	expect_list(e, 0, "/run/pg,10.9.9.9", ",", "2,3");
	set_silent(false);
	wait_until_settled(e);
	expect_list(e, 0, "db,db,/run/pg,10.9.9.9,backup,backup", "10.0.0.1,10.0.0.2,,,10.0.0.1,10.0.0.2",
	            "1,1,2,3,4,4");
	expect_list(e, 1, "db,/run/pg,10.9.9.9,backup,backup,db", "10.0.0.2,,,10.0.0.1,10.0.0.2,10.0.0.1",
	            "1,2,3,4,4,1");
	expect_list(e, 6 * 1000 + 5, "backup,db,db,/run/pg,10.9.9.9,backup", "10.0.0.2,10.0.0.1,10.0.0.2,,,10.0.0.1",
	            "4,1,1,2,3,4");
	endpoints_free(e);
}

static void a_name_is_looked_up_once(void **state) {
	struct endpoints *e = endpoints_of("postgresql://db:5432,db:5433/stint");
	(void)state;
	wait_until_settled(e);
	assert_string_equal(endpoints_error(e), "");
	assert_int_equal(service.asked, 1);
	expect_list(e, 0, "db,db,db,db", "10.0.0.1,10.0.0.2,10.0.0.1,10.0.0.2", "5432,5432,5433,5433");
	endpoints_free(e);
}

static void what_needs_no_lookup_has_none(void **state) {
	static const struct {
		const char *conninfo, *host, *hostaddr, *port;
	} cases[] = {
		{"", "", "", "5432"},
		{"host=/run/pg", "/run/pg", "", "5432"},
		{"host=@abstract", "@abstract", "", "5432"},
		{"host=127.0.0.1,::1 port=7", "127.0.0.1,::1", ",", "7,7"},
		{"host=db hostaddr=10.1.1.1", "db", "10.1.1.1", "5432"},
		{"hostaddr=10.1.1.1,10.1.1.2", ",", "10.1.1.1,10.1.1.2", "5432,5432"},
		{"host=a,b hostaddr=10.1.1.1", "a,b", "10.1.1.1", "5432"}, /* libpq complains of it */
		{"host=a,b port=1,2,3", "a,b", "", "1,2,3"},
		{"nonsense=1", "", "", ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct endpoints *e = endpoints_of(cases[i].conninfo);
		wait_until_settled(e);
		expect_list(e, 0, cases[i].host, cases[i].hostaddr, cases[i].port);
		endpoints_free(e);
	}
	assert_int_equal(service.asked, 0);
}

static void a_part_of_the_list_may_have_its_address(void **state) {
	struct endpoints *e = endpoints_of("host=a,b hostaddr=10.1.1.1, port=5");
	(void)state;
	wait_until_settled(e);
	expect_list(e, 0, "a,b,b", "10.1.1.1,10.0.0.1,10.0.0.2", "5,5,5");
	endpoints_free(e);
}

static void addresses_are_remembered(void **state) {
	struct endpoints *e = endpoints_of("host=db");
	(void)state;
	assert_int_equal(endpoints_patience_ms(e, 500), 500);
	wait_until_settled(e);
	assert_int_equal(endpoints_patience_ms(e, 500), 250);
	assert_false(endpoints_are_remembered(e));
	set_silent(true);
	look_up_until(e, endpoints_are_usable);
	assert_false(endpoints_are_settled(e)); /* the name service may still answer */
	endpoints_settle(e);
	assert_true(endpoints_are_settled(e));
	assert_true(endpoints_are_remembered(e));
	assert_string_equal(endpoints_error(e), "db: the name servers don't answer");
	expect_list(e, 0, "db,db", "10.0.0.1,10.0.0.2", "5432,5432");
	look_up_until(e, endpoints_are_usable);
	assert_true(endpoints_are_settled(e)); /* nobody waits for the same name a second time */
	service.addresses = "10.0.0.9";
	set_silent(false);
	while (endpoints_are_remembered(e)) {
		wait_for(endpoints_fd(e));
		endpoints_read(e);
	}
	assert_string_equal(endpoints_error(e), "");
	expect_list(e, 0, "db", "10.0.0.9", "5432");
	assert_int_equal(service.asked, 2);
	endpoints_free(e);
}

static void addresses_survive_an_error(void **state) {
	struct endpoints *e = endpoints_of("host=db");
	(void)state;
	wait_until_settled(e);
	service.lost = true;
	wait_until_settled(e);
	assert_true(endpoints_are_remembered(e));
	assert_non_null(strstr(endpoints_error(e), gai_strerror(EAI_AGAIN)));
	expect_list(e, 0, "db,db", "10.0.0.1,10.0.0.2", "5432,5432");
	look_up_until(e, endpoints_are_usable);
	assert_true(endpoints_are_settled(e)); /* nobody waits for a name whose last lookup failed */
	endpoints_free(e);
}

static void an_unknown_name_leaves_nothing_to_connect_to(void **state) {
	struct endpoints *e = endpoints_of("host=nobody");
	(void)state;
	wait_until_settled(e);
	assert_false(endpoints_are_usable(e));
	assert_false(endpoints_are_remembered(e));
	endpoints_look_up(e);
	assert_false(endpoints_are_settled(e)); /* there is nothing to go on with */
	endpoints_free(e);
}

static void one_silent_name_does_not_keep_the_others(void **state) {
	struct endpoints *e = endpoints_of("host=silent,well");
	(void)state;
	set_silent(true);
	look_up_until(e, endpoints_are_usable);
	assert_false(endpoints_are_settled(e));
	endpoints_settle(e);
	assert_false(endpoints_are_remembered(e));
	expect_list(e, 0, "well,well", "10.0.0.1,10.0.0.2", "5432,5432");
	wait_until_settled(e);
	expect_list(e, 0, "well,well", "10.0.0.1,10.0.0.2", "5432,5432");
	endpoints_free(e);
}

/* Even an answer that came while nobody looked is taken. */
static void what_has_come_is_not_out(void **state) {
	struct endpoints *e = endpoints_of("host=db");
	(void)state;
	wait_until_settled(e);
	service.addresses = "10.0.0.9";
	look_up_until(e, endpoints_are_usable);
	while (errand_is_any())
		usleep(1000);
	endpoints_settle(e);
	assert_string_equal(endpoints_error(e), "");
	expect_list(e, 0, "db", "10.0.0.9", "5432");
	endpoints_free(e);
}

/* ---- What never ends ----------------------------------------------------------------------- */

/* An attempt to connect, so many seconds later. One server needs no lookup. */
static void look_up_after(struct endpoints *e, int64_t seconds) {
	later_s += seconds;
	look_up_until(e, endpoints_are_usable);
}

static void a_lookup_that_never_ends_is_given_up(void **state) {
	struct endpoints *e = endpoints_of("host=10.9.9.9,db port=1,2");
	(void)state;
	service.hang = 1;
	look_up_after(e, 0);
	wait_until_asked(1);
	endpoints_settle(e);
	look_up_after(e, ERRAND_HANGS_MS / 2000);
	assert_string_equal(endpoints_error(e), "db: the name servers don't answer");
	look_up_after(e, ERRAND_HANGS_MS / 1000);
	while (endpoints_error(e)[0] != '\0') {
		wait_for(endpoints_fd(e));
		endpoints_read(e);
	}
	expect_list(e, 0, "10.9.9.9,db,db", ",10.0.0.1,10.0.0.2", "1,2,2");
	end_all_errands();
	assert_int_equal(service.asked, 2);
	endpoints_free(e);
}

static void each_time_it_takes_twice_as_long(void **state) {
	const int64_t hangs_s = ERRAND_HANGS_MS / 1000;
	struct endpoints *e = endpoints_of("host=10.9.9.9,db");
	(void)state;
	service.hang = 3;
	look_up_after(e, 0);
	look_up_after(e, hangs_s);
	wait_until_asked(2);
	look_up_after(e, hangs_s);
	look_up_after(e, hangs_s);
	wait_until_asked(3);
	end_all_errands();
	assert_int_equal(service.asked, 3);
	endpoints_free(e);
}

static void no_more_are_given_up_than_are_allowed(void **state) {
	struct endpoints *e = endpoints_of("host=10.9.9.9,db");
	(void)state;
	service.hang = 1000;
	for (int i = 0; i < ERRANDS_GIVEN_UP_MAX + 5; i++)
		look_up_after(e, 3600);
	end_all_errands();
	assert_int_equal(service.asked, ERRANDS_GIVEN_UP_MAX + 1);
	endpoints_settle(e);
	assert_string_equal(endpoints_error(e), ""); /* the test has waited for the last one */
	set(&service.holding, true);                 /* the others don't count any more */
	service.asked = 0;
	service.hang = 1;
	look_up_after(e, 0);
	wait_until_asked(1);
	look_up_after(e, 3600);
	wait_until_asked(2);
	endpoints_free(e);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_lookup_finds_addresses_in_order),
		TEST(more_addresses_than_fit_are_left_out),
		TEST(a_lookup_says_why_it_found_nothing),
		TEST(nobody_waits_for_a_lookup_that_hangs),
		TEST(no_more_lookups_hang_than_are_allowed),
		TEST(each_address_becomes_an_endpoint),
		TEST(a_name_is_looked_up_once),
		TEST(what_needs_no_lookup_has_none),
		TEST(a_part_of_the_list_may_have_its_address),
		TEST(addresses_are_remembered),
		TEST(addresses_survive_an_error),
		TEST(an_unknown_name_leaves_nothing_to_connect_to),
		TEST(one_silent_name_does_not_keep_the_others),
		TEST(what_has_come_is_not_out),
		TEST(a_lookup_that_never_ends_is_given_up),
		TEST(each_time_it_takes_twice_as_long),
		TEST(no_more_are_given_up_than_are_allowed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
