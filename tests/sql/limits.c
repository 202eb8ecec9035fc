/*
 * limits.c - prints what lib/protocol/limits.h says of policies, as rows from which SQL asks
 * stint.check_policy() the same: on each edge, just beyond it, and each word. tests/sql/limits.sh feeds them to
 * psql. A row says what is asked, whether it should be right, and the arguments.
 */
#include <inttypes.h>
#include <stdio.h>

#include "protocol/limits.h"

/* A policy that is right. One thing of it is changed at a time. */
struct policy {
	const char *name, *algorithm, *mode;
	int64_t max_requests, time_window_ms, fallback_max_requests, fallback_time_window_ms, resolution;
};

static const struct policy right = {
	.name = "p",
	.algorithm = "fixed_window",
	.mode = "strict",
	.max_requests = 10,
	.time_window_ms = 60000,
	.fallback_max_requests = 10,
	.fallback_time_window_ms = 60000,
	.resolution = 10,
};

static void ask(const char *what, bool is_right, struct policy p) {
	printf("%s\t%s\t%s\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%s\t%" PRId64 "\t%s\n", what,
	       is_right ? "t" : "f", p.name, p.max_requests, p.time_window_ms, p.fallback_max_requests,
	       p.fallback_time_window_ms, p.algorithm, p.resolution, p.mode);
}

static void ask_numbers(void) {
	struct policy p = right;
#define ASK(field, min, max)                                                                                      \
	p.field = (min);                                                                                              \
	ask(#field " at its least", true, p);                                                                         \
	p.field = (min)-1;                                                                                            \
	ask(#field " below its least", false, p);                                                                     \
	p.field = (max);                                                                                              \
	ask(#field " at its most", true, p);                                                                          \
	p.field = (max) + 1;                                                                                          \
	ask(#field " beyond its most", false, p);                                                                     \
	p = right;
	LIMITS_NUMBERS(ASK)
#undef ASK
}

static void ask_words(void) {
	struct policy p = right;
#define ASK_ALGORITHM(number, word)                                                                               \
	p.algorithm = word;                                                                                           \
	ask("algorithm " word, true, p);
#define ASK_MODE(number, word)                                                                                    \
	p.mode = word;                                                                                                \
	ask("mode " word, true, p);
	LIMITS_ALGORITHMS(ASK_ALGORITHM)
	p.algorithm = "token_bucket";
	ask("another algorithm", false, p);
	p = right;
	LIMITS_MODES(ASK_MODE)
	p.mode = "lax";
	ask("another mode", false, p);
}

/* All bytes that can stand in a line of text. */
static void ask_names(void) {
	struct policy p = right;
	for (int byte = ' '; byte < 127; byte++) {
		const char name[] = {(char)byte, '\0'};
		p.name = byte == '\\' ? "\\\\" : name; /* as COPY reads it */
		char what[32];
		snprintf(what, sizeof(what), "the name's byte %d", byte);
		ask(what, limits_is_policy_name(name, 1), p);
	}
	char name[STINT_POLICY_NAME_MAX + 2] = "";
	memset(name, 'a', STINT_POLICY_NAME_MAX);
	p.name = name;
	ask("a name at its longest", true, p);
	name[STINT_POLICY_NAME_MAX] = 'a';
	ask("a name that is too long", false, p);
	p.name = "";
	ask("no name", false, p);
}

static void ask_sub_windows(void) {
	struct policy p = right;
	p.algorithm = "sliding_window";
	for (p.resolution = 1; p.resolution <= STINT_RESOLUTION_MAX; p.resolution++) {
		for (p.time_window_ms = STINT_TIME_WINDOW_MS_MIN; p.time_window_ms <= 700; p.time_window_ms++) {
			bool is_right = limits_sub_window_ms(STINT_SLIDING_WINDOW, p.time_window_ms, p.resolution) >=
			                STINT_SUB_WINDOW_MS_MIN;
			ask("a sub-window", is_right, p);
		}
	}
}

int main(void) {
	ask_numbers();
	ask_words();
	ask_names();
	ask_sub_windows();
	return 0;
}
