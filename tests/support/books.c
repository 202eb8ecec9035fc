/* books.c - see books.h. */
#include "books.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "database/pg.h"
#include "proof.h"
#include "stint.h"
#include "tap.h"

/* One row per sub-window: what is charged to it, and to it and all later ones. In the newest one's row, `over`
 * says whether a run of the counter exceeds its limit: the one that ends with the present sub-window, or the
 * one that begins after its first and holds all that is to come. In a fixed window, whose sub-window is the
 * window, each stands alone. */
static const char look_sql[] =
	"select p.name, c.client_id, c.current_us + (c.ahead + 1 - i) * c.sub_window_us, c.sub_window_us,"
	" c.counts[i], (select sum(n) from unnest(c.counts[:i]) n),"
	" i = 1 and greatest((select sum(n) from unnest(c.counts[c.ahead + 1:c.ahead + c.resolution + 1]) n),"
	"  (select sum(n) from unnest(c.counts[:c.ahead + c.resolution]) n)) > c.max_requests"
	" from stint.counter c join stint.policy p using (policy_id), generate_subscripts(c.counts, 1) i";

void books_init(struct books *books) {
	*books = (struct books){.clock = clock_relate()};
}

void books_free(struct books *books) {
	free(books->entries);
	*books = (struct books){0};
}

static struct books_entry *append(struct books *books) {
	if (books->count == books->room) {
		books->room = books->room == 0 ? 1024 : books->room * 2;
		books->entries = realloc(books->entries, books->room * sizeof(*books->entries));
		if (books->entries == NULL)
			abort(); /* books that can't be kept must not pass */
	}
	return &books->entries[books->count++];
}

static void enter(struct books *books, char *const *cells, uint64_t looked_ns) {
	struct books_entry *entry = append(books);
	int64_t begin_us = strtoll(cells[2], NULL, 10), length_us = strtoll(cells[3], NULL, 10);

	snprintf(entry->policy, sizeof(entry->policy), "%s", cells[0]);
	snprintf(entry->client, sizeof(entry->client), "%s", cells[1]);
	entry->begin_ns = clock_from_database_us(&books->clock, begin_us);
	entry->end_ns = clock_from_database_us(&books->clock, begin_us + length_us);
	entry->looked_ns = looked_ns;
	entry->charged = strtoll(cells[4], NULL, 10);
	entry->since = strtoll(cells[5], NULL, 10);
	books->over_limit += cells[6][0] == 't';
}

int books_look(struct books *books, struct cluster *cluster) {
	uint64_t now = monotonic_ns();
	struct pg_rows rows;

	if (cluster_do(cluster, "select 1") != 0)
		return -1;
	if (pg_query(cluster->pg, look_sql, 0, NULL, &rows) != PG_OK) {
		fprintf(stderr, "# %s\n", pg_error(cluster->pg));
		return -1;
	}
	for (int i = 0; i < rows.row_count; i++)
		enter(books, &rows.cells[i * rows.column_count], now);
	books->looks++;
	pg_rows_free(&rows);
	return 0;
}

static uint32_t policy_number(const struct journal_plan *plan, const char *name) {
	for (uint32_t i = 0; i < plan->policy_count; i++)
		if (strcmp(plan->policy[i].name, name) == 0)
			return i;
	return ORACLE_ANY;
}

static uint32_t client_number(const struct journal_plan *plan, uint32_t policy, const char *client) {
	unsigned long guess = strtoul(client + strcspn(client, "0123456789"), NULL, 10);
	char id[64];

	/* Most ids are made from the number. */
	if (guess < plan->policy[policy].clients) {
		journal_client_id(plan, (uint32_t)guess, id);
		if (strcmp(id, client) == 0)
			return (uint32_t)guess;
	}
	for (uint32_t i = 0; i < plan->policy[policy].clients; i++) {
		journal_client_id(plan, i, id);
		if (strcmp(id, client) == 0)
			return i;
	}
	return ORACLE_ANY;
}

/* A host knows the edges of sliding sub-windows only to a round trip and its clock's rate: it may spend their
 * credits this much too early or too late. Sub-windows are longer than their part of the window for that, by
 * half a percent of it in all. */
static uint64_t edge_doubt_ns(const struct journal_policy *policy) {
	uint64_t slack_ns = (uint64_t)policy->time_window_ms * NS_PER_MS / 200;

	if (policy->algorithm != STINT_SLIDING_WINDOW)
		return 0;
	return slack_ns / 2;
}

/* What is certain to have happened after the beginning of the entry's sub-window and before the look. False:
 * not the plan's client. */
static bool choose(const struct books *books, const struct books_entry *entry, const struct journal_plan *plan,
                   struct oracle_choice *choice) {
	uint64_t doubt;

	*choice = (struct oracle_choice){.host = ORACLE_ANY, .sources = ORACLE_STRICT};
	choice->policy = policy_number(plan, entry->policy);
	if (choice->policy == ORACLE_ANY)
		return false;
	doubt = books->clock.error_ns + edge_doubt_ns(&plan->policy[choice->policy]);
	choice->from_ns = entry->begin_ns + doubt;
	choice->until_ns = entry->looked_ns;
	choice->client = client_number(plan, choice->policy, entry->client);
	return choice->client != ORACLE_ANY;
}

/* Where in the sub-window it happened: close to an edge it may be the clocks. */
static void complain(const struct books_entry *entry, const struct oracle *oracle,
                     const struct oracle_choice *choice, int64_t missing) {
	uint64_t first = 0, last = 0;

	oracle_span(oracle, choice, &first, &last);
	fprintf(stderr, "# %s %s: %lld charged, %lld more admitted, from %lld us to %lld us of %lld us\n",
	        entry->policy, entry->client, (long long)entry->since, (long long)missing,
	        ((long long)first - (long long)entry->begin_ns) / 1000,
	        ((long long)last - (long long)entry->begin_ns) / 1000,
	        ((long long)entry->looked_ns - (long long)entry->begin_ns) / 1000);
}

size_t books_short(const struct books *books, const struct oracle *oracle, const struct journal_plan *plan) {
	int64_t worst = 0;
	size_t count = 0;

	for (size_t i = 0; i < books->count; i++) {
		const struct books_entry *entry = &books->entries[i];
		struct oracle_choice choice;
		int64_t missing;

		if (!choose(books, entry, plan, &choice))
			continue;
		missing = oracle_sum(oracle, &choice) - entry->since;
		count += missing > 0;
		if (missing > worst)
			complain(entry, oracle, &choice, missing);
		worst = missing > worst ? missing : worst;
	}
	return count;
}

uint64_t books_check(const struct books *books, const struct oracle *oracle, const struct journal_plan *plan) {
	uint64_t over = (uint64_t)books->over_limit, few = books_short(books, oracle, plan);

	tap_ok(over == 0, "I2: charged <= limit in %zu sub-windows read in %d looks, %llu runs over", books->count,
	       books->looks, (unsigned long long)over);
	tap_ok(few == 0, "I2: charged >= admitted in each of them, %llu hold less", (unsigned long long)few);
	return over + few;
}

void books_judge(const struct books *books, const struct oracle *oracle, const struct journal_plan *plan,
                 const char *fault, uint64_t runs) {
	uint64_t wrong = books_check(books, oracle, plan);

	proof_print(&(struct proof){.invariants = "I2",
	                            .fault = fault,
	                            .runs = runs,
	                            .checked = books->count,
	                            .violations = wrong,
	                            .recovery_ms = PROOF_NO_RECOVERY});
}

bool books_sub_window(const struct books *books, const char *policy, const char *client, uint64_t *begin_ns,
                      uint64_t *length_ns) {
	for (size_t i = books->count; i > 0; i--) {
		const struct books_entry *entry = &books->entries[i - 1];

		if (strcmp(entry->policy, policy) == 0 && strcmp(entry->client, client) == 0) {
			*begin_ns = entry->begin_ns;
			*length_ns = entry->end_ns - entry->begin_ns;
			return true;
		}
	}
	return false;
}
