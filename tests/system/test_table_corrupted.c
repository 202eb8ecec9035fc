/*
 * test_table_corrupted.c - somebody writes into the shared memory of a host while apps and agent use it, as any
 * process of the group could: bits flip, whole pages become noise, fields of headers and slots take impossible
 * values, an old image comes back. Then the agent is killed, and another finds what was written meanwhile.
 *
 * Apps never crash or wait too long, the agent stays up, the database never charges more than the limit, and
 * the other host doesn't notice. What the host itself admits meanwhile is another matter: who writes credits
 * into the table, has them. Once the writing ends, the agent puts the table right within a round of its sweep,
 * and the promise holds again.
 *
 *     test_table_corrupted [ROUNDS [SEED]]      default: 1 round, of half a minute
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "books.h"
#include "protocol/layout.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "stage.h"
#include "tap.h"

#define HOSTS            2u
#define APPS             2u  /* on each host */
#define MAX_CLIENTS      200 /* a small table, so that what is written hits somebody */
#define IDLE_S           4
#define WINDOW_MS        1000
#define CHECK_TIMEOUT_MS 1000
#define SLACK_MS         500 /* for a busy machine */
#define PHASE_MS         800
/* a round of the agent's sweep and a window, which are 1 s each; and room for a slow machine */
#define RIGHT_AFTER_MS 3000
#define QUIET_MS       1500 /* for how long everything is then looked at */
#define QUIETS_MAX     256
#define REPAIR_MAX_MS  2000 /* the header is looked at every 50 ms */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_POLICY("sliding", 50, 50, WINDOW_MS, 2), .clients = 40, .skew = 0.8, .share = 1}},
	.seed = 77,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 400000,
};

struct victim { /* the first host's shared memory, written to as by an app that attached */
	char table_name[80], directory_name[80];
	char *table;
	size_t bytes;
	size_t tags, slots;
	uint32_t slot_count;
	uint64_t random;
	uint64_t writes;
};

/* ---- The shared memory ------------------------------------------------------------- */

static void *map_object(const char *name, size_t *bytes) {
	int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0);
	struct stat st;
	void *memory;

	if (fd < 0 || fstat(fd, &st) != 0)
		abort();
	*bytes = (size_t)st.st_size;
	memory = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (memory == MAP_FAILED)
		abort();
	return memory;
}

static void open_victim(struct victim *v, const struct host *host) {
	struct directory_header *directory;
	size_t bytes;

	snprintf(v->table_name, sizeof(v->table_name), "%s.table", host->shm);
	snprintf(v->directory_name, sizeof(v->directory_name), "%s.directory", host->shm);
	directory = map_object(v->directory_name, &bytes);
	v->tags = directory->tags_offset;
	v->slots = directory->slots_offset;
	v->slot_count = directory->bucket_count * SLOTS_PER_BUCKET;
	munmap(directory, bytes);
	v->table = map_object(v->table_name, &v->bytes);
}

static void close_victim(struct victim *v) {
	munmap(v->table, v->bytes);
}

/* ---- What is written ------------------------------------------------------------------- */

static void flip_bits(struct victim *v) {
	size_t from = random_below(&v->random, 4) ? v->tags : 0; /* mostly where something is */

	v->table[from + random_below(&v->random, (uint32_t)(v->bytes - from))] ^=
		(char)(1u << random_below(&v->random, 8));
}

static void write_page(struct victim *v) {
	uint64_t *page = (uint64_t *)(v->table + random_below(&v->random, (uint32_t)(v->bytes / 4096)) * (size_t)4096);

	for (size_t i = 0; i < 4096 / sizeof(*page); i++)
		page[i] = random_next(&v->random);
	sleep_ms(2);
}

static uint64_t odd_value(struct victim *v) {
	const uint64_t odd[] = {0,
	                        1,
	                        UINT32_MAX,
	                        INT64_MAX,
	                        UINT64_MAX,
	                        UINT64_C(1) << 63,
	                        monotonic_ns() + NS_PER_S,
	                        monotonic_ns() + 1000000 * NS_PER_S,
	                        random_next(&v->random)};

	return odd[random_below(&v->random, sizeof(odd) / sizeof(odd[0]))];
}

static void write_slot_field(struct victim *v) {
	static const size_t fields[] = {offsetof(struct slot, key),
	                                offsetof(struct slot, word),
	                                offsetof(struct slot, word) + 8,
	                                offsetof(struct slot, deadline_ns),
	                                offsetof(struct slot, deadline_ns) + 8,
	                                offsetof(struct slot, later_start_ns),
	                                offsetof(struct slot, denial),
	                                offsetof(struct slot, hint)};
	struct slot *slot = (struct slot *)(v->table + v->slots) + random_below(&v->random, v->slot_count);
	uint64_t value = odd_value(v);

	memcpy((char *)slot + fields[random_below(&v->random, 8)], &value, sizeof(value));
}

/* Makes each client look as if it had been denied for an hour. An app believes that, and asks nobody. */
static void deny_all(struct victim *v) {
	struct slot *slots = (struct slot *)(v->table + v->slots);

	for (uint32_t i = 0; i < v->slot_count; i++)
		atomic_store(&slots[i].denial, denial_pack(monotonic_ns() + 3600 * NS_PER_S, 0, 1));
	sleep_ms(20);
}

static void write_header_field(struct victim *v) {
	static const size_t fields[] = {offsetof(struct table_header, magic), offsetof(struct table_header, version),
	                                offsetof(struct table_header, state),
	                                offsetof(struct table_header, generation)};
	uint64_t value = random_below(&v->random, 2) ? random_below(&v->random, 5) : random_next(&v->random);
	uint32_t which = random_below(&v->random, 4);

	memcpy(v->table + fields[which], &value, which == 1 || which == 2 ? 4 : 8);
	sleep_ms(5);
}

static void wipe_all(struct victim *v) {
	memset(v->table, random_below(&v->random, 2) ? 0 : 0xff, v->bytes);
	sleep_ms(50);
}

/* Brings back what was there some time ago: every lease in it has been spent since. */
static void bring_back(struct victim *v) {
	char *image = malloc(v->bytes);

	if (image == NULL)
		abort();
	memcpy(image, v->table, v->bytes);
	sleep_ms(30 + random_below(&v->random, 100));
	memcpy(v->table, image, v->bytes);
	free(image);
}

struct corruption {
	const char *what;
	void (*write)(struct victim *);
	int pause_us;
	bool quiet; /* true: nothing is written until all must be right again */
};

static const struct corruption corruptions[] = {
	{"bit flips", flip_bits, 200, false},
	{"odd values in slots", write_slot_field, 100, true},
	{"everybody denied for days", deny_all, 0, true},
	{"header fields", write_header_field, 0, false},
	{"random pages", write_page, 10000, false},
	{"all wiped", wipe_all, 0, false},
	{"an old image", bring_back, 0, true},
};

#define CORRUPTIONS (sizeof(corruptions) / sizeof(corruptions[0]))

/* ---- While it is written ------------------------------------------------------------------ */

struct result {
	uint64_t cases, violations;
	uint64_t quiet_from_ns[QUIETS_MAX], quiet_until_ns[QUIETS_MAX]; /* the times when all has to be right again */
	uint32_t quiet_count;
};

static bool expect(struct result *r, bool passed) {
	r->violations += !passed;
	return passed;
}

static bool header_is_right(const struct victim *v, uint64_t generation) {
	const struct table_header *header = (const struct table_header *)v->table;

	return header->magic == LAYOUT_MAGIC && header->version == LAYOUT_VERSION &&
	       header->generation == generation && atomic_load(&header->state) == TABLE_ALIVE;
}

/* -1: not within REPAIR_MAX_MS. */
static int64_t await_header(const struct victim *v, uint64_t generation) {
	uint64_t began = monotonic_ns();

	while (!header_is_right(v, generation))
		if (stage_ms_since(began) > REPAIR_MAX_MS)
			return -1;
		else
			sleep_ms(1);
	return stage_ms_since(began);
}

static void note_quiet(struct result *r, uint64_t ended_ns) {
	r->quiet_from_ns[r->quiet_count] = ended_ns + RIGHT_AFTER_MS * NS_PER_MS;
	sleep_until_ns(ended_ns + (RIGHT_AFTER_MS + QUIET_MS) * NS_PER_MS);
	r->quiet_until_ns[r->quiet_count] = monotonic_ns();
	r->quiet_count += r->quiet_count + 1 < QUIETS_MAX;
}

static void corrupt(struct stage *stage, struct victim *v, const struct corruption *c, struct books *books,
                    struct result *r) {
	uint64_t generation = ((struct table_header *)v->table)->generation, began = monotonic_ns(), ended;
	int64_t repaired_ms;

	for (; stage_ms_since(began) < PHASE_MS; r->cases++, v->writes++) {
		c->write(v);
		if (c->pause_us > 0)
			sleep_until_ns(monotonic_ns() + (uint64_t)c->pause_us * NS_PER_US);
	}
	books_look(books, &stage->cluster);
	ended = monotonic_ns();
	repaired_ms = await_header(v, generation);
	tap_ok(expect(r, repaired_ms >= 0 && host_is_running(&stage->host[0]) && crowd_missing(&stage->crowd) == 0),
	       "%s: agent and apps are there, the header is right after %lld ms", c->what, (long long)repaired_ms);
	if (c->quiet)
		note_quiet(r, ended);
	books_look(books, &stage->cluster);
}

/* ---- What another agent finds ---------------------------------------------------------------- */

struct find {
	const char *what;
	bool in_directory;
	size_t offset, size;
	bool rebuilt; /* the next agent makes a new table; else it goes on with what is possible in the old one */
};

#define DIRECTORY(field)                                                                                          \
	true, offsetof(struct directory_header, field), sizeof(((struct directory_header *)0)->field), true
#define TABLE(field) false, offsetof(struct table_header, field), sizeof(((struct table_header *)0)->field), true

static const struct find finds[] = {
	{"table: magic", TABLE(magic)},
	{"table: version", TABLE(version)},
	{"table: state", TABLE(state)},
	{"table: generation", TABLE(generation)},
	{"directory: magic", DIRECTORY(magic)},
	{"directory: version", DIRECTORY(version)},
	{"directory: policy_capacity", DIRECTORY(policy_capacity)},
	{"directory: generation", DIRECTORY(generation)},
	{"directory: directory_bytes", DIRECTORY(directory_bytes)},
	{"directory: table_bytes", DIRECTORY(table_bytes)},
	{"directory: tags_offset", DIRECTORY(tags_offset)},
	{"directory: slots_offset", DIRECTORY(slots_offset)},
	{"directory: bucket_count", DIRECTORY(bucket_count)},
	{"directory: slots_per_bucket", DIRECTORY(slots_per_bucket)},
	{"directory: boot_id", DIRECTORY(boot_id)},
	{"tags and slots", false, sizeof(struct table_header), 0, false},
};

static void spoil(const struct host *host, const struct find *find, uint64_t *random) {
	char name[80];
	size_t bytes, size;
	char *object;

	snprintf(name, sizeof(name), "%s.%s", host->shm, find->in_directory ? "directory" : "table");
	object = map_object(name, &bytes);
	size = find->size > 0 ? find->size : bytes - find->offset;
	for (size_t i = 0; i < size; i++)
		object[find->offset + i] ^= (char)(1 + random_below(random, 255)); /* each byte gets another value */
	munmap(object, bytes);
}

static void be_found(struct stage *stage, const struct find *find, uint64_t *random, struct result *r) {
	struct host *host = &stage->host[0];
	bool started;
	int64_t taken_over;

	host_kill(host);
	spoil(host, find, random);
	started = host_start(host) == 0;
	taken_over = host_number(host, "table", "taken_over");
	r->cases++;
	tap_ok(expect(r, started && taken_over == !find->rebuilt), "%s: another agent starts, and %s the table",
	       find->what,
	       taken_over == 1   ? "takes over"
	       : taken_over == 0 ? "rebuilds"
	                         : "says nothing of");
}

/* ---- Afterwards -------------------------------------------------------------------------------- */

/* Counts clients that apps ask for, and that are admitted nothing any more. */
static uint32_t count_starved(const struct oracle *oracle, uint64_t from_ns, uint64_t until_ns) {
	uint32_t starved = 0;

	for (uint32_t c = 0; c < 10; c++) { /* only clients that are asked for often enough */
		struct oracle_choice choice = {.policy = 0,
		                               .client = c,
		                               .host = 0,
		                               .from_ns = from_ns,
		                               .until_ns = until_ns};

		starved += oracle_sum(oracle, &choice) == 0;
	}
	return starved;
}

static uint32_t count_over(const struct oracle *oracle, struct oracle_choice choice) {
	uint32_t over = 0;

	for (choice.client = 0; choice.client < plan.policy[0].clients; choice.client++)
		over += oracle_peak(oracle, &choice, WINDOW_MS * NS_PER_MS).certain > plan.policy[0].max_requests;
	return over;
}

static void check_quiet(const struct oracle *oracle, struct result *r) {
	uint32_t over = 0, starved = 0;

	for (uint32_t i = 0; i < r->quiet_count; i++) {
		const struct oracle_choice choice = {.host = ORACLE_ANY,
		                                     .from_ns = r->quiet_from_ns[i],
		                                     .until_ns = r->quiet_until_ns[i]};

		over += count_over(oracle, choice);
		starved += count_starved(oracle, r->quiet_from_ns[i], r->quiet_until_ns[i]);
	}
	tap_ok(expect(r, over == 0), "I5: %d ms after the writing the promise holds again, %u times; %u clients over",
	       RIGHT_AFTER_MS, r->quiet_count, over);
	tap_ok(expect(r, starved == 0), "I5: and everybody is served again; %u are not", starved);
}

static void print_proof(const char *invariants, const struct result *r, uint64_t checked, int64_t recovery_ms) {
	proof_print(&(struct proof){
		.invariants = invariants,
		.fault = "table corrupted: bit flips, random pages, each header field, an old image",
		.runs = r->cases,
		.checked = checked,
		.violations = r->violations,
		.recovery_ms = recovery_ms,
	});
}

/* First the agent meets everything that can be written while it runs; then the next agent everything that it
 * can find. */
static void play_round(struct stage *stage, struct victim *victim, struct books *books, struct result *r) {
	int before = process_descriptors(stage->host[0].agent), after;

	open_victim(victim, &stage->host[0]);
	for (size_t i = 0; i < CORRUPTIONS; i++)
		corrupt(stage, victim, &corruptions[i], books, r);
	close_victim(victim);
	after = process_wait_descriptors(stage->host[0].agent, before, 5000);
	tap_ok(expect(r, after <= before), "I6: the agent had %d descriptors open before and %d after", before, after);
	tap_note("%" PRIu64 " writes; %lld slots were repaired", victim->writes,
	         (long long)host_number(&stage->host[0], "table", "repaired"));
	for (size_t i = 0; i < sizeof(finds) / sizeof(finds[0]); i++)
		be_found(stage, &finds[i], &victim->random, r);
	host_wait_in_step(&stage->host[0], 5000);
	note_quiet(r, monotonic_ns());
	books_look(books, &stage->cluster);
}

static int rounds = 1;
static uint64_t seed = 4711;

static int play(const struct scene *scene) {
	const struct host_options options = {.max_clients = MAX_CLIENTS, .idle_timeout_s = IDLE_S};
	struct victim victim = {.random = seed};
	struct result r = {0};
	struct crowd_total total;
	struct oracle oracle;
	struct books books;
	struct stage stage;

	if (stage_set(&stage, scene, HOSTS, &options) != 0 || stage_crowd(&stage, APPS, &plan, 1000) != 0)
		return tap_finish();
	books_init(&books);
	sleep_ms(1000);
	for (int i = 0; i < rounds; i++)
		play_round(&stage, &victim, &books, &r);
	stage_read(&stage, &oracle, &total);

	expect(&r, stage_check_latency(&total, CHECK_TIMEOUT_MS, SLACK_MS));
	tap_ok(expect(&r, books.over_limit == 0), "I2: charged <= limit in %zu sub-windows read", books.count);
	tap_ok(expect(&r, count_over(&oracle, (struct oracle_choice){.host = 1}) == 0),
	       "I6: the other host kept the promise all the time");
	check_quiet(&oracle, &r);
	print_proof("I2 I4 I5 I6", &r, total.checks, RIGHT_AFTER_MS);
	stage_strike(&stage);
	books_free(&books);
	oracle_free(&oracle);
	return tap_finish();
}

int main(int argc, char **argv) {
	rounds = (int)setting_argument(argc, argv, 1, 1);
	seed = setting_argument(argc, argv, 2, seed);
	return scene_run(play, 60 + 120 * rounds);
}
