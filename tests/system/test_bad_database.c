/*
 * test_bad_database.c - databases that an agent can't use. It starts all the same, decides by the lenient
 * limit, and says in its status and its log what is wrong.
 */
#include <stdio.h>
#include <string.h>

#include "peer.h"
#include "probe.h"
#include "proof.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"

struct bad_database {
	const char *what;
	const char *prepare; /* SQL that is run beforehand */
	const char *suffix;  /* the end of the agent's connection string */
	const char *says;    /* its status must say this */
	const char *title;   /* and its log must say whose fault it is */
};

static const struct bad_database bad_databases[] = {
	{"no schema", "create database empty", " dbname=empty", "schema", "cannot use the database: "},
	{"no rights", "create role stranger login", " user=stranger", "permission", "cannot use the database: "},
	{"no such database", "select 1", " dbname=nowhere", "nowhere", "cannot use the database: "},
	{"a name in another encoding", "select 1", " dbname=caf\xe9", "caf", "cannot use the database: "},
	{"no such role", "select 1", " user=nobody_at_all", "nobody_at_all", "cannot use the database: "},
	{"a schema of the future",
     "insert into stint.migration (version, name, breaking) values (4711, 'future', true)", "", "4711",
     "cannot use the database: "},
	{"nobody there", "select 1", " host=/nonexistent", "nonexistent", "cannot reach the database: "},
};

static bool decides_alone(const struct host *host) {
	const struct stint_options options = {.policy = "api", .max_requests = 100, .time_window_ms = 1000};

	return probe_once(host, &options, "joe") == STINT_SOURCE_FALLBACK;
}

#define PATIENCE_MS 10000

static bool wait_for_reason(const struct host *host, const char *says, char *status, size_t size) {
	uint64_t began = monotonic_ns();

	for (; strstr(status, says) == NULL && stage_ms_since(began) < PATIENCE_MS; sleep_ms(20))
		peer_status(host->socket, status, size, 1000);
	return strstr(status, says) != NULL;
}

static void try_database(const struct scene *scene, struct cluster *cluster, uint32_t number,
                         const struct bad_database *bad) {
	struct host_options options = {.name = "lost"};
	char conninfo[512], status[16384] = "";
	struct host host;
	bool alone, why;

	if (cluster_do(cluster, bad->prepare) != 0)
		tap_note("%s: could not be prepared", bad->what);
	snprintf(conninfo, sizeof(conninfo), "%s%s", cluster->agent, bad->suffix);
	options.database = conninfo;
	if (!tap_ok(host_prepare(&host, scene, number, &options) == 0 && host_start(&host) == 0,
	            "%s: the agent starts", bad->what))
		return;
	why = wait_for_reason(&host, bad->says, status, sizeof(status));
	alone = decides_alone(&host);
	tap_ok(alone, "%s: it decides by the lenient limit", bad->what);
	tap_ok(why, "%s: its status says why (%s)", bad->what, bad->says);
	tap_ok(host_log_count(&host, bad->says) > 0 && host_log_count(&host, bad->title) > 0, "%s: its log too (%s)",
	       bad->what, bad->title);
	if (!why)
		tap_note("%s", status);
	tap_ok(host_stop(&host) == 0, "%s: it ends with status 0", bad->what);
}

static int play(const struct scene *scene) {
	struct stage stage;

	if (stage_set_database(&stage, scene) != 0)
		return tap_finish();
	for (uint32_t i = 0; i < sizeof(bad_databases) / sizeof(bad_databases[0]); i++)
		try_database(scene, &stage.cluster, i, &bad_databases[i]);
	proof_print_checks("I6", "no schema, no rights, no such database, a schema of the future");
	cluster_close(&stage.cluster);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 90);
}
