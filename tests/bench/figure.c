/* figure.c - figures and points as JSON, one object a line. */
#include "figure.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void append(json_t *line) {
	const char *path = getenv("STINT_BENCH_OUT");
	FILE *file = path ? fopen(path, "a") : NULL;

	if (file) {
		json_dumpf(line, file, JSON_COMPACT | JSON_REAL_PRECISION(9));
		fputc('\n', file);
		if (fclose(file) != 0)
			perror(path);
	} else if (path) {
		perror(path);
	}
	json_decref(line);
}

static double ratio_of(const struct figure *f) {
	return f->base_over_value ? f->base / f->value : f->value / f->base;
}

static bool is_reached(const struct figure *f) {
	double judged = f->against ? ratio_of(f) : f->value;

	if (!isfinite(judged)) /* one of the two was not measured */
		return false;
	return f->target == FIGURE_AT_MOST ? judged <= f->bound : judged >= f->bound;
}

static json_t *to_json(const struct figure *f) {
	json_t *line =
		json_pack("{s:i, s:s, s:s, s:f}", "row", f->row, "what", f->what, "unit", f->unit, "value", f->value);

	if (f->against && isfinite(ratio_of(f)))
		json_object_update_new(line, json_pack("{s:s, s:f, s:f}", "against", f->against, "base", f->base, "ratio",
		                                       ratio_of(f)));
	if (f->target != FIGURE_STATED)
		json_object_update_new(line, json_pack("{s:s, s:f, s:b}", "target",
		                                       f->target == FIGURE_AT_MOST ? "at most" : "at least", "bound",
		                                       f->bound, "reached", is_reached(f)));
	if (f->note)
		json_object_set_new(line, "note", json_string(f->note));
	return line;
}

void figure_put(const struct figure *f) {
	printf("%3d  %s: %.4g %s", f->row, f->what, f->value, f->unit);
	if (f->against)
		printf(", %s: %.4g, ratio %.3g", f->against, f->base, ratio_of(f));
	if (f->target != FIGURE_STATED)
		printf(" (%s %g: %s)", f->target == FIGURE_AT_MOST ? "at most" : "at least", f->bound,
		       is_reached(f) ? "yes" : "NO");
	putchar('\n');
	fflush(stdout);
	append(to_json(f));
}

void figure_point(const char *plot, const char *label, double x, double y) {
	append(json_pack("{s:s, s:s, s:f, s:f}", "plot", plot, "label", label, "x", x, "y", y));
}
