/*
 * recall.c - credits of a client that lie unspent on other hosts, when this one has none left for it.
 *
 * A client that uses little of its limit has long leases on each host that serves it. When it suddenly sends more,
 * to one host, the others hold credits that they don't need. So a host that is refused while the store knows of
 * long leases has them called back. The other hosts return at once what is unspent of theirs, see lease_recall();
 * and the refusal is remembered here for milliseconds, not until the next sub-window.
 *
 * A recall is a wish: it may be lost, come twice, or come when there is nothing left to return. How often a client
 * is called back is limited here, and once more by the store, which hears of it from all hosts. Near the limit,
 * leases are brief, and nothing is called back.
 */
#include "internal.h"

/* A smaller part of the limit is not worth it. */
#define WORTH_PART 16

/* A client is called back once in a sub-window, which counts for so long at least, and at most. After a recall
 * that brought nothing, the next one takes twice as long, up to a window. */
#define RECALL_AGAIN_MIN_NS (1000 * NS_PER_MS)
#define RECALL_AGAIN_MAX_NS (6000 * NS_PER_MS)

/* How long it takes, at least, until the credits are back: the others hear of it, ask what it is about, and return
 * them. */
#define RECALL_TAKES_NS    (12 * NS_PER_MS)
#define RECALL_ROUND_TRIPS 2

/* Between two messages; what is refused meanwhile goes with the second. */
#define RECALL_PAUSE_NS (20 * NS_PER_MS)

static bool is_worth(const struct lease_grant *grant) {
	return grant->recallable > 0 && (int64_t)grant->recallable * WORTH_PART >= grant->max_requests;
}

static struct recall *entry_of(struct core *core, uint32_t index) {
	return &core->recalls[index % RECALL_CLIENTS];
}

static int64_t least_pause_ns(struct core *core, uint32_t index) {
	int64_t sub_ns = policy_of(core, client_at(core, index))->terms.sub_window_us * NS_PER_US;
	return min64(max64(sub_ns, RECALL_AGAIN_MIN_NS), RECALL_AGAIN_MAX_NS);
}

/* False: two clients share a place, and the other one has just been called back; or too many wait to be sent. */
static bool begin(struct core *core, uint32_t index) {
	struct recall *recall = entry_of(core, index);
	int64_t window_ns = window_passes_ns(policy_of(core, client_at(core, index)));
	if (core->now_ns - recall->since_ns < RECALL_AGAIN_MIN_NS || core->recall_count == RECALL_MAX)
		return false;
	bool is_again =
		recall->client == index && recall->pause_ns > 0 && core->now_ns - recall->until_ns < recall->pause_ns;
	int64_t longer_ns = is_again ? min64(2 * recall->pause_ns, window_ns) : 0;
	*recall = (struct recall){.client = index, .since_ns = core->now_ns};
	recall->pause_ns = max64(longer_ns, least_pause_ns(core, index));
	recall->until_ns = core->now_ns + recall->pause_ns;
	core->to_recall[core->recall_count++] = index;
	return true;
}

int64_t recall_on_answer(struct core *core, uint32_t index, const struct lease_request *sent,
                         const struct lease_grant *grant) {
	struct recall *recall = entry_of(core, index);
	int64_t takes_ns = RECALL_TAKES_NS + RECALL_ROUND_TRIPS * core->rtt_ns;
	bool got_any = grant->granted > 0 || grant->granted_next > 0;
	if (recall->client == index && got_any) { /* the last one was not in vain, or is over */
		recall->pause_ns = 0;
		recall->until_ns = min64(recall->until_ns, recall->since_ns + least_pause_ns(core, index));
	}
	if (!core->io.recall || core->state != CORE_IN_STEP || core->draining || !is_worth(grant))
		return INT64_MAX;
	/* The longer it takes, the less is to be expected. */
	if (core->now_ns < recall->until_ns && recall->client == index)
		return max64(takes_ns, min64(core->now_ns - recall->since_ns, recall->until_ns - core->now_ns));
	if (got_any && grant->granted >= sent->need)
		return takes_ns; /* these are the last: when they are spent, the client is refused */
	return begin(core, index) ? takes_ns : INT64_MAX;
}

void recall_flush(struct core *core) {
	struct lease_recall recalls[RECALL_MAX];
	size_t count = 0;
	if (core->recall_count == 0 || core->now_ns < core->recall_at_ns)
		return;
	for (uint32_t i = 0; i < core->recall_count; i++) {
		const struct client *client = client_at(core, core->to_recall[i]);
		if (client->flags & CLIENT_LIVE) /* else it has left meanwhile */
			recalls[count++] = (struct lease_recall){.policy_id = policy_of(core, client)->policy_id,
			                                         .client_id = client->id,
			                                         .client_id_len = (uint8_t)client->id_len};
	}
	core->recall_count = 0;
	core->recall_at_ns = core->now_ns + RECALL_PAUSE_NS;
	if (count > 0 && core->state == CORE_IN_STEP)
		core->io.recall(core->context, recalls, count);
}

int64_t recall_next_ns(const struct core *core) {
	return core->recall_count > 0 ? core->recall_at_ns : INT64_MAX;
}
