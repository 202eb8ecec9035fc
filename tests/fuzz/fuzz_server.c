/*
 * fuzz_server.c - what apps may send to the agent: any packets, from several peers in any order, read or not,
 * to the end or not. The agent is a whole one but for its main(): socket, declarations, core, table; its
 * database is in memory, or can't be reached.
 *
 * Whatever is sent: the agent doesn't crash, and one peer that keeps to the rules is served, before and
 * afterwards.
 */
#include "fuzz_agent.h"

#define PEERS       4
#define PACKETS_MAX 64

struct play {
	struct fuzz in;
	struct agent agent;
	int peers[PEERS]; /* -1: not connected */
	int good;
	uint32_t serial;
};

/* ---- The one that keeps to the rules ---------------------------------------------------------- */

static uint32_t declare_good(struct play *p) {
	struct wire_declared declared = {.status = 1};
	struct wire_declare declare = {
		.head = {.type = WIRE_DECLARE, .serial = ++p->serial},
		.max_requests = 1000000000,
		.time_window_ms = 60000,
	};
	fuzz_say(p->good, &declare, sizeof(declare), "the/good/one", 12);
	fuzz_turn(&p->agent);
	fuzz_must(fuzz_receive(p->good, WIRE_DECLARED, &declared, sizeof(declared)), "no DECLARED");
	fuzz_must(declared.status == 0 && declared.head.serial == p->serial, "status %d", declared.status);
	return declared.policy;
}

static void be_served(struct play *p, uint32_t policy) {
	struct wire_verdict verdict = {.status = 1};
	struct wire_want want = {
		.head = {.type = WIRE_WANT, .serial = ++p->serial},
		.policy = policy,
		.cost = 1,
		.timeout_ms = 60000,
	};
	fuzz_say(p->good, &want, sizeof(want), "good client", 11);
	fuzz_turn(&p->agent);
	fuzz_must(fuzz_receive(p->good, WIRE_VERDICT, &verdict, sizeof(verdict)), "no VERDICT");
	fuzz_must(verdict.status == 0 && verdict.head.serial == p->serial && verdict.allowed,
	          "status %d, serial %u, allowed %d", verdict.status, verdict.head.serial, verdict.allowed);
}

/* ---- The others ---------------------------------------------------------------------------------- */

static const char *any_text(struct play *p, char text[static WIRE_MESSAGE_MAX], size_t *length) {
	static const char *const names[] = {
		"api", "a", "b", "the/good/one/", "x/y", "c0", "c1", "c2", "c3", "c4", "caf\xc3\xa9", "\xff", "a\0b",
	};
	uint32_t choice = fuzz_below(&p->in, 16);
	if (choice < 13) {
		*length = choice == 12 ? 3 : strlen(names[choice]);
		return names[choice];
	}
	*length = fuzz_u16(&p->in) % 300;
	*length = fuzz_read(&p->in, text, *length);
	return text;
}

/* Gives mostly a number that is in range, so that the message passes the first check. */
static int64_t any_number(struct play *p, int64_t usual) {
	uint8_t how = fuzz_u8(&p->in);
	return how < 200 ? usual * (how % 8 + 1) : (int64_t)fuzz_odd_number(&p->in);
}

static void say_declare(struct play *p, int fd, const char *text, size_t length) {
	struct wire_declare m = {
		.head = {.type = WIRE_DECLARE, .flags = (uint16_t)fuzz_below(&p->in, 5), .serial = fuzz_u8(&p->in)},
		.max_requests = any_number(p, 3),
		.time_window_ms = any_number(p, 400),
		.fallback_max_requests = any_number(p, 5),
		.fallback_time_window_ms = any_number(p, 500),
		.algorithm = fuzz_below(&p->in, 3),
		.mode = fuzz_below(&p->in, 3),
		.resolution = (uint32_t)any_number(p, 5) % 70,
	};
	fuzz_say(fd, &m, sizeof(m), text, length);
}

static void say_want(struct play *p, int fd, const char *text, size_t length) {
	struct wire_want m = {
		.head = {.type = WIRE_WANT, .flags = fuzz_below(&p->in, 4), .serial = fuzz_u8(&p->in)},
		.policy = (uint32_t)any_number(p, 1) - 1,
		.cost = (uint32_t)any_number(p, 1),
		.timeout_ms = (uint32_t)any_number(p, 1000),
	};
	fuzz_say(fd, &m, sizeof(m), text, length);
}

static void say_low(struct play *p, int fd, const char *text, size_t length) {
	struct wire_low m = {.head.type = WIRE_LOW, .policy = (uint32_t)any_number(p, 1) - 1};
	fuzz_say(fd, &m, sizeof(m), text, length);
}

static void say_charge(struct play *p, int fd, const char *text, size_t length) {
	struct wire_charge m = {
		.head.type = WIRE_CHARGE,
		.policy = (uint32_t)any_number(p, 1) - 1,
		.cost = (uint32_t)any_number(p, 1),
	};
	fuzz_say(fd, &m, sizeof(m), text, length);
}

static void say_noise(struct play *p, int fd) {
	char bytes[WIRE_MESSAGE_MAX + 8];
	size_t size = fuzz_u8(&p->in) < 250 ? fuzz_u8(&p->in) : sizeof(bytes);
	fuzz_read(&p->in, bytes, size);
	if (fuzz_below(&p->in, 4))
		bytes[0] = (char)fuzz_below(&p->in, 10), bytes[1] = 0;
	(void)!send(fd, bytes, size, MSG_NOSIGNAL);
}

static void read_all(int fd) {
	char bytes[WIRE_MESSAGE_MAX];
	for (int i = 0; i < 100 && recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) > 0; i++)
		;
}

/* Lets time go by for the core, and heartbeats for the rest, faster than they would. */
static void pass_time(struct play *p) {
	core_advance(p->agent.driver.core, monotonic_now_ns() + fuzz_u8(&p->in) * INT64_C(20000000));
	agent_tick(&p->agent);
	driver_pump(&p->agent.driver);
}

static void act(struct play *p) {
	char text[WIRE_MESSAGE_MAX] = {0};
	uint8_t what = fuzz_u8(&p->in);
	int *peer = &p->peers[what / 16 % PEERS];
	struct wire_head status = {.type = WIRE_STATUS, .serial = what};
	size_t length = 0;
	const char *said = what % 16 < 10 ? any_text(p, text, &length) : "";
	if (*peer < 0) {
		*peer = fuzz_connect(&p->agent);
		if (what < 240)
			fuzz_say_hello(*peer);
	}
	switch (what % 16) {
	case 0:
	case 1:
	case 2: say_declare(p, *peer, said, length); break;
	case 3:
	case 4:
	case 5:
	case 6: say_want(p, *peer, said, length); break;
	case 7:
	case 8: say_low(p, *peer, said, length); break;
	case 9: fuzz_say(*peer, &status, sizeof(status), said, what & 128 ? 0 : length); break;
	case 10: say_charge(p, *peer, said, length); break;
	case 11: say_noise(p, *peer); break;
	case 12: read_all(*peer); break;
	case 13: fuzz_say_hello(*peer); break;
	case 14: pass_time(p); break;
	default: close(*peer), *peer = -1;
	}
	if (what & 1)
		fuzz_turn(&p->agent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct play *p = calloc(1, sizeof(*p));
	uint32_t policy;
	if (!fuzz_config.socket[0])
		fuzz_agent_set_up();
	fuzz_must(p != NULL, "no memory");
	p->in = (struct fuzz){data, size};
	fuzz_agent_start(&p->agent, fuzz_u8(&p->in) & 1 ? "host=/nonexistent dbname=x" : "memory:");
	for (int i = 0; i < PEERS; i++)
		p->peers[i] = -1;
	p->good = fuzz_connect(&p->agent);
	fuzz_say_hello(p->good);
	if (p->agent.driver.database)
		core_database_down(p->agent.driver.core, monotonic_now_ns());
	policy = declare_good(p);
	be_served(p, policy);
	for (int i = 0; i < PACKETS_MAX && p->in.left > 0; i++)
		act(p);
	fuzz_turn(&p->agent);
	be_served(p, policy);
	for (int i = 0; i < PEERS; i++)
		if (p->peers[i] >= 0)
			close(p->peers[i]);
	close(p->good);
	fuzz_agent_stop(&p->agent);
	free(p);
	return 0;
}
