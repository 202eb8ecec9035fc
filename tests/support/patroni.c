/* patroni.c - see patroni.h. */
#include "patroni.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "database/pg_connect.h"
#include "process.h"

#define ETCD       "/usr/bin/etcd"
#define PATRONI    "/usr/bin/patroni"
#define PATRONICTL "/usr/bin/patronictl"
#define DATABASE   "stint"
#define USER       "postgres" /* a server refuses to run as root */
#define CLIENT_URL "http://127.0.0.1:2379"
#define PEER_URL   "http://127.0.0.1:2380"
#define START_MS   120000 /* two servers are made, the second one as a copy */
#define COMMAND_MS 60000
#define STOP_MS    30000
#define NODE_A     "127.0.0.1"
#define NODE_B     "127.0.0.2"

const char *patroni_cannot(void) {
	if (access(ETCD, X_OK) != 0)
		return "there is no etcd (etcd-server)";
	if (access(PATRONI, X_OK) != 0 || access(PATRONICTL, X_OK) != 0)
		return "there is no patroni";
	return getpwnam(USER) == NULL ? "there is no user " USER : NULL;
}

/* ---- Processes --------------------------------------------------------------------- */

/* Starts argv as the server's user, which is the same in the user's own processes. */
static pid_t start_as_user(const char *const *argv, const char *log) {
	const char *all[24] = {"setpriv",        "--reuid=" USER,    "--regid=" USER,
	                       "--clear-groups", "--pdeathsig=KILL", "--"};

	for (size_t count = 6; *argv != NULL && count < 23; argv++)
		all[count++] = *argv;
	return process_start(all, log);
}

static int start_etcd(struct patroni *patroni, const char *dir) {
	const char *argv[] = {ETCD,
	                      "--data-dir",
	                      dir,
	                      "--listen-client-urls",
	                      CLIENT_URL,
	                      "--advertise-client-urls",
	                      CLIENT_URL,
	                      "--listen-peer-urls",
	                      PEER_URL,
	                      "--initial-advertise-peer-urls",
	                      PEER_URL,
	                      "--initial-cluster",
	                      "default=" PEER_URL,
	                      NULL};

	patroni->etcd = start_as_user(argv, patroni->log);
	return patroni->etcd > 0 ? 0 : -1;
}

int patroni_again(struct patroni *patroni, int node) {
	struct patroni_node *of = &patroni->node[node];
	const char *argv[] = {PATRONI, of->config, NULL};

	of->pid = start_as_user(argv, of->log);
	return of->pid > 0 ? 0 : -1;
}

static int run_control(const struct patroni *patroni, char *out, size_t size, const char *const *words) {
	const char *argv[12] = {PATRONICTL, "-c", patroni->node[0].config};

	for (size_t count = 3; *words != NULL && count < 11; words++)
		argv[count++] = *words;
	return process_run(argv, COMMAND_MS, out, size, patroni->log) == 0 ? 0 : -1;
}

static void print_end(const char *path) {
	const char *argv[] = {"tail", "-n", "20", path, NULL};
	char text[8192];

	if (process_run(argv, COMMAND_MS, text, sizeof(text), NULL) == 0)
		fprintf(stderr, "# %s:\n%s", path, text);
}

/* ---- Making it ------------------------------------------------------------------------ */

static int make_dir(const char *path) {
	const struct passwd *user = getpwnam(USER);

	return mkdir(path, 0755) == 0 && chown(path, user->pw_uid, user->pw_gid) == 0 ? 0 : -1;
}

static const char *find_bindir(void) {
	static char path[256];
	const char *argv[] = {"tests/support/pg-cluster", "bindir", NULL};

	if (process_run(argv, COMMAND_MS, path, sizeof(path), NULL) != 0)
		return NULL;
	path[strcspn(path, "\n")] = '\0';
	return path;
}

/* fsync = off is safe against what tests cause: see pg-cluster. */
static int write_config(const struct patroni_node *node, const char *bindir) {
	FILE *file = fopen(node->config, "we");

	if (file == NULL)
		return -1;
	fprintf(file, "scope: stint\nname: %s\n", node->name);
	fprintf(file, "etcd3: {hosts: '127.0.0.1:2379'}\nwatchdog: {mode: 'off'}\n");
	fprintf(file, "restapi: {listen: '%s:8008', connect_address: '%s:8008'}\n", node->address, node->address);
	fprintf(file,
	        "bootstrap:\n"
	        "  initdb: [{encoding: UTF8}, {locale: C}, no-sync]\n"
	        "  pg_hba: ['local all all trust', 'host all all 127.0.0.0/8 trust',"
	        " 'host replication all 127.0.0.0/8 trust']\n"
	        "  dcs:\n"
	        "    ttl: %d\n    loop_wait: %d\n    retry_timeout: %d\n    synchronous_mode: true\n"
	        "    postgresql:\n"
	        "      use_pg_rewind: true\n"
	        "      parameters: {shared_buffers: 64MB, fsync: 'off', synchronous_commit: 'on', jit: 'off',"
	        " dynamic_shared_memory_type: mmap}\n",
	        PATRONI_TTL_S, PATRONI_LOOP_WAIT_S, PATRONI_RETRY_TIMEOUT_S);
	fprintf(file,
	        "postgresql:\n"
	        "  listen: %s:5432\n  connect_address: %s:5432\n  data_dir: %s/pg/data\n  bin_dir: %s\n"
	        "  pgpass: %s/pgpass\n  use_unix_socket: true\n  use_unix_socket_repl: true\n"
	        "  parameters: {unix_socket_directories: '%s/pg'}\n"
	        "  authentication: {superuser: {username: postgres}, replication: {username: replicator}}\n",
	        node->address, node->address, node->dir, bindir, node->dir, node->dir);
	return fclose(file);
}

static int make_node(struct patroni_node *node, const struct scene *scene, int number, const char *bindir) {
	char path[112];

	snprintf(node->name, sizeof(node->name), "%c", 'a' + number);
	snprintf(node->address, sizeof(node->address), "%s", number == 0 ? NODE_A : NODE_B);
	snprintf(node->dir, sizeof(node->dir), "%s/%s", scene->dir, node->name);
	snprintf(node->config, sizeof(node->config), "%s.yml", node->dir);
	snprintf(node->log, sizeof(node->log), "%s.log", node->dir);
	snprintf(path, sizeof(path), "%s/pg", node->dir);
	return make_dir(node->dir) == 0 && make_dir(path) == 0 ? write_config(node, bindir) : -1;
}

static int make_all(struct patroni *patroni, const struct scene *scene) {
	const char *bindir = find_bindir();
	char etcd[108];

	scene_path(scene, "etcd", etcd);
	scene_path(scene, "patroni.log", patroni->log);
	if (bindir == NULL || make_dir(etcd) != 0 || start_etcd(patroni, etcd) != 0)
		return -1;
	for (int i = 0; i < PATRONI_NODES; i++)
		if (make_node(&patroni->node[i], scene, i, bindir) != 0 || patroni_again(patroni, i) != 0)
			return -1;
	return 0;
}

/* Which of the nodes that are asked takes writes. */
static void ask(struct patroni *patroni, int left_out, const char *database) {
	static const char *const hosts[] = {NODE_A "," NODE_B, NODE_B, NODE_A};
	struct cluster *cluster = &patroni->cluster;

	patroni->left_out = left_out;
	cluster_close(cluster);
	snprintf(cluster->conninfo, sizeof(cluster->conninfo),
	         "host=%s port=5432 dbname=%s user=postgres target_session_attrs=read-write", hosts[left_out + 1],
	         database);
}

static int make_database(struct patroni *patroni) {
	struct cluster *cluster = &patroni->cluster;
	int status;

	ask(patroni, -1, "postgres");
	/* Who asks for it goes to both nodes, and takes a standby's word that there is none. */
	status = cluster_do(cluster, "set synchronous_commit = remote_apply");
	if (status == 0)
		status = cluster_do(cluster, "create database " DATABASE);
	ask(patroni, -1, DATABASE);
	snprintf(cluster->agent, sizeof(cluster->agent), "%.200s user=test_agent", cluster->conninfo);
	return status;
}

int patroni_start(struct patroni *patroni, const struct scene *scene) {
	memset(patroni, 0, sizeof(*patroni));
	if (make_all(patroni, scene) == 0 && patroni_wait_healthy(patroni, START_MS) && make_database(patroni) == 0)
		return 0;
	print_end(patroni->log);
	for (int i = 0; i < PATRONI_NODES; i++)
		print_end(patroni->node[i].log);
	return -1;
}

/* ---- Who is what ------------------------------------------------------------------------ */

/* A standby is a synchronous one to patronictl when it may take the leader's place. */
bool patroni_wait_healthy(struct patroni *patroni, int timeout_ms) {
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	char list[2048];

	do {
		if (run_control(patroni, list, sizeof(list), (const char *const[]){"list", NULL}) == 0 &&
		    strstr(list, "Leader") != NULL && strstr(list, "Sync Standby") != NULL) {
			ask(patroni, -1, DATABASE);
			return true;
		}
		sleep_ms(200);
	} while (monotonic_ns() < deadline);
	fprintf(stderr, "%s", list);
	return false;
}

int patroni_wait_primary(struct patroni *patroni, int timeout_ms) {
	static const char sql[] = "select split_part(host(inet_server_addr()), '.', 4)::int - 1"
							  " where not pg_is_in_recovery()";
	uint64_t deadline = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;
	int64_t node = -1;
	struct pg *pg;

	cluster_close(&patroni->cluster);
	while (node < 0 && monotonic_ns() < deadline) {
		if (pg_connect(&pg, patroni->cluster.conninfo, 1000) == PG_OK)
			node = cluster_number(&patroni->cluster, sql, -1);
		else
			sleep_ms(20);
		pg_close(pg);
	}
	return (int)node;
}

/* ---- What happens to it ------------------------------------------------------------------ */

int patroni_switch_over(struct patroni *patroni) {
	return run_control(patroni, NULL, 0, (const char *const[]){"switchover", "--force", NULL});
}

int patroni_set(struct patroni *patroni, const char *setting) {
	return run_control(patroni, NULL, 0, (const char *const[]){"edit-config", "--force", "--set", setting, NULL});
}

void patroni_kill(struct patroni *patroni, int node) {
	process_kill(patroni->node[node].pid);
	patroni->node[node].pid = 0;
	ask(patroni, node, DATABASE);
}

void patroni_kill_server(struct patroni *patroni, int node) {
	const char *argv[] = {"tests/support/pg-cluster", "kill", patroni->node[node].dir, NULL};

	process_run(argv, COMMAND_MS, NULL, 0, patroni->log);
}

void patroni_pause_etcd(struct patroni *patroni) {
	kill(patroni->etcd, SIGSTOP);
}

void patroni_resume_etcd(struct patroni *patroni) {
	kill(patroni->etcd, SIGCONT);
}

/* The leader last: else the other one would take its place meanwhile. Both stop their servers. */
void patroni_stop(struct patroni *patroni) {
	int leader = patroni_wait_primary(patroni, 1000);

	cluster_close(&patroni->cluster);
	for (int i = 0; i < PATRONI_NODES; i++)
		if (i != leader)
			process_stop(patroni->node[i].pid, STOP_MS);
	if (leader >= 0)
		process_stop(patroni->node[leader].pid, STOP_MS);
	process_stop(patroni->etcd, STOP_MS);
}
