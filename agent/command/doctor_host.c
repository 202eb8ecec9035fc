/*
 * doctor_host.c - what `stint doctor` looks at on this host, but for libraries: doctor_libraries.c.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <libgen.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent_status.h"
#include "command.h"
#include "doctor.h"
#include "fields.h"
#include "output.h"
#include "stint.h"

#define SHM             "/dev/shm"
#define LARGE_TABLE     (INT64_C(64) << 20) /* bytes; a smaller one has few pages anyway */
#define MAPS_LINE_BYTES 4096

/* ---- The socket ------------------------------------------------------------------------ */

static const char *group_name(gid_t group, char text[static 32]) {
	const struct group *found = getgrgid(group);
	snprintf(text, 32, "%u", (unsigned)group);
	return found ? found->gr_name : text;
}

/* Who may enter the directory may use the socket. */
static void find_users(struct doctor *doctor, const char *path, const struct stat *directory) {
	char text[32];
	if (directory->st_mode & S_IXOTH)
		doctor_find(doctor, DOCTOR_WARNING, "who may limit",
		            "take the right to enter its directory away from others: chmod o= DIRECTORY",
		            "every user of this host may use %s", path);
	else
		doctor_find(doctor, DOCTOR_OK, "who may limit", NULL, "members of the group %s may use %s",
		            group_name(directory->st_gid, text), path);
}

/* Whether the user would be a member of the group if he logged in now. */
static bool is_listed(gid_t group) {
	const struct passwd *user = getpwuid(geteuid());
	const struct group *found = getgrgid(group);
	for (char **member = found ? found->gr_mem : NULL; user && member && *member; member++)
		if (strcmp(*member, user->pw_name) == 0)
			return true;
	return false;
}

static void find_no_access(struct doctor *doctor, const char *path, const struct stat *directory) {
	const struct passwd *user = getpwuid(geteuid());
	char text[32], remedy[256];
	const char *group = group_name(directory->st_gid, text);
	if (is_listed(directory->st_gid))
		snprintf(remedy, sizeof(remedy), "log in anew: you have been made a member of the group %s since", group);
	else
		snprintf(remedy, sizeof(remedy), "usermod -aG %s USER, and log in anew, or restart the app", group);
	doctor_find(doctor, DOCTOR_ERROR, "socket", remedy, "the user %s may not use %s", user ? user->pw_name : "?",
	            path);
}

static void look_at_socket(struct doctor *doctor) {
	const char *path = agent_status_socket(doctor->call->settings->socket_path);
	char *copy = strdup(path);
	struct stat directory, socket;
	if (!copy || stat(dirname(copy), &directory) != 0)
		doctor_find(doctor, DOCTOR_ERROR, "socket", "start the agent: systemctl start stintd",
		            "there is no directory of %s: %s", path, strerror(errno));
	else if (access(path, R_OK | W_OK) != 0 && errno == EACCES)
		find_no_access(doctor, path, &directory);
	else if (stat(path, &socket) != 0)
		doctor_find(doctor, DOCTOR_ERROR, "socket", "start the agent: systemctl start stintd", "%s: %s", path,
		            strerror(errno));
	else if (!S_ISSOCK(socket.st_mode))
		doctor_find(doctor, DOCTOR_ERROR, "socket", "name the agent's socket: --socket, $STINT_SOCKET",
		            "%s is no socket", path);
	else
		find_users(doctor, path, &directory);
	free(copy);
}

/* ---- The agent -------------------------------------------------------------------------- */

static void look_at_agents_database(struct doctor *doctor) {
	const json_t *database = json_object_get(doctor->status, "database");
	const char *state = fields_text(database, "state");
	int64_t held_ms = fields_number(database, "held_ms");
	if (strcmp(fields_text(database, "kind"), "memory") == 0)
		doctor_find(doctor, DOCTOR_OK, "agent's database", NULL, "none (memory:): this host counts for itself");
	else if (strcmp(state, "in step") == 0)
		doctor_find(doctor, DOCTOR_OK, "agent's database", NULL, "in step, %" PRId64 " live hosts",
		            (int64_t)json_integer_value(json_object_get(database, "live_hosts")));
	else if (held_ms > 0)
		doctor_find(doctor, DOCTOR_WARNING, "agent's database", "wait",
		            "%s for %.1f s more, until leases of the server before have ended on all hosts", state,
		            (double)held_ms / 1e3);
	else
		doctor_find(doctor, strcmp(state, "resync") == 0 ? DOCTOR_WARNING : DOCTOR_ERROR, "agent's database",
		            "see below what is wrong with the database, and the agent's log: journalctl -u stintd",
		            "%s: %s", state, fields_text(database, "last_error"));
}

static void look_at_agent(struct doctor *doctor) {
	char why[256];
	doctor->status = agent_status_fetch(doctor->call->settings->socket_path, why, sizeof(why));
	if (!doctor->status) {
		doctor_find(doctor, DOCTOR_ERROR, "agent", "systemctl status stintd; journalctl -u stintd",
		            "no answer: %s", why);
		return;
	}
	const char *version = fields_text(doctor->status, "version");
	bool same = strcmp(version, STINT_VERSION) == 0;
	doctor_find(doctor, same ? DOCTOR_OK : DOCTOR_WARNING, "agent", "restart it: systemctl restart stintd",
	            "version %s on host %s, process %" PRId64 "%s", version, fields_text(doctor->status, "host"),
	            (int64_t)json_integer_value(json_object_get(doctor->status, "pid")),
	            same ? "" : ", but this command is " STINT_VERSION);
	look_at_agents_database(doctor);
}

/* ---- Shared memory ------------------------------------------------------------------------ */

/* The option "huge=" of the mount, or "never". */
static void read_huge(char huge[static 32]) {
	char line[MAPS_LINE_BYTES], point[256], options[1024];
	strcpy(huge, "never");
	FILE *mounts = fopen("/proc/self/mounts", "re");
	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%*s %255s %*s %1023s", point, options) != 2 || strcmp(point, SHM) != 0)
			continue;
		const char *found = strstr(options, "huge=");
		strcpy(huge, "never");
		if (found)
			sscanf(found, "huge=%31[a-z_]", huge);
	}
	if (mounts)
		fclose(mounts);
}

static void look_at_huge_pages(struct doctor *doctor, int64_t bytes) {
	char huge[32], size[OUTPUT_TEXT_SIZE];
	read_huge(huge);
	bool missing = strcmp(huge, "never") == 0 && bytes >= LARGE_TABLE;
	doctor_find(doctor, missing ? DOCTOR_WARNING : DOCTOR_OK, "huge pages",
	            "mount -o remount,huge=advise " SHM ", then restart the agent",
	            "a table of %s, " SHM " has huge=%s%s", output_bytes(size, bytes), huge,
	            bytes < LARGE_TABLE ? "; so small a table needs none" : "");
}

static void look_at_memory(struct doctor *doctor) {
	struct statvfs shm;
	char left[OUTPUT_TEXT_SIZE];
	int64_t bytes = json_integer_value(json_object_get(json_object_get(doctor->status, "table"), "bytes"));
	if (statvfs(SHM, &shm) != 0) {
		doctor_find(doctor, DOCTOR_ERROR, "shared memory", "mount -t tmpfs tmpfs " SHM, SHM ": %s",
		            strerror(errno));
		return;
	}
	int64_t free_bytes = (int64_t)shm.f_bavail * (int64_t)shm.f_frsize;
	/* Another table is made beside the one that there is when its size changes. */
	doctor_find(doctor, free_bytes < bytes ? DOCTOR_WARNING : DOCTOR_OK, "shared memory",
	            "a table of another size would not fit beside this one: mount -o remount,size=N " SHM,
	            "%s free in " SHM, output_bytes(left, free_bytes));
	if (bytes > 0)
		look_at_huge_pages(doctor, bytes);
}

void doctor_look_at_host(struct doctor *doctor) {
	look_at_socket(doctor);
	look_at_agent(doctor);
	look_at_memory(doctor);
}
