/*
 * doctor_libraries.c - which processes of this host have the library, of which version each is, and whether its
 * file was replaced since.
 *
 * It is in a file that they have mapped: in the library's own, in a module's, or in the app's, if that was linked
 * with it; who has the agent's table mapped has it somewhere. There the mark (protocol/mark.h) tells the version.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "doctor.h"
#include "fields.h"
#include "protocol/mark.h"
#include "stint.h"

#define PIDS_NAMED      8
#define MAPS_LINE_BYTES 4096
#define FILES_MAX       16 /* different ones at a time, on one host; what comes later is read again */
#define VERSIONS_MAX    8  /* different ones at a time; the rest counts as one */
#define FILE_BYTES_MAX  (512L << 20)
#define BLOCK_BYTES     (64 << 10)

/* A version that can't be told: the library has no mark, since it is older than that; or its file can't be
 * read. */
#define OLDER      "older"
#define UNREADABLE "unknown"

struct process { /* what its maps tell */
	bool attached, has_library, replaced;
	char file[MAPS_LINE_BYTES + 64], same_file[64]; /* where the library is; and by its place in memory */
};

struct file {
	dev_t device;
	ino_t inode;
	char version[MARK_VERSION_MAX];
};

struct pids {
	int count;
	char text[PIDS_NAMED * 12];
};

struct version {
	char name[MARK_VERSION_MAX];
	struct pids pids;
};

struct libraries {
	bool has_table;
	struct stat table;
	struct file files[FILES_MAX];
	size_t file_count;
	struct version versions[VERSIONS_MAX];
	size_t version_count;
	int count;
	struct pids replaced;
};

static void add_pid(struct pids *pids, const char *pid) {
	size_t length = strlen(pids->text);
	if (pids->count++ < PIDS_NAMED)
		snprintf(pids->text + length, sizeof(pids->text) - length, " %.10s", pid);
}

/* ---- Versions ------------------------------------------------------------------------------- */

/* The version behind the mark, if the whole of it is among these bytes. */
static bool find_mark(const char *bytes, size_t size, char version[static MARK_VERSION_MAX]) {
	static const char mark[] = MARK;
	const char *end = bytes + size;
	for (const char *at; (at = memmem(bytes, (size_t)(end - bytes), mark, strlen(mark))) != NULL; bytes = at + 1) {
		const char *from = at + strlen(mark);
		size_t length = strnlen(from, (size_t)(end - from));
		if (from + length == end || length >= MARK_VERSION_MAX || !isdigit((unsigned char)*from))
			continue;
		memcpy(version, from, length + 1);
		return true;
	}
	return false;
}

/* A mark may lie across two blocks, so the end of one is looked at again. */
static void read_version(int fd, char version[static MARK_VERSION_MAX]) {
	enum { AGAIN = sizeof(MARK) + MARK_VERSION_MAX };
	static char block[AGAIN + BLOCK_BYTES];
	size_t kept = 0;
	ssize_t got;
	strcpy(version, OLDER);
	for (long total = 0; total < FILE_BYTES_MAX && (got = read(fd, block + kept, BLOCK_BYTES)) > 0; total += got) {
		size_t size = kept + (size_t)got;
		if (find_mark(block, size, version))
			return;
		kept = size < AGAIN ? size : AGAIN;
		memmove(block, block + size - kept, kept);
	}
}

static const char *version_in(struct libraries *libraries, int fd, char version[static MARK_VERSION_MAX]) {
	struct stat st;
	if (fstat(fd, &st) != 0)
		return strcpy(version, UNREADABLE);
	for (size_t i = 0; i < libraries->file_count; i++)
		if (libraries->files[i].inode == st.st_ino && libraries->files[i].device == st.st_dev)
			return strcpy(version, libraries->files[i].version);
	read_version(fd, version);
	if (libraries->file_count < FILES_MAX) {
		struct file *file = &libraries->files[libraries->file_count++];
		*file = (struct file){.device = st.st_dev, .inode = st.st_ino};
		strcpy(file->version, version);
	}
	return version;
}

static void count_version(struct libraries *libraries, const char *version, const char *pid) {
	size_t i = 0;
	while (i < libraries->version_count && strcmp(libraries->versions[i].name, version) != 0)
		i++;
	if (i == VERSIONS_MAX)
		i--;
	else if (i == libraries->version_count)
		snprintf(libraries->versions[libraries->version_count++].name, MARK_VERSION_MAX, "%s", version);
	add_pid(&libraries->versions[i].pids, pid);
}

/* ---- Processes ------------------------------------------------------------------------------- */

static bool is_library(const char *path) {
	static const char *const names[] = {"/libstint.so", "/stint.node", "/_stint.abi3.so",
	                                    "/ngx_http_stint_module.so"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (strstr(path, names[i]))
			return true;
	return false;
}

/* One line of its maps: "FROM-TO RIGHTS OFFSET MAJOR:MINOR INODE PATH". */
static void look_at_line(const struct libraries *libraries, const char *pid, char *line, struct process *process) {
	unsigned long from, to, inode;
	unsigned major, minor;
	int path = 0;
	line[strcspn(line, "\n")] = '\0';
	if (sscanf(line, "%lx-%lx %*s %*s %x:%x %lu %n", &from, &to, &major, &minor, &inode, &path) < 5 || path == 0)
		return;
	const struct stat *table = &libraries->table;
	if (libraries->has_table && inode == table->st_ino && makedev(major, minor) == table->st_dev)
		process->attached = true;
	if (!is_library(line + path))
		return;
	process->replaced |= strstr(line + path, " (deleted)") != NULL;
	process->has_library = true;
	snprintf(process->file, sizeof(process->file), "/proc/%.16s/root%s", pid, line + path);
	snprintf(process->same_file, sizeof(process->same_file), "/proc/%.16s/map_files/%lx-%lx", pid, from, to);
}

static void look_at_maps(const struct libraries *libraries, const char *pid, struct process *process) {
	char path[64], line[MAPS_LINE_BYTES];
	snprintf(path, sizeof(path), "/proc/%.16s/maps", pid);
	FILE *maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps))
		look_at_line(libraries, pid, line, process);
	if (maps)
		fclose(maps);
	if (!process->has_library) /* then it is in the app itself */
		snprintf(process->file, sizeof(process->file), "/proc/%.16s/exe", pid);
}

/* By its place in memory even a file is found that was replaced; but only a superuser may. */
static int open_library(const struct process *process) {
	int fd = process->has_library ? open(process->same_file, O_RDONLY | O_CLOEXEC) : -1;
	return fd >= 0 || process->replaced ? fd : open(process->file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

static void look_at_process(struct libraries *libraries, const char *pid) {
	struct process process = {.attached = false};
	char version[MARK_VERSION_MAX] = UNREADABLE;
	look_at_maps(libraries, pid, &process);
	if (!process.has_library && !process.attached)
		return;
	libraries->count++;
	if (process.replaced)
		add_pid(&libraries->replaced, pid);
	int fd = open_library(&process);
	if (fd >= 0) {
		version_in(libraries, fd, version);
		close(fd);
	}
	count_version(libraries, version, pid);
}

/* ---- What is found ------------------------------------------------------------------------------- */

static void find_replaced(struct doctor *doctor, const struct libraries *libraries) {
	if (libraries->replaced.count > 0)
		doctor_find(doctor, DOCTOR_WARNING, "libraries", "restart these apps",
		            "of %d processes with the library, %d have one that was replaced since:%s", libraries->count,
		            libraries->replaced.count, libraries->replaced.text);
	else
		doctor_find(doctor, DOCTOR_OK, "libraries", NULL,
		            "%d processes with the library can be seen, and none with one that was replaced since",
		            libraries->count);
}

/* The processes of the agent's own version aren't named: they are as they should be. */
static void find_versions(struct doctor *doctor, const struct libraries *libraries) {
	const char *own = doctor->status ? fields_text(doctor->status, "version") : STINT_VERSION;
	bool mixed = false;
	char *text = NULL;
	size_t size;
	FILE *to = libraries->count > 0 ? open_memstream(&text, &size) : NULL;
	if (!to)
		return;
	for (size_t i = 0; i < libraries->version_count; i++) {
		const struct version *version = &libraries->versions[i];
		bool same = strcmp(version->name, own) == 0, unknown = strcmp(version->name, UNREADABLE) == 0;
		mixed |= !same && !unknown;
		fprintf(to, "%s%s in %d%s%s", i > 0 ? "; " : "", version->name, version->pids.count, same ? "" : ":",
		        same ? "" : version->pids.text);
	}
	if (fclose(to) == 0)
		doctor_find(
			doctor, mixed ? DOCTOR_WARNING : DOCTOR_OK, "library versions",
			"restart these apps; update the library before in those that bring one of their own (npm, pip, linked)",
			"%s is %s; processes by the library's version: %s", doctor->status ? "the agent" : "this command", own,
			text);
	free(text);
}

/* The agent has the table mapped, too. */
static bool is_to_be_seen(const struct doctor *doctor, const char *pid) {
	return *pid >= '1' && *pid <= '9' && strtoll(pid, NULL, 10) != fields_number(doctor->status, "pid");
}

static void find_table(const struct doctor *doctor, struct libraries *libraries) {
	char path[512];
	const char *name = fields_text(json_object_get(doctor->status, "table"), "shm");
	snprintf(path, sizeof(path), "/dev/shm%.400s.table", name);
	libraries->has_table = *name == '/' && stat(path, &libraries->table) == 0;
}

void doctor_look_at_libraries(struct doctor *doctor) {
	static struct libraries libraries;
	DIR *proc = opendir("/proc");
	libraries = (struct libraries){.count = 0};
	find_table(doctor, &libraries);
	for (const struct dirent *entry; proc && (entry = readdir(proc));)
		if (is_to_be_seen(doctor, entry->d_name))
			look_at_process(&libraries, entry->d_name);
	if (proc)
		closedir(proc);
	find_replaced(doctor, &libraries);
	find_versions(doctor, &libraries);
}
