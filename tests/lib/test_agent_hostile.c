/*
 * test_agent_hostile.c - what checks do when the agent is of another version, or sends what can't be true.
 */
#include <fcntl.h>
#include <sys/socket.h>

#include "channel_fixture.h"
#include "protocol/timens.h"

/* ---- An agent of another kind ------------------------------------------------------------------ */

/* False: it took so long that the app may well have asked again. */
static bool is_refused_once(struct fixture *f) {
	uint64_t began_ns = fake_now_ns();
	unsigned hellos = fake_agent_count(&f->agent, &f->agent.counts.hello);

	assert_int_equal(source(f, "c"), STINT_ETIMENS);
	assert_string_equal(stint_error_detail(), "the clocks are 5 s apart ");
	/* The app says so again without asking the agent again. */
	assert_int_equal(source(f, "c"), STINT_ETIMENS);
	assert_true(stint_is_allowed(f->api, "c"));
	if (fake_now_ns() - began_ns >= MS(50))
		return false;
	assert_int_equal(fake_agent_count(&f->agent, &f->agent.counts.hello), hellos + 1);
	return true;
}

static void tells_why_the_agent_refuses(void **state) {
	struct fixture *f = *state;
	unsigned backoff_ms = 110;

	f->agent.welcome_status = STINT_ETIMENS;
	f->agent.welcome_words = "the clocks are 5 s apart\n";
	while (!is_refused_once(f))
		pass(backoff_ms = 1100);
	fake_agent_lock(&f->agent);
	f->agent.welcome_status = 0;
	f->agent.welcome_words = NULL;
	fake_agent_unlock(&f->agent);
	pass(backoff_ms);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
}

/* The agent doesn't notice a difference of a second: it can't know how long a HELLO has been under way. */
static void refuses_another_clock(void **state) {
	struct fixture *f = *state;
	uint64_t own = timens_offset();

	if (own == TIMENS_UNKNOWN)
		return; /* the kernel doesn't tell */
	f->agent.table.directory->clock_offset = own + 1;
	assert_int_equal(source(f, "c"), STINT_ETIMENS);
	assert_non_null(strstr(stint_error_detail(), "time namespace"));
	assert_true(stint_is_allowed(f->api, "c"));
	f->agent.table.directory->clock_offset = own;
	pass(110);
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
}

static void refuses_another_version(void **state) {
	struct fixture *f = *state;
	char layout[32];

	f->agent.wire_version = WIRE_VERSION + 1;
	assert_int_equal(source(f, "c"), STINT_EVERSION);
	fake_agent_lock(&f->agent);
	f->agent.wire_version = WIRE_VERSION;
	f->agent.table.directory->version = LAYOUT_VERSION + 1;
	fake_agent_unlock(&f->agent);
	pass(110);
	assert_int_equal(source(f, "c"), STINT_EVERSION);
	snprintf(layout, sizeof(layout), "layout %u", LAYOUT_VERSION + 1);
	assert_non_null(strstr(stint_error_detail(), layout));
}

static void refuses_a_table_of_another_generation(void **state) {
	struct fixture *f = *state;

	f->agent.generation++;
	assert_int_equal(source(f, "c"), STINT_EPROTOCOL);
	fake_agent_await(&f->agent, &f->agent.counts.hangup, 1); /* the agent needn't keep the connection */
}

static void refuses_an_index_outside_the_directory(void **state) {
	struct fixture *f = *state;

	f->agent.policy = POLICY_CAPACITY; /* an answer of the next generation; this index is for another policy */
	assert_int_equal(source(f, "c"), STINT_EPROTOCOL);
}

#define VERDICT_FROM(who, ...)                                                                                    \
	{ .head = {.type = WIRE_VERDICT}, .source = (who), __VA_ARGS__ }
#define VERDICT_OF(...) VERDICT_FROM(STINT_SOURCE_DATABASE, __VA_ARGS__)
#define ADMITS          .allowed = 1, .reason = STINT_ADMITTED
#define DENIES          .reason = STINT_OVER_LIMIT

static const struct {
	struct wire_verdict bytes; /* or whatever these bytes are */
	size_t length;
	int fds;
} garbage[] = {
	{{.head = {.type = WIRE_VERDICT}}, 1, 0},
	{{.head = {.type = WIRE_VERDICT}}, 8, 0},
	{{.head = {.type = 0}}, 8, 0},
	{{.head = {.type = WIRE_WANT}}, 24, 0},
	{{.head = {.type = 65535}}, 56, 0},
	{{.head = {.type = WIRE_WELCOME}}, 32, 2},
	{{.head = {.type = WIRE_DECLARED}}, 15, 0},
	{{.head = {.type = WIRE_DECLARED}}, 17, 0},
	{VERDICT_OF(ADMITS), 55, 0},
	{VERDICT_OF(ADMITS), 57, 0},
	{VERDICT_OF(ADMITS), 56, 1},
	{VERDICT_OF(ADMITS), 56, 2},
	{VERDICT_OF(.allowed = 2, .reason = STINT_ADMITTED), 56, 0},
	{VERDICT_OF(.allowed = 1, .reason = STINT_OVER_LIMIT), 56, 0},
	{VERDICT_OF(.reason = STINT_ADMITTED), 56, 0},
	{VERDICT_OF(.reason = 0), 56, 0},
	{VERDICT_OF(.reason = STINT_UNAVAILABLE + 1), 56, 0},
	{VERDICT_FROM(0, ADMITS), 56, 0},
	{VERDICT_FROM(6, ADMITS), 56, 0},
	{VERDICT_OF(.status = 1), 56, 0},
	{VERDICT_OF(.status = -99), 56, 0},
	{VERDICT_OF(.status = STINT_ECANCELED), 56, 0},
	{VERDICT_OF(DENIES, .limit = -1), 56, 0},
	{VERDICT_OF(DENIES, .remaining = INT64_MIN), 56, 0},
	{VERDICT_OF(DENIES, .retry_after_ms = -1), 56, 0},
	{VERDICT_OF(DENIES, .reset_after_ms = -1), 56, 0},
	{VERDICT_OF(ADMITS), 5000, 0}, /* longer than any message */
};

static void send_garbage(struct fake_agent *a, int fd, const struct wire_want *want, const char *id) {
	size_t i = *(size_t *)a->arg;
	unsigned char bytes[5000] = {0};
	int null[2] = {open("/dev/null", O_RDONLY | O_CLOEXEC), open("/dev/null", O_RDONLY | O_CLOEXEC)};
	char control[CMSG_SPACE(sizeof(null))] __attribute__((aligned(8))) = {0};
	struct iovec part = {.iov_base = bytes, .iov_len = garbage[i].length};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	(void)want, (void)id;
	memcpy(bytes, &garbage[i].bytes, sizeof(garbage[i].bytes));
	if (garbage[i].fds > 0) {
		struct cmsghdr *c = (struct cmsghdr *)control;
		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE((size_t)garbage[i].fds * sizeof(int));
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN((size_t)garbage[i].fds * sizeof(int));
		memcpy(CMSG_DATA(c), null, (size_t)garbage[i].fds * sizeof(int));
	}
	(void)!sendmsg(fd, &m, MSG_NOSIGNAL);
	close(null[0]);
	close(null[1]);
}

static int lowest_free_fd(void) {
	int fd = dup(0);
	close(fd);
	return fd;
}

static void garbage_is_refused(void **state) {
	struct fixture *f = *state;
	int free_fd = -1;
	size_t i;

	f->agent.arg = &i;
	f->agent.want = send_garbage;
	for (i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		assert_int_equal(source(f, "c"), STINT_EPROTOCOL);
		assert_true(stint_is_allowed(f->api, "c"));
		pass(110);
		/* The descriptors that came are closed. */
		if (i == 0)
			free_fd = lowest_free_fd();
		else
			assert_in_range(lowest_free_fd(), 0, free_fd);
	}
}

static void answers_to_nobody_are_ignored(void **state) {
	struct fixture *f = *state;
	struct wire_verdict v = VERDICT_OF(ADMITS, .deadline_ns = UINT64_MAX);
	struct wire_declared d = {.head = {.type = WIRE_DECLARED}, .policy = 9999};

	source(f, "c");
	for (uint32_t serial = 0; serial < 3000; serial += 1000) {
		v.head.serial = d.head.serial = serial;
		fake_agent_send_all(&f->agent, &v, sizeof(v), 0);
		fake_agent_send_all(&f->agent, &d, sizeof(d), 0);
	}
	f->agent.verdict.allowed = 0;
	f->agent.verdict.reason = STINT_OVER_LIMIT;
	assert_int_equal(source(f, "c"), STINT_SOURCE_DATABASE);
	assert_false(f->r.allowed);
}

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(tells_why_the_agent_refuses),
		TEST(refuses_another_clock),
		TEST(refuses_another_version),
		TEST(refuses_a_table_of_another_generation),
		TEST(refuses_an_index_outside_the_directory),
		TEST(garbage_is_refused),
		TEST(answers_to_nobody_are_ignored),
	};
	alarm(UNIT_SECONDS_MAX);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
