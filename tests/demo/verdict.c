/* verdict.c - see verdict.h. */
#include "verdict.h"

#include <stdio.h>

/* Judges one line: the most that any interval held for each client, and what it may hold. */
static void judge(struct verdict *verdict, const struct view *view, const struct oracle *oracle,
                  struct oracle_choice choice, int64_t limit, const char *whose, const char *what) {
	struct verdict_line *line = &verdict->lines[verdict->line_count++];
	uint64_t window_ns = (uint64_t)view->plan->policy[0].time_window_ms * NS_PER_MS;

	*line = (struct verdict_line){.limit = limit, .kept = true};
	snprintf(line->what, sizeof(line->what), "%s%s", whose, what);
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

static void print_heading(const struct view *view, const char *by) {
	printf("  %sVerdict%s: the most that any interval of %lld s admitted, by %s\n\n    %-44s", view_bold(view),
	       view_plain(view), (long long)view->plan->policy[0].time_window_ms / 1000, by, "");
	for (uint32_t c = 0; c < VIEW_CLIENTS; c++)
		printf(" %5s", view->plan->names[c]);
	putchar('\n');
}

/* A busy machine notes its return late. */
static void print_span(double until_s) {
	printf("\n    The hosts were on their own until %.1f s %s its return was noted.\n",
	       until_s < 0 ? -until_s : until_s, until_s < 0 ? "before" : "after");
}

/* While the database was away, and in windows that mix both. */
static void judge_alone(struct verdict *verdict, const struct view *view, const struct oracle *oracle) {
	const struct journal_policy *policy = &view->plan->policy[0];
	int64_t all_together = policy->max_requests + VIEW_HOSTS * policy->fallback_max_requests;

	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		judge(verdict, view, oracle, (struct oracle_choice){.host = h, .sources = ORACLE_FALLBACK},
		      policy->fallback_max_requests, view->stage->host[h].name, " alone, without it");
	judge(verdict, view, oracle, (struct oracle_choice){.host = ORACLE_ANY}, all_together, "",
	      "all of it, whoever decided");
}

void verdict_judge(struct verdict *verdict, const struct view *view, const struct oracle *oracle) {
	const int64_t limit = view->plan->policy[0].max_requests;
	struct oracle_choice alone = {.client = ORACLE_ANY, .host = ORACLE_ANY, .sources = ORACLE_FALLBACK};
	uint64_t first = verdict->returned_ns, last = verdict->returned_ns;

	verdict->line_count = verdict->broken = 0;
	print_heading(view, verdict->by);
	oracle_span(oracle, &alone, &first, &last);
	judge(verdict, view, oracle, (struct oracle_choice){.host = ORACLE_ANY, .until_ns = verdict->killed_ns}, limit,
	      "", "before the database died");
	judge(verdict, view, oracle, (struct oracle_choice){.host = ORACLE_ANY, .from_ns = last + 1}, limit, "",
	      "after its return");
	judge(verdict, view, oracle, (struct oracle_choice){.host = ORACLE_ANY, .sources = ORACLE_UP}, limit, "",
	      "on leases from it, all the time");
	judge_alone(verdict, view, oracle);
	print_span((double)(int64_t)(last - verdict->returned_ns) / 1e9);
}

void verdict_print_end(const struct view *view, bool kept) {
	printf("  %s%sThe promise was %s.%s\n\n", view_bold(view), kept ? view_green(view) : view_red(view),
	       kept ? "kept" : "BROKEN", view_plain(view));
}
