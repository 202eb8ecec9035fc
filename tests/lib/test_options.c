/*
 * test_options.c - paths, options, ids and costs that are refused before the agent is asked; and how errors are
 * told.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client_id.h"
#include "stint.h"
#include "unit.h"

static const struct stint_options good = {.policy = "api", .max_requests = 10, .time_window_ms = 1000};

/* Tells what stint_limiter_new() says of these options. */
static int try_options(struct stint_options options) {
	struct stint *st;
	struct stint_limiter *limiter;
	int error;

	assert_int_equal(stint_open(&st, "/nonexistent/socket"), 0);
	error = stint_limiter_new(&limiter, st, &options);
	assert_true((error == 0) == (limiter != NULL));
	stint_limiter_free(limiter);
	stint_close(st);
	return error;
}

#define TRY(...) (options = good, __VA_ARGS__, try_options(options))

static void accepts_what_is_in_range(void **state) {
	struct stint_options options;

	(void)state;
	assert_int_equal(try_options(good), 0);
	assert_int_equal(TRY(options.max_requests = STINT_MAX_REQUESTS_MAX), 0);
	assert_int_equal(TRY(options.time_window_ms = STINT_TIME_WINDOW_MS_MIN), 0);
	assert_int_equal(TRY(options.time_window_ms = STINT_TIME_WINDOW_MS_MAX), 0);
	assert_int_equal(TRY(options.fallback_max_requests = STINT_FALLBACK_REQUESTS_MAX), 0);
	assert_int_equal(TRY(options.local_max_requests = STINT_FALLBACK_REQUESTS_MAX), 0);
	assert_int_equal(TRY(options.local_max_requests = STINT_DENY), 0);
	assert_int_equal(TRY(options.resolution = STINT_RESOLUTION_MAX), 0);
	assert_int_equal(TRY(options.algorithm = STINT_FIXED_WINDOW), 0);
	assert_int_equal(TRY(options.mode = STINT_RELAXED), 0);
	assert_int_equal(TRY(options.timeout_ms = STINT_TIMEOUT_MS_MAX), 0);
	assert_int_equal(TRY(options.policy = "A-z_0.9:/x"), 0);
	assert_int_equal(try_options((struct stint_options){.policy = "api", .must_exist = true}), 0);
}

static void refuses_what_is_out_of_range(void **state) {
	static const int64_t bad[] = {-1, INT64_MIN, INT64_MAX, INT64_C(1) << 31, -(INT64_C(1) << 31)};
	struct stint_options options;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(TRY(options.max_requests = bad[i]), STINT_ERANGE);
		assert_int_equal(TRY(options.fallback_max_requests = bad[i]), STINT_ERANGE);
		if (bad[i] != INT64_C(1) << 31)
			assert_int_equal(TRY(options.time_window_ms = bad[i]), STINT_ERANGE);
	}
	assert_int_equal(TRY(options.on_error = (enum stint_on_error)3), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "on_error is 3, must be 0 to 2");
	assert_int_equal(TRY(options.on_error = (enum stint_on_error)(-1)), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "on_error is -1, must be 0 to 2");
	assert_int_equal(TRY(options.algorithm = (enum stint_algorithm)(-1)), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "algorithm is -1, must be 0 to 1");
	assert_int_equal(TRY(options.mode = (enum stint_mode)(-1)), STINT_ERANGE);
	assert_string_equal(stint_error_detail(), "mode is -1, must be 0 to 1");
	assert_int_equal(TRY(options.local_max_requests = -2), STINT_ERANGE);
	assert_non_null(strstr(stint_error_detail(), "local_max_requests is -2, must be 1 to"));
	assert_int_equal(TRY(options.local_max_requests = STINT_FALLBACK_REQUESTS_MAX + 1), STINT_ERANGE);
	assert_int_equal(TRY(options.max_requests = 0), STINT_ERANGE);
	assert_int_equal(TRY(options.time_window_ms = 0), STINT_ERANGE);
	assert_int_equal(TRY(options.time_window_ms = STINT_TIME_WINDOW_MS_MIN - 1), STINT_ERANGE);
	assert_int_equal(TRY(options.time_window_ms = STINT_TIME_WINDOW_MS_MAX + 1), STINT_ERANGE);
	assert_int_equal(TRY(options.fallback_time_window_ms = 99), STINT_ERANGE);
	assert_int_equal(TRY(options.resolution = 61), STINT_ERANGE);
	assert_int_equal(TRY(options.resolution = -1), STINT_ERANGE);
	assert_int_equal(TRY(options.timeout_ms = -1), STINT_ERANGE);
	assert_int_equal(TRY(options.timeout_ms = STINT_TIMEOUT_MS_MAX + 1), STINT_ERANGE);
	assert_int_equal(TRY(options.algorithm = (enum stint_algorithm)2), STINT_ERANGE);
	assert_int_equal(TRY(options.mode = (enum stint_mode)7), STINT_ERANGE);
}

static void refuses_sub_windows_too_short(void **state) {
	struct stint_options options;

	(void)state;
	assert_int_equal(TRY(options.time_window_ms = 100, options.resolution = 12), STINT_ERANGE);
	assert_int_equal(TRY(options.time_window_ms = 100, options.resolution = 11), 0); /* ceil(100 / 11) is 10 */
	assert_int_equal(TRY(options.time_window_ms = 100, options.resolution = 60,
	                     options.algorithm = STINT_FIXED_WINDOW),
	                 0);
}

static void refuses_policy_names(void **state) {
	char longest[STINT_POLICY_NAME_MAX + 2];
	struct stint_options options;

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[STINT_POLICY_NAME_MAX + 1] = '\0';
	assert_int_equal(TRY(options.policy = longest), STINT_EPOLICY);
	longest[STINT_POLICY_NAME_MAX] = '\0';
	assert_int_equal(TRY(options.policy = longest), 0);
	assert_int_equal(TRY(options.policy = NULL), STINT_EPOLICY);
	assert_int_equal(TRY(options.policy = ""), STINT_EPOLICY);
	assert_int_equal(TRY(options.policy = "two words"), STINT_EPOLICY);
	assert_int_equal(TRY(options.policy = "a'b"), STINT_EPOLICY);
	assert_int_equal(TRY(options.policy = "\xc3\xa9"), STINT_EPOLICY);
}

static void refuses_paths(void **state) {
	char path[200];
	struct stint *st;

	(void)state;
	memset(path, 'p', sizeof(path));
	path[107] = '\0';
	assert_int_equal(stint_open(&st, path), 0);
	stint_close(st);
	path[107] = 'p';
	path[108] = '\0';
	assert_int_equal(stint_open(&st, path), STINT_EPATH);
	assert_null(st);
	assert_int_equal(stint_open(&st, ""), STINT_EPATH);
	setenv("STINT_SOCKET", "", 1);
	assert_int_equal(stint_open(&st, NULL), STINT_EPATH);
	unsetenv("STINT_SOCKET");
	assert_int_equal(stint_open(&st, NULL), 0);
	stint_close(st);
	stint_close(NULL);
	stint_limiter_free(NULL);
}

/* Each sequence is tried by itself, after an ASCII letter and behind more than eight of them. */
static void assert_id(const char *bytes, bool valid) {
	char id[64];
	const char *before[] = {"", "a", "abcdefghij"};

	for (int i = 0; i < 3; i++) {
		strcpy(id, before[i]);
		strcat(id, bytes);
		assert_int_equal(client_id_length(id), valid ? strlen(id) : 0);
		strcat(id, "z");
		assert_int_equal(client_id_length(id), valid ? strlen(id) : 0);
	}
}

static void knows_utf8(void **state) {
	static const char *const good_ids[] = {"x",
	                                       "\x7f",
	                                       "\xc2\x80",
	                                       "\xdf\xbf",
	                                       "\xe0\xa0\x80",
	                                       "\xed\x9f\xbf",
	                                       "\xee\x80\x80",
	                                       "\xef\xbf\xbf",
	                                       "\xf0\x90\x80\x80",
	                                       "\xf4\x8f\xbf\xbf",
	                                       "o'brien",
	                                       "\"quoted\"",
	                                       "a\nb",
	                                       "\t",
	                                       "\\",
	                                       "{1,2}",
	                                       "naïve-日本-🦊"};
	static const char *const bad_ids[] = {"\x80",
	                                      "\xbf",
	                                      "\xfe",
	                                      "\xff", /* never a lead byte */
	                                      "\xc0\x80",
	                                      "\xc1\xbf",
	                                      "\xe0\x80\x80",
	                                      "\xe0\x9f\xbf", /* overlong */
	                                      "\xf0\x80\x80\x80",
	                                      "\xf0\x8f\xbf\xbf",
	                                      "\xf8\x88\x80\x80\x80", /* overlong, five bytes */
	                                      "\xed\xa0\x80",
	                                      "\xed\xbf\xbf",
	                                      "\xed\xa0\xbd\xed\xb8\x80", /* surrogates */
	                                      "\xf4\x90\x80\x80",
	                                      "\xf5\x80\x80\x80", /* above U+10FFFF */
	                                      "\xc3",
	                                      "\xe2\x82",
	                                      "\xf0\x9f\xa6",
	                                      "\xe2\x28\xa1",
	                                      "\xc3\x28",
	                                      "\xf0\x28\x8c\xbc"}; /* cut short */

	(void)state;
	for (unsigned i = 0; i < sizeof(good_ids) / sizeof(good_ids[0]); i++)
		assert_id(good_ids[i], true);
	for (unsigned i = 0; i < sizeof(bad_ids) / sizeof(bad_ids[0]); i++)
		assert_id(bad_ids[i], false);
}

static void bounds_ids(void **state) {
	char id[65537];

	(void)state;
	assert_int_equal(client_id_length(NULL), 0);
	assert_int_equal(client_id_length(""), 0);
	memset(id, 'i', sizeof(id));
	id[65536] = '\0';
	assert_int_equal(client_id_length(id), 0);
	id[256] = '\0';
	assert_int_equal(client_id_length(id), 0);
	id[255] = '\0';
	assert_int_equal(client_id_length(id), 255);
	memcpy(id + 253, "\xe2\x82", 2); /* cut in the middle of a character at the limit */
	assert_int_equal(client_id_length(id), 0);
}

/* Ids are looked at by whole vectors: whatever is before and behind them must neither count nor be missed. */
static void finds_the_end_anywhere(void **state) {
	long page = sysconf(_SC_PAGESIZE);
	char *pages = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *border = pages + page;

	(void)state;
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(border, (size_t)page, PROT_NONE), 0);
	for (size_t length = 1; length <= 256; length++)
		for (size_t behind = 0; behind < 40; behind += 1 + length / 64) {
			char *id = border - behind - length - 1;

			memset(border - 400, '\xff', 400); /* this is no end, and no text either */
			memset(id, 'i', length);
			id[length] = '\0';
			assert_int_equal(client_id_length(id), length <= 255 ? length : 0);
			id[length - 1] = '\xff';
			assert_int_equal(client_id_length(id), 0);
		}
	memset(border - 256, 'i', 256); /* no end before the border: 256 bytes are enough to say so */
	assert_int_equal(client_id_length(border - 256), 0);
	munmap(pages, (size_t)page * 2);
}

/* With a length the id need not end with a NUL, and what comes behind it is none of its bytes. */
static void knows_ids_by_their_length(void **state) {
	char id[300];

	(void)state;
	for (size_t length = 1; length <= 256; length++)
		for (size_t at = 0; at < 8; at++) {
			char *begin = id + at;

			memset(id, '\xff', sizeof(id));
			memset(begin, 'i', length);
			assert_int_equal(client_id_is_valid(begin, length), length <= 255);
			begin[length - 1] = '\0';
			assert_false(client_id_is_valid(begin, length));
			begin[length - 1] = '\xc3';
			assert_false(client_id_is_valid(begin, length));
			if (length >= 2) {
				memcpy(begin + length - 2, "\xc3\xa4", 2);
				assert_int_equal(client_id_is_valid(begin, length), length <= 255);
				begin[0] = '\0';
				assert_false(client_id_is_valid(begin, length));
			}
		}
	assert_false(client_id_is_valid("i", 0));
	assert_false(client_id_is_valid(NULL, 1));
	assert_false(client_id_is_valid(NULL, 15));      /* ids of this length are looked at in place */
	assert_false(client_id_is_valid("i\x01\0i", 4)); /* a byte of 1 behind a NUL looks like another NUL */
	assert_true(client_id_is_valid("\x01\x01\x01\x01\x01\x01\x01\x01", 8));
}

static void an_id_with_a_nul_is_no_other_client(void **state) {
	struct stint_limiter *limiter;
	struct stint_result result;
	struct stint *st;

	(void)state;
	assert_int_equal(stint_open(&st, "/nonexistent/socket"), 0);
	assert_int_equal(stint_limiter_new(&limiter, st, &good), 0);
	assert_int_equal(stint_check_n(limiter, "a\0b", 3, 1, &result), STINT_ECLIENT);
	assert_non_null(strstr(stint_error_detail(), "NUL"));
	assert_int_equal(stint_try_n(limiter, "a\0b", 3, 1, &result), STINT_ECLIENT);
	assert_int_equal(stint_check_async_n(limiter, "a\0b", 3, 1, &result, NULL, NULL), STINT_ECLIENT);
	assert_false(stint_is_allowed_n(limiter, "a\0b", 3));
	assert_true(stint_is_allowed_n(limiter, "ab", 1)); /* the process itself decides, which counts ... */
	assert_int_equal(stint_check(limiter, "a", 1, &result), 0);
	assert_int_equal(result.remaining, result.limit - 2); /* ... this as the same client */
	stint_limiter_free(limiter);
	stint_close(st);
}

/* Checks the id as bytes, or as a string if length is STINT_STRING, and returns what is said of it. */
static const char *complaint(struct stint_limiter *limiter, const char *id, size_t length, uint32_t cost) {
	struct stint_result result;
	assert_true(stint_check_n(limiter, id, length, cost, &result) < 0);
	return stint_error_detail();
}

static void each_refusal_says_which_rule_is_broken(void **state) {
	char id[257];
	struct stint_limiter *limiter;
	struct stint *st;

	(void)state;
	memset(id, 'i', 256);
	id[256] = '\0';
	assert_int_equal(stint_open(&st, "/nonexistent/socket"), 0);
	assert_int_equal(stint_limiter_new(&limiter, st, &good), 0);
	assert_string_equal(complaint(limiter, NULL, STINT_STRING, 1), "client_id is NULL, must be 1 to 255 bytes");
	assert_string_equal(complaint(limiter, NULL, 3, 1), "client_id is NULL, must be 1 to 255 bytes");
	assert_string_equal(complaint(limiter, "", STINT_STRING, 1), "client_id is empty, must be 1 to 255 bytes");
	assert_string_equal(complaint(limiter, "a", 0, 1), "client_id is empty, must be 1 to 255 bytes");
	assert_string_equal(complaint(limiter, id, STINT_STRING, 1), "client_id is longer than 255 bytes");
	assert_string_equal(complaint(limiter, id, 256, 1), "client_id is 256 bytes, must be 1 to 255");
	assert_string_equal(complaint(limiter, "a\0b", 3, 1), "client_id has a NUL, byte 2 of 3");
	assert_string_equal(complaint(limiter, "\xc3\0", 2, 1), "client_id has a NUL, byte 2 of 2");
	assert_string_equal(complaint(limiter, "\xff", STINT_STRING, 1),
	                    "client_id is not UTF-8 from byte 1 of 1 on, which is 0xff");
	assert_string_equal(complaint(limiter, "j\xc3\xa4\xc3", 4, 1),
	                    "client_id is not UTF-8 from byte 4 of 4 on, which is 0xc3");
	assert_false(stint_is_allowed(limiter, ""));
	assert_string_equal(stint_error_detail(), "client_id is empty, must be 1 to 255 bytes");
	assert_string_equal(complaint(limiter, "c", STINT_STRING, 0), "cost is 0, must be 1 to 1000000000");
	assert_string_equal(complaint(limiter, "c", STINT_STRING, 1000000001),
	                    "cost is 1000000001, must be 1 to 1000000000");
	assert_string_equal(complaint(limiter, "c", STINT_STRING, (uint32_t)-3),
	                    "cost is 4294967293, or as an int -3, must be 1 to 1000000000");
	stint_limiter_free(limiter);
	stint_close(st);
}

static void checks_refuse_bad_arguments(void **state) {
	struct stint_limiter *limiter;
	struct stint_result result;
	struct stint *st;

	(void)state;
	assert_int_equal(stint_open(&st, "/nonexistent/socket"), 0);
	assert_int_equal(stint_limiter_new(&limiter, st, &good), 0);
	assert_int_equal(stint_check(limiter, "", 1, &result), STINT_ECLIENT);
	assert_int_equal(stint_check(limiter, NULL, 1, &result), STINT_ECLIENT);
	assert_int_equal(stint_check(limiter, "\xff", 1, &result), STINT_ECLIENT);
	assert_int_equal(stint_check(limiter, "c", 0, &result), STINT_ERANGE);
	assert_int_equal(stint_check(limiter, "c", STINT_MAX_REQUESTS_MAX + 1u, &result), STINT_ERANGE);
	assert_int_equal(stint_check_async(limiter, "\xff", 1, &result, NULL, NULL), STINT_ECLIENT);
	assert_false(stint_is_allowed(limiter, "\xff"));
	assert_true(stint_is_allowed(limiter, "c"));
	stint_limiter_free(limiter);
	stint_close(st);
}

static void errors_are_told(void **state) {
	struct stint_options options;

	(void)state;
#define TELLS(name, number, sentence) assert_string_equal(stint_strerror(name), sentence);
	STINT_ERRORS(TELLS)
#undef TELLS
	assert_string_equal(stint_strerror(-9999), "unknown error");
	assert_string_equal(stint_strerror(5), "unknown error");
	TRY(options.max_requests = 0);
	assert_string_equal(stint_error_detail(), "max_requests is 0, must be 1 to 1000000000");
	TRY(options.policy = "a b");
	assert_non_null(strstr(stint_error_detail(), "0x20"));
}

int main(void) {
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_what_is_in_range),
		cmocka_unit_test(refuses_what_is_out_of_range),
		cmocka_unit_test(refuses_sub_windows_too_short),
		cmocka_unit_test(refuses_policy_names),
		cmocka_unit_test(refuses_paths),
		cmocka_unit_test(knows_utf8),
		cmocka_unit_test(bounds_ids),
		cmocka_unit_test(finds_the_end_anywhere),
		cmocka_unit_test(knows_ids_by_their_length),
		cmocka_unit_test(an_id_with_a_nul_is_no_other_client),
		cmocka_unit_test(each_refusal_says_which_rule_is_broken),
		cmocka_unit_test(checks_refuse_bad_arguments),
		cmocka_unit_test(errors_are_told),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
