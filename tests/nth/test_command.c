/*
 * test_command.c - the Nth allocation, system call or call of libpq fails in the command `stint`: it ends with
 * a status that it documents, says why if that isn't 0, and leaves the database as it was or as it should be:
 * never half a schema.
 *
 *     $NTH_STEP   every how manieth N is tried; 1: all. Default: some 12 of each kind, of each subcommand
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cluster.h"
#include "host.h"
#include "nth.h"
#include "process.h"
#include "proof.h"
#include "random.h"
#include "setting.h"
#include "tap.h"

#define RUNS   12
#define END_MS 20000
/* The highest of the statuses that `stint` ends with: agent/command/command.h. */
#define STATUS_MAX 5

struct bench {
	struct cluster cluster;
	char named[400]; /* its connection string, with a name in it */
	struct host host;
	struct nth_control *control;
	char control_path[108];
	char log[108];
	struct proof proof;
};

struct subcommand {
	const char *words[10]; /* {0} stands for the database, {1} for the agent's socket */
	bool (*holds)(struct bench *, int status);
	void (*reset)(struct bench *);
};

static void complain(struct bench *b, const struct subcommand *sub, const char *what, int64_t value) {
	b->proof.violations++;
	tap_ok(false, "stint %s %s: %s: %s %" PRId64, sub->words[2], sub->words[3], nth_describe(b->control), what,
	       value);
}

/* ---- What must hold after each ------------------------------------------------------ */

/* All of it or nothing: what a whole one has, counted. */
static int64_t count_schema(struct bench *b) {
	return cluster_number(
		&b->cluster,
		"select (select count(*) from pg_class where relnamespace = n.oid)"
		" + (select count(*) from pg_proc where pronamespace = n.oid)"
		" + 1000000 * (select count(*) from pg_class where relnamespace = n.oid and relname = 'migration')"
		" from pg_namespace n where nspname = 'stint'",
		0);
}

static int64_t whole_schema;

static bool is_whole_or_absent(struct bench *b, int status) {
	int64_t count = count_schema(b);

	return count == whole_schema || (count == 0 && status != 0);
}

static bool is_whole(struct bench *b, int status) {
	(void)status;
	return count_schema(b) == whole_schema;
}

static bool is_set_if_done(struct bench *b, int status) {
	int64_t limit = cluster_number(&b->cluster, "select max_requests from stint.policy where name = 'nth'", 0);

	return limit == 77 || (limit == 0 && status != 0);
}

static bool holds_anyway(struct bench *b, int status) {
	(void)b;
	(void)status;
	return true;
}

static void drop_schema(struct bench *b) {
	cluster_do(&b->cluster, "drop schema if exists stint cascade");
}

static void drop_policy(struct bench *b) {
	cluster_do(&b->cluster, "delete from stint.policy where name = 'nth'");
}

static void leave(struct bench *b) {
	(void)b;
}

/* ---- Runs ------------------------------------------------------------------------------- */

static off_t log_size(const struct bench *b) {
	struct stat st;

	return stat(b->log, &st) == 0 ? st.st_size : 0;
}

/* Whether the log has a line of the command's own since then, which doesn't end where the reason should follow.
 * (Behind output of another kind, when there was no memory for buffering that.) */
static bool gives_reason(const struct bench *b, off_t since) {
	FILE *file = fopen(b->log, "re");
	char line[1024];
	bool found = false;

	if (file == NULL || fseek(file, since, SEEK_SET) != 0)
		return false;
	while (fgets(line, sizeof(line), file) != NULL) {
		size_t length = strlen(line);

		while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == ' '))
			length--;
		found |= (strstr(line, "stint ") != NULL || strstr(line, "stint: ") != NULL) && length > 0 &&
		         line[length - 1] != ':';
	}
	fclose(file);
	return found;
}

static void judge(struct bench *b, const struct subcommand *sub, int status, off_t log_then) {
	if (!WIFEXITED(status))
		complain(b, sub, "died of signal", WTERMSIG(status));
	else if (WEXITSTATUS(status) > STATUS_MAX)
		complain(b, sub, "ended with status", WEXITSTATUS(status));
	else if (status != 0 && !gives_reason(b, log_then))
		complain(b, sub, "gave no reason for status", WEXITSTATUS(status));
	if (!sub->holds(b, status))
		complain(b, sub, "left the database in a state that it may not be in; status", status);
	b->proof.checked++;
}

/* Whether N was reached. */
static bool run_one(struct bench *b, const struct subcommand *sub, const struct nth_plan *plan) {
	const char *argv[12] = {process_built("stint")};
	off_t before;
	int status;
	pid_t pid;

	for (int i = 0; sub->words[i] != NULL; i++)
		argv[i + 1] = strcmp(sub->words[i], "{0}") == 0   ? b->named
		              : strcmp(sub->words[i], "{1}") == 0 ? b->host.socket
		                                                  : sub->words[i];
	sub->reset(b);
	memset(b->control, 0, sizeof(*b->control));
	b->control->plan = *plan;
	b->control->at_start = 1;
	before = log_size(b);
	pid = nth_start(argv, b->log, b->control_path);
	b->proof.runs++;
	if (!process_wait(pid, END_MS, &status)) {
		process_kill(pid);
		complain(b, sub, "no end after ms", END_MS);
		return true;
	}
	judge(b, sub, status, before);
	return atomic_load(&b->control->failures) > 0;
}

static void sweep(struct bench *b, const struct subcommand *sub, uint32_t class, uint64_t seed) {
	uint64_t random = seed * 1000003 + class, step, n, setting = setting_number("NTH_STEP", 0);
	uint64_t wrong = b->proof.violations, tried = 0;
	bool reached = true;

	run_one(b, sub, &(struct nth_plan){.classes = class});
	step = setting > 0 ? setting : atomic_load(&b->control->calls) / RUNS + 1;
	for (n = 1 + random_below(&random, (uint32_t)step); reached; n += step) {
		struct nth_plan plan = nth_plan_for(class, n, &random);

		/* The first error of send() is ENOBUFS. libpq waits for what the server says to it, which has nothing
		 * to say. */
		plan.variant += class == NTH_SYSTEM && plan.variant == 0;
		reached = run_one(b, sub, &plan);
		tried++;
	}
	wrong = b->proof.violations - wrong;
	tap_ok(wrong == 0, "stint %s %s: each %s fails: %" PRIu64 " of %" PRIu64 " tried, %" PRIu64 " wrong",
	       sub->words[2], sub->words[3], nth_class_name(class), tried, n - step, wrong);
}

/* In this order: each leaves the database as the next one needs it. */
static const struct subcommand subcommands[] = {
	{{"--database", "{0}", "db", "init"}, is_whole_or_absent, drop_schema},
	{{"--database", "{0}", "db", "init"}, is_whole, leave},
	{{"--database", "{0}", "db", "migrate"}, is_whole, leave},
	{{"--database", "{0}", "db", "status"}, is_whole, leave},
	{{"--database", "{0}", "policy", "set", "nth", "--max-requests", "77", "--time-window-ms", "1000"},
     is_set_if_done,
     drop_policy},
	{{"--database", "{0}", "policy", "list"}, holds_anyway, leave},
	{{"--socket", "{1}", "status", "--json"}, holds_anyway, leave},
	{{"--socket", "{1}", "check", "nth", "somebody"}, holds_anyway, leave},
};

static void sweep_all(struct bench *b, uint64_t seed) {
	static const uint32_t classes[] = {NTH_LIBPQ, NTH_MEMORY, NTH_SYSTEM};

	for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++)
		for (size_t k = strcmp(subcommands[i].words[0], "--socket") == 0; k < sizeof(classes) / sizeof(classes[0]);
		     k++)
			sweep(b, &subcommands[i], classes[k], seed + i);
	proof_print(&b->proof);
}

static int play(const struct scene *scene) {
	static struct bench b = {
		.proof = {.invariants = "I2 I6", .fault = "Nth call fails, command", .recovery_ms = PROOF_NO_RECOVERY}};
	struct host_options options = {.max_clients = 64};

	scene_path(scene, "command.control", b.control_path);
	scene_path(scene, "command.log", b.log);
	b.control = nth_make(b.control_path);
	if (!tap_ok(b.control != NULL && cluster_start(&b.cluster, scene) == 0 && cluster_install(&b.cluster) == 0,
	            "a database"))
		return tap_finish();
	nth_add_name(b.cluster.conninfo, b.named);
	whole_schema = count_schema(&b);
	options.database = "memory:";
	if (!tap_ok(host_prepare(&b.host, scene, 0, &options) == 0 && host_start(&b.host) == 0, "an agent"))
		return tap_finish();
	sweep_all(&b, setting_number("NTH_SEED", 1));
	tap_ok(host_is_running(&b.host) && host_stop(&b.host) == 0, "the agent was not touched");
	cluster_close(&b.cluster);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 3600);
}
