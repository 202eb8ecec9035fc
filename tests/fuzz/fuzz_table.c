/*
 * fuzz_table.c - an agent's core over a table into which somebody writes garbage between any two events, also
 * before another agent takes the table over.
 *
 * Whatever is written: the agent doesn't crash; what it asks of the database makes sense; it reports no
 * credit that the database didn't grant it, and none twice; its private ledger agrees with itself, and with
 * what was granted. And once the writing has ended, one round of the sweep puts the table right.
 */
#include "core/internal.h"
#include "fake_table.h"
#include "fuzz.h"
#include "stint.h"

#define CLIENTS       40u /* more than there are slots */
#define POLICIES      2u
#define TOKENS        64u /* sub-windows that are remembered, per client */
#define STEPS_MAX     600
#define START_NS      (1000000 * NS_PER_MS)
#define EPOCH_US      INT64_C(1700000000000000) /* the database's clock at time 0 of ours */
#define IDLE_MS       4000
#define DENIAL_MAX_NS (6000 * NS_PER_MS) /* no denial that the agent caches lasts longer */

/* What the database knows of one client: its counter, and what was granted and reported for each sub-window. */
struct account {
	struct grant_ring ring;
	struct {
		int64_t sub_window, granted, reported;
	} tokens[TOKENS];
	unsigned next_token;
};

struct world {
	struct fuzz in;
	struct fake_table table;
	struct core *core;
	bool memory_only;
	bool scribbled; /* something was written, if only once */
	int64_t now_ns;
	struct core_policy policies[POLICIES];
	struct account accounts[POLICIES][CLIENTS];
	char ids[CLIENTS][STINT_CLIENT_ID_MAX + 1];
	struct lease_request asked[CORE_BATCH_MAX];
	uint32_t asked_client[CORE_BATCH_MAX];
	size_t asked_count;
	int host;
	uint64_t told;
};

static uint8_t length_of(const struct world *w, uint32_t client) {
	return (uint8_t)strlen(w->ids[client]);
}

/* ---- The database ------------------------------------------------------------------------ */

static uint32_t policy_of_request(const struct lease_request *r) {
	return (uint32_t)(r->policy_id - 9);
}

/* Of nothing, nothing is told; and no sub-window is told of twice. */
static bool reports_are_sane(const struct lease_request *r) {
	for (int i = 0; i < LEASE_REPORTS; i++) {
		const struct lease_report *report = &r->report[i];
		if (report->sub_window < 0 || report->unspent < 0 || report->spent < 0 ||
		    (report->sub_window == 0 && (report->unspent > 0 || report->spent > 0)))
			return false;
	}
	return r->report[0].sub_window == 0 || r->report[0].sub_window != r->report[1].sub_window;
}

static bool is_sane(const struct lease_request *r) {
	return r->policy_id >= 9 && r->policy_id < 9 + (int32_t)POLICIES && r->need >= 0 && r->least >= 0 &&
	       r->want >= r->need && r->next_want >= 0 && r->charge >= 0 && r->least <= r->need &&
	       r->want <= STINT_FALLBACK_REQUESTS_MAX && r->next_want <= STINT_MAX_REQUESTS_MAX && r->span >= 0 &&
	       r->span <= GRANT_RESOLUTION_MAX && r->span_least >= 0 && r->span_least <= GRANT_RESOLUTION_MAX &&
	       reports_are_sane(r);
}

static void on_take(void *context, int host, const struct lease_request *requests, size_t count) {
	struct world *w = context;
	fuzz_must(!w->memory_only && w->asked_count == 0, "two batches at a time");
	fuzz_must(count > 0 && count <= CORE_BATCH_MAX && host >= 0 && host < GRANT_HOSTS, "%zu requests, host %d",
	          count, host);
	for (size_t i = 0; i < count; i++) {
		const struct lease_request *r = &requests[i];
		uint32_t c = 0;
		fuzz_must(is_sane(r), "policy %d need %d least %d want %d next %d charge %d spans %d %d", r->policy_id,
		          r->need, r->least, r->want, r->next_want, r->charge, r->span, r->span_least);
		while (c < CLIENTS &&
		       (length_of(w, c) != r->client_id_len || memcmp(w->ids[c], r->client_id, r->client_id_len) != 0))
			c++;
		fuzz_must(c < CLIENTS, "an id that nobody has");
		for (size_t k = 0; k < i; k++)
			fuzz_must(w->asked_client[k] != c || w->asked[k].policy_id != r->policy_id,
			          "a client twice in one batch");
		w->asked[i] = *r;
		w->asked[i].client_id = w->ids[c];
		w->asked_client[i] = c;
	}
	w->asked_count = count;
	w->host = host;
}

static void on_verdict(void *context, uint64_t peer, uint32_t serial, const struct core_verdict *v) {
	struct world *w = context;
	(void)peer, (void)serial;
	fuzz_must(v->status <= 0 && v->source <= STINT_SOURCE_ADVANCE, "status %d, source %d", v->status, v->source);
	fuzz_must(v->status != 0 ||
	              (v->limit >= 0 && v->remaining >= 0 && v->retry_after_ms >= 0 && v->reset_after_ms >= 0),
	          "limit %lld, remaining %lld, retry %lld, reset %lld", (long long)v->limit, (long long)v->remaining,
	          (long long)v->retry_after_ms, (long long)v->reset_after_ms);
	w->told++;
}

static int find_token(const struct account *a, int64_t sub_window) {
	for (unsigned i = 0; i < TOKENS; i++)
		if (a->tokens[i].sub_window == sub_window)
			return (int)i;
	return -1;
}

static void note_granted(struct account *a, int64_t sub_window, int64_t credits) {
	int at = find_token(a, sub_window);
	if (credits == 0)
		return;
	if (at < 0) {
		at = (int)(a->next_token++ % TOKENS);
		a->tokens[at].sub_window = sub_window;
		a->tokens[at].granted = a->tokens[at].reported = 0;
	}
	a->tokens[at].granted += credits;
}

/* Never more than was granted for that sub-window, and nothing that was reported before, as unspent or as
 * spent. */
static void note_reported(struct account *a, int64_t sub_window, int64_t credits) {
	int at = find_token(a, sub_window);
	if (credits == 0)
		return;
	fuzz_must(at >= 0, "%lld credits are reported that were never granted", (long long)credits);
	a->tokens[at].reported += credits;
	fuzz_must(a->tokens[at].reported <= a->tokens[at].granted, "%lld credits were reported of %lld",
	          (long long)a->tokens[at].reported, (long long)a->tokens[at].granted);
}

static void apply(struct world *w, size_t i, struct lease_grant *grant) {
	const struct lease_request *r = &w->asked[i];
	uint32_t p = policy_of_request(r);
	struct account *a = &w->accounts[p][w->asked_client[i]];
	const struct grant_terms *terms = &w->policies[p].terms;
	for (int k = 0; k < LEASE_REPORTS; k++)
		note_reported(a, r->report[k].sub_window, (int64_t)r->report[k].unspent + r->report[k].spent);
	grant_take(&a->ring, terms, r, EPOCH_US + w->now_ns / NS_PER_US, w->host, grant);
	note_granted(a, grant->sub_window, grant->granted);
	note_granted(a, grant->next_sub_window, grant->granted_next);
}

/* However it ends: applied or not, answered or not, and how long that takes. */
static void answer(struct world *w, enum lease_outcome outcome, bool applied, int64_t later_ns) {
	struct lease_grant grants[CORE_BATCH_MAX] = {0};
	size_t count = w->asked_count;
	if (count == 0)
		return;
	bool meets_locks = later_ns % (3 * 20 * NS_PER_MS) != 0;
	for (size_t i = 0; applied && i < count; i++) {
		if (meets_locks && w->asked[i].skip && i % 2 == 0)
			grants[i].busy = true;
		else
			apply(w, i, &grants[i]);
	}
	w->now_ns += later_ns;
	w->asked_count = 0;
	core_on_grants(w->core, w->now_ns, outcome, outcome == LEASE_DONE ? grants : NULL,
	               outcome == LEASE_DONE ? count : 0);
	if (outcome == LEASE_UNKNOWN)
		core_database_lost(w->core, w->now_ns);
}

/* ---- The agent ------------------------------------------------------------------------------ */

static void make_core(struct world *w) {
	static const struct core_io io = {.take = on_take, .verdict = on_verdict};
	const struct core_options options = {
		.memory_only = w->memory_only,
		.grace_ns = 500 * NS_PER_MS,
		.idle_timeout_ns = IDLE_MS * NS_PER_MS,
		.seed = 5,
	};
	fuzz_must(core_new(&w->core, &w->table.table, w->now_ns, &options, &io, w) == 0, "no memory");
	for (uint16_t p = 0; p < POLICIES; p++)
		core_set_policy(w->core, w->now_ns, p, &w->policies[p]);
}

/* What nobody wrote over, nothing was wrong with. */
static void end_core(struct world *w) {
	uint64_t repaired = core_counters(w->core)->repaired;
	fuzz_must(w->scribbled || repaired == 0, "%llu repairs of a table that nobody wrote to",
	          (unsigned long long)repaired);
	core_free(w->core);
}

/* Killed at any moment: what was under way may still be applied, and nobody hears of it. */
static void take_over(struct world *w) {
	struct lease_grant ignored;
	for (size_t i = 0; i < w->asked_count; i++)
		apply(w, i, &ignored);
	w->asked_count = 0;
	end_core(w);
	fake_table_take_over(&w->table);
	make_core(w);
}

static void change_policy(struct world *w) {
	static const int32_t limits[] = {1, 2, 10, 1000, STINT_MAX_REQUESTS_MAX};
	uint16_t p = (uint16_t)fuzz_below(&w->in, POLICIES);
	uint8_t how = fuzz_u8(&w->in);
	w->policies[p].live = how & 15;
	w->policies[p].relaxed = how & 16;
	w->policies[p].terms.max_requests = limits[how / 32 % 5];
	w->policies[p].fallback_terms.max_requests = 2 * limits[how / 32 % 5];
	core_set_policy(w->core, w->now_ns, p, &w->policies[p]);
}

/* ---- What must be so -------------------------------------------------------------------------- */

static void check_bank(const struct world *w, const struct client *client, const struct account *account,
                       int bank) {
	bool fallback = client->flags & CLIENT_BANK_FALLBACK << bank;
	fuzz_must(client->granted[bank] <= STINT_FALLBACK_REQUESTS_MAX, "%u granted", client->granted[bank]);
	fuzz_must(client->lease[bank].deadline_ns != 0 || client->granted[bank] == 0, "%u granted for no time",
	          client->granted[bank]);
	if (w->memory_only || fallback || client->lease[bank].sub_window == 0)
		return;
	int at = find_token(account, client->lease[bank].sub_window);
	fuzz_must(at >= 0 && client->granted[bank] <= account->tokens[at].granted,
	          "the ledger has %u, granted were %lld", client->granted[bank],
	          at < 0 ? 0LL : (long long)account->tokens[at].granted);
}

static uint32_t number_of(const struct world *w, const struct client *client) {
	for (uint32_t c = 0; c < CLIENTS; c++)
		if (length_of(w, c) == client->id_len && memcmp(w->ids[c], client->id, client->id_len) == 0)
			return c;
	fuzz_must(false, "the ledger has a client that nobody named");
}

static void check_client(struct world *w, uint32_t index) {
	struct core *core = w->core;
	const struct client *client = client_at(core, index);
	const struct table *table = &w->table.table;
	const struct account *account = &w->accounts[client->policy][number_of(w, client)];
	fuzz_must(client->pending == NO_PENDING || core->pending[client->pending]->client == index,
	          "another client's request");
	if (client->slot == TABLE_NO_SLOT)
		return;
	struct place place = table_place(table, client->policy, client->id, client->id_len);
	fuzz_must(client->slot < table->slot_count && table->owner[client->slot] == index, "a slot that is another's");
	fuzz_must(table->private_tags[client->slot] == place_tag(&place), "a private tag of another client");
	for (int bank = 0; bank < 2; bank++)
		check_bank(w, client, account, bank);
}

static void check_ledger(struct world *w) {
	const struct table *table = &w->table.table;
	uint32_t used = 0;
	for (uint32_t slot = 0; slot < table->slot_count; slot++) {
		used += table->owner[slot] != TABLE_NO_OWNER;
		fuzz_must((table->owner[slot] == TABLE_NO_OWNER) == (table->private_tags[slot] == 0),
		          "an owner without a tag, or the reverse");
	}
	fuzz_must(used == table->used, "%u slots are used, %u counted", used, table->used);
	for (uint32_t i = 0; i < w->core->pool.high; i++)
		if (client_at(w->core, i)->flags & CLIENT_LIVE)
			check_client(w, i);
}

static void check_repaired(struct world *w, uint32_t index) {
	const struct client *client = client_at(w->core, index);
	const struct slot *slot = client->slot == TABLE_NO_SLOT ? NULL : &w->table.table.slots[client->slot];
	if (!slot)
		return;
	struct place place = table_place(&w->table.table, client->policy, client->id, client->id_len);
	fuzz_must(slot->key == place.key && slot->policy == client->policy, "a slot is still another's");
	fuzz_must(denial_until_ns(slot->denial, (uint64_t)w->now_ns) <= (uint64_t)(w->now_ns + DENIAL_MAX_NS),
	          "denied for ages");
	for (int bank = 0; bank < 2; bank++) {
		fuzz_must((int64_t)slot->deadline_ns[bank] == client->lease[bank].deadline_ns,
		          "a lease with another deadline");
		bool is_over = (int64_t)slot->deadline_ns[bank] <= w->now_ns;
		fuzz_must(is_over || word_credits(slot->word[bank]) <= client->granted[bank], "more credits than granted");
	}
}

/* ---- Apps, good and bad ------------------------------------------------------------------------- */

static void advance(struct world *w, int64_t ns) {
	w->now_ns += ns;
	core_advance(w->core, w->now_ns);
}

static void want(struct world *w, uint32_t client, uint16_t policy, uint32_t cost) {
	core_want(w->core, w->now_ns, client, 1, policy, w->ids[client], length_of(w, client), cost,
	          w->now_ns + 800 * NS_PER_MS);
}

static void act(struct world *w) {
	static const uint32_t costs[] = {1, 1, 1, 2, 5, 100, 70000, STINT_MAX_REQUESTS_MAX};
	uint32_t client = fuzz_below(&w->in, CLIENTS), how = fuzz_u8(&w->in);
	uint16_t policy = how & 1;
	const char *id = w->ids[client];
	struct app_decision d;
	if (how & 2) {
		want(w, client, policy, costs[how / 32]);
		return;
	}
	d = app_decides(&w->table, policy, id, length_of(w, client), costs[how / 32], w->now_ns);
	if (d.low || how & 4)
		core_low(w->core, w->now_ns, policy, id, length_of(w, client));
	if (d.verdict == APP_ASKS && how & 8)
		want(w, client, policy, costs[how / 32]);
}

/* A field of a slot, a time near the present among its values. */
static void scribble_field(struct world *w) {
	struct slot *slot = &w->table.table.slots[fuzz_below(&w->in, w->table.table.slot_count)];
	uint8_t how = fuzz_u8(&w->in);
	uint64_t value = how & 128 ? (uint64_t)w->now_ns + fuzz_u32(&w->in) * UINT64_C(1000) : fuzz_odd_number(&w->in);
	switch (how % 16) {
	case 0: slot->key = value; break;
	case 1: slot->word[0] = value; break;
	case 2: slot->word[1] = value; break;
	case 3: slot->deadline_ns[0] = value; break;
	case 4: slot->deadline_ns[1] = value; break;
	case 5: slot->later_start_ns = value; break;
	case 6: slot->denial = denial_pack(value, value & 7, value & 3); break;
	case 7: slot->denial = value; break;
	case 8: slot->hint = (uint32_t)value; break;
	case 9: slot->policy = (uint16_t)value; break;
	case 10: slot->referenced = (uint8_t)value; break;
	case 11: slot->low_water = (uint8_t)value; break;
	default: atomic_fetch_add(&slot->word[how & 1], value); break;
	}
}

static void scribble_bytes(struct world *w) {
	size_t bytes = (size_t)w->table.directory->slots_offset + w->table.table.slot_count * sizeof(struct slot);
	size_t at = fuzz_u16(&w->in) % bytes, size = 1 + fuzz_below(&w->in, 64);
	fuzz_read(&w->in, (char *)w->table.header + at, size < bytes - at ? size : bytes - at);
}

/* One slot over another, one row of tags over the other: what is there looks right, and isn't. */
static void scribble_copy(struct world *w) {
	struct table *table = &w->table.table;
	uint32_t from = fuzz_below(&w->in, table->slot_count), to = fuzz_below(&w->in, table->slot_count);
	if (from == to)
		memmove(&table->tags[0], &table->tags[1], sizeof(table->tags[0]));
	else
		memmove(&table->slots[to], &table->slots[from], sizeof(table->slots[0]));
}

static void scribble_all(struct world *w) {
	uint64_t seed = fuzz_u8(&w->in);
	uint64_t *at = (uint64_t *)w->table.table.tags;
	size_t bytes = (size_t)(w->table.directory->slots_offset - w->table.directory->tags_offset);
	for (size_t i = 0; i < (bytes + w->table.table.slot_count * sizeof(struct slot)) / sizeof(*at); i++)
		at[i] = random_next(&seed);
}

/* What was asked ends first, then the connection. */
static void lose_database(struct world *w, bool for_long) {
	answer(w, LEASE_UNKNOWN, false, 0);
	core_database_lost(w->core, w->now_ns);
	if (for_long)
		core_database_down(w->core, w->now_ns);
}

/* The connection is lost, and then it is another server. */
static void promote(struct world *w, int64_t age_ns) {
	lose_database(w, false);
	core_database_promoted(w->core, w->now_ns, age_ns);
	core_database_up(w->core, w->now_ns, 2);
}

static void step(struct world *w) {
	uint8_t what = fuzz_u8(&w->in);
	w->scribbled |= what % 24 <= 3;
	switch (what % 24) {
	case 0: scribble_field(w); break;
	case 1: scribble_bytes(w); break;
	case 2: scribble_copy(w); break;
	case 3: scribble_all(w); break;
	case 4: take_over(w); break;
	case 5: change_policy(w); break;
	case 6: core_client_changed(w->core, w->now_ns, what & 1, w->ids[what / 24], length_of(w, what / 24)); break;
	case 7: lose_database(w, what / 24 & 1); break;
	case 8: answer(w, LEASE_UNKNOWN, true, 0); break;
	case 9:
	case 10: w->memory_only ? (void)0 : core_database_up(w->core, w->now_ns, what / 24); break;
	case 11: answer(w, LEASE_UNKNOWN, false, 0); break;
	case 12: answer(w, LEASE_REJECTED, false, 0); break;
	case 13:
	case 14:
	case 15: answer(w, LEASE_DONE, true, what / 24 * 20 * NS_PER_MS); break;
	case 16:
	case 17: advance(w, fuzz_u8(&w->in) * NS_PER_MS); break;
	case 18: advance(w, fuzz_u16(&w->in) * 10 * NS_PER_MS); break;
	case 19: w->memory_only ? advance(w, 0) : promote(w, what / 24 * 100 * NS_PER_MS); break;
	default: act(w); break;
	}
}

/* ---- A play ---------------------------------------------------------------------------------------- */

static void make_world(struct world *w) {
	uint8_t how = fuzz_u8(&w->in);
	w->now_ns = START_NS;
	w->memory_only = how & 1;
	for (uint32_t c = 0; c < CLIENTS; c++)
		snprintf(w->ids[c], sizeof(w->ids[c]), "%0*u", 1 + (int)c * 6, c);
	for (int p = 0; p < (int)POLICIES; p++) {
		const struct grant_terms fixed = {.max_requests = 20, .sub_window_us = 1000000};
		const struct grant_terms sliding = {.max_requests = 20,
		                                    .sub_window_us = 100500,
		                                    .runs = 10,
		                                    .slack_us = 5000};
		const struct grant_terms terms = p ? fixed : sliding;
		w->policies[p] = (struct core_policy){
			.live = true,
			.relaxed = how & 2,
			.policy_id = 9 + p,
			.time_window_ms = 1000,
			.terms = terms,
			.fallback_terms = terms,
		};
	}
	fake_table_make(&w->table, 16, 7);
	make_core(w);
}

/* Nobody writes any more, and the database answers: within a round of the sweep, and the time that a lease
 * lasts, the table is as the ledger says, and whoever asks gets an answer. */
static void recover(struct world *w) {
	uint64_t told;
	for (uint16_t p = 0; p < POLICIES; p++) {
		w->policies[p].live = true;
		core_set_policy(w->core, w->now_ns, p, &w->policies[p]);
	}
	answer(w, LEASE_DONE, true, 0);
	if (!w->memory_only)
		core_database_up(w->core, w->now_ns, 2);
	for (int ms = 0; ms < IDLE_MS * 3 / 4; ms += 50) {
		advance(w, 50 * NS_PER_MS);
		answer(w, LEASE_DONE, true, 0);
	}
	for (uint32_t i = 0; i < w->core->pool.high; i++)
		if (client_at(w->core, i)->flags & CLIENT_LIVE)
			check_repaired(w, i);
	told = w->told;
	for (uint32_t c = 0; c < CLIENTS; c++)
		want(w, c, 0, 1);
	for (int i = 0; i < 20; i++) {
		advance(w, 20 * NS_PER_MS);
		answer(w, LEASE_DONE, true, 0);
	}
	fuzz_must(w->told >= told + CLIENTS, "%llu of %u have an answer", (unsigned long long)(w->told - told),
	          CLIENTS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct world *w = calloc(1, sizeof(*w));
	fuzz_must(w != NULL, "no memory");
	w->in = (struct fuzz){data, size};
	make_world(w);
	for (int i = 0; i < STEPS_MAX && w->in.left > 0; i++) {
		step(w);
		if (i % 8 == 0)
			check_ledger(w);
	}
	check_ledger(w);
	recover(w);
	check_ledger(w);
	end_core(w);
	fake_table_free(&w->table);
	free(w);
	return 0;
}
