/*
 * fuzz_app.c - what an agent may say to the library: any packets with any descriptors at any time, or nothing.
 *
 * Whatever is said: the app doesn't crash, each check gets exactly one answer - at the latest when the agent is
 * gone, or its limiter is freed, also by the callback of another - and no descriptor that came along stays
 * open.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "error.h"
#include "fake_agent.h"
#include "fuzz.h"
#include "protocol/wire.h"

#define GENERATION 42u
#define STEPS_MAX  100
#define LIMITERS   2
#define SERIALS    8
#define TIMEOUT_MS 5
#define LATE_MS    5000 /* for a busy machine */

struct play {
	struct fuzz in;
	struct fake_table table;
	struct stint *stint;
	struct stint_limiter *limiters[LIMITERS];
	int listener, connection;  /* -1: none */
	uint32_t serials[SERIALS]; /* the newest serials that the library named */
	unsigned heard;
	struct pending {
		struct play *play;
		int started, answered;
	} pending[LIMITERS]; /* asynchronous checks */
	int frees;           /* the next callback frees this limiter; -1: none */
};

static char dir[64];
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void clear_away(void) {
	unlink(address.sun_path);
	rmdir(dir);
}

static void set_up(void) {
	fuzz_make_dir(dir);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/agent.sock", dir);
	atexit(clear_away);
}

static int count_descriptors(void) {
	DIR *open_ones = opendir("/proc/self/fd");
	int count = 0;
	fuzz_must(open_ones != NULL, "no /proc");
	while (readdir(open_ones))
		count++;
	closedir(open_ones);
	return count;
}

/* ---- The agent ----------------------------------------------------------------------- */

static void listen_again(struct play *p) {
	unlink(address.sun_path);
	p->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	fuzz_must(bind(p->listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(p->listener, 8) == 0,
	          "no listener");
}

static void hang_up(struct play *p) {
	if (p->connection >= 0)
		close(p->connection);
	p->connection = -1;
}

static void stop_listening(struct play *p) {
	hang_up(p);
	if (p->listener >= 0)
		close(p->listener);
	p->listener = -1;
}

/* Reads what the library says, to answer it by its serial. The newest connection counts. */
static void hear(struct play *p) {
	union {
		struct wire_head head;
		char bytes[WIRE_MESSAGE_MAX];
	} message;
	ssize_t got;
	int fd = p->listener >= 0 ? accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) : -1;
	if (fd >= 0) {
		hang_up(p);
		p->connection = fd;
	}
	while (p->connection >= 0 && (got = recv(p->connection, &message, sizeof(message), 0)) > 0) {
		fuzz_must(got >= (ssize_t)sizeof(message.head), "the library said %zd bytes", got);
		p->serials[p->heard++ % SERIALS] = message.head.serial;
	}
}

static uint32_t any_serial(struct play *p) {
	uint8_t how = fuzz_u8(&p->in);
	return how < 250 ? p->serials[(p->heard - 1 - how % SERIALS) % SERIALS] : fuzz_u32(&p->in);
}

/* Chooses descriptors that come along with a packet, mostly the two that belong there. The caller closes
 * *owned. */
static int any_descriptors(struct play *p, int fds[static 4], int *owned) {
	int kind = (int)fuzz_below(&p->in, 16), pipes[2];
	*owned = -1;
	fds[0] = p->table.directory_fd, fds[1] = p->table.table_fd;
	fds[2] = fds[3] = p->table.table_fd;
	switch (kind) {
	case 0: return 0;
	case 1: return 1;
	case 2: return 3;
	case 3: return 4;
	case 4: fds[0] = fds[1]; return 2;
	case 5: fds[1] = fds[0]; return 2;
	case 6: fds[0] = fds[1], fds[1] = p->table.directory_fd; return 2;
	case 7: *owned = fds[fuzz_below(&p->in, 2)] = open("/dev/null", O_RDWR | O_CLOEXEC); return 2;
	case 8: *owned = fds[fuzz_below(&p->in, 2)] = memfd_create("empty", MFD_CLOEXEC); return 2;
	case 9:
		fuzz_must(pipe2(pipes, O_CLOEXEC) == 0, "no pipe");
		close(pipes[1]);
		*owned = fds[fuzz_below(&p->in, 2)] = pipes[0];
		return 2;
	case 10: *owned = fds[1] = open("/proc/self/fd/0", O_RDONLY | O_CLOEXEC | O_PATH); return *owned < 0 ? 0 : 2;
	default: return 2;
	}
}

static void say(struct play *p, const void *bytes, size_t length, const int *fds, int count) {
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec part = {(void *)(uintptr_t)bytes, length};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
	if (count > 0) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
		                      .cmsg_type = SCM_RIGHTS,
		                      .cmsg_len = CMSG_LEN((size_t)count * sizeof(int))};
		memcpy(CMSG_DATA(c), fds, (size_t)count * sizeof(int));
	}
	if (p->connection >= 0)
		(void)!sendmsg(p->connection, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void say_welcome(struct play *p) {
	uint8_t how = fuzz_u8(&p->in);
	struct {
		struct wire_welcome welcome;
		char words[256];
	} m = {.welcome = {
			   .head.type = WIRE_WELCOME,
			   .wire_version = WIRE_VERSION,
			   .layout_version = LAYOUT_VERSION,
			   .generation = GENERATION,
		   }};
	int fds[4], owned = -1, count = how & 1 ? any_descriptors(p, fds, &owned) : 2;
	size_t words = 0;
	if (!(how & 1))
		fds[0] = p->table.directory_fd, fds[1] = p->table.table_fd;
	if (how & 2 && how & 4)
		m.welcome.status = (int32_t)fuzz_odd_number(&p->in), words = fuzz_read(&p->in, m.words, fuzz_u8(&p->in));
	if (how & 8 && how & 16)
		m.welcome.wire_version = (uint32_t)fuzz_odd_number(&p->in);
	if (how & 32 && how & 64)
		m.welcome.layout_version = (uint32_t)fuzz_odd_number(&p->in);
	if (how & 128 && how & 1)
		m.welcome.generation = fuzz_odd_number(&p->in);
	say(p, &m, sizeof(m.welcome) + words - (how == 255 ? 9 : 0), fds, count);
	if (owned >= 0)
		close(owned);
}

static void say_declared(struct play *p) {
	struct wire_declared m = {.head = {.type = WIRE_DECLARED, .serial = any_serial(p)}};
	uint8_t how = fuzz_u8(&p->in);
	m.policy = how < 128 ? how % 8 : (uint32_t)fuzz_odd_number(&p->in);
	if (how % 8 == 0)
		m.status = how & 128 ? (int32_t)fuzz_odd_number(&p->in) : -(int32_t)fuzz_below(&p->in, 16);
	say(p, &m, sizeof(m), NULL, 0);
}

static void say_verdict(struct play *p) {
	struct wire_verdict m = {.head = {.type = WIRE_VERDICT, .serial = any_serial(p)},
	                         .limit = 100,
	                         .remaining = 7};
	uint8_t how = fuzz_u8(&p->in);
	m.allowed = how & 1;
	m.reason = how & 1 ? STINT_ADMITTED : STINT_OVER_LIMIT;
	m.source = (uint8_t)(how % 16 == 15 ? fuzz_u8(&p->in) : STINT_SOURCE_DATABASE);
	m.deadline_ns = how & 2 ? (uint64_t)fuzz_odd_number(&p->in) : fake_now_ns() + MS(1000);
	if (how & 4 && how & 8)
		m.status = how & 128 ? (int32_t)fuzz_odd_number(&p->in) : -(int32_t)fuzz_below(&p->in, 16);
	if (how & 32 && how & 64) {
		m.limit = (int64_t)fuzz_odd_number(&p->in);
		m.remaining = (int64_t)fuzz_odd_number(&p->in);
		m.retry_after_ms = (int64_t)fuzz_odd_number(&p->in);
		m.reset_after_ms = (int64_t)fuzz_odd_number(&p->in);
	}
	say(p, &m, sizeof(m), NULL, 0);
}

static void say_noise(struct play *p) {
	char bytes[2 * WIRE_MESSAGE_MAX];
	int fds[4], owned, count = any_descriptors(p, fds, &owned);
	size_t size = fuzz_u8(&p->in) < 250 ? fuzz_u8(&p->in) : sizeof(bytes);
	fuzz_read(&p->in, bytes, size);
	if (fuzz_below(&p->in, 4))
		bytes[0] = (char)fuzz_below(&p->in, 10), bytes[1] = 0;
	say(p, bytes, size, fds, fuzz_below(&p->in, 2) ? count : 0);
	if (owned >= 0)
		close(owned);
}

/* Retires the old table or brings it back to life, or gives a client credits in it. */
static void change_table(struct play *p) {
	uint8_t how = fuzz_u8(&p->in);
	if (how < 32)
		p->table.table->state = how & 1 ? TABLE_RETIRED : TABLE_ALIVE;
	else
		p->table.slots[how].key = fuzz_u64(&p->in);
}

/* ---- The app ---------------------------------------------------------------------------- */

static void check_answered(const struct pending *pending) {
	fuzz_must(pending->answered == pending->started, "%d of %d checks have an answer", pending->answered,
	          pending->started);
}

/* Frees a limiter: its checks have their answers then. Callbacks of another limiter may run in here. */
static void free_limiter(struct play *p, int i) {
	struct stint_limiter *limiter = p->limiters[i];
	p->limiters[i] = NULL;
	p->frees = -1;
	stint_limiter_free(limiter);
	if (limiter)
		check_answered(&p->pending[i]);
}

static void check_result(int status, const struct stint_result *r) {
	fuzz_must(status == 0 || *stint_strerror(status), "status %d", status);
	fuzz_must(status != 0 || (r->source >= STINT_SOURCE_LEASE && r->source <= STINT_SOURCE_ADVANCE), "source %d",
	          r->source);
}

static void on_answer(int status, const struct stint_result *result, void *arg) {
	struct pending *pending = arg;
	fuzz_must((status == 0) == (result != NULL), "status %d", status);
	check_result(status, result);
	pending->answered++;
	fuzz_must(pending->answered <= pending->started, "an answer that nobody waits for");
	if (pending->play->frees >= 0)
		free_limiter(pending->play, pending->play->frees);
}

static void check_async(struct play *p, uint8_t how) {
	static const char *const ids[] = {"a", "b", "a client with a longer name", "\xc3\xa9"};
	struct stint_limiter *limiter = p->limiters[how / 128];
	struct pending *pending = &p->pending[how / 128];
	struct stint_result result = {.source = 77};
	int status;
	if (!limiter)
		return;
	pending->started++; /* counted before the call, since a bug may answer within it */
	status = stint_check_async(limiter, ids[how % 4], 1 + how % 3, &result, on_answer, pending);
	if (status == 0)
		return;
	pending->started--;
	check_result(status == 1 ? 0 : status, &result);
}

/* Makes a check that waits for a millisecond at most. The agent speaks only before and after it. */
static void check_waiting(struct play *p, uint8_t how) {
	struct stint_result result = {.source = 77};
	if (p->limiters[0])
		check_result(stint_check(p->limiters[0], how & 1 ? "a" : "waiting", 1, &result), &result);
}

static void make_limiter(struct play *p, int i) {
	const struct stint_options options = {
		.policy = i ? "other" : "api",
		.max_requests = 3,
		.time_window_ms = 1000,
		.timeout_ms = i ? TIMEOUT_MS : 1,
		.must_exist = i,
	};
	if (p->limiters[i]) {
		free_limiter(p, i);
	} else {
		fuzz_must(stint_limiter_new(&p->limiters[i], p->stint, &options) == 0, "%s", stint_error_detail());
	}
}

static void step(struct play *p) {
	uint8_t what = fuzz_u8(&p->in);
	switch (what % 16) {
	case 0:
	case 1:
	case 2: check_async(p, what); break;
	case 3: stint_dispatch(p->stint); break;
	case 4:
	case 5: say_welcome(p); break;
	case 6:
	case 7: say_declared(p); break;
	case 8:
	case 9: say_verdict(p); break;
	case 10: say_noise(p); break;
	case 11: hang_up(p); break;
	case 12: what & 16 ? change_table(p) : check_waiting(p, what / 32); break;
	case 13:
		what & 128 ? (p->listener >= 0 ? stop_listening(p) : listen_again(p)) : (void)stint_fd(p->stint);
		break;
	case 14: what > 240 ? make_limiter(p, what & 1) : check_async(p, what); break;
	case 15: p->frees = what & 16 ? what & 1 : -1; break;
	default: break;
	}
	if (what & 32)
		stint_dispatch(p->stint);
	hear(p);
}

static bool is_answered(const struct play *p) {
	for (int i = 0; i < LIMITERS; i++)
		if (p->pending[i].answered != p->pending[i].started)
			return false;
	return true;
}

/* The agent is gone for good. All checks that are still under way are decided without it when their time is up. */
static void finish(struct play *p) {
	uint64_t began_ns = fake_now_ns();
	stop_listening(p);
	while (stint_dispatch(p->stint) >= 0 && !is_answered(p) && fake_now_ns() - began_ns < MS(LATE_MS))
		usleep(200);
	for (int i = 0; i < LIMITERS; i++)
		check_answered(&p->pending[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct play p = {.in = {data, size}, .connection = -1, .frees = -1};
	int before;
	if (!address.sun_path[0])
		set_up();
	before = count_descriptors();
	fake_table_make(&p.table, GENERATION);
	struct slot *slot = fake_table_put(&p.table, 0, "a");
	fake_slot_lease(slot, 0, 2, fake_now_ns() + MS(10000), 0);
	slot->low_water = 1;
	listen_again(&p);
	fuzz_must(stint_open(&p.stint, address.sun_path) == 0, "no attachment");
	for (int i = 0; i < LIMITERS; i++) {
		p.pending[i].play = &p;
		make_limiter(&p, i);
	}
	for (int i = 0; i < STEPS_MAX && p.in.left > 0; i++)
		step(&p);
	finish(&p);
	for (int i = 0; i < LIMITERS; i++)
		stint_limiter_free(p.limiters[i]);
	stint_close(p.stint);
	fake_table_destroy(&p.table);
	fuzz_must(count_descriptors() == before, "%d descriptors, %d before", count_descriptors(), before);
	return 0;
}
