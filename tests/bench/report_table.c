/* report_table.c - lays the figures out in columns, as text and as Markdown. */
#include "report_table.h"

#include <stdlib.h>
#include <string.h>

#include "number.h"

enum { COLUMNS = 6, CELL_SIZE = 256 };

struct cells {
	char text[COLUMNS][CELL_SIZE];
};

static const char *title_of(int row) {
	static const char *const titles[] = {[1] = "one process, one hot client",
	                                     [2] = "several processes",
	                                     [3] = "denied",
	                                     [4] = "many clients in the table",
	                                     [5] = "first sight of a client",
	                                     [6] = "64 waiting processes",
	                                     [7] = "one check at a time, 20 processes on 2 hosts",
	                                     [8] = "use of a limit by two hosts",
	                                     [9] = "peers",
	                                     [10] = "cost in the database",
	                                     [11] = "many agents",
	                                     [12] = "growth",
	                                     [13] = "fleets",
	                                     [14] = "what happens to fleets",
	                                     [17] = "Node.js",
	                                     [18] = "nginx",
	                                     [19] = "Python"};

	return row >= 1 && row < (int)(sizeof(titles) / sizeof(titles[0])) ? titles[row] : "other";
}

/* Columns on a terminal: bytes of UTF-8 that begin a character. */
static int width(const char *text) {
	int columns = 0;

	for (; *text; text++)
		columns += ((unsigned char)*text & 0xc0) != 0x80;
	return columns;
}

/* A target is of the ratio when there is something to compare with, else of the value. */
static void format_bound(char out[static NUMBER_SIZE], const struct line *l) {
	number_format_bound(out, l->bound, l->has_ratio ? "x" : l->unit);
}

static void format_against(char *out, size_t size, const struct line *l) {
	char base[NUMBER_SIZE];

	out[0] = '\0';
	if (!l->against)
		return;
	number_format(base, l->base, l->unit);
	if (l->has_ratio)
		snprintf(out, size, "%s: %s", l->against, base);
	else
		snprintf(out, size, "%s", l->against);
}

/* ---- Text ------------------------------------------------------------------- */

static void fill(struct cells *c, const struct line *l) {
	char number[NUMBER_SIZE];

	memset(c, 0, sizeof(*c));
	snprintf(c->text[0], CELL_SIZE, "%s", l->what);
	number_format(number, l->value, l->unit);
	snprintf(c->text[1], CELL_SIZE, "%s", number);
	format_against(c->text[2], CELL_SIZE, l);
	if (l->has_ratio) {
		number_format(number, l->ratio, "x");
		snprintf(c->text[3], CELL_SIZE, "%s", number);
	}
	if (l->target) {
		format_bound(number, l);
		snprintf(c->text[4], CELL_SIZE, "%s %s", strcmp(l->target, "at most") == 0 ? "<=" : ">=", number);
		snprintf(c->text[5], CELL_SIZE, "%s", l->reached ? "yes" : "NO");
	}
}

static void print_cells(FILE *out, const struct cells *c, const int widths[COLUMNS]) {
	char line[COLUMNS * 2 * CELL_SIZE]; /* a cell and its padding are each shorter than CELL_SIZE */
	size_t at = 0;

	for (int i = 0; i < COLUMNS; i++) {
		int pad = widths[i] - width(c->text[i]);
		bool is_number = i == 1 || i == 3;

		at += (size_t)snprintf(line + at, sizeof(line) - at, "%s%*s%s%*s", i ? "  " : "", is_number ? pad : 0, "",
		                       c->text[i], is_number ? 0 : pad, "");
	}
	while (at > 0 && line[at - 1] == ' ')
		line[--at] = '\0';
	fprintf(out, "  %s\n", line);
}

static const struct cells heads = {{"", "stint", "against", "ratio", "target", "reached"}};

static void print_missed(FILE *out, const struct report *r) {
	for (size_t i = 0; i < r->count; i++) {
		const struct line *l = &r->lines[i];
		struct cells c;

		if (!l->target || l->reached)
			continue;
		fill(&c, l);
		fprintf(out, "  missed: %d, %s: %s, wanted %s\n", l->row, l->what, c.text[l->has_ratio ? 3 : 1],
		        c.text[4]);
		if (l->note)
			fprintf(out, "          %s\n", l->note);
	}
}

static void print_summary(FILE *out, const struct report *r) {
	size_t targets, reached;

	report_count_targets(r, &targets, &reached);
	fprintf(out, "\n%zu of %zu targets reached\n", reached, targets);
	print_missed(out, r);
	for (size_t i = 0; i < json_array_size(r->benches); i++) {
		const json_t *bench = json_array_get(r->benches, i);

		if (json_is_true(json_object_get(bench, "failed")))
			fprintf(out, "bench_%s failed: its figures are missing or incomplete\n",
			        json_string_value(json_object_get(bench, "bench")));
	}
	if (r->left_out > 0)
		fprintf(out, "%d lines could not be understood and are left out\n", r->left_out);
	if (r->quick)
		fprintf(out, "A QUICK RUN, to see that it works: its figures are not to be quoted\n");
}

void table_print(FILE *out, const struct report *r) {
	struct cells *cells = calloc(r->count + 1, sizeof(*cells));
	int widths[COLUMNS];

	if (!cells)
		return;
	for (int column = 0; column < COLUMNS; column++)
		widths[column] = width(heads.text[column]);
	for (size_t i = 0; i < r->count; i++) {
		fill(&cells[i], &r->lines[i]);
		for (int column = 0; column < COLUMNS; column++)
			widths[column] =
				width(cells[i].text[column]) > widths[column] ? width(cells[i].text[column]) : widths[column];
	}
	print_cells(out, &heads, widths);
	for (size_t i = 0; i < r->count; i++) {
		if (i == 0 || r->lines[i].row != r->lines[i - 1].row)
			fprintf(out, "\n%d %s\n", r->lines[i].row, title_of(r->lines[i].row));
		print_cells(out, &cells[i], widths);
	}
	free(cells);
	print_summary(out, r);
}

/* ---- Markdown --------------------------------------------------------------- */

static void put_cell(FILE *out, const char *text) {
	fputc(' ', out);
	for (; *text; text++) {
		if (strchr("|*_`<>\\", *text))
			fputc('\\', out);
		fputc(*text == '\n' ? ' ' : *text, out);
	}
	fputs(" |", out);
}

static void print_row(FILE *out, const struct line *l) {
	char number[NUMBER_SIZE], text[CELL_SIZE];

	fputc('|', out);
	put_cell(out, l->what);
	number_format(number, l->value, l->unit);
	put_cell(out, number);
	format_against(text, sizeof(text), l);
	put_cell(out, text);
	number[0] = '\0';
	if (l->has_ratio)
		number_format(number, l->ratio, "");
	put_cell(out, number);
	if (l->target) {
		number_format_bound(number, l->bound, l->has_ratio ? "" : l->unit);
		fprintf(out, " %s %s: %s |\n", strcmp(l->target, "at most") == 0 ? "≤" : "≥", number,
		        l->reached ? "yes" : "**no**");
	} else {
		fputs(" |\n", out);
	}
}

static bool is_the_same(const struct line *l) {
	return strncmp(l->what, "the same", strlen("the same")) == 0;
}

/* tests/README.md has what there is a target for, and the line that "the same" of such a one goes back to. */
static bool is_for_readme(const struct report *r, size_t i) {
	if (r->lines[i].target)
		return true;
	if (is_the_same(&r->lines[i]))
		return false;
	for (size_t next = i + 1;
	     next < r->count && r->lines[next].row == r->lines[i].row && is_the_same(&r->lines[next]); next++) {
		if (r->lines[next].target)
			return true;
	}
	return false;
}

void table_print_markdown(FILE *out, const struct report *r, const char *about) {
	size_t targets, reached;
	int row = 0;

	if (r->quick)
		fputs("**A quick run, to see that it works: its figures are not to be quoted.**\n\n", out);
	fputs("| workload | stint | against | ratio | to reach |\n|---|--:|---|--:|---|\n", out);
	for (size_t i = 0; i < r->count; i++) {
		if (!is_for_readme(r, i))
			continue;
		if (r->lines[i].row != row)
			fprintf(out, "| **%s** | | | | |\n", title_of(r->lines[i].row));
		row = r->lines[i].row;
		print_row(out, &r->lines[i]);
	}
	report_count_targets(r, &targets, &reached);
	fprintf(out, "\n%zu of %zu targets reached. %s\n", reached, targets, about);
}
