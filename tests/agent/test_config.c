/*
 * test_config.c - the configuration: each key from the file and from the environment, defaults, and errors that
 * name what is wrong and what would be right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "log.h"

static char path[] = "/tmp/stint-test-config.XXXXXX";
static struct config config;
static char error[CONFIG_ERROR_MAX];

static int make(void **state) {
	(void)state;
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int clean(void **state) {
	(void)state;
	return unlink(path);
}

static int load(const char *text) {
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	return config_load(&config, path, error);
}

static void expect_fine(const char *text) {
	if (load(text) != 0)
		fail_msg("%s: %s", text, error);
}

/* The error names all these parts. */
static void expect_error(const char *text, const char *first, const char *second) {
	assert_int_equal(load(text), -1);
	if (!strstr(error, first) || !strstr(error, second))
		fail_msg("\"%s\" says neither \"%s\" nor \"%s\"", error, first, second);
	assert_null(strchr(error, '\n'));
}

#define GOOD "[stint]\ndatabase = memory:\n"

static void defaults_are_those_of_the_list(void **state) {
	(void)state;
	expect_fine(GOOD);
	assert_string_equal(config.socket, "/run/stint/agent.sock");
	assert_string_equal(config.shm, "/stint");
	assert_string_equal(config.log_level, "info");
	assert_int_equal(config_log_level(&config), LOG_LEVEL_INFO);
	assert_int_equal(config.max_clients, 262144);
	assert_int_equal(config.database_timeout_ms, 500);
	assert_int_equal(config.idle_timeout_s, 300);
	assert_true(config_is_memory(&config));
	assert_false(config_keeps_commit(&config));
	assert_false(config_is_pooled(&config));
	char host[256] = "";
	gethostname(host, sizeof(host) - 1);
	assert_string_equal(config.host, host);
}

static void every_key_can_be_set(void **state) {
	(void)state;
	expect_fine(
		"[stint]\nsocket=/tmp/s\nshm = /other\ndatabase = host=db dbname=app\nhost = web-1\nmax_clients = 16\n"
		"database_timeout_ms = 60000\nidle_timeout_s = 1\nlog_level = debug\nsynchronous_commit = keep\n"
		"pooler = transaction\nmetrics_listen = [::1]:9393\n");
	assert_string_equal(config.metrics_listen, "[::1]:9393");
	assert_true(config_is_pooled(&config));
	assert_true(config_keeps_commit(&config));
	assert_string_equal(config.socket, "/tmp/s");
	assert_string_equal(config.shm, "/other");
	assert_string_equal(config.database, "host=db dbname=app");
	assert_string_equal(config.host, "web-1");
	assert_int_equal(config.max_clients, 16);
	assert_int_equal(config.database_timeout_ms, 60000);
	assert_int_equal(config.idle_timeout_s, 1);
	assert_int_equal(config_log_level(&config), LOG_LEVEL_DEBUG);
	assert_false(config_is_memory(&config));
}

static void numbers_have_a_range_and_say_so(void **state) {
	(void)state;
	size_t count;
	const struct config_key *keys = config_keys(&count);
	for (size_t i = 0; i < count; i++) {
		char text[200], range[64];
		if (keys[i].size)
			continue;
		snprintf(range, sizeof(range), "from %lld to %lld", (long long)keys[i].least, (long long)keys[i].most);
		const char *bad[] = {"", "x", "1x", "1 2", "0x20", "1e3", "99999999999999999999", "-1", "0"};
		for (size_t b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
			snprintf(text, sizeof(text), GOOD "%s = %s\n", keys[i].name, bad[b]);
			expect_error(text, keys[i].name, range);
		}
		for (int over = 0; over < 2; over++) {
			snprintf(text, sizeof(text), GOOD "%s = %lld\n", keys[i].name,
			         (long long)(over ? keys[i].most + 1 : keys[i].least - 1));
			expect_error(text, keys[i].name, range);
			snprintf(text, sizeof(text), GOOD "%s = %lld\n", keys[i].name,
			         (long long)(over ? keys[i].most : keys[i].least));
			expect_fine(text);
		}
	}
}

static void texts_that_do_not_fit_are_refused(void **state) {
	(void)state;
	size_t count;
	const struct config_key *keys = config_keys(&count);
	for (size_t i = 0; i < count; i++) {
		char name[64] = "STINT_", *value = calloc(1, keys[i].size + 1);
		assert_non_null(value);
		for (size_t k = 0; keys[i].name[k]; k++)
			name[6 + k] = (char)(keys[i].name[k] == '_' ? '_' : keys[i].name[k] - 'a' + 'A');
		if (keys[i].size) {
			memset(value, 'x', keys[i].size);
			setenv(name, value, 1);
			expect_error(GOOD, name, "at most");
			unsetenv(name);
		}
		free(value);
	}
}

static void what_makes_no_sense_is_refused(void **state) {
	(void)state;
	expect_error("[stint]\n", "database", "memory:");
	expect_error(GOOD "socket = relative\n", "socket", "relative");
	expect_error(GOOD "shm = noslash\n", "shm", "noslash");
	expect_error(GOOD "shm = /\n", "shm", "slash");
	expect_error(GOOD "shm = /a/b\n", "shm", "/a/b");
	expect_error(GOOD "log_level = loud\n", "log_level", "loud");
	expect_error(GOOD "synchronous_commit = off\n", "synchronous_commit", "on or keep");
	expect_error(GOOD "pooler = session\n", "pooler is \"session\"", "must be none or transaction");
	expect_error(GOOD "pooler =\n", "pooler is \"\"", "must be none or transaction");
	expect_fine(GOOD "pooler = none\n");
	expect_error(GOOD "metrics_listen = 0.0.0.0:9393\n", "metrics_listen is \"0.0.0.0:9393\"", "loopback");
	expect_error(GOOD "metrics_listen = relative\n", "metrics_listen is \"relative\"", "absolute path");
	expect_error(GOOD "socket = /a/b\nmetrics_listen = /a/b\n", "metrics_listen is \"/a/b\"",
	             "another path than socket");
	expect_fine(GOOD "metrics_listen = 127.0.0.1:9393\n");
	expect_fine(GOOD "metrics_listen = /run/stint/metrics.sock\n");
	assert_false(config_is_pooled(&config));
	expect_error(GOOD "host = two words\n", "host", "two words");
	expect_error(GOOD "host = caf\xe9\n", "host", "UTF-8");
	expect_fine(GOOD "host = caf\xc3\xa9\n");
	expect_error("[stint]\ndatabase = memory\n", "database", "memory:");
	expect_error("[stint]\ndatabase = hots=db\n", "database", "hots");
}

static void what_is_unknown_is_named_with_its_line(void **state) {
	(void)state;
	expect_error(GOOD "max_client = 5\n", "max_client", ":3:");
	expect_error("[other]\nx = 1\n", "[other]", ":2:");
	expect_error("database = memory:\n", "[stint]", ":1:");
	expect_error(GOOD "\n# fine\nnonsense\n", ":5:", "key = value");
}

static void the_first_bad_line_is_named(void **state) {
	(void)state;
	expect_error(GOOD "  indented = 1\nnonsense\n", ":3:", "begins with a blank");
	expect_fine(GOOD "  \n\t\n"); /* nothing is indented there */
	expect_error(GOOD "nonsense\n  indented = 1\n", ":3:", "key = value");
}

static void only_the_last_line_may_go_without_an_end(void **state) {
	char text[512] = GOOD "host = ";
	size_t length = strlen(text);
	(void)state;
	expect_fine(GOOD "host = last");
	assert_string_equal(config.host, "last");
	memset(text + length, 'x', 300);
	memcpy(text + length + 300, "\n", 2);
	expect_error(text, ":3:", "longer than 198 bytes");
}

static void a_file_that_is_not_there_is_named(void **state) {
	(void)state;
	assert_int_equal(config_load(&config, "/nonexistent/stint.conf", error), -1);
	assert_non_null(strstr(error, "/nonexistent/stint.conf"));
}

static void the_environment_wins(void **state) {
	(void)state;
	setenv("STINT_MAX_CLIENTS", "99", 1);
	setenv("STINT_HOST", "env", 1);
	expect_fine(GOOD "max_clients = 50\nhost = file\n");
	assert_int_equal(config.max_clients, 99);
	assert_string_equal(config.host, "env");
	setenv("STINT_MAX_CLIENTS", "many", 1);
	expect_error(GOOD, "STINT_MAX_CLIENTS", "many");
	unsetenv("STINT_MAX_CLIENTS");
	unsetenv("STINT_HOST");
	setenv("STINT_DATABASE", "memory:", 1);
	assert_int_equal(config_load(&config, NULL, error), 0); /* no file at all */
	unsetenv("STINT_DATABASE");
}

/* Complaints go to logs, which more people read than the file. */
static void complaints_do_not_tell_passwords(void **state) {
	static const char *const wrong[] = {
		"postgres://app:opensesame@db:port/app",
		"postgresql://app:open%ZZsesame@db/app",
		"postgres://app:opensesame@[::1/app",
		"host=db password=very opensesame",
		"host=db opensesame",
	};
	char text[512], long_one[4096] = "host=db password=opensesame options=";
	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		snprintf(text, sizeof(text), "[stint]\ndatabase = %s\n", wrong[i]);
		if (load(text) == 0) /* libpq sees no mistake */
			continue;
		assert_non_null(strstr(error, "database"));
		if (strstr(error, "sesame"))
			fail_msg("%s", error);
	}
	memset(long_one + strlen(long_one), 'x', 3000);
	setenv("STINT_DATABASE", long_one, 1);
	assert_int_equal(config_load(&config, NULL, error), -1);
	unsetenv("STINT_DATABASE");
	assert_non_null(strstr(error, "2047"));
	assert_null(strstr(error, "sesame"));
}

static bool is_exposed(const char *text, mode_t mode) {
	expect_fine(text);
	assert_int_equal(chmod(path, mode), 0);
	bool exposed = config_is_exposed(&config, path);
	assert_int_equal(chmod(path, 0600), 0);
	return exposed;
}

static void a_password_open_to_everybody_is_noticed(void **state) {
	(void)state;
	assert_true(is_exposed("[stint]\ndatabase = host=db password=x\n", 0644));
	assert_true(is_exposed("[stint]\ndatabase = postgres://app:x@db/app\n", 0644));
	assert_true(is_exposed("[stint]\ndatabase = host=db password=x\n", 0602));
	assert_false(is_exposed("[stint]\ndatabase = host=db password=x\n", 0640));
	assert_false(is_exposed("[stint]\ndatabase = host=db passfile=/etc/stint/pgpass\n", 0644));
	assert_false(is_exposed(GOOD, 0644));
	setenv("STINT_DATABASE", "host=db password=x", 1); /* it isn't in the file */
	assert_false(is_exposed(GOOD, 0644));
	unsetenv("STINT_DATABASE");
}

/* What the help prints and what the example says come from the same list. */
static void the_example_is_right(void **state) {
	(void)state;
	assert_int_equal(config_load(&config, "agent/stint.conf.example", error), 0);
	assert_false(config_is_memory(&config));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_those_of_the_list),
		cmocka_unit_test(every_key_can_be_set),
		cmocka_unit_test(numbers_have_a_range_and_say_so),
		cmocka_unit_test(texts_that_do_not_fit_are_refused),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(what_is_unknown_is_named_with_its_line),
		cmocka_unit_test(the_first_bad_line_is_named),
		cmocka_unit_test(only_the_last_line_may_go_without_an_end),
		cmocka_unit_test(a_file_that_is_not_there_is_named),
		cmocka_unit_test(the_environment_wins),
		cmocka_unit_test(complaints_do_not_tell_passwords),
		cmocka_unit_test(a_password_open_to_everybody_is_noticed),
		cmocka_unit_test(the_example_is_right),
	};
	return cmocka_run_group_tests(tests, make, clean);
}
