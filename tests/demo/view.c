/* view.c - see view.h. */
#include "view.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The column of the limit's mark. While both hosts are on their own, they may reach three times as far
 * together. */
#define LIMIT_COLUMNS 18
#define BAR_COLUMNS   (3 * LIMIT_COLUMNS)

#define PLAIN_EVERY_NS NS_PER_S

static const char *const host_colours[VIEW_HOSTS] = {"\033[34m", "\033[36m"};

void view_init(struct view *view, const struct stage *stage, const struct journal_plan *plan) {
	const char *term = getenv("TERM");

	setlocale(LC_CTYPE, "");
	*view =
		(struct view){.stage = stage, .plan = plan, .began_ns = monotonic_ns(), .database_up = true, .story = ""};
	view->checks_ns = view->began_ns;
	view->is_terminal = isatty(STDOUT_FILENO) && term != NULL && strcmp(term, "dumb") != 0 && getenv("CI") == NULL;
	view->has_colour = view->is_terminal && getenv("NO_COLOR") == NULL;
	view->has_blocks = view->is_terminal && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

static const char *colour(const struct view *view, const char *sequence) {
	return view->has_colour ? sequence : "";
}

const char *view_bold(const struct view *view) {
	return colour(view, "\033[1m");
}

const char *view_green(const struct view *view) {
	return colour(view, "\033[32m");
}

const char *view_red(const struct view *view) {
	return colour(view, "\033[31m");
}

const char *view_plain(const struct view *view) {
	return colour(view, "\033[0m");
}

/* ---- What is shown --------------------------------------------------------- */

/* What was admitted in the last window, by client and host. */
struct figures {
	int64_t admitted[VIEW_CLIENTS][VIEW_HOSTS];
	uint64_t checks[VIEW_HOSTS];
	char state[VIEW_HOSTS][24];
};

static void count_app(struct view *view, uint32_t app, uint64_t from_ns, struct figures *figures) {
	const struct journal_file *file = view->stage->crowd.member[app].journal.file;
	uint32_t count = atomic_load_explicit(&file->count, memory_order_acquire);
	uint32_t host = file->plan.host % VIEW_HOSTS;

	while (view->tail[app] < count && file->records[view->tail[app]].outcome_ns < from_ns)
		view->tail[app]++;
	for (uint32_t i = view->tail[app]; i < count; i++)
		figures->admitted[file->records[i].client % VIEW_CLIENTS][host] += file->records[i].cost;
	figures->checks[host] += file->counts.checks;
}

static void count_all(struct view *view, struct figures *figures) {
	uint64_t window = (uint64_t)view->plan->policy[0].time_window_ms * NS_PER_MS;

	*figures = (struct figures){0};
	for (uint32_t app = 0; app < view->stage->crowd.count; app++)
		count_app(view, app, monotonic_ns() - window, figures);
	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		host_state(&view->stage->host[h], figures->state[h]);
}

/* Gives how many requests of a client all apps make in a window. */
static double asks(const struct view *view, uint32_t client) {
	const struct journal_policy *policy = &view->plan->policy[0];
	double weights = 0, rate = 0;

	for (uint32_t i = 0; i < policy->clients; i++)
		weights += pow(i + 1, -policy->skew);
	for (uint32_t i = 0; i < view->stage->crowd.count; i++)
		rate += view->stage->crowd.member[i].journal.file->rate;
	return rate * pow(client + 1, -policy->skew) / weights * (double)policy->time_window_ms / 1000;
}

static const char *clock_text(const struct view *view, char text[static 16]) {
	uint64_t seconds = (monotonic_ns() - view->began_ns) / NS_PER_S;

	snprintf(text, 16, "%llu:%02llu", (unsigned long long)seconds / 60, (unsigned long long)seconds % 60);
	return text;
}

/* ---- The picture ----------------------------------------------------------- */

static void end_line(struct view *view) {
	fputs("\033[K\n", stdout);
	view->drawn_lines++;
}

/* Draws the first host's part, the other's behind it, and the limit's mark where neither reaches it. */
static void draw_bar(const struct view *view, int first, int both) {
	const char *now = "", *mark = view->has_blocks ? "│" : "|";

	for (int column = 0; column < BAR_COLUMNS; column++) {
		bool is_full = column < both;
		const char *wanted = is_full ? colour(view, host_colours[column >= first]) : view_plain(view);
		const char *cell = column >= first ? "=" : "#";

		if (wanted != now)
			fputs(wanted, stdout);
		now = wanted;
		if (is_full)
			fputs(view->has_blocks ? "█" : cell, stdout);
		else
			fputs(column == LIMIT_COLUMNS ? mark : " ", stdout);
	}
	fputs(view_plain(view), stdout);
}

static void draw_client(struct view *view, const struct figures *figures, uint32_t client) {
	int64_t limit = view->plan->policy[0].max_requests;
	const int64_t *admitted = figures->admitted[client];
	int64_t sum = admitted[0] + admitted[1];
	int first = (int)((admitted[0] * LIMIT_COLUMNS + limit - 1) / limit);
	int both = (int)((sum * LIMIT_COLUMNS + limit - 1) / limit);

	printf("  %-6s%5.0f  ", view->plan->names[client], asks(view, client));
	draw_bar(view, first, both);
	printf(" %s%4lld%s", sum > limit ? colour(view, "\033[33m") : "", (long long)sum, view_plain(view));
	end_line(view);
}

static void draw_host(struct view *view, const struct figures *figures, uint32_t h) {
	double seconds = (double)(monotonic_ns() - view->checks_ns) / 1e9;
	bool in_step = strcmp(figures->state[h], "in step") == 0;
	double rate = (double)(figures->checks[h] - view->checks[h]) / (seconds > 0 ? seconds : 1);

	printf("  %s%s%s %-7s %s%-12s%s %5.0f checks a second", colour(view, host_colours[h]),
	       view->has_blocks ? "█"
	       : h == 0         ? "#"
	                        : "=",
	       view_plain(view), view->stage->host[h].name, in_step ? view_green(view) : colour(view, "\033[33m"),
	       figures->state[h], view_plain(view), rate);
	end_line(view);
}

static void draw_heading(struct view *view) {
	const struct journal_policy *policy = &view->plan->policy[0];
	char text[16];

	end_line(view);
	printf("  %s%s   PostgreSQL is %s%s%s", view_bold(view), clock_text(view, text),
	       view->database_up ? view_green(view) : view_red(view), view->database_up ? "up" : "DOWN",
	       view_plain(view));
	end_line(view);
	printf("  %s", view->story);
	end_line(view);
	end_line(view);
	printf("  client asks  %-*s%s %lld per %lld s", LIMIT_COLUMNS - 1, "admitted in the last window",
	       view->has_blocks ? " │ limit:" : " | limit:", (long long)policy->max_requests,
	       (long long)policy->time_window_ms / 1000);
	end_line(view);
}

static void erase(struct view *view) {
	if (view->drawn_lines > 0)
		printf("\033[%uA\r\033[J", view->drawn_lines);
	view->drawn_lines = 0;
}

static void draw(struct view *view, const struct figures *figures) {
	if (view->drawn_lines > 0)
		printf("\033[%uA\r", view->drawn_lines);
	view->drawn_lines = 0;
	draw_heading(view);
	for (uint32_t c = 0; c < VIEW_CLIENTS; c++)
		draw_client(view, figures, c);
	end_line(view);
	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		draw_host(view, figures, h);
	memcpy(view->checks, figures->checks, sizeof(view->checks));
	view->checks_ns = monotonic_ns();
}

/* ---- The lines ------------------------------------------------------------- */

static void say_line(struct view *view, const struct figures *figures) {
	char text[16];

	if (monotonic_ns() - view->said_ns < PLAIN_EVERY_NS)
		return;
	view->said_ns = monotonic_ns();
	printf("  %s  database %-4s ", clock_text(view, text), view->database_up ? "up" : "DOWN");
	for (uint32_t c = 0; c < VIEW_CLIENTS; c++)
		printf(" %s %lld (%lld+%lld)", view->plan->names[c],
		       (long long)(figures->admitted[c][0] + figures->admitted[c][1]), (long long)figures->admitted[c][0],
		       (long long)figures->admitted[c][1]);
	for (uint32_t h = 0; h < VIEW_HOSTS; h++)
		printf("%s %s: %s", h == 0 ? " |" : ",", view->stage->host[h].name, figures->state[h]);
	putchar('\n');
}

void view_show(struct view *view) {
	struct figures figures;

	count_all(view, &figures);
	if (view->is_terminal)
		draw(view, &figures);
	else
		say_line(view, &figures);
	fflush(stdout);
}

void view_tell(struct view *view, const char *format, ...) {
	va_list arguments;
	char text[16];

	if (view->is_terminal)
		erase(view);
	printf("  %s%s  ", view_bold(view), clock_text(view, text));
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("%s\n", view_plain(view));
	fflush(stdout);
}

void view_end(struct view *view) {
	view->drawn_lines = 0;
	putchar('\n');
}
