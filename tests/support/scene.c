/* scene.c - see scene.h. */
#include "scene.h"

#include <errno.h>
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"

static void remove_cluster(const char *dir) {
	const char *argv[] = {"tests/support/pg-cluster", "remove", dir, NULL};

	process_run(argv, 60000, NULL, 0, NULL);
}

/* The scene's own, and those in folders of it. */
static void remove_clusters(const struct scene *scene) {
	char pattern[80];
	glob_t found;

	remove_cluster(scene->dir);
	snprintf(pattern, sizeof(pattern), "%s/*/pg", scene->dir);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++) {
		*strrchr(found.gl_pathv[i], '/') = '\0';
		remove_cluster(found.gl_pathv[i]);
	}
	globfree(&found);
}

/* Small disks of scene_mount(). What is no mount point is left alone. */
static void remove_mounts(const struct scene *scene) {
	char pattern[80];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/*", scene->dir);
	if (glob(pattern, 0, NULL, &found) != 0)
		return;
	for (size_t i = 0; i < found.gl_pathc; i++)
		umount2(found.gl_pathv[i], MNT_DETACH | UMOUNT_NOFOLLOW);
	globfree(&found);
}

/* Kills the guard's children. False: it has none. */
static bool kill_children(void) {
	char path[64];
	bool found = false;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	FILE *children = fopen(path, "re");
	while (children != NULL && fscanf(children, "%d", &pid) == 1) {
		found = true;
		kill(pid, SIGKILL);
	}
	if (children != NULL)
		fclose(children);
	return found;
}

/* What daemons have left behind is the guard's now; when one of these ends, so are its children. */
static void end_orphans(void) {
	uint64_t deadline = monotonic_ns() + 20 * NS_PER_S;

	while (kill_children() && monotonic_ns() < deadline) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			continue;
		sleep_ms(5);
	}
}

static void clear_away(const struct scene *scene) {
	remove_clusters(scene);
	end_orphans();
	remove_mounts(scene);
	own_dir_unlink_objects(scene->shm);
	if (getenv("STINT_KEEP") != NULL)
		fprintf(stderr, "# kept: %s\n", scene->dir);
	else
		own_dir_remove(scene->dir);
}

static int set_up(struct scene *scene) {
	if (own_dir_make(scene->dir, scene->shm) != 0) {
		fprintf(stderr, "%s: %s\n", scene->dir, strerror(errno));
		return -1;
	}
	return chmod(scene->dir, 0755);
}

/* The child, and orphans that became the guard's. True when the child was among them. */
static bool reap(pid_t child, int *status) {
	bool ended = false;
	int one;
	pid_t pid;

	while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
		if (pid == child)
			*status = WIFEXITED(one) ? WEXITSTATUS(one) : 128 + WTERMSIG(one);
		ended |= pid == child;
	}
	return ended;
}

/* Until the child ends; the status to exit with. */
static int watch(pid_t child, const sigset_t *signals, int limit_s) {
	uint64_t deadline = monotonic_ns() + (uint64_t)limit_s * NS_PER_S;
	int status;

	for (;;) {
		struct timespec second = {.tv_sec = 1};
		int caught = sigtimedwait(signals, NULL, &second);

		if (reap(child, &status))
			return status;
		if (caught == SIGINT || caught == SIGTERM || caught == SIGHUP) {
			process_kill(child);
			return 130;
		}
		if (monotonic_ns() > deadline) {
			fprintf(stderr, "# no end after %d s\n", limit_s);
			process_kill(child);
			return 124;
		}
	}
}

int scene_run(int (*play)(const struct scene *), int limit_s) {
	pid_t guard = getpid(), child;
	struct scene scene;
	sigset_t signals, before;
	int status;

	if (set_up(&scene) != 0)
		return 1;
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, &before);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	child = fork();
	if (child == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		signal(SIGINT, SIG_IGN); /* the guard decides */
		exit(getppid() == guard ? play(&scene) : 1);
	}
	status = child > 0 ? watch(child, &signals, limit_s) : 1;
	clear_away(&scene);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return status;
}

void scene_path(const struct scene *scene, const char *name, char path[static 108]) {
	snprintf(path, 108, "%.60s/%.46s", scene->dir, name);
}

/* A process without root's rights has them over the mounts of its own user namespace. Ids are the same inside
 * and outside. */
static void map_ids(uid_t user, gid_t group) {
	FILE *file = fopen("/proc/self/setgroups", "we");

	if (file != NULL) {
		fputs("deny", file);
		fclose(file);
	}
	if ((file = fopen("/proc/self/uid_map", "we")) != NULL) {
		fprintf(file, "%u %u 1", user, user);
		fclose(file);
	}
	if ((file = fopen("/proc/self/gid_map", "we")) != NULL) {
		fprintf(file, "%u %u 1", group, group);
		fclose(file);
	}
}

int scene_own_mounts(void) {
	uid_t user = getuid();
	gid_t group = getgid();

	if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0)
		return -1;
	if (user != 0)
		map_ids(user, group);
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
}

int scene_mount(const struct scene *scene, const char *name, int kib, char path[static 108]) {
	char size[32];

	scene_path(scene, name, path);
	snprintf(size, sizeof(size), "size=%dk,mode=0755", kib);
	if (mkdir(path, 0755) == 0 && mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, size) == 0)
		return 0;
	fprintf(stderr, "# no disk at %s: %s\n", path, strerror(errno));
	return -1;
}
