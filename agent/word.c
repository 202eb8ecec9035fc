/* word.c - the limits that an app has declared last, see word.h. */
#include "word.h"

#include <string.h>

#include "policy.h"
#include "units.h"

/* The database knows when its ten minutes are over, so the agent just asks again: a statement a minute costs
 * nothing, and nobody misses a minute. */
#define ASK_AGAIN_NS (60 * NS_PER_S)

bool word_is(const struct word *word, const struct policy_row *limits) {
	return word->count > 0 && policy_limits_equal(&word->limits, limits);
}

static bool is_by(const struct word *word, server_peer peer) {
	for (size_t i = 0; i < word->count; i++)
		if (word->by[i] == peer)
			return true;
	return false;
}

/* The place of the speaker who is forgotten for another one: one that has ended, else the first who said it. */
static size_t least_needed(const struct word *word, const struct server *server) {
	for (size_t i = word->count; i > 0; i--)
		if (!server_is_connected(server, word->by[i - 1]))
			return i - 1;
	return word->count - 1;
}

void word_say(struct word *word, const struct policy_row *limits, server_peer by, const struct server *server) {
	if (!word_is(word, limits))
		*word = (struct word){.limits = *limits};
	if (is_by(word, by))
		return;
	size_t replaced = word->count < WORD_SPEAKERS ? word->count++ : least_needed(word, server);
	memmove(&word->by[1], &word->by[0], replaced * sizeof(word->by[0]));
	word->by[0] = by;
}

void word_put_off(struct word *word, int64_t now_ns) {
	word->ask_ns = now_ns + ASK_AGAIN_NS;
}

void word_settle(struct word *word) {
	word->ask_ns = 0;
}

static bool is_anybody_left(const struct word *word, const struct server *server) {
	for (size_t i = 0; i < word->count; i++)
		if (server_is_connected(server, word->by[i]))
			return true;
	return false;
}

bool word_is_waiting(const struct word *word, const struct server *server) {
	return word->ask_ns != 0 && is_anybody_left(word, server);
}

bool word_is_due(struct word *word, const struct server *server, int64_t now_ns) {
	if (word->ask_ns == 0 || now_ns < word->ask_ns)
		return false;
	if (!is_anybody_left(word, server))
		word_settle(word);
	return word->ask_ns != 0;
}
