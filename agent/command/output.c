/*
 * output.c - prints tables and JSON, see output.h.
 *
 * A table is gathered first and printed at the end, when the columns' widths
 * are known. Widths are those on a terminal (wcwidth), so the caller has to set
 * LC_CTYPE; in a locale without UTF-8, all but ASCII is escaped.
 */
#include "output.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define ESCAPE_LENGTH  4  /* \xNN */
#define GAP            2  /* blanks between columns */
#define FIRST_CAPACITY 64 /* cells; doubled when full */

/* Whether the character can turn the rest of the line round, though the locale's tables call it printable. */
static bool is_bidi_control(wchar_t c) {
	return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f;
}

/* Returns the length in bytes of the printable character at text, or 0. Sets *width to its width on a terminal.
 * length is at least 1, and no byte is zero. */
static size_t printable_at(const char *text, size_t length, size_t *width) {
	mbstate_t state = {0};
	wchar_t c;
	size_t taken = mbrtowc(&c, text, length, &state);
	if (taken > length || is_bidi_control(c) || wcwidth(c) < 0)
		return 0;
	*width = (size_t)wcwidth(c);
	return taken;
}

char *output_printable(const char *text) {
	size_t length = strlen(text);
	char *copy = malloc(length * ESCAPE_LENGTH + 1);
	if (!copy)
		return NULL;
	char *end = copy;
	for (size_t at = 0; at < length;) {
		size_t width;
		size_t taken = printable_at(text + at, length - at, &width);
		if (taken > 0) {
			memcpy(end, text + at, taken);
			end += taken;
			at += taken;
		} else {
			end += sprintf(end, "\\x%02x", (unsigned char)text[at]);
			at++;
		}
	}
	*end = '\0';
	return copy;
}

/* Returns the width on a terminal of text that output_printable() made. */
static size_t width_of(const char *text) {
	size_t width = 0, length = strlen(text);
	for (size_t at = 0; at < length;) {
		size_t one;
		at += printable_at(text + at, length - at, &one);
		width += one;
	}
	return width;
}

size_t output_cut(const char *text, size_t length, size_t columns) {
	size_t at = 0;
	for (size_t width; at < length; columns -= width) {
		size_t taken = printable_at(text + at, length - at, &width);
		if (taken == 0 || width > columns)
			break;
		at += taken;
	}
	return at;
}

void output_table_start(struct output_table *table, size_t column_count, const char *const *headings) {
	*table = (struct output_table){.column_count = column_count};
	for (size_t i = 0; i < column_count; i++)
		output_table_add(table, headings[i]);
}

static bool make_room(struct output_table *table) {
	if (table->cell_count < table->cell_capacity)
		return true;
	size_t capacity = table->cell_capacity > 0 ? table->cell_capacity * 2 : FIRST_CAPACITY;
	char **cells = reallocarray(table->cells, capacity, sizeof(*cells));
	if (!cells)
		return false;
	table->cells = cells;
	table->cell_capacity = capacity;
	return true;
}

void output_table_add(struct output_table *table, const char *cell) {
	char *copy = table->failed || !make_room(table) ? NULL : output_printable(cell ? cell : "-");
	if (!copy)
		table->failed = true;
	else
		table->cells[table->cell_count++] = copy;
}

void output_table_add_number(struct output_table *table, int64_t number) {
	char text[24];
	snprintf(text, sizeof(text), "%" PRId64, number);
	output_table_add(table, text);
}

static bool is_number(const char *text) {
	text += *text == '-';
	return *text != '\0' && strspn(text, "0123456789.") == strlen(text);
}

struct column {
	size_t width;
	bool numbers, words; /* seen below the heading; a dash is neither */
};

static void measure(const struct output_table *table, struct column *columns) {
	for (size_t i = 0; i < table->column_count; i++)
		columns[i] = (struct column){0};
	for (size_t i = 0; i < table->cell_count; i++) {
		const char *cell = table->cells[i];
		struct column *column = &columns[i % table->column_count];
		size_t width = width_of(cell);
		if (width > column->width)
			column->width = width;
		if (i >= table->column_count && strcmp(cell, "-") != 0)
			*(is_number(cell) ? &column->numbers : &column->words) = true;
	}
}

static void print_cell(const char *cell, const struct column *column, bool last, FILE *file) {
	int padding = (int)(column->width - width_of(cell));
	if (column->numbers && !column->words)
		fprintf(file, "%*s%s", padding, "", cell);
	else
		fprintf(file, "%s%*s", cell, last ? 0 : padding, ""); /* no blanks at a line's end */
	if (last)
		fputc('\n', file);
	else
		fprintf(file, "%*s", GAP, "");
}

int output_table_end(struct output_table *table, FILE *file) {
	struct column columns[OUTPUT_COLUMNS_MAX];
	if (!table->failed) {
		measure(table, columns);
		for (size_t i = 0; i < table->cell_count; i++) {
			size_t at = i % table->column_count;
			print_cell(table->cells[i], &columns[at], at + 1 == table->column_count, file);
		}
	}
	for (size_t i = 0; i < table->cell_count; i++)
		free(table->cells[i]);
	free(table->cells);
	return table->failed ? -1 : 0;
}

static void add_value(struct output_table *table, const json_t *value) {
	if (json_is_string(value)) {
		output_table_add(table, json_string_value(value));
	} else if (json_is_boolean(value)) {
		output_table_add(table, json_is_true(value) ? "yes" : "no");
	} else if (!value || json_is_null(value)) {
		output_table_add(table, NULL);
	} else {
		char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
		table->failed = table->failed || !text;
		output_table_add(table, text);
		free(text);
	}
}

int output_objects(json_t *rows, size_t column_count, const char *const *keys, const char *const *headings,
                   FILE *file) {
	struct output_table table;
	const char *own_keys[OUTPUT_COLUMNS_MAX], *key;
	json_t *row, *value;
	size_t index;
	if (json_array_size(rows) == 0)
		return fputs("(none)\n", file) == EOF ? -1 : 0;
	if (!keys) {
		column_count = 0;
		json_object_foreach(json_array_get(rows, 0), key, value) if (column_count < OUTPUT_COLUMNS_MAX)
			own_keys[column_count++] = key;
		keys = headings = own_keys;
	}
	output_table_start(&table, column_count, headings);
	json_array_foreach(rows, index, row) for (size_t i = 0; i < column_count; i++)
		add_value(&table, json_object_get(row, keys[i]));
	return output_table_end(&table, file);
}

int output_json(json_t *value, FILE *file) {
	if (!value)
		return -1;
	int status = json_dumpf(value, file, JSON_INDENT(2) | JSON_ENCODE_ANY);
	json_decref(value);
	fputc('\n', file);
	return status;
}

static void two_units(char text[static OUTPUT_TEXT_SIZE], int64_t count, int64_t per, const char *big,
                      const char *small) {
	if (count % per == 0)
		snprintf(text, OUTPUT_TEXT_SIZE, "%" PRId64 " %s", count / per, big);
	else
		snprintf(text, OUTPUT_TEXT_SIZE, "%" PRId64 " %s %" PRId64 " %s", count / per, big, count % per, small);
}

const char *output_duration(char text[static OUTPUT_TEXT_SIZE], int64_t ms) {
	int64_t s = ms / 1000;
	if (ms < 0)
		strcpy(text, "never");
	else if (ms < 1000)
		snprintf(text, OUTPUT_TEXT_SIZE, "%" PRId64 " ms", ms);
	else if (s < 60)
		snprintf(text, OUTPUT_TEXT_SIZE, "%.3g s", (double)(ms / 10) / 100);
	else if (s < 3600)
		two_units(text, s, 60, "min", "s");
	else if (s < 86400)
		two_units(text, s / 60, 60, "h", "min");
	else
		two_units(text, s / 3600, 24, "d", "h");
	return text;
}

const char *output_bytes(char text[static OUTPUT_TEXT_SIZE], int64_t bytes) {
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	double value = (double)bytes;
	size_t unit = 0;
	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(*units)) {
		value /= 1024;
		unit++;
	}
	snprintf(text, OUTPUT_TEXT_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return text;
}
