/* report_read.c - reads the file of figures and points, line by line, and checks each. */
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One message a line, "file:line: why": editors find it. */
static void complain(struct report *r, const char *path, int number, const char *why) {
	fprintf(stderr, "%s:%d: %s; left out\n", path, number, why);
	r->left_out++;
}

static const char *check_figure(const struct line *l, const json_t *json) {
	if (!l->target)
		return NULL;
	if (strcmp(l->target, "at most") != 0 && strcmp(l->target, "at least") != 0)
		return "a target that is neither \"at most\" nor \"at least\"";
	return json_object_get(json, "bound") && l->reached >= 0 ? NULL : "a target without \"bound\" or \"reached\"";
}

static const char *add_figure(struct report *r, json_t *json, char *why, size_t size) {
	struct line l = {.unit = "", .reached = -1};
	struct line *more;
	json_error_t error;
	const char *wrong;

	if (json_unpack_ex(json, &error, 0, "{s:i, s:s, s:F, s?s, s?s, s?F, s?F, s?s, s?F, s?b, s?s}", "row", &l.row,
	                   "what", &l.what, "value", &l.value, "unit", &l.unit, "against", &l.against, "base", &l.base,
	                   "ratio", &l.ratio, "target", &l.target, "bound", &l.bound, "reached", &l.reached, "note",
	                   &l.note) != 0) {
		snprintf(why, size, "a figure that is not whole: %s", error.text);
		return why;
	}
	l.has_ratio = l.against && json_object_get(json, "base") && json_object_get(json, "ratio");
	wrong = check_figure(&l, json);
	if (wrong)
		return wrong;
	more = realloc(r->lines, (r->count + 1) * sizeof(*more));
	if (!more)
		return "no memory";
	r->lines = more;
	r->lines[r->count++] = l;
	json_array_append(r->figures, json);
	return NULL;
}

static const char *add_point(struct report *r, json_t *json, char *why, size_t size) {
	const char *name, *label;
	json_t *plot, *series;
	json_error_t error;
	double x, y;

	if (json_unpack_ex(json, &error, 0, "{s:s, s:s, s:F, s:F}", "plot", &name, "label", &label, "x", &x, "y",
	                   &y) != 0) {
		snprintf(why, size, "a point that is not whole: %s", error.text);
		return why;
	}
	/* The name becomes a file's. */
	if (name[0] == '\0' || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") != strlen(name))
		return "a plot whose name is not of a-z, 0-9, _ and -";
	plot = json_object_get(r->plots, name);
	if (!plot)
		json_object_set_new(r->plots, name, plot = json_object());
	series = json_object_get(plot, label);
	if (!series)
		json_object_set_new(plot, label, series = json_array());
	json_array_append_new(series, json_pack("[f, f]", x, y));
	return NULL;
}

/* tests/bench/run notes what it ran. */
static const char *add_bench(struct report *r, json_t *json) {
	r->quick |= json_is_true(json_object_get(json, "quick"));
	json_array_append(r->benches, json);
	return NULL;
}

static void add(struct report *r, const char *path, int number, const char *text, size_t length) {
	const char *wrong = NULL;
	json_error_t error;
	json_t *json;
	char why[256];

	json = json_loadb(text, length, 0, &error);
	if (!json) {
		snprintf(why, sizeof(why), "not JSON: %s",
		         length == 0 ? "an empty line (a number that was not finite?)" : error.text);
		wrong = why;
	} else if (json_object_get(json, "what")) {
		wrong = add_figure(r, json, why, sizeof(why));
	} else if (json_object_get(json, "plot")) {
		wrong = add_point(r, json, why, sizeof(why));
	} else if (json_is_string(json_object_get(json, "bench"))) {
		wrong = add_bench(r, json);
	} else {
		wrong = "neither a figure (\"what\") nor a point (\"plot\") nor a benchmark (\"bench\")";
	}
	if (wrong)
		complain(r, path, number, wrong);
	json_decref(json);
}

/* Insertion: it keeps the order within a row, and a table is short. */
static void sort_lines(struct report *r) {
	for (size_t i = 1; i < r->count; i++) {
		struct line l = r->lines[i];
		size_t at = i;

		for (; at > 0 && r->lines[at - 1].row > l.row; at--)
			r->lines[at] = r->lines[at - 1];
		r->lines[at] = l;
	}
}

int report_read(struct report *r, const char *path) {
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;
	ssize_t length;
	int status = 0;

	*r = (struct report){.figures = json_array(), .plots = json_object(), .benches = json_array()};
	if (!file) {
		perror(path);
		return -1;
	}
	for (int number = 1; (length = getline(&text, &size, file)) >= 0; number++)
		add(r, path, number, text, (size_t)length - (length > 0 && text[length - 1] == '\n'));
	if (ferror(file)) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		status = -1;
	}
	free(text);
	fclose(file);
	sort_lines(r);
	return status;
}

void report_free(struct report *r) {
	free(r->lines);
	json_decref(r->figures);
	json_decref(r->plots);
	json_decref(r->benches);
}

void report_count_targets(const struct report *r, size_t *targets, size_t *reached) {
	*targets = *reached = 0;
	for (size_t i = 0; i < r->count; i++) {
		*targets += r->lines[i].target != NULL;
		*reached += r->lines[i].target != NULL && r->lines[i].reached;
	}
}
