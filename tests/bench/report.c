/*
 * report.c - what comes after the measuring.
 *
 *     report FIGURES.jsonl OUT_DIR BENCH.json
 *
 * Reads the lines that benchmarks wrote (figure.h) and tests/bench/run beside them, prints the table, and
 * writes it as OUT_DIR/table.md, all of it with machine and versions as BENCH.json, and the plots. Exits with 1
 * when a line could not be understood or something not be written; what could be is there nevertheless.
 */
#include "report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report_machine.h"
#include "report_plots.h"
#include "report_table.h"
#include "stint.h"

/* A file that appears whole or not at all: written beside, then renamed. */
static FILE *begin_file(const char *path, char temporary[static PATH_MAX]) {
	FILE *file;

	snprintf(temporary, PATH_MAX, "%s.tmp", path);
	file = fopen(temporary, "w");
	if (!file)
		perror(temporary);
	return file;
}

static int end_file(FILE *file, const char *temporary, const char *path) {
	int bad = ferror(file);

	if (fclose(file) == 0 && !bad && rename(temporary, path) == 0)
		return 0;
	perror(path);
	unlink(temporary);
	return -1;
}

static json_t *describe(const struct report *r) {
	json_t *all = json_object(), *commit = machine_commit();
	char date[32];

	machine_date(date, sizeof(date));
	json_object_set_new(all, "stint", json_string(STINT_VERSION));
	if (commit)
		json_object_set_new(all, "commit", commit);
	json_object_set_new(all, "date", json_string(date));
	json_object_set_new(all, "quick", json_boolean(r->quick));
	json_object_set_new(all, "machine", machine_describe());
	json_object_set_new(all, "versions", machine_list_versions());
	json_object_set(all, "benches", r->benches);
	json_object_set_new(all, "lines_left_out", json_integer(r->left_out));
	json_object_set(all, "figures", r->figures);
	json_object_set(all, "plots", r->plots);
	return all;
}

static const char *text_of(const json_t *all, const char *part, const char *key) {
	const char *text = json_string_value(json_object_get(json_object_get(all, part), key));

	return text ? text : "unknown";
}

static void summarise(char *out, size_t size, const json_t *all) {
	const json_t *machine = json_object_get(all, "machine");
	bool is_virtual = strcmp(text_of(all, "machine", "hypervisor"), "yes") == 0;

	snprintf(out, size, "stint %s, PostgreSQL %s, gcc %s, %s (Linux %s), %s, %d cores, %.3g GiB%s, %.10s.",
	         json_string_value(json_object_get(all, "stint")), text_of(all, "versions", "postgresql"),
	         text_of(all, "versions", "gcc"), text_of(all, "machine", "system"), text_of(all, "machine", "kernel"),
	         text_of(all, "machine", "cpu"), (int)json_integer_value(json_object_get(machine, "cores")),
	         json_real_value(json_object_get(machine, "memory_gib")), is_virtual ? ", a virtual machine" : "",
	         json_string_value(json_object_get(all, "date")));
}

/* A figure a line, a plot's series a line: to be read, and to be compared with the last run's. */
static void dump(FILE *file, json_t *value, int depth) {
	const char *key;
	json_t *part;
	size_t i, left;

	if (depth == 0 || !(json_is_array(value) || json_is_object(value)) ||
	    json_array_size(value) + json_object_size(value) == 0) {
		json_dumpf(value, file, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
		return;
	}
	left = json_array_size(value) + json_object_size(value);
	fputs(json_is_array(value) ? "[\n" : "{\n", file);
	json_array_foreach(value, i, part) {
		dump(file, part, depth - 1);
		fputs(--left > 0 ? ",\n" : "\n]", file);
	}
	json_object_foreach(value, key, part) {
		json_t *name = json_string(key);

		json_dumpf(name, file, JSON_ENCODE_ANY);
		json_decref(name);
		fputs(": ", file);
		dump(file, part, strcmp(key, "plots") == 0 ? depth : depth - 1);
		fputs(--left > 0 ? ",\n" : "\n}", file);
	}
}

static int write_json(json_t *all, const char *path) {
	char temporary[PATH_MAX];
	FILE *file = begin_file(path, temporary);

	if (!file)
		return -1;
	dump(file, all, 2);
	fputc('\n', file);
	return end_file(file, temporary, path);
}

static int write_markdown(const struct report *r, const json_t *all, const char *out_dir) {
	char path[PATH_MAX - 8], temporary[PATH_MAX], about[1024];
	FILE *file;

	snprintf(path, sizeof(path), "%s/table.md", out_dir);
	file = begin_file(path, temporary);
	if (!file)
		return -1;
	summarise(about, sizeof(about), all);
	table_print_markdown(file, r, about);
	return end_file(file, temporary, path);
}

int main(int argc, char **argv) {
	struct report r;
	json_t *all;
	int status;

	if (argc != 4) {
		fprintf(stderr, "usage: report FIGURES.jsonl OUT_DIR BENCH.json\n");
		return 2;
	}
	if (mkdir(argv[2], 0777) != 0 && errno != EEXIST) {
		perror(argv[2]);
		return 1;
	}
	status = report_read(&r, argv[1]);
	/* Somebody may have started a benchmark by itself: then nothing but the environment tells. */
	r.quick |= json_array_size(r.benches) == 0 && getenv("STINT_BENCH_QUICK") != NULL;
	if (status == 0) {
		all = describe(&r);
		table_print(stdout, &r);
		status |= write_json(all, argv[3]);
		status |= write_markdown(&r, all, argv[2]);
		status |= plots_make(&r, argv[2]);
		json_decref(all);
	}
	status |= r.left_out > 0;
	report_free(&r);
	return status ? 1 : 0;
}
