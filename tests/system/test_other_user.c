/*
 * test_other_user.c - what other users of the host can do with the agent. The test acts as each of them: one
 * from outside its group, one of its group, and one who came first and took its names. The agent runs as a user
 * of its own, as the unit says, but with an umask of 0, so what is closed was closed by the agent itself.
 *
 * Each attempt is made in a child that has given up root for good.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "protocol/layout.h"
#include "peer.h"
#include "process.h"
#include "proof.h"
#include "stage.h"
#include "stint.h"
#include "tap.h"
#include "protocol/wire.h"

/* These ids are nobody's: they are above those that Debian gives to users and systemd to dynamic ones, and
 * below `nobody`. */
#define AGENT    64990u
#define MEMBER   64991u
#define STRANGER 64992u
#define WAIT_MS  5000
#define LIMIT    1000

struct play {
	const struct scene *scene;
	struct host host;
	char directory[108]; /* the folder of the socket */
	uint64_t attempts, broken;
};

/* What an attempt came to: its errno when it failed, 0 when it succeeded. */
typedef int attempt(const struct play *play);

static int shm_path(const struct host *host, const char *object, char path[static 128]) {
	return snprintf(path, 128, "%s.%s", host->shm, object);
}

static void become(uid_t uid, gid_t group) {
	if (setgroups(1, &group) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0)
		_exit(125);
}

static int try_as(const struct play *play, uid_t uid, gid_t group, attempt *what) {
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		become(uid, group);
		_exit(what(play));
	}
	if (child < 0 || !process_wait(child, WAIT_MS, &status)) {
		process_kill(child);
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* One check: the attempt must end with this errno (0: succeed). */
static void expect(struct play *play, uid_t uid, attempt *what, int wanted, const char *sentence) {
	int got = try_as(play, uid, uid == MEMBER ? AGENT : uid, what);

	play->attempts++;
	play->broken += got != wanted;
	tap_ok(got == wanted, "%s: %s", sentence,
	       got == 0  ? "done"
	       : got > 0 ? strerror(got)
	                 : "ended by a signal or not at all");
}

/* ---- By name --------------------------------------------------------------- */

static int open_object(const struct play *play, const char *object, int flags) {
	char name[128];

	shm_path(&play->host, object, name);
	return shm_open(name, flags, 0) >= 0 ? 0 : errno;
}

static int read_table(const struct play *play) {
	return open_object(play, "table", O_RDONLY);
}

static int write_table(const struct play *play) {
	return open_object(play, "table", O_RDWR);
}

static int read_policies(const struct play *play) {
	return open_object(play, "directory", O_RDONLY);
}

static int unlink_table(const struct play *play) {
	char name[128];

	shm_path(&play->host, "table", name);
	return shm_unlink(name) == 0 ? 0 : errno;
}

static int connect_socket(const struct play *play) {
	return peer_connect(play->host.socket) >= 0 ? 0 : errno;
}

static int replace_socket(const struct play *play) {
	return unlink(play->host.socket) == 0 ? 0 : errno;
}

static int kill_agent(const struct play *play) {
	return kill(play->host.agent, SIGKILL) == 0 ? 0 : errno;
}

static int open_of_agent(const struct play *play, const char *file) {
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)play->host.agent, file);
	return open(path, O_RDONLY) >= 0 ? 0 : errno;
}

static int read_memory(const struct play *play) {
	return open_of_agent(play, "mem");
}

static int read_environment(const struct play *play) {
	return open_of_agent(play, "environ");
}

static int take_descriptors(const struct play *play) {
	return open_of_agent(play, "fd");
}

/* Makes a check by the library: 0 when the agent answered, EACCES when the process had to decide by itself. */
static int check_once(const struct play *play) {
	const struct stint_options options = {.policy = "other", .max_requests = LIMIT, .time_window_ms = 3600000};
	struct stint_limiter *limiter;
	struct stint_result result;
	struct stint *stint;

	if (stint_open(&stint, play->host.socket) != 0 || stint_limiter_new(&limiter, stint, &options) != 0 ||
	    stint_check(limiter, "anna", 1, &result) != 0)
		return EPROTO;
	return result.source == STINT_SOURCE_LOCAL ? EACCES : 0;
}

/* ---- By the descriptors that a member is given -------------------------------- */

struct gift {
	int fd[8];
	size_t count;
	int number; /* the connection's number */
};

/* Receives the descriptors of a WELCOME. */
static int receive_gift(const struct play *play, struct gift *gift) {
	const struct wire_hello hello = {.head = {.type = WIRE_HELLO},
	                                 .wire_version = WIRE_VERSION,
	                                 .layout_version = LAYOUT_VERSION,
	                                 .monotonic_ns = monotonic_ns()};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(gift->fd))];
	} control;
	struct wire_welcome welcome;
	struct iovec part = {.iov_base = &welcome, .iov_len = sizeof(welcome)};
	struct msghdr message = {.msg_iov = &part,
	                         .msg_iovlen = 1,
	                         .msg_control = control.bytes,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *rights;

	gift->count = 0;
	gift->number = peer_connect(play->host.socket);
	if (gift->number < 0 || send(gift->number, &hello, sizeof(hello), 0) != (ssize_t)sizeof(hello) ||
	    recvmsg(gift->number, &message, 0) < (ssize_t)sizeof(welcome) ||
	    (rights = CMSG_FIRSTHDR(&message)) == NULL)
		return -1;
	gift->count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(gift->fd, CMSG_DATA(rights), gift->count * sizeof(int));
	return CMSG_NXTHDR(&message, rights) == NULL ? 0 : -1;
}

static int count_gift(const struct play *play) {
	struct gift gift;

	return receive_gift(play, &gift) == 0 && gift.count == 2 ? 0 : EPROTO;
}

static int map_gift(const struct play *play, size_t which, int protection) {
	struct gift gift;

	if (receive_gift(play, &gift) != 0)
		return EPROTO;
	return mmap(NULL, 4096, protection, MAP_SHARED, gift.fd[which], 0) != MAP_FAILED ? 0 : errno;
}

static int map_policies_writable(const struct play *play) {
	return map_gift(play, 0, PROT_READ | PROT_WRITE);
}

static int map_table_writable(const struct play *play) {
	return map_gift(play, 1, PROT_READ | PROT_WRITE);
}

static int unprotect_policies(const struct play *play) {
	struct gift gift;
	void *memory;

	if (receive_gift(play, &gift) != 0)
		return EPROTO;
	memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, gift.fd[0], 0);
	if (memory == MAP_FAILED)
		return EPROTO;
	return mprotect(memory, 4096, PROT_READ | PROT_WRITE) == 0 ? 0 : errno;
}

static int reopen_policies(const struct play *play) {
	struct gift gift;
	char path[64];

	if (receive_gift(play, &gift) != 0)
		return EPROTO;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", gift.fd[0]);
	return open(path, O_RDWR) >= 0 ? 0 : errno;
}

static int write_policies(const struct play *play) {
	struct gift gift;

	if (receive_gift(play, &gift) != 0)
		return EPROTO;
	return write(gift.fd[0], "x", 1) == 1 ? 0 : errno;
}

static int truncate_policies(const struct play *play) {
	struct gift gift;

	if (receive_gift(play, &gift) != 0)
		return EPROTO;
	return ftruncate(gift.fd[0], 0) == 0 ? 0 : errno;
}

static int open_up_table(const struct play *play) {
	struct gift gift;

	if (receive_gift(play, &gift) != 0)
		return EPROTO;
	return fchmod(gift.fd[1], 0666) == 0 ? 0 : errno;
}

static int truncate_table(const struct play *play) {
	struct gift gift;

	if (receive_gift(play, &gift) != 0)
		return EPROTO;
	return ftruncate(gift.fd[1], 0) == 0 ? 0 : errno;
}

/* ---- What an app keeps, and what it hands on to the programs that it starts ---------- */

/* Gives a bit for each descriptor below 64 that is open. */
static uint64_t open_descriptors(void) {
	uint64_t set = 0;

	for (int fd = 0; fd < 64; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			set |= UINT64_C(1) << fd;
	return set;
}

/* An app that is attached and has an event descriptor keeps two descriptors open, that and the connection, and
 * exec closes both. The others were mapped and closed. */
static int keep_to_itself(const struct play *play) {
	const struct stint_options options = {.policy = "other", .max_requests = LIMIT, .time_window_ms = 3600000};
	struct stint_limiter *limiter;
	struct stint_result result;
	struct stint *stint;
	uint64_t before = open_descriptors(), kept;

	if (stint_open(&stint, play->host.socket) != 0 || stint_limiter_new(&limiter, stint, &options) != 0 ||
	    stint_fd(stint) < 0 || stint_check(limiter, "berta", 1, &result) != 0 ||
	    result.source == STINT_SOURCE_LOCAL)
		return EPROTO;
	kept = open_descriptors() & ~before;
	for (int fd = 0; fd < 64; fd++)
		if ((kept >> fd & 1) != 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0)
			return EBADF;
	return __builtin_popcountll(kept) >= 2 && __builtin_popcountll(kept) <= 3 ? 0 : EMFILE;
}

/* The same, seen behind an exec: a program fails that finds open what its parent didn't open itself. */
static int hand_nothing_on(const struct play *play) {
	uint64_t before = open_descriptors();
	char script[512] = "for fd in";
	size_t used = strlen(script);

	for (int fd = 3; fd < 64; fd++)
		if ((before >> fd & 1) == 0)
			used += (size_t)snprintf(script + used, sizeof(script) - used, " %d", fd);
	snprintf(script + used, sizeof(script) - used, "; do [ ! -e /proc/$$/fd/$fd ] || exit 9; done");
	if (keep_to_itself(play) != 0)
		return EPROTO;
	execl("/bin/sh", "sh", "-c", script, (char *)NULL);
	return errno;
}

/* ---- The play ------------------------------------------------------------------ */

/* Makes a copy of the agent, since its user may not be allowed to enter the build's folder; and, in the place
 * where host_start() looks, a script that starts the copy as that user. */
static int prepare_agent(struct play *play) {
	char copy[108], script[108];
	const char *argv[] = {"cp", process_built("stintd"), copy, NULL};
	FILE *file;

	scene_path(play->scene, "agent", copy);
	scene_path(play->scene, "stintd", script);
	scene_path(play->scene, "run", play->directory);
	if (process_run(argv, WAIT_MS, NULL, 0, NULL) != 0 || chmod(copy, 0755) != 0 ||
	    mkdir(play->directory, 0750) != 0 || chown(play->directory, AGENT, AGENT) != 0 ||
	    chmod(play->directory, 0750) != 0)
		return -1;
	snprintf(play->host.socket, sizeof(play->host.socket), "%.80s/agent.sock", play->directory);
	file = fopen(script, "we");
	if (file == NULL)
		return -1;
	fprintf(file,
	        "#!/bin/sh\numask 0\nexport STINT_SOCKET=%s\n"
	        "exec setpriv --reuid=%u --regid=%u --clear-groups --pdeathsig=KILL %s \"$@\"\n",
	        play->host.socket, AGENT, AGENT, copy);
	fclose(file);
	setenv("STINT_BUILD", play->scene->dir, 1);
	return chmod(script, 0755);
}

static bool is_closed(const char *path, mode_t mode) {
	struct stat info;

	return stat(path, &info) == 0 && (info.st_mode & 07777) == mode && info.st_uid == AGENT &&
	       info.st_gid == AGENT;
}

static void check_modes(struct play *play) {
	static const char *const objects[] = {"table", "directory"};

	for (size_t i = 0; i < 2; i++) {
		char path[160], name[128];

		shm_path(&play->host, objects[i], name);
		snprintf(path, sizeof(path), "/dev/shm%s", name);
		play->broken +=
			!tap_ok(is_closed(path, 0600), "the %s is its owner's alone, whatever the umask", objects[i]);
	}
	play->broken += !tap_ok(is_closed(play->host.socket, 0660), "the socket is its owner's and its group's");
	play->attempts += 3;
}

static void check_stranger(struct play *play) {
	tap_note("somebody outside the group");
	expect(play, STRANGER, read_table, EACCES, "cannot open the table for reading");
	expect(play, STRANGER, write_table, EACCES, "cannot open the table for writing");
	expect(play, STRANGER, read_policies, EACCES, "cannot open the policies, where the hash's secret is");
	expect(play, STRANGER, unlink_table, EACCES, "cannot remove the table");
	expect(play, STRANGER, connect_socket, EACCES, "cannot connect");
	expect(play, STRANGER, replace_socket, EACCES, "cannot put another socket in its place");
	expect(play, STRANGER, check_once, EACCES, "is not served: the library decides by itself");
	expect(play, STRANGER, kill_agent, EPERM, "cannot signal the agent");
	expect(play, STRANGER, read_memory, EACCES, "cannot read the agent's memory");
	expect(play, STRANGER, read_environment, EACCES, "cannot read the agent's environment");
	chmod(play->directory, 0755);
	expect(play, STRANGER, connect_socket, EACCES, "cannot connect either when the directory lets everybody in");
	chmod(play->directory, 0750);
}

static void check_member(struct play *play) {
	tap_note("a member of the group");
	expect(play, MEMBER, check_once, 0, "is served");
	expect(play, MEMBER, read_table, EACCES, "cannot open the table by its name");
	expect(play, MEMBER, read_policies, EACCES, "cannot open the policies by their name");
	expect(play, MEMBER, unlink_table, EACCES, "cannot remove the table");
	expect(play, MEMBER, replace_socket, EACCES, "cannot put another socket in its place");
	expect(play, MEMBER, kill_agent, EPERM, "cannot signal the agent");
	expect(play, MEMBER, read_memory, EACCES, "cannot read the agent's memory");
	expect(play, MEMBER, take_descriptors, EACCES, "cannot help itself to the agent's descriptors");
	expect(play, MEMBER, count_gift, 0, "is given two descriptors and no others");
	expect(play, MEMBER, map_table_writable, 0, "maps the table for writing");
	expect(play, MEMBER, map_policies_writable, EACCES, "cannot map the policies for writing");
	expect(play, MEMBER, unprotect_policies, EACCES, "cannot make its mapping of the policies writable");
	expect(play, MEMBER, reopen_policies, EACCES, "cannot open its descriptor of the policies again for writing");
	expect(play, MEMBER, write_policies, EBADF, "cannot write through it");
	expect(play, MEMBER, truncate_policies, EINVAL, "cannot truncate the policies");
	expect(play, MEMBER, open_up_table, EPERM, "cannot open the table to others");
	expect(play, MEMBER, keep_to_itself, 0,
	       "keeps its connection, closed by exec, and no descriptor of the tables");
	expect(play, MEMBER, hand_nothing_on, 0, "hands nothing on to a program that it starts");
}

/* POSIX shared memory can't be sealed. So a member of the group can truncate it, and this is what must come of
 * that. */
static void check_truncation(struct play *play) {
	tap_note("a member that truncates the table, which nothing can forbid");
	expect(play, MEMBER, truncate_table, 0, "does so");
	for (int i = 0; i < WAIT_MS / 10 && host_is_running(&play->host); i++) {
		try_as(play, MEMBER, AGENT, check_once); /* the agent writes into the table */
		sleep_ms(10);
	}
	tap_ok(!host_is_running(&play->host), "the agent dies of it; systemd would start it again");
	play->broken +=
		!tap_ok(host_start(&play->host) == 0, "the next one finds the table unusable and makes another one");
	play->attempts++;
	expect(play, MEMBER, check_once, 0, "and serves");
}

static int squat(const struct play *play) {
	char name[128];
	int fd;

	shm_path(&play->host, "table", name);
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0666);
	return fd >= 0 && fchmod(fd, 0666) == 0 && ftruncate(fd, 1 << 20) == 0 ? 0 : EPROTO;
}

/* A stranger made an object of that name first, and could read and write what an agent would put into it. */
static void check_squatter(struct play *play) {
	const char *argv[] = {process_built("stintd"), "-c", play->host.config, NULL};
	char name[128];
	int status;

	tap_note("somebody who took the table's name first");
	expect(play, STRANGER, squat, 0, "makes an object of its name, open to all");
	status = process_run(argv, WAIT_MS, NULL, 0, play->host.log);
	play->broken += !tap_ok(status == 1, "the agent does not start with it: exit %d", status);
	play->broken += !tap_ok(host_log_count(&play->host, "shared memory") > 0, "and says so");
	play->attempts += 2;
	host_print_log(&play->host);
	shm_path(&play->host, "table", name);
	shm_unlink(name);
}

static int play(const struct scene *scene) {
	const struct host_options options = {.database = "memory:", .max_clients = 1000};
	struct play own = {.scene = scene};

	if (geteuid() != 0) {
		tap_skip("it tries things as other users, which only root can");
		return tap_finish();
	}
	if (!tap_ok(host_prepare(&own.host, scene, 0, &options) == 0 && prepare_agent(&own) == 0,
	            "an agent for a user of its own"))
		return tap_finish();
	check_squatter(&own);
	umask(0);
	if (!tap_ok(host_start(&own.host) == 0, "the agent starts as that user"))
		return tap_finish();
	check_modes(&own);
	check_stranger(&own);
	check_member(&own);
	tap_ok(host_is_running(&own.host), "the agent was not disturbed");
	check_truncation(&own);
	tap_ok(host_stop(&own.host) == 0, "it ends with status 0");
	proof_print(&(struct proof){"I6", "other users of the host, in the group and outside", 1, own.attempts,
	                            own.broken, PROOF_NO_RECOVERY});
	tap_ok(own.broken == 0, "%llu attempts, %llu of them not as they should end", (unsigned long long)own.attempts,
	       (unsigned long long)own.broken);
	return tap_finish();
}

int main(void) {
	return scene_run(play, 60);
}
