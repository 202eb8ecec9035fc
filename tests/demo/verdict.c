/* verdict.c - see verdict.h. */
#include "verdict.h"

#include <stdio.h>

/* Judges one line: the most that any interval held for each client, and what it may hold. */
static void judge(struct verdict *verdict, const struct view *view, const struct oracle *oracle,
                  struct oracle_choice choice) {
	struct verdict_line *line = &verdict->lines[verdict->line_count++];
	uint64_t window_ns = (uint64_t)view->plan->policy[0].time_window_ms * NS_PER_MS;

	line->kept = true;
	printf("    %-44s", line->what);
	for (uint32_t c = 0; c < VIEW_CLIENTS; c++) {
		choice.client = c;
		line->most[c] = oracle_peak(oracle, &choice, window_ns).certain;
		line->kept &= line->most[c] <= line->limit;
		printf(" %5lld", (long long)line->most[c]);
	}
	printf("  of %lld  %s%s%s\n", (long long)line->limit, line->kept ? view_green(view) : view_red(view),
	       line->kept ? "kept" : "BROKEN", view_plain(view));
	verdict->broken += !line->kept;
}

/* The words and the limit of the next line. */
static void head(struct verdict *verdict, int64_t limit, const char *what, const char *whose) {
	struct verdict_line *line = &verdict->lines[verdict->line_count];

	line->limit = limit;
	snprintf(line->what, sizeof(line->what), "%s%s", whose, what);
}

static void print_heading(const struct view *view, const char *by) {
	printf("  %sVerdict%s: the most that any interval of %lld s admitted, by %s\n\n    %-44s", view_bold(view),
	       view_plain(view), (long long)view->plan->policy[0].time_window_ms / 1000, by, "");
	for (uint32_t c = 0; c < VIEW_CLIENTS; c++)
		printf(" %5s", view->plan->names[c]);
	putchar('\n');
}

void verdict_judge(struct verdict *verdict, const struct view *view, const struct oracle *oracle) {
	const struct journal_policy *policy = &view->plan->policy[0];
	struct oracle_choice choice = {.client = ORACLE_ANY, .host = ORACLE_ANY, .sources = ORACLE_FALLBACK};
	uint64_t first = verdict->returned_ns, last = verdict->returned_ns;

	print_heading(view, verdict->by);
	oracle_span(oracle, &choice, &first, &last);
	head(verdict, policy->max_requests, "before the database died", "");
	choice = (struct oracle_choice){.host = ORACLE_ANY, .until_ns = verdict->killed_ns};
	judge(verdict, view, oracle, choice);
	head(verdict, policy->max_requests, "after its return", "");
	choice = (struct oracle_choice){.host = ORACLE_ANY, .from_ns = last + 1};
	judge(verdict, view, oracle, choice);
	head(verdict, policy->max_requests, "on leases from it, all the time", "");
	choice = (struct oracle_choice){.host = ORACLE_ANY, .sources = ORACLE_UP};
	judge(verdict, view, oracle, choice);
	for (uint32_t h = 0; h < VIEW_HOSTS; h++) {
		head(verdict, policy->fallback_max_requests, " alone, without it", view->stage->host[h].name);
		choice = (struct oracle_choice){.host = h, .sources = ORACLE_FALLBACK};
		judge(verdict, view, oracle, choice);
	}
	printf("\n    The hosts were on their own until %.1f s after its return.\n",
	       (double)(int64_t)(last - verdict->returned_ns) / 1e9);
}

void verdict_print_end(const struct view *view, bool kept) {
	printf("  %s%sThe promise was %s.%s\n\n", view_bold(view), kept ? view_green(view) : view_red(view),
	       kept ? "kept" : "BROKEN", view_plain(view));
}
