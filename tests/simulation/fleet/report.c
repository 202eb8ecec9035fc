/*
 * report.c - a line for each scenario: what it cost, beside what is to be reached; what is missed has a mark.
 */
#include <stdio.h>

#include "fleet.h"

static double part(uint64_t of, uint64_t all) {
	return all ? (double)of / (double)all : 0;
}

/* "1393 (<= 130) !" */
static void add_figure(const char *format, double figure, const char *compared, double reach) {
	char text[32], goal[32] = "";
	bool is_missed = compared[0] == '>' ? figure < reach : figure > reach;
	snprintf(text, sizeof(text), format, figure);
	if (reach > 0)
		snprintf(goal, sizeof(goal), "(%s %g)%s", compared, reach, is_missed ? " !" : "");
	printf("  %7s %-12s", text, goal);
}

void report_heading(void) {
	printf("%-14s%-20s  %-20s  %-20s  %10s  %7s  %s\n", "", "    rows/1,000 checks", "    waiting, %",
	       "    of exact, %", "statements", "CPU, ms", "most");
	printf(
		"in brackets: what is to be reached, and ! where it is missed. Statements, and CPU of the server, are of "
		"1,000 checks too;\nmost: in any window, as a part of the limit\n\n");
}

static void report_incident(const struct fleet *f) {
	const struct reach *reach = &f->scenario.reach;
	uint32_t out = 0;
	if (f->scenario.incident != RESTARTS && f->scenario.incident != OUTAGE)
		return;
	for (uint32_t h = 0; h < f->scenario.hosts; h++)
		out += !host_is_in_step(&f->hosts[h]);
	printf("%12s all decide by the database after %.2f s (<= %g)%s, ", "", (double)f->figures.in_reach_ns / 1e9,
	       reach->in_reach_s, (double)f->figures.in_reach_ns / 1e9 > reach->in_reach_s ? " !" : "");
	if (out > 0)
		printf("%u are not in step yet\n", out);
	else
		printf("in step after %.2f s\n", (double)f->figures.in_step_ns / 1e9);
}

static double ms_at(const struct histogram *waits, unsigned per_mille) {
	return (double)histogram_quantile(waits, per_mille) / 1e6;
}

/* What is charged, beside what as many rows cost; and how long checks wait on hosts that are charging. */
static void report_charges(const struct fleet *f) {
	const struct histogram *usual = &f->figures.usual_waits, *charging = &f->figures.charging_waits;
	double reach = f->scenario.reach.wait_ratio;
	double ratio = ms_at(charging, 500) / ms_at(usual, 500), late = ms_at(charging, 990) / ms_at(usual, 990);
	if (f->scenario.incident != OUTAGE)
		return;
	printf("%12s %.2f million rows charged, which alone take %u processors %.2f s\n", "",
	       (double)f->figures.charges / 1e6, f->scenario.processors,
	       (double)f->figures.charges * SERVER_ROW_NS / f->scenario.processors / 1e9);
	printf(
		"%12s who waited meanwhile: p50 %.2f ms, %.1f times as long as before (<= %g)%s, p99 %.2f ms, %.1f times%s\n",
		"", ms_at(charging, 500), ratio, reach, ratio > reach ? " !" : "", ms_at(charging, 990), late,
		late > reach ? " !" : "");
}

static void report_hot(const struct fleet *f) {
	const struct histogram *waits = &f->figures.other_waits;
	double rows = (double)f->figures.hot_rows / f->scenario.counted_s, reach = f->scenario.reach.hot_rows;
	printf("%12s the hot one: %.0f rows/s (<= %g)%s; who waited for it: p50 %.2f ms, p99 %.2f ms\n", "", rows,
	       reach, rows > reach ? " !" : "", ms_at(waits, 500), ms_at(waits, 990));
}

static void report_waits(const struct fleet *f) {
	const struct figures *g = &f->figures;
	printf("%12s who waited: p50 %.2f ms, p99 %.2f ms, most %.2f ms", "", ms_at(&g->waits, 500),
	       ms_at(&g->waits, 990), ms_at(&g->waits, 1000));
	if (g->lost > 0 || g->rejected > 0)
		printf("; %llu checks without an answer, %llu statements rejected", (unsigned long long)g->lost,
		       (unsigned long long)g->rejected);
	printf("; %.0f checks/s, %.0f rows/s\n", (double)g->checks / f->scenario.counted_s,
	       (double)g->rows / f->scenario.counted_s);
}

void report_fleet(const struct fleet *f) {
	const struct figures *g = &f->figures;
	const struct reach *reach = &f->scenario.reach;
	char about[200];
	scenario_describe(&f->scenario, about, sizeof(about));
	printf("%-12s", f->scenario.name);
	add_figure("%.0f", 1000 * part(g->rows, g->checks), "<=", reach->rows);
	add_figure("%.2f", 100 * part(g->asked, g->checks), "<=", reach->wait);
	add_figure("%.2f", 100 * part(g->admitted, g->exact), ">=", reach->exact);
	printf("  %10.0f  %7.1f  %.3f  %s\n", 1000 * part(g->statements, g->checks),
	       1000 * part((uint64_t)g->cpu_ns, g->checks) / 1e6, (double)f->most / f->scenario.limit, about);
	report_waits(f);
	if (f->scenario.hot_rate > 0)
		report_hot(f);
	report_incident(f);
	report_charges(f);
	fflush(stdout);
}

void report_plain(const struct fleet *f) {
	const struct figures *g = &f->figures;
	printf("%.2f %.3f %.3f %.4f\n", 1000 * part(g->rows, g->checks), 100 * part(g->asked, g->checks),
	       100 * part(g->admitted, g->exact), (double)f->most / f->scenario.limit);
}
