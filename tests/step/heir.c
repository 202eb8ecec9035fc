/* heir.c - see heir.h. */
#include "heir.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "core/core.h"
#include "core/grant.h"
#include "decide.h"
#include "stint.h"

#define CLIENTS_MAX 8
#define RESOLUTION  10
#define POLICY_ID   9
#define PEER        1
#define TICK_NS     INT64_C(50000000)
#define IDLE_NS     INT64_C(1000000000)
/* An agent looks at a client at most some seconds after its last use; then it is idle for IDLE_NS. */
#define TICKS_MAX 2000

struct account { /* one client's account in the database */
	char id[32];
	struct grant_ring ring;
	int64_t granted, accounted; /* of these, reported as unspent, or as spent */
};

struct heir {
	struct directory_header *directory;
	struct table_header *header;
	struct table table;
	struct core *core;
	struct grant_terms terms;
	int64_t now_ns;
	uint16_t policy;
	struct account accounts[CLIENTS_MAX];
	struct account *asked[CLIENTS_MAX];
	struct lease_request requests[CLIENTS_MAX];
	size_t request_count;
	bool overflow;
	bool told, allowed;
};

/* ---- The database ----------------------------------------------------------------- */

static struct account *account_of(struct heir *h, const char *id, size_t length) {
	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct account *a = &h->accounts[i];

		if (a->id[0] == '\0' && length < sizeof(a->id))
			memcpy(a->id, id, length);
		if (strlen(a->id) == length && memcmp(a->id, id, length) == 0)
			return a;
	}
	return NULL;
}

static void on_take(void *context, int host, const struct lease_request *requests, size_t count) {
	struct heir *h = context;

	(void)host;
	for (size_t i = 0; i < count; i++) {
		struct account *account = account_of(h, requests[i].client_id, requests[i].client_id_len);

		if (account == NULL || h->request_count == CLIENTS_MAX) {
			h->overflow = true;
			continue;
		}
		h->asked[h->request_count] = account;
		h->requests[h->request_count++] = requests[i];
	}
}

static void on_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *verdict) {
	struct heir *h = context;

	(void)peer;
	(void)serial;
	h->told = verdict->status == 0;
	h->allowed = verdict->allowed;
}

static void apply(struct heir *h, struct account *account, const struct lease_request *request,
                  struct lease_grant *grant) {
	grant_take(&account->ring, &h->terms, request, h->now_ns / 1000, 1, grant);
	grant->answered = true;
	account->granted += grant->granted + grant->granted_next;
	for (int i = 0; i < LEASE_REPORTS; i++)
		account->accounted += request->report[i].unspent + request->report[i].spent;
}

static void advance(struct heir *h) {
	core_advance(h->core, h->now_ns);
	while (h->request_count > 0) {
		struct lease_grant grants[CLIENTS_MAX] = {0};
		size_t count = h->request_count;

		for (size_t i = 0; i < count; i++)
			apply(h, h->asked[i], &h->requests[i], &grants[i]);
		h->request_count = 0;
		core_on_grants(h->core, h->now_ns, LEASE_DONE, grants, count);
		core_advance(h->core, h->now_ns);
	}
}

/* ---- The agent ---------------------------------------------------------------------- */

static void *copy(const void *from, uint64_t bytes) {
	void *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);

	if (memory == NULL)
		abort();
	return memcpy(memory, from, bytes);
}

/* Opens accounts with the counters as they were. The current sub-window has just begun for all of them. */
static void open_accounts(struct heir *h, const struct legacy *legacy) {
	struct account *account = account_of(h, legacy->id, strlen(legacy->id));
	struct lease_request spent = {.need = legacy->charged, .least = legacy->charged, .want = legacy->charged};
	struct lease_grant grant;

	h->terms = (struct grant_terms){
		.max_requests = legacy->limit,
		.sub_window_us = grant_sub_window_us(legacy->window_ms, RESOLUTION),
		.runs = RESOLUTION,
	};
	h->terms.phase_us = h->now_ns / 1000 % h->terms.sub_window_us;
	if (legacy->charged > 0)
		grant_take(&account->ring, &h->terms, &spent, h->now_ns / 1000, 1, &grant);
}

static bool take_over(struct heir *h, const struct legacy *legacy) {
	static const struct core_io io = {.take = on_take, .verdict = on_verdict};
	struct core_options options = {.grace_ns = IDLE_NS, .idle_timeout_ns = IDLE_NS, .seed = 1};
	struct core_policy policy = {
		.live = true,
		.policy_id = POLICY_ID,
		.time_window_ms = legacy->window_ms,
		.terms = h->terms,
		.fallback_terms = h->terms,
	};

	if (table_init(&h->table, h->directory, h->header, true) != 0 ||
	    core_new(&h->core, &h->table, h->now_ns, &options, &io, h) != 0)
		return false;
	h->policy = (uint16_t)peek_policy(legacy->peek, legacy->policy);
	core_set_policy(h->core, h->now_ns, h->policy, &policy);
	core_database_up(h->core, h->now_ns, 1);
	advance(h);
	return true;
}

/* ---- The other app -------------------------------------------------------------------- */

static enum verdict decide(const struct heir *h, const char *id) {
	struct mapping m = {
		.tags = h->table.tags,
		.slots = h->table.slots,
		.own_limits = h->table.own_limits,
		.policies = directory_entries(h->directory),
		.bucket_count = h->directory->bucket_count,
		.policy_capacity = h->directory->policy_capacity,
		.table = h->header,
	};
	struct decision d;
	enum verdict verdict;

	memcpy(m.secret, h->directory->secret, sizeof(m.secret));
	verdict = decide_plainly(&m, h->policy, id, strlen(id), 1, TELL_ALL, &d);
	if (verdict == VERDICT_NONE)
		verdict = decide_closely(&m, h->policy, id, strlen(id), 1, &d);
	if (verdict == VERDICT_ALLOWED && d.low)
		core_low(h->core, h->now_ns, h->policy, id, (uint8_t)strlen(id));
	return verdict;
}

static bool check(struct heir *h, const char *id, bool *asked) {
	enum verdict verdict = decide(h, id);

	if (verdict == VERDICT_NONE) {
		*asked = true;
		h->told = false;
		core_want(h->core, h->now_ns, PEER, 1, h->policy, id, (uint8_t)strlen(id), 1, h->now_ns + IDLE_NS);
	} else {
		h->told = true;
		h->allowed = verdict == VERDICT_ALLOWED;
	}
	/* The agent hears of a LOW some time later, so what the table itself holds is counted first. */
	if (*asked)
		advance(h);
	return h->told && h->allowed;
}

static void use_up(struct heir *h, const struct legacy *legacy, struct succession *s) {
	bool asked = false;

	while (s->admitted <= (uint32_t)legacy->limit && check(h, legacy->id, &asked)) {
		s->admitted++;
		s->from_table += !asked;
	}
	s->answered = h->told && !h->overflow;
}

static void grow_idle(struct heir *h, struct succession *s) {
	for (int i = 0; i < TICKS_MAX && h->table.used > 0; i++) {
		h->now_ns += TICK_NS;
		advance(h);
	}
	s->left = h->table.used;
	for (int i = 0; i < CLIENTS_MAX; i++)
		s->repaid_too_much |= h->accounts[i].accounted > h->accounts[i].granted;
}

struct succession heir_goes_on(const struct legacy *legacy) {
	struct heir h = {
		.directory = copy(legacy->peek->directory, legacy->peek->directory_bytes),
		.header = copy(legacy->image, legacy->peek->table_bytes),
		.now_ns = (int64_t)monotonic_ns(),
	};
	struct succession s = {0};

	open_accounts(&h, legacy);
	s.possible = take_over(&h, legacy);
	if (s.possible) {
		use_up(&h, legacy, &s);
		grow_idle(&h, &s);
		core_free(h.core);
		table_deinit(&h.table);
	}
	free(h.directory);
	free(h.header);
	return s;
}
