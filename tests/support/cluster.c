/* cluster.c - see cluster.h. */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "database/pg_connect.h"
#include "process.h"

#define SCRIPT "tests/support/pg-cluster"
/* How long a test's statement may take: long, for a million rows on a slow machine. */
#define CONNECT_MS 5000
#define SCRIPT_MS  120000

static void print_file(const char *path) {
	FILE *file = fopen(path, "re");
	char line[1024];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		fprintf(stderr, "#   %s", line);
	if (file != NULL)
		fclose(file);
}

/* `rest` ends with NULL. */
static int run_script_with(struct cluster *cluster, const char *command, const char *const *rest, char *out,
                           size_t size) {
	const char *argv[24] = {SCRIPT, command, cluster->dir};
	size_t count = 3;
	int status;

	for (; rest != NULL && *rest != NULL && count < 23; rest++)
		argv[count++] = *rest;
	status = process_run(argv, SCRIPT_MS, out, size, cluster->log);
	if (status != 0) {
		fprintf(stderr, "# pg-cluster %s: exit %d\n", command, status);
		print_file(cluster->log);
	}
	return status == 0 ? 0 : -1;
}

static int run_script(struct cluster *cluster, const char *command) {
	return run_script_with(cluster, command, NULL, NULL, 0);
}

static void place(struct cluster *cluster, const struct scene *scene, const char *name) {
	memset(cluster, 0, sizeof(*cluster));
	snprintf(cluster->dir, sizeof(cluster->dir), name != NULL ? "%s/%s" : "%s", scene->dir, name);
	scene_path(scene, "cluster.log", cluster->log);
}

/* Starts it by a command that prints its connection string. */
static int run_start(struct cluster *cluster, const char *command, const char *const *rest) {
	if (run_script_with(cluster, command, rest, cluster->conninfo, sizeof(cluster->conninfo)) != 0)
		return -1;
	cluster->conninfo[strcspn(cluster->conninfo, "\n")] = '\0';
	snprintf(cluster->agent, sizeof(cluster->agent), "%.200s user=test_agent", cluster->conninfo);
	return 0;
}

int cluster_start_with(struct cluster *cluster, const struct scene *scene, const struct cluster_options *options) {
	const char *rest[2 * CLUSTER_SETTINGS + 3] = {NULL};
	size_t count = 0;

	for (size_t i = 0; i < CLUSTER_SETTINGS && options->settings[i] != NULL; i++) {
		rest[count++] = "--set";
		rest[count++] = options->settings[i];
	}
	if (options->wal != NULL) {
		rest[count++] = "--wal";
		rest[count++] = options->wal;
	}
	place(cluster, scene, options->name);
	return run_start(cluster, "start", rest);
}

int cluster_start(struct cluster *cluster, const struct scene *scene) {
	return cluster_start_with(cluster, scene, &(struct cluster_options){0});
}

int cluster_start_standby(struct cluster *standby, const struct cluster *primary, const struct scene *scene,
                          const char *name) {
	place(standby, scene, name);
	return run_start(standby, "standby", (const char *const[]){primary->dir, NULL});
}

int cluster_start_restored(struct cluster *cluster, const struct cluster *from, const struct scene *scene,
                           const char *name) {
	place(cluster, scene, name);
	return run_start(cluster, "restored", (const char *const[]){from->dir, NULL});
}

int cluster_promote(struct cluster *cluster) {
	return run_script(cluster, "promote");
}

int cluster_install(struct cluster *cluster) {
	const char *argv[] = {process_built("stint"), "--database", cluster->conninfo, "db", "init", NULL};
	int status = process_run(argv, SCRIPT_MS, NULL, 0, NULL);

	if (status != 0) {
		fprintf(stderr, "# stint db init: exit %d\n", status);
		return -1;
	}
	return cluster_do(cluster, "create role test_agent login in role stint_agent");
}

void cluster_close(struct cluster *cluster) {
	if (cluster->pg != NULL)
		pg_close(cluster->pg);
	cluster->pg = NULL;
}

int cluster_kill(struct cluster *cluster) {
	cluster_close(cluster);
	return run_script(cluster, "kill");
}

int cluster_again(struct cluster *cluster) {
	return run_start(cluster, "start", NULL);
}

int cluster_again_with(struct cluster *cluster, const char *setting) {
	return run_start(cluster, "start", (const char *const[]){"--set", setting, NULL});
}

int cluster_stop(struct cluster *cluster) {
	cluster_close(cluster);
	return run_script(cluster, "stop");
}

int cluster_remove(struct cluster *cluster) {
	cluster_close(cluster);
	return run_script(cluster, "remove");
}

int cluster_pause(struct cluster *cluster) {
	return run_script(cluster, "pause");
}

int cluster_resume(struct cluster *cluster) {
	return run_script(cluster, "resume");
}

void cluster_socket(const struct cluster *cluster, char path[static 108]) {
	snprintf(path, 108, "%.60s/pg/.s.PGSQL.5432", cluster->dir);
}

pid_t cluster_postmaster(const struct cluster *cluster) {
	const char *argv[] = {SCRIPT, "pid", cluster->dir, NULL};
	char out[32] = "";

	return process_run(argv, SCRIPT_MS, out, sizeof(out), NULL) == 0 ? (pid_t)strtol(out, NULL, 10) : 0;
}

static int connect_again(struct cluster *cluster) {
	if (cluster->pg != NULL)
		return 0;
	if (pg_connect(&cluster->pg, cluster->conninfo, CONNECT_MS) == PG_OK)
		return 0;
	fprintf(stderr, "# no connection: %s\n", cluster->pg != NULL ? pg_error(cluster->pg) : "out of memory");
	cluster_close(cluster);
	return -1;
}

int cluster_do(struct cluster *cluster, const char *sql) {
	int status;

	if (connect_again(cluster) != 0)
		return -1;
	status = pg_script(cluster->pg, sql);
	if (status != PG_OK)
		fprintf(stderr, "# %s: %s\n", sql, pg_error(cluster->pg));
	if (status == PG_UNREACHABLE)
		cluster_close(cluster);
	return status == PG_OK ? 0 : -1;
}

int64_t cluster_number(struct cluster *cluster, const char *sql, int64_t otherwise) {
	struct pg_rows rows;
	int status;

	if (connect_again(cluster) != 0)
		return otherwise;
	status = pg_query(cluster->pg, sql, 0, NULL, &rows);
	if (status != PG_OK) {
		fprintf(stderr, "# %s: %s\n", sql, pg_error(cluster->pg));
		if (status == PG_UNREACHABLE)
			cluster_close(cluster);
		return otherwise;
	}
	if (rows.row_count > 0 && rows.column_count > 0 && rows.cells[0] != NULL)
		otherwise = strtoll(rows.cells[0], NULL, 10);
	pg_rows_free(&rows);
	return otherwise;
}

pid_t cluster_backend(struct cluster *cluster, const char *host) {
	char sql[256];

	snprintf(sql, sizeof(sql),
	         "select pid from pg_stat_activity where application_name = 'stintd/%.60s'"
	         " order by backend_start desc limit 1",
	         host);
	return (pid_t)cluster_number(cluster, sql, 0);
}

int cluster_end_backends(struct cluster *cluster) {
	return cluster_do(
		cluster, "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'stintd/%'");
}
