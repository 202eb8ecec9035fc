/*
 * fuzz_answer.c - what a database may answer to the agent: a server that speaks PostgreSQL's protocol, and
 * lies. Wrong numbers, types, columns, rows, errors, nothing, or bytes of no meaning; libpq reads them, then
 * the agent. The agent is a whole one, with an app.
 *
 * Whatever is answered: the agent doesn't crash, and still talks to its apps.
 */
#include <endian.h>

#include "fuzz_agent.h"

#define STEPS_MAX   60
#define COLUMNS_MAX 15

/* The one row that a truthful server answers: i int4, I int8, b bool, t text. */
struct statement {
	const char *name; /* a part of the statement's name, or of its SQL */
	const char *types;
	int64_t numbers[COLUMNS_MAX];
	const char *texts[COLUMNS_MAX];
};

#define GRANT                                                                                                     \
	"iiIIiIIIiIIiibb", {1, 5, 1000000, 50000, 2, 50000, 1900000, 950000, 40, 0, 1000000, 100, 0, 1, 0}, {         \
		0                                                                                                         \
	}

static const struct statement statements[] = {
	{"set_config", "I", {11}, {0}},
	{"pg_roles", "bbbbbbbi", {1, 0, 1, 0, 0, 1, 0, 4711}, {0}},
	{"schema_version", "ii", {1, 1}, {0}},
	{"register_host",
     "iIiIttIIItti",
     {1, 1700000000000000, 2, 3, 0, 0, -1, 5000, 200000, 0, 0, 4711},
     {[4] = "0123456789abcdef", [5] = "00000001", [9] = "1795883214.907149/16384/16434", [10] = "refused"}},
	{"take_leases", GRANT},
	{"take_first_leases", GRANT},
	{"take_unlocked_leases", GRANT},
	{"declare_policy", "ti", {0, 9}, {"created"}},
	{"get_policies",
     "iitIIIItitbb",
     {1, 9, 0, 100, 1000, 200, 1000, 0, 10, 0, 0, 1},
     {[2] = "api", [7] = "sliding_window", [9] = "strict"}},
	{"get_changes", "IittI", {4, 9, 0, 0, 250000}, {[2] = "api", [3] = "c0"}},
	{"heartbeat", "IIibbbi", {1700000000000000, 3, 2, 0, 1, 1, 4711}, {0}},
	{"pulse", "IIIi", {1700000000000000, 3, 5001, 4711}, {0}},
	{"expire_counters", "II", {10, 1}, {0}},
	{"report_fallback", "i", {0}, {0}},
	{"stop_host", "i", {0}, {0}},
};

struct play {
	struct fuzz in;
	struct agent agent;
	int server; /* -1: no connection */
	bool greeted, skipping, silent;
	const struct statement *statement;
	unsigned char heard[1 << 16], said[1 << 16];
	size_t heard_length, said_length, message_at;
	int app;
	uint32_t serial;
};

static int listener = -1;

static void listen_as_database(void) {
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%.64s/.s.PGSQL.5432", fuzz_dir);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	fuzz_must(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listener, 8) == 0,
	          "no listener");
}

/* ---- Messages of the protocol --------------------------------------------------------------- */

static void put(struct play *p, const void *bytes, size_t size) {
	if (size <= sizeof(p->said) - p->said_length)
		memcpy(p->said + p->said_length, bytes, size), p->said_length += size;
}

static void put16(struct play *p, uint16_t value) {
	value = htobe16(value);
	put(p, &value, sizeof(value));
}

static void put32(struct play *p, uint32_t value) {
	value = htobe32(value);
	put(p, &value, sizeof(value));
}

static void put64(struct play *p, uint64_t value) {
	value = htobe64(value);
	put(p, &value, sizeof(value));
}

static void begin(struct play *p, char type) {
	put(p, &type, 1);
	p->message_at = p->said_length;
	put32(p, 0);
}

static void end(struct play *p) {
	uint32_t length = htobe32((uint32_t)(p->said_length - p->message_at));
	memcpy(p->said + p->message_at, &length, sizeof(length));
}

static void say_simple(struct play *p, char type, const void *bytes, size_t size) {
	begin(p, type);
	put(p, bytes, size);
	end(p);
}

static void say_error(struct play *p, char type) {
	static const char *const states[] = {
		"40001", "40P01", "55P03", "57014", "08006", "0A000", "25006", "26000",
		"3F000", "42501", "42883", "53100", "53300", "57P01", "XX000", "01000",
	};
	char fields[128];
	int length =
		snprintf(fields, sizeof(fields), "SERROR%cC%s%cMsome\nwords%c", 0, states[fuzz_below(&p->in, 16)], 0, 0);
	say_simple(p, type, fields, (size_t)length + 1);
}

/* ---- Lies -------------------------------------------------------------------------------------- */

enum lie { TRUTH, NUMBER, NUMBERS, ROWS, NONE, NULLED, TYPE, COLUMNS, LENGTH, TEXT, LIES };

struct told {
	enum lie lie;
	int column; /* the column that is wrong */
	uint64_t value;
	int rows, columns;
};

static struct told choose_lie(struct play *p) {
	uint8_t how = fuzz_u8(&p->in);
	int columns = (int)strlen(p->statement->types);
	struct told told = {.rows = 1, .columns = columns};
	if (how < 100)
		return told;
	told.lie = how % LIES;
	told.column = (int)fuzz_below(&p->in, (uint32_t)columns);
	told.value = fuzz_odd_number(&p->in);
	if (told.lie == ROWS || told.lie == NUMBERS)
		told.rows = (int)(told.value % 5);
	if (told.lie == NONE)
		told.rows = 0;
	if (told.lie == COLUMNS)
		told.columns = (int)(told.value % (COLUMNS_MAX + 1));
	return told;
}

static char type_of(const struct play *p, int column) {
	return column < (int)strlen(p->statement->types) ? p->statement->types[column] : 'i';
}

static void say_columns(struct play *p, const struct told *told) {
	begin(p, 'T');
	put16(p, (uint16_t)told->columns);
	for (int c = 0; c < told->columns; c++) {
		static const uint32_t oids[] = {['i'] = 23, ['I'] = 20, ['t'] = 25, ['b'] = 16};
		bool lies = told->lie == TYPE && told->column == c;
		put(p, "c", 2);
		put32(p, 0);
		put16(p, 0);
		put32(p, lies ? (uint32_t)told->value : oids[(int)type_of(p, c)]);
		put16(p, (uint16_t)-1);
		put32(p, UINT32_MAX);
		put16(p, !(lies && told->value & 1));
	}
	end(p);
}

static void say_value(struct play *p, const struct told *told, int row, int column) {
	bool lies = told->column == column || told->lie == NUMBERS;
	char type = type_of(p, column), text[300];
	int64_t number = column < COLUMNS_MAX ? p->statement->numbers[column] + (column == 0 ? row : 0) : 0;
	if (lies && (told->lie == NUMBER || told->lie == NUMBERS))
		number = told->lie == NUMBERS && column > 0 ? (int64_t)fuzz_odd_number(&p->in) : (int64_t)told->value;
	if (lies && told->lie == NULLED) {
		put32(p, UINT32_MAX);
	} else if (lies && (told->lie == LENGTH || (told->lie == TEXT && type == 't'))) {
		uint32_t length = (uint32_t)fuzz_read(&p->in, text, fuzz_u16(&p->in) % sizeof(text));
		put32(p, length);
		put(p, text, length);
	} else if (type == 't') {
		const char *said = p->statement->texts[column] ? p->statement->texts[column] : "";
		put32(p, (uint32_t)strlen(said));
		put(p, said, strlen(said));
	} else if (type == 'I') {
		put32(p, 8);
		put64(p, (uint64_t)number);
	} else if (type == 'b') {
		put32(p, 1);
		put(p, &(char){(char)number}, 1);
	} else {
		put32(p, 4);
		put32(p, (uint32_t)number);
	}
}

static void say_rows(struct play *p, const struct told *told) {
	for (int row = 0; row < told->rows; row++) {
		begin(p, 'D');
		put16(p, (uint16_t)told->columns);
		for (int c = 0; c < told->columns; c++)
			say_value(p, told, row, c);
		end(p);
	}
	say_simple(p, 'C', "SELECT 1", 9);
}

static void say_noise(struct play *p) {
	char bytes[256];
	put(p, bytes, fuzz_read(&p->in, bytes, fuzz_u8(&p->in)));
}

/* Answers with columns and rows, or with something else. */
static void say_answer(struct play *p) {
	uint8_t how = fuzz_u8(&p->in);
	if (how >= 224) {
		say_error(p, 'E');
		p->skipping = true;
		return;
	}
	if (how >= 216)
		say_error(p, 'N');
	if (how >= 208 && how < 216)
		say_simple(p, 'A', "\0\0\0\1stint\0", 11);
	if (how >= 204 && how < 208)
		say_noise(p);
	p->silent |= how == 203;
	struct told told = choose_lie(p);
	say_columns(p, &told);
	say_rows(p, &told);
}

/* ---- The server ------------------------------------------------------------------------------------ */

static const struct statement *find_statement(const unsigned char *bytes, size_t size) {
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++)
		if (memmem(bytes, size, statements[i].name, strlen(statements[i].name)))
			return &statements[i];
	return NULL;
}

static void hear(struct play *p, char type, const unsigned char *body, size_t size) {
	const struct statement *named =
		type == 'P' || type == 'B' ? find_statement(body, size < 4096 ? size : 4096) : NULL;
	if (named)
		p->statement = named;
	if (type == 'S')
		p->skipping = false, say_simple(p, 'Z', "I", 1);
	else if (p->skipping)
		return;
	else if (type == 'P')
		say_simple(p, '1', "", 0), p->statement = named;
	else if (type == 'B')
		say_simple(p, '2', "", 0);
	else if (type == 'E' && p->statement)
		say_answer(p);
	else if (type == 'E') /* listen */
		say_simple(p, 'C', "LISTEN", 7);
	else if (type == 'D' && !p->statement)
		say_simple(p, 'n', "", 0);
}

/* Reads a message. True: there was a whole one. */
static bool hear_one(struct play *p) {
	size_t head = p->greeted ? 5 : 4;
	uint32_t length;
	if (p->heard_length < head)
		return false;
	memcpy(&length, p->heard + head - 4, sizeof(length));
	length = be32toh(length) + (uint32_t)(head - 4);
	if (length > p->heard_length)
		return false;
	if (p->greeted) {
		hear(p, (char)p->heard[0], p->heard + head, length - head);
	} else {
		p->greeted = true;
		fuzz_u8(&p->in) < 250 ? say_simple(p, 'R', "\0\0\0\0", 4) : say_error(p, 'E');
		say_simple(p, 'Z', "I", 1);
	}
	memmove(p->heard, p->heard + length, p->heard_length -= length);
	return true;
}

static void hang_up(struct play *p) {
	if (p->server >= 0)
		close(p->server);
	p->server = -1;
	p->greeted = p->skipping = p->silent = false;
	p->heard_length = p->said_length = 0;
	p->statement = NULL;
}

static void serve(struct play *p) {
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		hang_up(p);
		p->server = fd;
	}
	if (p->server < 0)
		return;
	ssize_t got = recv(p->server, p->heard + p->heard_length, sizeof(p->heard) - p->heard_length, 0);
	if (got == 0) {
		hang_up(p);
		return;
	}
	p->heard_length += got > 0 ? (size_t)got : 0;
	while (hear_one(p))
		;
	if (!p->silent && p->said_length > 0)
		(void)!send(p->server, p->said, p->said_length, MSG_NOSIGNAL);
	p->said_length = 0;
}

static void turn(struct play *p) {
	for (int i = 0; i < 3; i++) {
		fuzz_turn(&p->agent);
		serve(p);
	}
	fuzz_turn(&p->agent);
}

/* ---- The app, and time ------------------------------------------------------------------------------- */

static void ask(struct play *p, uint8_t how) {
	static const char *const ids[] = {"c0", "c1", "c2", "c3"};
	struct wire_declare declare = {
		.head = {.type = WIRE_DECLARE, .flags = how & 3, .serial = ++p->serial},
		.max_requests = 100,
		.time_window_ms = 1000,
	};
	struct wire_want want = {
		.head = {.type = WIRE_WANT, .serial = p->serial},
		.policy = how / 128,
		.cost = 1 + how % 3,
		.timeout_ms = 1000,
	};
	struct wire_low low = {.head.type = WIRE_LOW};
	if (how % 8 == 0)
		fuzz_say(p->app, &declare, sizeof(declare), how & 128 ? "other" : "api", how & 128 ? 5 : 3);
	else if (how % 8 == 1)
		fuzz_say(p->app, &low, sizeof(low), ids[how / 16 % 4], 2);
	else
		fuzz_say(p->app, &want, sizeof(want), ids[how / 16 % 4], 2);
}

static void step(struct play *p) {
	uint8_t what = fuzz_u8(&p->in);
	switch (what % 8) {
	case 0: agent_tick(&p->agent); break;
	case 1: expiry_on_timer(&p->agent.expiry); break;
	case 2:
		core_advance(p->agent.driver.core, monotonic_now_ns() + what * INT64_C(10000000)),
			driver_pump(&p->agent.driver);
		break;
	case 3:
		what > 248   ? agent_reopen(&p->agent)
		: what > 240 ? hang_up(p)
		: what > 200 ? (say_noise(p), serve(p))
					 : (void)0;
		break;
	default: ask(p, fuzz_u8(&p->in));
	}
	if (what & 8)
		ask(p, what);
	turn(p);
}

static void still_talks(struct play *p) {
	struct wire_head status = {.type = WIRE_STATUS, .serial = 77}, text;
	char ignored[WIRE_MESSAGE_MAX];
	while (recv(p->app, ignored, sizeof(ignored), MSG_DONTWAIT) > 0)
		;
	fuzz_say(p->app, &status, sizeof(status), "", 0);
	fuzz_turn(&p->agent);
	fuzz_must(fuzz_receive(p->app, WIRE_STATUS_TEXT, &text, sizeof(text)) && text.serial == 77, "no STATUS_TEXT");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct play *p = calloc(1, sizeof(*p));
	char conninfo[128];
	fuzz_must(p != NULL, "no memory");
	if (!fuzz_config.socket[0])
		fuzz_agent_set_up(), listen_as_database();
	p->in = (struct fuzz){data, size};
	p->server = -1;
	fuzz_config.database_timeout_ms = 2000;
	snprintf(conninfo, sizeof(conninfo), "host=%s user=u dbname=d", fuzz_dir);
	fuzz_agent_start(&p->agent, conninfo);
	p->app = fuzz_connect(&p->agent);
	fuzz_say_hello(p->app);
	turn(p);
	ask(p, 0);
	turn(p);
	for (int i = 0; i < STEPS_MAX && p->in.left > 0; i++)
		step(p);
	still_talks(p);
	close(p->app);
	fuzz_agent_stop(&p->agent);
	hang_up(p);
	serve(p); /* serves those who still wait */
	hang_up(p);
	free(p);
	return 0;
}
