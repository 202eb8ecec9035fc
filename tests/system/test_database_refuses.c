/*
 * test_database_refuses.c - the database answers, but not with what was asked for: each refusal that can be caused
 * here, one after the other under load, and the return from each.
 *
 *     test_database_refuses [ROUNDS]     default 1: all of them so often
 *
 * Disks that get full are in memory: tablespace and write-ahead log each have a small one of their own, and a file
 * that fills it up (the ballast).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "books.h"
#include "database/pg_connect.h"
#include "episode.h"
#include "process.h"
#include "proof.h"
#include "setting.h"
#include "stage.h"
#include "tap.h"

#define WINDOW_MS        1000
#define LIMIT            200
#define FALLBACK_LIMIT   150
#define CHECK_TIMEOUT_MS 1000
#define HOSTS            2u
#define ROUNDS_MAX       50

#define FAULT_MS 2200
#define CALM_MS  1500
/* Reconnecting: a pause of at most 2 s with its jitter, the handshake, a heartbeat's worth of doubt, and a busy
 * machine. */
#define RETURN_MS 6000
/* How long agents wait for the database: on a busy machine it takes the default, half a second, where nothing is
 * refused, or where a new session begins. */
#define DATABASE_TIMEOUT_MS 2000
/* What the ends of as many backends take on such a machine. */
#define END_MS 20000

#define CONNECTIONS          40
#define CONNECTIONS_RESERVED 3 /* for superusers, who may take any */
#define HEAP_KIB             8192
#define WAL_KIB              32768
#define GROWTH_KIB           8192 /* what an agent's memory may grow by: buffers reach their size */

#define ALL "the database's refusals, all together" /* for the proofs that are about the test as a whole */

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, FALLBACK_LIMIT, WINDOW_MS), .clients = 2000, .skew = 1}},
	.seed = 23,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 400000,
};

struct play {
	struct stage stage;
	struct books books;
	char heap[108], wal[108];          /* the small disks; "": this machine doesn't let us */
	struct pg *other[CONNECTIONS + 8]; /* sessions of somebody else */
	size_t others;
};

struct fault {
	const char *what;
	const char *cause_sql, *clear_sql; /* or, where SQL can't do it, these: */
	bool (*cause)(struct play *);
	bool (*clear)(struct play *);
	const char *state; /* what the status of all hosts says towards the end of it; NULL: they come and go */
	const char *said;  /* the reason that all agents tell; NULL: nothing new */
	int within_ms;
	bool stays;         /* the hosts have the database for all of it: none may be on its own */
	bool others_served; /* client 1 is served meanwhile: the fault is client 0's alone */
	bool needs_disks;
};

/* ---- Sessions of somebody else ------------------------------------------------------------- */

static struct pg *open_other(struct play *play, const char *role) {
	char conninfo[320];
	struct pg *pg = NULL;

	snprintf(conninfo, sizeof(conninfo), "%s user=%s", play->stage.cluster.conninfo, role);
	if (play->others < sizeof(play->other) / sizeof(play->other[0]) && pg_connect(&pg, conninfo, 5000) == PG_OK)
		return play->other[play->others++] = pg;
	pg_close(pg); /* a refusal may be what the test wants */
	return NULL;
}

static bool close_others(struct play *play) {
	while (play->others > 0)
		pg_close(play->other[--play->others]);
	return true;
}

static bool hold(struct play *play, const char *sql) {
	struct pg *pg = open_other(play, "postgres");

	return pg != NULL && pg_script(pg, "begin") == PG_OK && pg_script(pg, sql) == PG_OK;
}

static bool lock_row(struct play *play) {
	return hold(play, "select from stint.counter where client_id = 'client-0000000000000000000000000' for update");
}

static bool lock_table(struct play *play) {
	return hold(play, "lock table stint.counter in access exclusive mode");
}

#define AGENTS     "from pg_stat_activity where usename = 'test_agent'"
#define HANG_UP    "select pg_terminate_backend(pid) " AGENTS
#define AGENTS_SQL "select count(*) " AGENTS

/* Says whether all connections are taken. One that isn't logged in yet takes one as well and can't be seen, and
 * gives it back when it is refused. */
static bool fill_up(struct play *play) {
	static const char count_sql[] = "select count(*) from pg_stat_activity where backend_type = 'client backend'";

	while (open_other(play, "hog") != NULL)
		continue;
	return cluster_number(&play->stage.cluster, count_sql, 0) >= CONNECTIONS - CONNECTIONS_RESERVED;
}

/* Agents try again all the while, so others take all connections before the agents may have one again. */
static bool use_up_connections(struct play *play) {
	bool used_up = false;

	fill_up(play);
	if (cluster_do(&play->stage.cluster, "alter role test_agent nologin; " HANG_UP) != 0)
		return false;
	for (int i = 0; i < 500 && !used_up; i++) {
		sleep_ms(5);
		used_up = fill_up(play) && cluster_number(&play->stage.cluster, AGENTS_SQL, 1) == 0;
	}
	return used_up && cluster_do(&play->stage.cluster, "alter role test_agent login") == 0;
}

/* A backend gives its connection back when it has ended, some time after its client is gone. */
static bool give_connections_back(struct play *play) {
	static const char count_sql[] = "select count(*) from pg_stat_activity where usename = 'hog'";
	uint64_t began = monotonic_ns();

	close_others(play);
	while (cluster_number(&play->stage.cluster, count_sql, 1) > 0 && stage_ms_since(began) < END_MS)
		sleep_ms(20);
	return cluster_number(&play->stage.cluster, count_sql, 1) == 0;
}

/* ---- Full disks --------------------------------------------------------------------------------- */

static void ballast_path(const char *disk, char path[static 128]) {
	snprintf(path, 128, "%s/ballast", disk);
}

static bool fill_disk(const char *disk) {
	static const char block[4096];
	char path[128];
	int fd;

	ballast_path(disk, path);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block))
		continue;
	return close(fd) == 0;
}

static bool clear_disk(const char *disk) {
	char path[128];

	ballast_path(disk, path);
	return unlink(path) == 0;
}

/* Rows of other clients, which are in use for an hour, take the room that is left in pages. */
static bool fill_heap(struct play *play) {
	static const char sql[] =
		"do $$ declare many int := 30; begin"
		" while many > 0 loop begin"
		"  insert into stint.counter select current_us + 3600000000, sub_window_us, turn, servers, servers_before, policy_id,"
		"   max_requests, request, granted, granted_next, charged, early, ahead, resolution, span, 'filler-' || gen_random_uuid(),"
		"   array_fill(0, array[12])"
		"  from (select * from stint.counter limit 1) c, generate_series(1, many);"
		" exception when disk_full then many := many / 2; end; end loop; end $$";

	return fill_disk(play->heap) && cluster_do(&play->stage.cluster, sql) == 0;
}

static bool clear_heap(struct play *play) {
	return clear_disk(play->heap) &&
	       cluster_do(&play->stage.cluster, "delete from stint.counter where client_id like 'filler-%'") == 0 &&
	       cluster_do(&play->stage.cluster, "vacuum stint.counter") == 0;
}

/* Writes until the server is gone, if it is there. */
static void write_to_the_end(struct play *play) {
	struct pg *pg = open_other(play, "postgres");
	int status = pg != NULL ? PG_OK : PG_FAILED;

	for (int i = 0; i < 2000 && status == PG_OK; i++)
		status = pg_script(pg, "select pg_logical_emit_message(false, 'stint-test', repeat('x', 50000))");
	close_others(play);
}

/* As the server's log has it. */
static int count_panics(const struct play *play) {
	char path[128], line[512];
	FILE *log;
	int panics = 0;

	snprintf(path, sizeof(path), "%s/pg/log", play->stage.cluster.dir);
	log = fopen(path, "re");
	while (log != NULL && fgets(line, sizeof(line), log) != NULL)
		panics += strstr(line, "PANIC:") != NULL;
	if (log != NULL)
		fclose(log);
	return panics;
}

/* The server can't write any more, and panics, by what is written here or what the agents write. It comes back
 * once or twice, as it makes room by a checkpoint, until that room is taken as well. */
static bool fill_wal(struct play *play) {
	int before = count_panics(play);

	cluster_close(&play->stage.cluster);
	for (int i = 0; i < 15; i++) {
		if (!fill_disk(play->wal))
			return false;
		write_to_the_end(play);
		sleep_ms(100);
	}
	return count_panics(play) > before;
}

static bool clear_wal(struct play *play) {
	return clear_disk(play->wal) && cluster_again(&play->stage.cluster) == 0;
}

/* Moves the counters to the small disk, into a folder of the server's user. */
static bool move_counters(struct play *play) {
	char path[128], data[128], sql[400];
	struct stat owner;

	snprintf(path, sizeof(path), "%s/space", play->heap);
	snprintf(data, sizeof(data), "%s/pg/data", play->stage.cluster.dir);
	if (stat(data, &owner) != 0 || mkdir(path, 0700) != 0 || chown(path, owner.st_uid, owner.st_gid) != 0)
		return false;
	snprintf(sql, sizeof(sql), "create tablespace small location '%s'", path);
	return cluster_do(&play->stage.cluster, sql) == 0 &&
	       cluster_do(&play->stage.cluster, "alter table stint.counter set tablespace small;"
	                                        " alter index stint.counter_pkey set tablespace small") == 0;
}

/* ---- The faults ----------------------------------------------------------------------------------- */

/* Every fifth row that is written meets this error. */
#define REFUSE(sqlstate)                                                                                          \
	"create sequence public.written;"                                                                             \
	"create function public.refuse() returns trigger language plpgsql security definer as $$ begin"               \
	" if nextval('public.written') % 5 = 0 then raise exception using errcode = '" sqlstate "'; end if;"          \
	" return new; end $$;"                                                                                        \
	"create trigger refuse before insert or update on stint.counter for each row execute function public.refuse()"
#define REFUSE_NO_MORE                                                                                            \
	"drop trigger refuse on stint.counter; drop function public.refuse(); drop sequence public.written"

static const struct fault faults[] = {
	{.what = "serialization failures (40001)",
     .cause_sql = REFUSE("40001"),
     .clear_sql = REFUSE_NO_MORE,
     .state = "in step",
     .within_ms = 1000,
     .stays = true},
	{.what = "deadlocks (40P01)",
     .cause_sql = REFUSE("40P01"),
     .clear_sql = REFUSE_NO_MORE,
     .state = "in step",
     .within_ms = 1000,
     .stays = true},
	{.what = "role made serializable",
     .cause_sql = "alter role test_agent set default_transaction_isolation = 'serializable'; " HANG_UP,
     .clear_sql = "alter role test_agent reset default_transaction_isolation",
     .state = "in step",
     .within_ms = 1000},
	{.what = "a row locked by somebody else",
     .cause = lock_row,
     .clear = close_others,
     .state = "in step",
     .within_ms = 1000,
     .stays = true,
     .others_served = true},
	{.what = "the table locked by somebody else",
     .cause = lock_table,
     .clear = close_others,
     .state = "fallback",
     .said = "locked",
     .within_ms = RETURN_MS},
	{.what = "rights taken away (42501)",
     .cause_sql = "revoke stint_agent from test_agent",
     .clear_sql = "grant stint_agent to test_agent",
     .state = "fallback",
     .said = "no rights: grant stint_agent to this role",
     .within_ms = RETURN_MS},
	{.what = "login taken away (28000)",
     .cause_sql = "alter role test_agent nologin; " HANG_UP,
     .clear_sql = "alter role test_agent login",
     .state = "fallback",
     .said = "is not permitted to log in",
     .within_ms = RETURN_MS},
	{.what = "schema gone (3F000)",
     .cause_sql = "alter schema stint rename to elsewhere",
     .clear_sql = "alter schema elsewhere rename to stint",
     .state = "fallback",
     .said = "schema stint is missing: run `stint db init`",
     .within_ms = RETURN_MS},
	{.what = "schema newer than the agent",
     .cause_sql = "insert into stint.migration (version, name, breaking) values (99, 'later', true); " HANG_UP,
     .clear_sql = "delete from stint.migration where version = 99",
     .state = "fallback",
     .said = "update stintd",
     .within_ms = RETURN_MS},
	{.what = "connections used up (53300)",
     .cause = use_up_connections,
     .clear = give_connections_back,
     .state = "fallback",
     .said = "connection slots",
     .within_ms = RETURN_MS},
	{.what = "disk of the tables full (53100)",
     .cause = fill_heap,
     .clear = clear_heap,
     .state = "fallback",
     .said = "No space left on device",
     .within_ms = RETURN_MS,
     .needs_disks = true},
	{.what = "disk of the write-ahead log full (PANIC)",
     .cause = fill_wal,
     .clear = clear_wal,
     .state = "fallback",
     .within_ms = RETURN_MS,
     .needs_disks = true},
};

#define FAULTS (sizeof(faults) / sizeof(faults[0]))

/* ---- The play ---------------------------------------------------------------------------------------- */

static struct episode episodes[ROUNDS_MAX * FAULTS];
static uint32_t episode_count;
static uint32_t rounds = 1;

static bool act(struct play *play, const char *sql, bool (*function)(struct play *)) {
	return function != NULL ? function(play) : cluster_do(&play->stage.cluster, sql) == 0;
}

static uint32_t count_said(const struct stage *stage, const char *words, char why[static 512]) {
	uint32_t count = 0;

	for (uint32_t h = 0; h < stage->host_count; h++) {
		host_text(&stage->host[h], "database", "last_error", why, 512);
		count += strstr(why, words) != NULL;
	}
	return count;
}

/* The log has the same words, but not each time: what lasts is logged every 30 s. An agent tries again after 3
 * s at the latest. */
static void check_said(const struct stage *stage, const struct fault *fault) {
	uint64_t began = monotonic_ns();
	uint32_t count;
	char why[512];

	while ((count = count_said(stage, fault->said, why)) < stage->host_count && stage_ms_since(began) < RETURN_MS)
		sleep_ms(20);
	tap_ok(count == stage->host_count, "%s: %u agents say why: %s", fault->what, count, why);
}

static void suffer(struct play *play, const struct fault *fault) {
	struct stage *stage = &play->stage;
	struct episode *episode = &episodes[episode_count++];

	episode_begin(episode, fault->what, fault->within_ms);
	if (fault->stays)
		episode->away_ns = EPISODE_NEVER;
	tap_ok(act(play, fault->cause_sql, fault->cause), "%s: it is so", fault->what);
	sleep_ms(FAULT_MS);
	if (fault->state != NULL) {
		uint32_t count = stage_wait_for(stage, fault->state, RETURN_MS);

		tap_ok(count == stage->host_count, "%s: %u of %u hosts say \"%s\"", fault->what, count, stage->host_count,
		       fault->state);
	}
	if (fault->said != NULL)
		check_said(stage, fault);
	tap_ok(act(play, fault->clear_sql, fault->clear), "%s: it is so no more", fault->what);
	episode_over(episode, stage, CALM_MS);
	tap_ok(books_look(&play->books, &stage->cluster) == 0, "%s: the books are read", fault->what);
}

static int begin(struct play *play, const struct scene *scene, bool disks) {
	struct cluster_options options = {.settings = {"max_connections=40"}};
	struct stage *stage = &play->stage;
	char wal[128];

	stage_init(stage, scene);
	books_init(&play->books);
	if (disks && (scene_mount(scene, "heap", HEAP_KIB, play->heap) != 0 ||
	              scene_mount(scene, "wal", WAL_KIB, play->wal) != 0))
		disks = false;
	if (disks) {
		snprintf(wal, sizeof(wal), "%s/log", play->wal);
		options.wal = wal;
		/* So small a log needs small segments, which a log on its own disk has. */
		options.settings[1] = "max_wal_size=4MB";
		options.settings[2] = "min_wal_size=2MB";
		options.settings[3] = "wal_recycle=off";
	} else {
		play->heap[0] = play->wal[0] = '\0';
	}
	if (!tap_ok(cluster_start_with(&stage->cluster, scene, &options) == 0 &&
	                cluster_install(&stage->cluster) == 0 &&
	                cluster_do(&stage->cluster, "create role hog login") == 0 && (!disks || move_counters(play)),
	            "a database with the schema is ready"))
		return -1;
	struct host_options patient = {.database = stage->cluster.agent, .database_timeout_ms = DATABASE_TIMEOUT_MS};

	return stage_hosts(stage, HOSTS, &patient) == 0 && stage_crowd(stage, 2, &plan, 1200) == 0 ? 0 : -1;
}

/* I6: the memory and descriptors that an agent has taken. */
struct size {
	long memory_kib;
	int descriptors;
};

static void measure(const struct stage *stage, struct size size[static HOSTS]) {
	for (uint32_t h = 0; h < HOSTS; h++) {
		long shared_kib = 0;
		long memory_kib = process_memory_kib(stage->host[h].agent, &shared_kib);

		size[h] = (struct size){memory_kib - shared_kib, process_descriptors(stage->host[h].agent)};
	}
}

static uint32_t judge_sizes(const struct size before[static HOSTS], const struct size after[static HOSTS]) {
	uint32_t grown = 0;

	for (uint32_t h = 0; h < HOSTS; h++) {
		bool flat = after[h].memory_kib > 0 && after[h].memory_kib - before[h].memory_kib <= GROWTH_KIB &&
		            after[h].descriptors <= before[h].descriptors + 1;

		grown += !flat;
		tap_ok(flat, "I6 host %u: memory %ld KiB, was %ld; descriptors %d, were %d", h, after[h].memory_kib,
		       before[h].memory_kib, after[h].descriptors, before[h].descriptors);
	}
	return grown;
}

static void judge_all(const struct play *play, const struct oracle *oracle, uint32_t grown) {
	uint64_t wrong = books_check(&play->books, oracle, &plan);

	proof_print(&(struct proof){.invariants = "I2 I6",
	                            .fault = ALL,
	                            .runs = episode_count,
	                            .checked = play->books.count,
	                            .violations = wrong + grown,
	                            .recovery_ms = PROOF_NO_RECOVERY});
}

static int64_t admitted_between(const struct oracle *oracle, uint32_t client, uint64_t from_ns,
                                uint64_t until_ns) {
	struct oracle_choice choice = {.policy = 0,
	                               .client = client,
	                               .host = ORACLE_ANY,
	                               .sources = ORACLE_STRICT,
	                               .from_ns = from_ns,
	                               .until_ns = until_ns};

	return oracle_sum(oracle, &choice);
}

/* Compares with the calm before. It need not be all of that: the first try for the locked row takes a quarter of
 * the agent's deadline, in which the agent asks for nobody else, and machines are busy. */
static void judge_others(const struct oracle *oracle, const struct episode *episode) {
	int64_t before = admitted_between(oracle, 1, episode->began_ns - CALM_MS * NS_PER_MS, episode->began_ns);
	int64_t meanwhile = admitted_between(oracle, 1, episode->began_ns, episode->over_ns);
	int64_t lasted_ms = (int64_t)((episode->over_ns - episode->began_ns) / NS_PER_MS);

	tap_ok(meanwhile * CALM_MS * 2 >= before * lasted_ms,
	       "%s: another client was admitted %lld in %lld ms, and before it %lld in %d ms", episode->what,
	       (long long)meanwhile, (long long)lasted_ms, (long long)before, CALM_MS);
}

static void judge(struct play *play, uint32_t grown) {
	struct crowd_total total;
	struct oracle oracle;

	stage_read(&play->stage, &oracle, &total);
	episode_check_latency(ALL, &total, &plan);
	episode_judge_all(episodes, episode_count, ALL, &play->stage, &oracle, &plan);
	for (uint32_t i = 0; i < episode_count; i++)
		for (size_t f = 0; f < FAULTS; f++)
			if (faults[f].what == episodes[i].what && faults[f].others_served)
				judge_others(&oracle, &episodes[i]);
	judge_all(play, &oracle, grown);
	oracle_free(&oracle);
}

static bool own_mounts;

static int run(const struct scene *scene) {
	static struct play play;
	struct size before[HOSTS], after[HOSTS];

	if (begin(&play, scene, own_mounts) != 0)
		return tap_finish();
	sleep_ms(2 * CALM_MS);
	measure(&play.stage, before);
	for (uint32_t round = 0; round < rounds; round++) {
		for (size_t i = 0; i < FAULTS; i++) {
			if (faults[i].needs_disks && play.heap[0] == '\0')
				tap_skip("%s: mounting a small disk is not allowed here", faults[i].what);
			else
				suffer(&play, &faults[i]);
		}
		tap_note("%u of %u rounds", round + 1, rounds);
	}
	measure(&play.stage, after);
	judge(&play, judge_sizes(before, after));
	stage_strike(&play.stage);
	books_free(&play.books);
	return tap_finish();
}

int main(int argc, char **argv) {
	rounds = (uint32_t)setting_argument(argc, argv, 1, rounds);
	if (rounds < 1 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: test_database_refuses [ROUNDS], 1 to %d\n", ROUNDS_MAX);
		return 2;
	}
	own_mounts = scene_own_mounts() == 0;
	return scene_run(run, 90 + 120 * (int)rounds);
}
