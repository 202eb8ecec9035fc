/* pooler.c - see pooler.h. */
#include "pooler.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "database/pg_connect.h"
#include "clock.h"
#include "process.h"

#define PROGRAM  "/usr/sbin/pgbouncer"
#define USER     "nobody" /* it refuses to run as root */
#define PORT     6432
#define START_MS 10000

/* The database's socket is where its connection string says: up to the name of the database. */
static int write_config(const struct pooler *pooler, const struct cluster *cluster, const char *mode) {
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/users", pooler->dir);
	if ((file = fopen(path, "we")) == NULL)
		return -1;
	fputs("\"test_agent\" \"\"\n", file);
	fclose(file);
	snprintf(path, sizeof(path), "%s/ini", pooler->dir);
	if ((file = fopen(path, "we")) == NULL)
		return -1;
	fprintf(file, "[databases]\nstint = %.*s\n[pgbouncer]\n",
	        (int)(strstr(cluster->conninfo, " user=") - cluster->conninfo), cluster->conninfo);
	fprintf(file, "unix_socket_dir = %s\nlisten_port = %d\n", pooler->dir, PORT);
	/* One connection for all: for certain they get in each other's way. */
	if (pooler->pool_size > 0 || strcmp(mode, "transaction") == 0)
		fprintf(file, "default_pool_size = %d\n", pooler->pool_size > 0 ? pooler->pool_size : 1);
	fprintf(file, "max_client_conn = 1000\nserver_login_retry = 1\n");
	fprintf(file, "auth_type = trust\nauth_file = %s/users\npool_mode = %s\n", pooler->dir, mode);
	return fclose(file);
}

static bool answers(const struct pooler *pooler) {
	struct pg *pg = NULL;
	bool is_there = pg_connect(&pg, pooler->agent, 1000) == PG_OK;

	pg_close(pg);
	return is_there;
}

static void print_log(const char *path) {
	FILE *file = fopen(path, "re");
	char line[512];

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		fprintf(stderr, "#   pooler: %s", line);
	if (file != NULL)
		fclose(file);
}

static int make_dir(const struct pooler *pooler) {
	const struct passwd *user = getpwnam(USER);

	if (mkdir(pooler->dir, 0755) != 0 && errno != EEXIST)
		return -1;
	return getuid() == 0 && user != NULL ? chown(pooler->dir, user->pw_uid, user->pw_gid) : 0;
}

int pooler_start(struct pooler *pooler, const struct scene *scene, const struct cluster *cluster, const char *name,
                 const char *mode) {
	char config[128], log[128];
	uint64_t deadline = monotonic_ns() + START_MS * NS_PER_MS;
	const char *argv[] = {PROGRAM, config, getuid() == 0 ? "-u" : NULL, USER, NULL};

	snprintf(pooler->dir, sizeof(pooler->dir), "%s/%s", scene->dir, name);
	snprintf(pooler->agent, sizeof(pooler->agent), "host=%s port=%d dbname=stint user=test_agent", pooler->dir,
	         PORT);
	snprintf(config, sizeof(config), "%s/ini", pooler->dir);
	snprintf(log, sizeof(log), "%s/log", pooler->dir);
	if (make_dir(pooler) != 0 || write_config(pooler, cluster, mode) != 0)
		return -1;
	pooler->pid = process_start(argv, log);
	while (monotonic_ns() < deadline && pooler->pid > 0 && !process_wait(pooler->pid, 0, NULL)) {
		if (answers(pooler))
			return 0;
		sleep_ms(10);
	}
	print_log(log);
	return -1;
}

int pooler_turn(struct pooler *pooler, const struct cluster *cluster, const char *mode) {
	return write_config(pooler, cluster, mode) == 0 && kill(pooler->pid, SIGHUP) == 0 ? 0 : -1;
}

void pooler_kill(struct pooler *pooler) {
	process_kill(pooler->pid);
	pooler->pid = 0;
}
