/* oracle.c - see oracle.h. */
#include "oracle.h"

#include <stdlib.h>
#include <string.h>

/* A test whose log can't be checked must not pass. */
static void *allocate(size_t size) {
	void *memory = malloc(size);

	if (memory == NULL)
		abort();
	return memory;
}

int oracle_add(struct oracle *oracle, const struct oracle_event *event) {
	if (oracle->count == oracle->room) {
		size_t room = oracle->room == 0 ? 4096 : oracle->room * 2;
		struct oracle_event *events = realloc(oracle->events, room * sizeof(*events));

		if (events == NULL)
			return -1;
		oracle->events = events;
		oracle->room = room;
	}
	oracle->events[oracle->count++] = *event;
	return 0;
}

int oracle_read(struct oracle *oracle, const struct journal *journal) {
	const struct journal_file *file = journal->file;
	uint32_t count = file->count;

	/* This includes one record beyond the count, which a killed process may have left open. */
	for (uint32_t i = 0; i <= count && i < file->plan.capacity; i++) {
		const struct journal_record *record = &file->records[i];
		uint64_t outcome = record->outcome_ns;
		struct oracle_event event = {
			.intent_ns = record->intent_ns,
			.outcome_ns = outcome == 0 ? ORACLE_UNKNOWN_NS : outcome,
			.client = record->client,
			.cost = record->cost,
			.policy = record->policy,
			.source = outcome == 0 ? 0 : record->source,
			.host = (uint8_t)file->plan.host,
		};

		if (event.intent_ns != 0 && oracle_add(oracle, &event) != 0)
			return -1;
	}
	return 0;
}

static int compare_numbers(uint64_t a, uint64_t b) {
	return (a > b) - (a < b);
}

static int compare_events(const void *left, const void *right) {
	const struct oracle_event *a = left, *b = right;

	if (a->policy != b->policy)
		return compare_numbers(a->policy, b->policy);
	if (a->client != b->client)
		return compare_numbers(a->client, b->client);
	return compare_numbers(a->intent_ns, b->intent_ns);
}

static int compare_outcomes(const void *left, const void *right) {
	const struct oracle_event *a = left, *b = right;

	return compare_numbers(a->outcome_ns, b->outcome_ns);
}

void oracle_sort(struct oracle *oracle) {
	if (oracle->count > 0)
		qsort(oracle->events, oracle->count, sizeof(*oracle->events), compare_events);
}

void oracle_free(struct oracle *oracle) {
	free(oracle->events);
	*oracle = (struct oracle){0};
}

static bool is_chosen(const struct oracle_choice *choice, const struct oracle_event *event) {
	return (choice->policy == ORACLE_ANY || choice->policy == event->policy) &&
	       (choice->client == ORACLE_ANY || choice->client == event->client) &&
	       (choice->host == ORACLE_ANY || choice->host == event->host) &&
	       (choice->sources == 0 || (choice->sources >> event->source & 1u) != 0) &&
	       event->intent_ns >= choice->from_ns &&
	       (choice->until_ns == 0 || event->outcome_ns < choice->until_ns) &&
	       event->outcome_ns != ORACLE_UNKNOWN_NS;
}

/* In a sorted oracle the events of one client are neighbours, by intent: where the chosen ones begin, and
 * whether one is behind the last. */
static size_t first_of(const struct oracle *oracle, const struct oracle_choice *choice) {
	struct oracle_event least = {.policy = (uint16_t)choice->policy,
	                             .client = choice->client,
	                             .intent_ns = choice->from_ns};
	size_t low = 0, high = oracle->count;

	if (choice->policy == ORACLE_ANY || choice->client == ORACLE_ANY)
		return 0;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_events(&oracle->events[middle], &least) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_behind(const struct oracle_choice *choice, const struct oracle_event *event) {
	return choice->policy != ORACLE_ANY && choice->client != ORACLE_ANY &&
	       (event->policy != choice->policy || event->client != choice->client ||
	        (choice->until_ns != 0 && event->intent_ns >= choice->until_ns));
}

/* Copies the chosen events, sorted by outcome. */
static struct oracle_event *copy_chosen(const struct oracle *oracle, const struct oracle_choice *choice,
                                        size_t *count) {
	struct oracle_event *chosen;
	size_t begin = first_of(oracle, choice), end = begin;

	*count = 0;
	while (end < oracle->count && !is_behind(choice, &oracle->events[end]))
		end++;
	chosen = allocate((end - begin + 1) * sizeof(*chosen));
	for (size_t i = begin; i < end; i++)
		if (is_chosen(choice, &oracle->events[i]))
			chosen[(*count)++] = oracle->events[i];
	qsort(chosen, *count, sizeof(*chosen), compare_outcomes);
	return chosen;
}

static int64_t peak_by_outcome(const struct oracle_event *events, size_t count, uint64_t window_ns) {
	int64_t sum = 0, most = 0;
	size_t first = 0;

	for (size_t i = 0; i < count; i++) {
		sum += events[i].cost;
		while (events[i].outcome_ns - events[first].outcome_ns >= window_ns)
			sum -= events[first++].cost;
		if (sum > most)
			most = sum;
	}
	return most;
}

/* Sums over prefixes, with insertions in between (Fenwick, 1994). */
static void prefix_add(int64_t *tree, size_t count, size_t at, int64_t value) {
	for (at++; at <= count; at += at & -at)
		tree[at] += value;
}

static int64_t prefix_sum(const int64_t *tree, size_t end) {
	int64_t sum = 0;

	for (; end > 0; end -= end & -end)
		sum += tree[end];
	return sum;
}

struct intent {
	uint64_t intent_ns;
	size_t rank; /* by outcome */
};

static int compare_intents_backwards(const void *left, const void *right) {
	const struct intent *a = left, *b = right;

	return compare_numbers(b->intent_ns, a->intent_ns);
}

/* How many events (sorted by outcome) ended before `when_ns`. */
static size_t ended_before(const struct oracle_event *events, size_t count, uint64_t when_ns) {
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (events[middle].outcome_ns < when_ns)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * Intervals are tried from the last to the first: when [x, x + window) is, just
 * the events with an intent at or after x are in the tree, by outcome; those that
 * ended before x + window are a prefix.
 */
static void find_certain(struct oracle_peak *peak, const struct oracle_event *events, size_t count,
                         uint64_t window_ns) {
	int64_t *tree = allocate((count + 1) * sizeof(*tree));
	struct intent *order = allocate((count + 1) * sizeof(*order));

	memset(tree, 0, (count + 1) * sizeof(*tree));
	for (size_t i = 0; i < count; i++)
		order[i] = (struct intent){events[i].intent_ns, i};
	qsort(order, count, sizeof(*order), compare_intents_backwards);
	for (size_t i = 0; i < count; i++) {
		int64_t sum;

		prefix_add(tree, count, order[i].rank, events[order[i].rank].cost);
		sum = prefix_sum(tree, ended_before(events, count, order[i].intent_ns + window_ns));
		if (sum > peak->certain)
			*peak = (struct oracle_peak){sum, peak->by_outcome, order[i].intent_ns};
	}
	free(tree);
	free(order);
}

struct oracle_peak oracle_peak(const struct oracle *oracle, const struct oracle_choice *choice,
                               uint64_t window_ns) {
	struct oracle_peak peak = {0};
	struct oracle_event *events;
	size_t count;

	events = copy_chosen(oracle, choice, &count);
	peak.by_outcome = peak_by_outcome(events, count, window_ns);
	find_certain(&peak, events, count, window_ns);
	free(events);
	return peak;
}

struct oracle_peak oracle_peak_aligned(const struct oracle *oracle, const struct oracle_choice *choice,
                                       uint64_t window_ns, uint64_t edge_ns, uint64_t tolerance_ns) {
	struct oracle_peak peak = {0};
	int64_t sum = 0, certain = 0;
	uint64_t current = UINT64_MAX, base = edge_ns % window_ns;
	struct oracle_event *events;
	size_t count;

	events = copy_chosen(oracle, choice, &count);
	for (size_t i = 0; i < count; i++) {
		uint64_t window = (events[i].outcome_ns + window_ns - base) / window_ns;
		uint64_t begin = window * window_ns + base - window_ns;

		if (window != current)
			sum = certain = 0;
		current = window;
		sum += events[i].cost;
		if (events[i].intent_ns >= begin + tolerance_ns && events[i].outcome_ns + tolerance_ns < begin + window_ns)
			certain += events[i].cost;
		if (sum > peak.by_outcome)
			peak.by_outcome = sum;
		if (certain > peak.certain)
			peak = (struct oracle_peak){certain, peak.by_outcome, begin};
	}
	free(events);
	return peak;
}

int64_t oracle_sum(const struct oracle *oracle, const struct oracle_choice *choice) {
	int64_t sum = 0;

	for (size_t i = first_of(oracle, choice); i < oracle->count && !is_behind(choice, &oracle->events[i]); i++)
		if (is_chosen(choice, &oracle->events[i]))
			sum += oracle->events[i].cost;
	return sum;
}

bool oracle_span(const struct oracle *oracle, const struct oracle_choice *choice, uint64_t *first_ns,
                 uint64_t *last_ns) {
	*first_ns = UINT64_MAX;
	*last_ns = 0;
	for (size_t i = first_of(oracle, choice); i < oracle->count && !is_behind(choice, &oracle->events[i]); i++) {
		const struct oracle_event *event = &oracle->events[i];

		if (!is_chosen(choice, event))
			continue;
		*first_ns = event->outcome_ns < *first_ns ? event->outcome_ns : *first_ns;
		*last_ns = event->outcome_ns > *last_ns ? event->outcome_ns : *last_ns;
	}
	return *last_ns != 0;
}
