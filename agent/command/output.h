/*
 * output.h - what `stint` prints: aligned tables for people, JSON for programs.
 *
 * Text that comes from elsewhere (client ids, names, notes) may hold anything.
 * In a table, control characters and broken UTF-8 are shown as \xNN, so that
 * no client id can drive the operator's terminal.
 */
#ifndef STINT_OUTPUT_H
#define STINT_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define OUTPUT_COLUMNS_MAX 16 /* more doesn't fit a terminal */
#define OUTPUT_TEXT_SIZE   48 /* holds every duration and size */

struct output_table {
	size_t column_count;
	size_t cell_count;
	size_t cell_capacity;
	char **cells; /* the headings first, then row by row */
	bool failed;  /* out of memory */
};

/* Begins a table with at most OUTPUT_COLUMNS_MAX headings, which are copied. Columns of nothing but numbers are
 * set flush right. */
void output_table_start(struct output_table *, size_t column_count, const char *const *headings);
void output_table_add(struct output_table *, const char *cell); /* NULL: a dash */
void output_table_add_number(struct output_table *, int64_t number);
/* Prints the table and frees it. Returns 0, or -1 when memory had run out. */
int output_table_end(struct output_table *, FILE *);

/*
 * Prints a whole table from an array of JSON objects: the columns are `keys`, under `headings`. Where keys is
 * NULL, both are the first object's keys. true and false become yes and no; null and missing values become a
 * dash. Without rows, prints a line that says so. Returns 0, or -1 (out of memory).
 */
int output_objects(json_t *rows, size_t column_count, const char *const *keys, const char *const *headings,
                   FILE *);

/* Prints the value as indented JSON with a newline, keys in the order they were made. Takes over the reference.
 * Returns 0 or -1. */
int output_json(json_t *value, FILE *);

/* Returns how many of the first bytes of a text, which is fit for a terminal, take up at most `columns` there: all
 * of them, or up to a whole character. */
size_t output_cut(const char *text, size_t length, size_t columns);

/* "1.5 s", "200 ms", "3 h 12 min": at most two units. Negative: "never". */
const char *output_duration(char text[static OUTPUT_TEXT_SIZE], int64_t ms);
/* "512 B", "1.5 MiB". */
const char *output_bytes(char text[static OUTPUT_TEXT_SIZE], int64_t bytes);
/* Returns a copy of the text that is fit for a terminal; NULL when out of memory. The caller frees it. */
char *output_printable(const char *text);

#endif
