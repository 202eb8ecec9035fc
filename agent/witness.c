/* witness.c - see witness.h. */
#include "witness.h"

#include <stdlib.h>

#include "protocol/tally.h"

/* Tallies of one look. Each is a cache line or two that another CPU may have just written: half a millisecond. */
#define LOOK_TALLIES 4096u

static struct tally *row_of(const struct witness *witness, int index) {
	const struct tallies *tallies = &witness->policies->tallies;
	return &tallies->rows[(size_t)index * tallies->stripes];
}

/* By the table's lease or denial, or the fallback's; the agent knows of those that it has told. */
static uint64_t count_denials(const struct tally *tally) {
	static const enum tally_outcome denials[] = {TALLY_DENIED, TALLY_SHADOW_DENIED};
	uint64_t sum = 0;
	for (int i = 0; i < 2; i++)
		sum += tally_sum(tally, 1, tally_place(STINT_SOURCE_LEASE, denials[i])) +
		       tally_sum(tally, 1, tally_place(STINT_SOURCE_FALLBACK, denials[i]));
	return sum;
}

/* What was denied before the agent came is nobody's. A policy that comes later finds its counts cleared: all that
 * there is is its own. Returns false without memory. */
static bool meet(struct witness *witness, int index) {
	uint32_t stripes = witness->policies->tallies.stripes;
	uint32_t generation = witness->policies->policy[index].generation;
	if (witness->seen[index] && witness->generation[index] == generation)
		return true;
	if (!witness->seen[index] && !(witness->seen[index] = calloc(stripes, sizeof(*witness->seen[index]))))
		return false;
	witness->generation[index] = generation;
	for (uint32_t i = 0; i < stripes; i++)
		witness->seen[index][i] = witness->has_looked_round ? 0 : count_denials(&row_of(witness, index)[i]);
	return true;
}

/* Whoever writes to the table may have written anything. The last of them is taken for this client's for certain,
 * though an app may be between a denial and its note: what is estimated is the others. */
static void look_at(struct witness *witness, struct core *core, int64_t now_ns, int index, uint32_t stripe,
                    witness_tells *tells, void *context) {
	const struct tally *tally = &row_of(witness, index)[stripe];
	uint64_t now = count_denials(tally), before = witness->seen[index][stripe];
	uint64_t slot = tally_sum(tally, 1, TALLY_LAST_DENIED);
	struct core_denied denied;
	witness->seen[index][stripe] = now;
	if (now <= before || slot == 0 || slot > UINT32_MAX ||
	    !core_find_denied(core, now_ns, (uint32_t)slot - 1, &denied) || denied.policy != index)
		return;
	double estimated = (double)(now - before - 1);
	tells(context, &(struct denial){
					   .policy = witness->policies->policy[index].row.name,
					   .client_id = denied.id,
					   .client_id_len = denied.id_len,
					   .reason = denied.by,
					   .count = now - before,
					   .variance = estimated * estimated,
				   });
}

static uint32_t look_at_policy(struct witness *witness, struct core *core, int64_t now_ns, int index,
                               witness_tells *tells, void *context) {
	uint32_t stripes = witness->policies->tallies.stripes;
	if (!witness->policies->policy[index].used || !meet(witness, index))
		return 0;
	for (uint32_t i = 0; i < stripes; i++)
		look_at(witness, core, now_ns, index, i, tells, context);
	return stripes;
}

void witness_look(struct witness *witness, struct core *core, int64_t now_ns, witness_tells *tells,
                  void *context) {
	uint32_t looked = 0;
	if (!witness->policies->tallies.rows)
		return;
	for (unsigned i = 0; i < POLICY_CAPACITY && looked < LOOK_TALLIES; i++) {
		looked += look_at_policy(witness, core, now_ns, witness->next, tells, context);
		witness->next = (witness->next + 1) % (int)POLICY_CAPACITY;
		witness->has_looked_round |= witness->next == 0;
	}
}

void witness_free(struct witness *witness) {
	for (size_t i = 0; i < POLICY_CAPACITY; i++)
		free(witness->seen[i]);
}
