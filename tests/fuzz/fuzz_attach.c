/*
 * fuzz_attach.c - an app attaches to a table that an enemy has made, and checks clients in it while the enemy
 * goes on writing: a wrong verdict may come of it, but no crash, no endless loop, no step outside the mappings.
 *
 * The table begins as a good one. The input is a list of changes; a byte in it maps the table, and from then on
 * each change is followed by checks.
 */
#include <unistd.h>

#include "attachment.h"
#include "decide.h"
#include "error.h"
#include "fake_agent.h"
#include "fuzz.h"
#include "protocol/hash.h"

#define GENERATION  42u
#define CHANGES_MAX 200
#define CLIENTS     12u

static const char *const ids[CLIENTS] = {
	"c",
	"client-1",
	"client-2",
	"client-3",
	"0123456789abcdef",
	"0123456789abcdefg",
	"a-client-with-a-longer-name-than-the-others-have",
	"\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x98",
	"4",
	"5",
	"6",
	"7",
};

struct play {
	struct fuzz in;
	struct fake_table table;
	struct stint *stint;
	struct stint_limiter *limiter;
	bool mapped;
};

/* ---- The enemy -------------------------------------------------------------------------- */

/* Changes a field of the directory's header, or of its first two policies. */
static void change_directory(struct play *p) {
	struct directory_header *d = p->table.directory;
	uint8_t which = fuzz_u8(&p->in);
	uint64_t value = fuzz_odd_number(&p->in);
	switch (which % 16) {
	case 0: d->magic = value; break;
	case 1: d->version = (uint32_t)value; break;
	case 2: d->policy_capacity = (uint32_t)value; break;
	case 3: d->generation = value; break;
	case 4: d->directory_bytes = value; break;
	case 5: d->table_bytes = value; break;
	case 6: d->tags_offset = value; break;
	case 7: d->slots_offset = value; break;
	case 8: d->bucket_count = (uint32_t)value; break;
	case 9: d->slots_per_bucket = (uint32_t)value; break;
	case 10: d->bucket_count = (uint32_t)(value % (FAKE_BUCKETS + 2)); break;
	case 11: d->slots_offset += value % 4096; break;
	case 12: d->tallies_offset = value; break;
	case 13: d->tally_stripes = (uint32_t)value; break;
	case 14: d->secret[value % SECRET_SIZE] = which; break;
	default:
		memcpy((char *)directory_entries(d) + fuzz_below(&p->in, 32) * sizeof(value), &value, sizeof(value));
		break;
	}
}

static void change_header(struct play *p) {
	uint64_t value = fuzz_odd_number(&p->in);
	switch (fuzz_below(&p->in, 4)) {
	case 0: p->table.table->magic = value; break;
	case 1: p->table.table->version = (uint32_t)value; break;
	case 2: p->table.table->state = (uint32_t)value; break;
	default: p->table.table->generation = value; break;
	}
}

static struct slot *any_slot(struct play *p, uint32_t *at) {
	struct place place =
		place_of(p->table.directory->secret, FAKE_BUCKETS, 0, ids[*at % CLIENTS], strlen(ids[*at % CLIENTS]));
	*at = (place_bucket(&place, *at / 128) * SLOTS_PER_BUCKET + *at % SLOTS_PER_BUCKET) %
	      (FAKE_BUCKETS * SLOTS_PER_BUCKET);
	return &p->table.slots[*at];
}

/* Changes a slot that a check will look at. */
static void change_slot(struct play *p) {
	uint32_t at = fuzz_u8(&p->in);
	struct slot *slot = any_slot(p, &at);
	uint8_t how = fuzz_u8(&p->in);
	uint64_t value = how & 128 ? fake_now_ns() + fuzz_u32(&p->in) : fuzz_odd_number(&p->in);
	switch (how % 16) {
	case 0: slot->key = value; break;
	case 1: slot->word[0] = value; break;
	case 2: slot->word[1] = value; break;
	case 3: slot->deadline_ns[0] = value; break;
	case 4: slot->deadline_ns[1] = value; break;
	case 5: slot->later_start_ns = value; break;
	case 6: slot->denial = value; break;
	case 7: slot->denial = denial_pack(value, 3, 1); break;
	case 8: slot->hint = (uint32_t)value; break;
	case 9: slot->low_water = (uint8_t)value; break;
	case 10: slot->referenced = (uint8_t)value; break;
	case 11: p->table.tags[at / SLOTS_PER_BUCKET].tag[at % SLOTS_PER_BUCKET] = (uint16_t)value; break;
	default:
		fake_slot_lease(slot, how & 1, (uint32_t)value & WORD_CREDITS_MASK, fake_now_ns() + fuzz_u32(&p->in),
		                how & 2 ? WORD_FALLBACK_BIT : 0);
	}
}

/* Puts the key of one client in its place or, as after a collision, in many. */
static void put_client(struct play *p) {
	uint32_t client = fuzz_below(&p->in, CLIENTS), at = client + (fuzz_u8(&p->in) & 128);
	struct place place = place_of(p->table.directory->secret, FAKE_BUCKETS, 0, ids[client], strlen(ids[client]));
	struct slot *slot = any_slot(p, &at);
	slot->key = place.key;
	p->table.tags[at / SLOTS_PER_BUCKET].tag[at % SLOTS_PER_BUCKET] = place_tag(&place);
}

static void change_bytes(struct play *p) {
	size_t bytes = FAKE_BUCKETS * (sizeof(struct tag_row) + SLOTS_PER_BUCKET * sizeof(struct slot));
	size_t at = (fuzz_u16(&p->in) * (size_t)7) % bytes, size = 1 + fuzz_below(&p->in, 64);
	fuzz_read(&p->in, (char *)p->table.tags + at, size < bytes - at ? size : bytes - at);
}

/* ---- The app ------------------------------------------------------------------------------ */

/* Attaches, as channel.c does, to what WELCOME and DECLARED brought. */
static void attach(struct play *p) {
	uint32_t policy = fuzz_u16(&p->in) % 8 ? 0 : fuzz_u16(&p->in);
	struct mapping *m;
	int error = mapping_new(&m, p->table.directory_fd, p->table.table_fd, GENERATION);
	fuzz_must(error == 0 || error == STINT_EPROTOCOL || error == STINT_EVERSION || error == STINT_ESYSTEM, "%s",
	          stint_error_detail());
	if (error)
		return;
	m->older = p->stint->stintd.mappings;
	p->stint->stintd.mappings = m;
	if (policy >= m->policy_capacity)
		return;
	fuzz_must(limiter_bind(p->limiter, m, policy), "no memory");
	p->mapped = true;
}

static void check_some(struct play *p) {
	static const uint32_t costs[] = {1, 1, 2, 100, 65535, 65536, STINT_MAX_REQUESTS_MAX};
	uint8_t how = fuzz_u8(&p->in);
	for (unsigned i = 0; i < 3; i++) {
		struct stint_result r = {.source = 77};
		int error = stint_check(p->limiter, ids[(how + i) % CLIENTS], costs[how / 16 % 7], &r);
		fuzz_must(error == 0, "%s", stint_error_detail());
		fuzz_must(r.source >= STINT_SOURCE_LEASE && r.source <= STINT_SOURCE_ADVANCE, "source %d", r.source);
	}
	stint_is_allowed(p->limiter, ids[how % CLIENTS]);
}

static void change(struct play *p) {
	switch (fuzz_below(&p->in, 12)) {
	case 0: attach(p); break;
	case 1:
	case 2: change_directory(p); break;
	case 3: change_header(p); break;
	case 4: change_bytes(p); break;
	/* as in a thread that has slept for long */
	case 7: atomic_store(&decide_seen_ns, fake_now_ns() - fuzz_u32(&p->in)); break;
	case 5:
	case 6: put_client(p); break;
	default: change_slot(p); break;
	}
	if (p->mapped)
		check_some(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	struct play p = {.in = {data, size}};
	fake_table_make(&p.table, GENERATION);
	for (unsigned i = 0; i < CLIENTS; i += 2)
		fake_slot_lease(fake_table_put(&p.table, 0, ids[i]), 0, 1000, fake_now_ns() + MS(1000), 0);
	fuzz_must(stint_open(&p.stint, "/nonexistent/stint-fuzz.sock") == 0, "no attachment");
	fuzz_must(stint_limiter_new(&p.limiter, p.stint,
	                            &(struct stint_options){.policy = "api",
	                                                    .max_requests = 10,
	                                                    .time_window_ms = 1000,
	                                                    .timeout_ms = 1}) == 0,
	          "no limiter");
	for (int i = 0; i < CHANGES_MAX && p.in.left > 0; i++)
		change(&p);
	attach(&p);
	if (p.mapped)
		check_some(&p);
	stint_limiter_free(p.limiter);
	stint_close(p.stint);
	fake_table_destroy(&p.table);
	return 0;
}
