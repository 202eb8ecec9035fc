/*
 * test_crowded.c - more clients than the table has room for: ten times as many as it has slots; and hundreds
 * that all fall into the same two buckets, forty of them with the same tag, because somebody who can read the
 * table's secret made their ids for that.
 *
 *     test_crowded [SECONDS [SEED]]      of each part; default 6; 300 for a long run
 *
 * What must hold: no client gets more than its limit, everybody is decided by the database's credits (through
 * the agent where the table has no room), evictions are counted, the agent's memory stays what it was; and a
 * client that stays active keeps its place or is served all the same, in the crowded bucket, too.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/hash.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

#define HOSTS     2u
#define ROOM      100          /* max_clients: for a small table, such ids are soon found */
#define CROWD     (10u * 144u) /* ten times its slots, see table_geometry_for() */
#define COLLIDING 320u         /* ten times the slots of two buckets */
#define SAME_TAG  40u          /* so many of these: more than there are slots */
#define SHOOTERS  4u           /* on each host */
#define LIMIT     5
/* No window ends during the test: all that a client got, it got in one window. */
#define WINDOW_MS  3600000
#define TIMEOUT_MS 2000
#define SLACK_MS   500
#define STEADY_MS  20
#define MEMORY_KIB 2048 /* what an agent may grow by: batches, and 64 KiB of records at a time */

static unsigned long seconds = 6;
static uint64_t seed = 1;

struct id {
	char text[24];
};

/* Shared with the processes that ask. */
struct tally {
	_Atomic uint64_t checks, errors, by_source[JOURNAL_SOURCES], denied, slowest_ns;
	_Atomic uint32_t stop;
	_Atomic uint32_t admitted[CROWD];
};

struct crowd_part {
	const char *what; /* the fault, in the scoreboard's words */
	const char *policy;
	struct id *ids;
	uint32_t count;
	struct id steady; /* the client that stays active */
	struct tally *tally;
	uint64_t steady_checks, steady_denied, steady_alone;
};

static const struct stint_options steady_options = {.policy = "steady",
                                                    .max_requests = 1000,
                                                    .time_window_ms = 1000,
                                                    .fallback_max_requests = 1000,
                                                    .timeout_ms = TIMEOUT_MS};

/* ---- Ids ------------------------------------------------------------------------ */

/* Reads the header, as an attacker with root's rights would, and the index of a policy. */
static int read_directory(const struct host *host, const char *policy, struct directory_header *header,
                          uint32_t *index) {
	char path[160];
	struct policy_entry entry;
	int fd, found = -1;

	snprintf(path, sizeof(path), "/dev/shm%s.directory", host->shm);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (pread(fd, header, sizeof(*header), 0) == (ssize_t)sizeof(*header))
		for (uint32_t i = 0; i < POLICY_CAPACITY && found != 0; i++)
			if (pread(fd, &entry, sizeof(entry), (off_t)(DIRECTORY_ENTRIES_OFFSET + i * sizeof(entry))) ==
			        (ssize_t)sizeof(entry) &&
			    entry.state == POLICY_LIVE && strcmp(entry.name, policy) == 0) {
				*index = i;
				found = 0;
			}
	close(fd);
	return found;
}

static bool is_in(const struct place *place, const struct place *target) {
	return (place_bucket(place, 0) == place_bucket(target, 0) &&
	        place_bucket(place, 1) == place_bucket(target, 1)) ||
	       (place_bucket(place, 0) == place_bucket(target, 1) &&
	        place_bucket(place, 1) == place_bucket(target, 0));
}

/* Makes the next text of the same length, like an odometer of letters: many times faster than printf(). */
static void next_text(char *text) {
	char *digit = text + strlen(text) - 1;

	while (*digit == 'z')
		*digit-- = 'a';
	(*digit)++;
}

/* Finds ids that share both buckets with the first one; the first SAME_TAG of them share its tag, too. They are
 * found by chance, with some millions of tries for each of those. */
static void craft(const struct directory_header *header, uint32_t index, struct id *ids, uint32_t count) {
	struct id id = {"aaaaaaaaaaaa"};
	struct place target = {0};

	for (uint32_t made = 0; made < count; next_text(id.text)) {
		struct place place = place_of(header->secret, header->bucket_count, index, id.text, strlen(id.text));

		if (made == 0)
			target = place;
		if (is_in(&place, &target) && (made >= SAME_TAG || place_tag(&place) == place_tag(&target)))
			ids[made++] = id;
	}
}

/* Finds an id of another policy in the same two buckets. */
static void craft_neighbour(const struct directory_header *header, uint32_t index, const struct id *id,
                            uint32_t neighbour_index, struct id *neighbour) {
	struct place target = place_of(header->secret, header->bucket_count, index, id->text, strlen(id->text)), place;

	*neighbour = (struct id){"steadyaaaaaa"};
	do {
		next_text(neighbour->text);
		place = place_of(header->secret, header->bucket_count, neighbour_index, neighbour->text,
		                 strlen(neighbour->text));
	} while (!is_in(&place, &target));
}

/* ---- Asking ----------------------------------------------------------------------- */

static void count_check(struct tally *tally, uint32_t client, int status, const struct stint_result *result,
                        uint64_t took_ns) {
	uint64_t slowest = tally->slowest_ns;

	tally->checks++;
	while (took_ns > slowest && !atomic_compare_exchange_weak(&tally->slowest_ns, &slowest, took_ns))
		continue;
	if (status != 0) {
		tally->errors++;
		return;
	}
	tally->by_source[result->source % JOURNAL_SOURCES]++;
	if (result->allowed)
		tally->admitted[client]++;
	else
		tally->denied++;
}

static int shoot(const struct crowd_part *part, const struct host *host, uint64_t random) {
	const struct stint_options options = {.policy = part->policy,
	                                      .max_requests = LIMIT,
	                                      .time_window_ms = WINDOW_MS,
	                                      .fallback_max_requests = LIMIT,
	                                      .timeout_ms = TIMEOUT_MS};
	struct stint_limiter *limiter;
	struct stint *stint;

	if (stint_open(&stint, host->socket) != 0 || stint_limiter_new(&limiter, stint, &options) != 0)
		return 1;
	while (!part->tally->stop) {
		uint32_t client = random_below(&random, part->count);
		struct stint_result result = {0};
		uint64_t began = monotonic_ns();
		int status = stint_check(limiter, part->ids[client].text, 1, &result);

		count_check(part->tally, client, status, &result, monotonic_ns() - began);
	}
	return 0;
}

/* Meanwhile, on the first host, one client stays active. */
static void stay(struct crowd_part *part, struct stint_limiter *limiter, int64_t ms) {
	uint64_t began = monotonic_ns();

	while (stage_ms_since(began) < ms) {
		struct stint_result result = {0};
		int status = stint_check(limiter, part->steady.text, 1, &result);

		part->steady_checks++;
		part->steady_denied += status != 0 || !result.allowed;
		part->steady_alone +=
			status == 0 && (result.source == STINT_SOURCE_LOCAL || result.source == STINT_SOURCE_FALLBACK);
		sleep_ms(STEADY_MS);
	}
}

/* Gives by how many KiB the memory of the worst agent grew, from a third of the time on. */
static long besiege(struct stage *stage, struct crowd_part *part, struct stint_limiter *steady) {
	long memory[HOSTS], shared = 0, growth = 0;
	pid_t pids[HOSTS * SHOOTERS];
	uint32_t bad = 0;

	for (uint32_t i = 0; i < HOSTS * SHOOTERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(shoot(part, &stage->host[i % HOSTS], seed * 1000 + i));
	}
	stay(part, steady, (int64_t)seconds * 1000 / 3);
	for (uint32_t h = 0; h < HOSTS; h++)
		memory[h] = process_memory_kib(stage->host[h].agent, &shared) - shared;
	stay(part, steady, (int64_t)seconds * 2000 / 3);
	for (uint32_t h = 0; h < HOSTS; h++) {
		long now = process_memory_kib(stage->host[h].agent, &shared) - shared;

		growth = now - memory[h] > growth ? now - memory[h] : growth;
	}
	part->tally->stop = 1;
	for (uint32_t i = 0; i < HOSTS * SHOOTERS; i++) {
		int status = -1;

		bad += !process_wait(pids[i], TIMEOUT_MS + 5000, &status) || status != 0;
	}
	tap_ok(bad == 0, "%s: %u processes asked, %u did not end well", part->what, HOSTS * SHOOTERS, bad);
	return growth;
}

/* ---- Judging ------------------------------------------------------------------------ */

static uint64_t count_over(const struct crowd_part *part) {
	uint64_t over = 0, served = 0, admitted = 0;
	uint32_t most = 0;

	for (uint32_t i = 0; i < part->count; i++) {
		uint32_t n = part->tally->admitted[i];

		over += n > LIMIT;
		served += n > 0;
		admitted += n;
		most = n > most ? n : most;
	}
	tap_note("%s: %llu of %u clients were admitted, %llu times in all", part->what, (unsigned long long)served,
	         part->count, (unsigned long long)admitted);
	tap_ok(over == 0, "I1 %s: no client was admitted more than %u times; limit %d", part->what, most, LIMIT);
	tap_ok(admitted * 2 > served * LIMIT, "%s: and not much less, though evictions burn credits", part->what);
	return over;
}

static uint64_t count_left_alone(const struct crowd_part *part) {
	const struct tally *t = part->tally;
	uint64_t alone = t->by_source[STINT_SOURCE_LOCAL] + t->by_source[STINT_SOURCE_FALLBACK];
	bool in_time = t->slowest_ns <= (TIMEOUT_MS + SLACK_MS) * NS_PER_MS;

	tap_note("%s: %llu checks, %llu by lease, %llu by the database, %llu denied, the longest took %llu ms",
	         part->what, (unsigned long long)t->checks, (unsigned long long)t->by_source[STINT_SOURCE_LEASE],
	         (unsigned long long)t->by_source[STINT_SOURCE_DATABASE], (unsigned long long)t->denied,
	         (unsigned long long)(t->slowest_ns / NS_PER_MS));
	tap_ok(alone + t->errors == 0, "%s: all were decided by the database's credits: %llu were not, %llu failed",
	       part->what, (unsigned long long)alone, (unsigned long long)t->errors);
	tap_ok(in_time, "I4 %s: none took longer than its timeout", part->what);
	return alone + t->errors + !in_time;
}

static void judge(struct stage *stage, struct crowd_part *part, long growth_kib,
                  const int64_t evicted_before[HOSTS]) {
	uint64_t broken = count_over(part) + count_left_alone(part);
	int64_t evicted = 0, overflow = 0, clients = 0;

	for (uint32_t h = 0; h < HOSTS; h++) {
		evicted += host_number(&stage->host[h], "table", "evicted_for_room") - evicted_before[h];
		overflow += host_number(&stage->host[h], "table", "overflow");
		clients += host_number(&stage->host[h], "table", "clients");
	}
	broken += !tap_ok(evicted + overflow > 0,
	                  "%s: counted: %lld evictions, %lld that the table had no room for; %lld clients are in it",
	                  part->what, (long long)evicted, (long long)overflow, (long long)clients);
	broken +=
		!tap_ok(growth_kib <= MEMORY_KIB, "I6 %s: the agents grew by %ld KiB at most", part->what, growth_kib);
	broken +=
		!tap_ok(part->steady_denied + part->steady_alone == 0,
	            "I6 %s: who stays active is always admitted: %llu of %llu times not, %llu without the database",
	            part->what, (unsigned long long)part->steady_denied, (unsigned long long)part->steady_checks,
	            (unsigned long long)part->steady_alone);
	proof_print(&(struct proof){"I1 I4 I6", part->what, part->count, part->tally->checks + part->steady_checks,
	                            broken, PROOF_NO_RECOVERY});
}

static void *share(size_t bytes) {
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void play_part(struct stage *stage, struct crowd_part *part, struct stint_limiter *steady) {
	int64_t evicted[HOSTS];
	long growth_kib;

	part->tally = share(sizeof(*part->tally));
	if (!tap_ok(part->tally != NULL && part->ids != NULL, "%s: %u clients", part->what, part->count))
		return;
	for (uint32_t h = 0; h < HOSTS; h++)
		evicted[h] = host_number(&stage->host[h], "table", "evicted_for_room");
	growth_kib = besiege(stage, part, steady);
	judge(stage, part, growth_kib, evicted);
	munmap(part->tally, sizeof(*part->tally));
}

/* Declares a policy, so that it has a place in the directory. */
static int declare(struct stint *stint, const struct stint_options *options, struct stint_limiter **limiter) {
	struct stint_result result;

	if (stint_limiter_new(limiter, stint, options) != 0 || stint_check(*limiter, "first", 1, &result) != 0)
		return -1;
	return result.source == STINT_SOURCE_LOCAL ? -1 : 0;
}

static int make_colliding(struct stage *stage, struct stint *stint, struct crowd_part *part) {
	const struct stint_options options = {.policy = part->policy,
	                                      .max_requests = LIMIT,
	                                      .time_window_ms = WINDOW_MS,
	                                      .fallback_max_requests = LIMIT};
	struct directory_header header;
	struct stint_limiter *limiter;
	uint32_t index, steady_index;
	uint64_t began = monotonic_ns();

	if (declare(stint, &options, &limiter) != 0 ||
	    read_directory(&stage->host[0], part->policy, &header, &index) != 0 ||
	    read_directory(&stage->host[0], steady_options.policy, &header, &steady_index) != 0)
		return -1;
	stint_limiter_free(limiter);
	craft(&header, index, part->ids, part->count);
	craft_neighbour(&header, index, &part->ids[0], steady_index, &part->steady);
	tap_note("%u ids for the same two of %u buckets, %u of them with the same tag, made in %lld ms", part->count,
	         header.bucket_count, SAME_TAG, (long long)stage_ms_since(began));
	return 0;
}

static int play(const struct scene *scene) {
	const struct host_options options = {.max_clients = ROOM, .idle_timeout_s = 1}; /* for many evictions */
	struct crowd_part many = {.what = "ten times more clients than slots",
	                          .policy = "many",
	                          .count = CROWD,
	                          .steady = {"steady"}};
	struct crowd_part colliding = {.what = "colliding ids, made with the leaked secret",
	                               .policy = "colliding",
	                               .count = COLLIDING};
	struct stint_limiter *steady;
	struct stint *stint;
	struct stage stage;

	many.ids = calloc(CROWD, sizeof(*many.ids));
	colliding.ids = calloc(COLLIDING, sizeof(*colliding.ids));
	for (uint32_t i = 0; many.ids != NULL && i < CROWD; i++)
		snprintf(many.ids[i].text, sizeof(many.ids[i].text), "client-%u", i);
	if (stage_set(&stage, scene, HOSTS, &options) != 0 || stint_open(&stint, stage.host[0].socket) != 0 ||
	    !tap_ok(declare(stint, &steady_options, &steady) == 0 && make_colliding(&stage, stint, &colliding) == 0,
	            "the ids are made"))
		return tap_finish();
	play_part(&stage, &colliding, steady);
	play_part(&stage, &many, steady);
	stint_limiter_free(steady);
	stint_close(stint);
	stage_strike(&stage);
	free(many.ids);
	free(colliding.ids);
	return tap_finish();
}

int main(int argc, char **argv) {
	seconds = setting_argument(argc, argv, 1, seconds);
	seed = setting_argument(argc, argv, 2, seed);
	return scene_run(play, 120 + 3 * (int)seconds);
}
