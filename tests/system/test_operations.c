/*
 * test_operations.c - what systemd/RUNBOOK.md has operators do while apps run: another password for the agents'
 * role, in the right order and in the wrong one; and another database, on another server, in the place of the one
 * that there is. What must hold is said in trial.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "tap.h"
#include "trial.h"

#define HOSTS            2u
#define WINDOW_MS        500
#define LIMIT            150
#define CHECK_TIMEOUT_MS 1500
#define SLACK_MS         200

#define NOTICE_MS 10000
/* A pause of at most 2 s with its jitter, the handshake, a busy machine; another server grants nothing for a
 * window and a sub-window. */
#define AFTER_PAUSE_MS 8000

static const struct journal_plan plan = {
	.policy_count = 1,
	.policy = {{JOURNAL_API(LIMIT, LIMIT, WINDOW_MS), .clients = 3, .skew = 0.5}},
	.seed = 67,
	.timeout_ms = CHECK_TIMEOUT_MS,
	.capacity = 2000000,
};

struct play {
	struct stage stage;
	struct trial trial;
	char pgpass[108];
};

/* ---- What an operator does ------------------------------------------------------------- */

/* libpq wants that nobody else may read it. */
static bool write_password(const struct play *play, const char *password) {
	FILE *file = fopen(play->pgpass, "we");

	if (file == NULL)
		return false;
	chmod(play->pgpass, 0600);
	fprintf(file, "*:*:*:test_agent:%s\n", password);
	return fclose(file) == 0;
}

static bool alter_password(struct play *play, const char *password) {
	char sql[96];

	snprintf(sql, sizeof(sql), "alter role test_agent password '%s'", password);
	return cluster_do(&play->stage.cluster, sql) == 0;
}

static bool demand_password(struct play *play) {
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/pg/data/pg_hba.conf", play->stage.cluster.dir);
	if ((file = fopen(path, "we")) == NULL)
		return false;
	fprintf(file, "local all test_agent scram-sha-256\nlocal all all trust\n");
	return fclose(file) == 0 && cluster_do(&play->stage.cluster, "select pg_reload_conf()") == 0;
}

/* What `systemctl reload` does. */
static bool reload_all(struct play *play, const char *database) {
	const struct host_options options = {.database = database};
	bool done = true;

	for (uint32_t h = 0; h < HOSTS; h++)
		done &= host_reload(&play->stage.host[h], &options) == 0;
	return done;
}

/* ---- The play ------------------------------------------------------------------------------ */

/* Sessions outlive the old password. That new ones have the new one is tried by ending them. */
static void rotate_password(struct play *play) {
	trial_fault(&play->trial, "operator: password rotated", AFTER_PAUSE_MS);
	tap_ok(alter_password(play, "two") && write_password(play, "two") &&
	           reload_all(play, play->stage.cluster.agent),
	       "the role has another password, the agents' file as well, and they reload");
	trial_pass(&play->trial, 3 * WINDOW_MS);
	tap_ok(stage_hosts_in(&play->stage, "fallback") == 0, "no host is on its own");
	tap_ok(cluster_end_backends(&play->stage.cluster) == 0, "all agents have to log in anew");
	trial_over(&play->trial);
	tap_ok(stage_log_count(&play->stage, "password authentication failed") == 0, "and can");
}

static void expect_alone(const struct stage *stage) {
	uint32_t alone = stage_wait_for(stage, "fallback", NOTICE_MS);

	tap_ok(alone == HOSTS, "%u of %u hosts are on their own", alone, HOSTS);
}

/* An agent is on its own a moment before it has tried to log in again. */
static void expect_reason(const struct stage *stage, const char *reason) {
	uint32_t said = 0;

	for (uint32_t h = 0; h < HOSTS; h++)
		said += host_wait_log(&stage->host[h], reason, NOTICE_MS);
	tap_ok(said == HOSTS, "and say why");
}

/* The file is read for each attempt to connect: nobody has to tell the agents. */
static void forget_file(struct play *play) {
	struct stage *stage = &play->stage;

	trial_fault(&play->trial, "operator: password changed, and its file later", AFTER_PAUSE_MS);
	tap_ok(alter_password(play, "three") && cluster_end_backends(&stage->cluster) == 0,
	       "the role has another password, and the agents have to log in anew");
	expect_alone(stage);
	expect_reason(stage, "password authentication failed");
	tap_ok(write_password(play, "three"), "the file follows");
	trial_over(&play->trial);
}

/* First the agents are kept from the old database. So what they were granted is in the dump, all of it. */
static void move(struct play *play) {
	static const char what_sql[] = "select count(*) from stint.promotion where what = 'another server'";
	struct stage *stage = &play->stage;
	struct cluster other;

	trial_fault(&play->trial, "operator: moved to another database", AFTER_PAUSE_MS);
	tap_ok(cluster_do(&stage->cluster, "alter role test_agent nologin") == 0 &&
	           cluster_end_backends(&stage->cluster) == 0,
	       "the agents' role may not log in any more");
	expect_alone(stage);
	tap_ok(cluster_start_restored(&other, &stage->cluster, stage->scene, "other") == 0 &&
	           cluster_do(&other, "alter role test_agent login") == 0,
	       "a dump is restored elsewhere, where it may");
	cluster_close(&stage->cluster);
	stage->cluster = other;
	tap_ok(reload_all(play, stage->cluster.agent), "the agents' configuration names that, and they reload");
	trial_over(&play->trial);
	tap_ok(cluster_number(&stage->cluster, what_sql, -1) == 1, "stint.promotion has it");
}

static bool begin(struct play *play, const struct scene *scene) {
	struct stage *stage = &play->stage;

	scene_path(scene, "pgpass", play->pgpass);
	setenv("PGPASSFILE", play->pgpass, 1);
	return stage_set_database(stage, scene) == 0 &&
	       tap_ok(alter_password(play, "one") && write_password(play, "one") && demand_password(play),
	              "agents need a password for it") &&
	       stage_hosts(stage, HOSTS, &(struct host_options){.database = stage->cluster.agent}) == 0 &&
	       stage_crowd(stage, 2, &plan, 400) == 0;
}

static int play_all(const struct scene *scene) {
	static const struct trial_options options = {.name = "operator: all these, one after the other",
	                                             .plan = &plan,
	                                             .slack_ms = SLACK_MS};
	static struct play play;

	if (!begin(&play, scene))
		return tap_finish();
	trial_begin(&play.trial, &play.stage, &options);
	rotate_password(&play);
	forget_file(&play);
	move(&play);
	trial_judge(&play.trial);
	return tap_finish();
}

int main(void) {
	return scene_run(play_all, 180);
}
