/*
 * server.c - the database: statements arrive, work out what each of their rows would become, write those that
 * change in the order of the key, each locked until the commit, and are answered.
 *
 * How long that takes was measured with stint.take_leases() and stint.take_first_leases() of 1 to 256 rows among
 * 20,000, prepared, on PostgreSQL 15 with fsync on, 2 cores of an AMD EPYC (Zen 4): 0.39 ms and 13 us per row, and
 * 0.28 ms and 6.4 us per row, with 50 us of these for the client and the socket, and 110 us for the disk. A row
 * that all ask for was written 5,000 times a second by 2 connections, 3,800 by 8, 1,800 by 32: each that waits
 * costs the others 11 us, since it is woken in vain.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"

#define EPOCH_US INT64_C(1700000000000000) /* of the database's clock */

#define PARSE_NS        (150 * US) /* a statement, before its first row */
#define FINISH_NS       (70 * US)  /* after the last one, until it is committed */
#define PARSE_FIRST_NS  (90 * US)  /* the same of one whose clients are all new to their agent */
#define FINISH_FIRST_NS (50 * US)
#define READ_NS         (9 * US) /* a row is read, and worked out */
#define READ_FIRST_NS   (2 * US) /* the same of a client who has none */
#define WRITE_NS        (4 * US) /* it is locked, and written */
#define AGAIN_NS        (9 * US) /* it has changed since it was read */
#define COMMIT_NS       (110 * US)
#define WAITER_NS       (11 * US)

/* As the agent sets them with its database_timeout_ms of 500. */
#define LOCK_TIMEOUT_NS      (125 * MS)
#define STATEMENT_TIMEOUT_NS (375 * MS)

/* Of a row, in the order of the key. */
struct part {
	uint32_t client, version;
	bool writes;
};

struct statement {
	uint32_t number, host, life;
	uint32_t count, at; /* of its parts, the one that it is at */
	bool is_first, skips, is_rejected, is_forgotten;
	bool waits; /* for the row of the part that it is at ... */
	int64_t waits_since_ns;
	uint32_t next_in; /* ... and the next one who does */
	int64_t arrived_ns, t_us;
	int hosts;
	uint16_t order[CORE_BATCH_MAX];
	struct part parts[CORE_BATCH_MAX];
	struct lease_request requests[CORE_BATCH_MAX];
	struct lease_grant grants[CORE_BATCH_MAX];
	struct grant_ring before[CORE_BATCH_MAX]; /* for when it is rejected */
};

/* ---- Statements come and go ----------------------------------------------------------------------- */

static struct statement *find_free(struct fleet *f) {
	for (uint32_t n = 0; n < f->statement_count; n++) {
		uint32_t number = (f->free_statement + n) % f->statement_count;
		if (!f->statements[number]) {
			f->statements[number] =
				calloc(1, sizeof(struct statement)); /* large: what is not used isn't touched */
			assert(f->statements[number]);
			f->statements[number]->number = number;
			f->free_statement = (number + 1) % f->statement_count;
			return f->statements[number];
		}
	}
	abort(); /* an agent has one at a time, and an earlier agent perhaps another */
}

static void let_go(struct fleet *f, struct statement *s) {
	f->statements[s->number] = NULL;
	free(s);
}

static void sort_parts(struct statement *s) {
	for (uint32_t i = 0; i < s->count; i++) {
		uint32_t at = i;
		uint32_t client = check_client_of(s->requests[i].client_id);
		for (; at > 0 && s->parts[at - 1].client > client; at--) {
			s->parts[at] = s->parts[at - 1];
			s->order[at] = s->order[at - 1];
		}
		s->parts[at] = (struct part){.client = client};
		s->order[at] = (uint16_t)i;
	}
}

static void count(struct fleet *f, const struct statement *s) {
	f->figures.statements++;
	f->figures.rows += s->count;
	f->figures.hot_rows += f->scenario.hot_rate > 0 && s->parts[0].client == 0;
	for (uint32_t i = 0; i < s->count; i++)
		f->figures.charges += s->requests[i].charge > 0;
}

struct statement *server_take(struct fleet *f, uint32_t host, int hosts, const struct lease_request *requests,
                              size_t n) {
	struct statement *s = find_free(f);
	assert(n > 0 && n <= CORE_BATCH_MAX);
	s->host = host;
	s->life = f->hosts[host].life;
	s->count = (uint32_t)n;
	s->hosts = hosts;
	s->is_first = true;
	memcpy(s->requests, requests, n * sizeof(*requests));
	for (size_t i = 0; i < n; i++) {
		s->is_first = s->is_first && requests[i].first;
		s->skips = s->skips || requests[i].skip;
	}
	sort_parts(s);
	if (f->is_counting)
		count(f, s);
	fleet_plan(f, f->now_ns + f->scenario.rtt_us * US / 2, REACH, s->number);
	return s;
}

void server_forget(struct statement *s) {
	s->is_forgotten = true;
}

void server_free(struct fleet *f) {
	for (uint32_t n = 0; n < f->statement_count; n++)
		free(f->statements[n]);
	free(f->statements);
}

/* ---- Time -------------------------------------------------------------------------------------- */

/* Those that run share the processors. */
static void work(struct fleet *f, const struct statement *s, int64_t ns) {
	uint32_t processors = f->scenario.processors;
	if (f->is_counting)
		f->figures.cpu_ns += ns;
	int64_t takes_ns = f->running > processors ? ns * f->running / processors : ns;
	fleet_plan(f, f->now_ns + takes_ns, STEP, s->number);
}

static void answer(struct fleet *f, const struct statement *s) {
	fleet_plan(f, f->now_ns + f->scenario.rtt_us * US / 2, ANSWER, s->number);
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

static void take(struct fleet *f, struct grant_ring *ring, uint32_t client, const struct lease_request *request,
                 const struct statement *s, struct lease_grant *out) {
	struct grant_terms terms = f->terms;
	terms.phase_us = f->rows[client].phase_us;
	grant_take(ring, &terms, request, s->t_us, s->hosts, out);
}

/* What the row would become, if it stays as it is until it is written. It isn't written if a request for nothing
 * would make the same of it. */
static void read_row(struct fleet *f, struct statement *s, uint32_t at) {
	static const struct lease_request nothing = {.need = 0};
	struct part *part = &s->parts[at];
	struct row *row = &f->rows[part->client];
	uint32_t i = s->order[at];
	struct grant_ring mine = row->ring, other = row->ring;
	struct lease_grant ignored;
	take(f, &mine, part->client, &s->requests[i], s, &s->grants[i]);
	take(f, &other, part->client, &nothing, s, &ignored);
	part->version = row->version;
	part->writes = memcmp(&mine, &other, sizeof(mine)) != 0;
}

static void write_row(struct fleet *f, struct statement *s) {
	struct part *part = &s->parts[s->at];
	struct row *row = &f->rows[part->client];
	uint32_t i = s->order[s->at];
	bool is_other = row->version != part->version;
	row->holder = s->number;
	s->before[i] = row->ring;
	take(f, &row->ring, part->client, &s->requests[i], s, &s->grants[i]);
	row->version++;
	s->at++;
	work(f, s, WRITE_NS + (is_other ? AGAIN_NS : 0));
}

static void wait_for(struct fleet *f, struct statement *s, struct row *row) {
	s->waits = true;
	s->waits_since_ns = f->now_ns;
	s->next_in = NOBODY;
	if (row->last_in == NOBODY)
		row->first_in = s->number;
	else
		f->statements[row->last_in]->next_in = s->number;
	row->last_in = s->number;
	f->running--;
	fleet_plan(f, f->now_ns + LOCK_TIMEOUT_NS, TIMEOUT, s->number);
}

static struct statement *leave_queue(struct fleet *f, struct row *row) {
	struct statement *s = f->statements[row->first_in];
	row->first_in = s->next_in;
	if (row->first_in == NOBODY)
		row->last_in = NOBODY;
	return s;
}

static uint32_t queue_length(const struct fleet *f, const struct row *row) {
	uint32_t length = 0;
	for (uint32_t n = row->first_in; n != NOBODY; n = f->statements[n]->next_in)
		length++;
	return length;
}

/* Of those who wait for it, the first has it next. Each that goes on waiting was woken in vain. */
static void unlock(struct fleet *f, struct row *row) {
	row->holder = NOBODY;
	if (row->first_in == NOBODY)
		return;
	struct statement *s = leave_queue(f, row);
	s->waits = false;
	f->running++;
	row->holder = s->number;
	work(f, s, (1 + queue_length(f, row)) * WAITER_NS);
}

static void unlock_all(struct fleet *f, const struct statement *s) {
	for (uint32_t at = 0; at < s->count; at++)
		if (f->rows[s->parts[at].client].holder == s->number)
			unlock(f, &f->rows[s->parts[at].client]);
}

/* ---- What happens to a statement --------------------------------------------------------------------- */

static void reach(struct fleet *f, struct statement *s) {
	s->arrived_ns = f->now_ns;
	s->t_us = EPOCH_US + f->now_ns / US;
	s->at = NOBODY; /* nothing is read yet */
	f->running++;
	work(f, s, s->is_first ? PARSE_FIRST_NS + s->count * READ_FIRST_NS : PARSE_NS + s->count * READ_NS);
}

static void read_all(struct fleet *f, struct statement *s) {
	for (uint32_t at = 0; at < s->count; at++)
		read_row(f, s, at);
	s->at = 0;
}

/* The next row that it writes, if that is to be had. */
static void step(struct fleet *f, struct statement *s) {
	if (s->at == NOBODY)
		read_all(f, s);
	while (s->at < s->count && !s->parts[s->at].writes)
		s->at++;
	if (s->at == s->count) {
		s->at++;
		work(f, s, s->is_first ? FINISH_FIRST_NS : FINISH_NS);
		return;
	}
	if (s->at > s->count) {
		f->running--;
		fleet_plan(f, f->now_ns + COMMIT_NS, COMMITTED, s->number);
		return;
	}
	struct row *row = &f->rows[s->parts[s->at].client];
	if (row->holder == NOBODY || row->holder == s->number) {
		write_row(f, s);
	} else if (s->skips) {
		s->grants[s->order[s->at]] = (struct lease_grant){.busy = true};
		s->at++;
		work(f, s, 0);
	} else {
		wait_for(f, s, row);
	}
}

static void undo(struct fleet *f, struct statement *s) {
	for (uint32_t at = 0; at < s->at && at < s->count; at++)
		if (s->parts[at].writes)
			f->rows[s->parts[at].client].ring = s->before[s->order[at]];
	unlock_all(f, s);
	s->is_rejected = true;
	f->figures.rejected += f->is_counting;
	answer(f, s);
}

static void commit(struct fleet *f, struct statement *s) {
	if (f->now_ns - s->arrived_ns > STATEMENT_TIMEOUT_NS) {
		undo(f, s);
		return;
	}
	unlock_all(f, s);
	answer(f, s);
}

/* Whoever still waits since then gives up. */
static void time_out(struct fleet *f, struct statement *s) {
	if (!s || !s->waits || s->waits_since_ns != f->now_ns - LOCK_TIMEOUT_NS)
		return;
	struct row *row = &f->rows[s->parts[s->at].client];
	uint32_t before = NOBODY;
	for (uint32_t n = row->first_in; n != s->number; n = f->statements[n]->next_in)
		before = n;
	if (before == NOBODY)
		row->first_in = s->next_in;
	else
		f->statements[before]->next_in = s->next_in;
	if (row->last_in == s->number)
		row->last_in = before;
	s->waits = false;
	undo(f, s);
}

static void bring_answer(struct fleet *f, struct statement *s) {
	struct fleet_host *host = &f->hosts[s->host];
	if (!s->is_forgotten && s->life == host->life)
		host_on_answer(f, s->host, s->is_rejected ? LEASE_REJECTED : LEASE_DONE, s->grants, s->count);
	let_go(f, s);
}

void server_on_event(struct fleet *f, enum fleet_event kind, uint32_t number) {
	struct statement *s = f->statements[number];
	switch (kind) {
	case REACH: reach(f, s); break;
	case STEP: step(f, s); break;
	case TIMEOUT: time_out(f, s); break;
	case COMMITTED: commit(f, s); break;
	default: bring_answer(f, s); break; /* ANSWER */
	}
}
