/*
 * report.c - makes of what the benchmarks found (figure.h) the table on stdout and in table.md, bench.json, and the data
 * files of the plots.
 *
 *     report FIGURES.jsonl OUT_DIR BENCH.json
 *
 * Exits 1 when a line could not be read or a file not be written; a target that was missed is no failure.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "stint.h"

static const char *const titles[] = {
	NULL, "One process, one hot client", "Several processes", "A denied client", "Many clients in the table",
	"First sight of a client", "64 processes that wait for new clients", "One check at a time, 20 processes on 2 hosts",
	"Use of a limit by two hosts", "Peers", "Cost in the database", "Many agents", "Growth",
};
#define ROWS ((int)(sizeof(titles) / sizeof(titles[0])))

struct report {
	json_t *figures; /* array, in the order they came */
	json_t *plots;   /* name -> label -> array of [x, y] */
	int broken;
};

/* ---- Reading ---------------------------------------------------------------------- */

static json_t *child(json_t *parent, const char *name, json_t *(*make)(void)) {
	if (!json_object_get(parent, name))
		json_object_set_new(parent, name, make());
	return json_object_get(parent, name);
}

static void take_line(struct report *r, json_t *line) {
	const char *plot = json_string_value(json_object_get(line, "plot"));

	if (plot) {
		json_t *label = child(child(r->plots, plot, json_object), json_string_value(json_object_get(line, "label")), json_array);
		json_array_append_new(label, json_pack("[O, O]", json_object_get(line, "x"), json_object_get(line, "y")));
	} else {
		json_array_append(r->figures, line);
	}
}

static bool is_whole(json_t *line) {
	if (json_object_get(line, "plot"))
		return json_is_string(json_object_get(line, "label")) && json_is_number(json_object_get(line, "x")) &&
			json_is_number(json_object_get(line, "y"));
	return json_is_integer(json_object_get(line, "row")) && json_is_string(json_object_get(line, "what")) &&
		json_is_string(json_object_get(line, "unit")) && json_is_number(json_object_get(line, "value"));
}

static int read_figures(struct report *r, const char *path) {
	FILE *file = fopen(path, "r");
	char *text = NULL;
	size_t room = 0;

	if (!file) {
		perror(path);
		return -1;
	}
	for (int number = 1; getline(&text, &room, file) > 0; number++) {
		json_t *line = json_loads(text, 0, NULL);

		if (line && is_whole(line)) {
			take_line(r, line);
		} else {
			fprintf(stderr, "%s:%d: not a figure: %s", path, number, text);
			r->broken++;
		}
		json_decref(line);
	}
	free(text);
	fclose(file);
	return 0;
}

/* ---- The table ---------------------------------------------------------------------- */

/* Three digits that count, and a unit of a thousand or a million. */
static void write_number(char out[static 32], double value) {
	double size = value < 0 ? -value : value;

	if (size >= 1e6)
		snprintf(out, 32, "%.3g M", value / 1e6);
	else if (size >= 1e4)
		snprintf(out, 32, "%.3g k", value / 1e3);
	else if (size >= 1000)
		snprintf(out, 32, "%.0f", value);
	else
		snprintf(out, 32, "%.3g", value);
}

struct cells {
	const char *what, *against, *note;
	char value[64], base[64], ratio[32], bound[48];
	int row;
	bool judged, reached;
};

static double number(json_t *figure, const char *name) {
	return json_number_value(json_object_get(figure, name));
}

static void write_cells(struct cells *c, json_t *figure) {
	const char *target = json_string_value(json_object_get(figure, "target"));
	const char *unit = json_string_value(json_object_get(figure, "unit"));
	char text[32];

	*c = (struct cells){.row = (int)json_integer_value(json_object_get(figure, "row")), .judged = target != NULL};
	c->what = json_string_value(json_object_get(figure, "what"));
	c->note = json_string_value(json_object_get(figure, "note"));
	c->against = json_string_value(json_object_get(figure, "against"));
	c->reached = json_is_true(json_object_get(figure, "reached"));
	write_number(text, number(figure, "value"));
	snprintf(c->value, sizeof(c->value), "%s%s%s", text, *unit ? " " : "", unit);
	if (c->against) {
		write_number(text, number(figure, "base"));
		snprintf(c->base, sizeof(c->base), "%s", text);
		write_number(c->ratio, number(figure, "ratio"));
	}
	if (c->judged) {
		write_number(text, number(figure, "bound"));
		snprintf(c->bound, sizeof(c->bound), "%s %s%s", strcmp(target, "at most") == 0 ? "≤" : "≥", text, c->against ? " ×" : "");
	}
}

static void print_row(const struct cells *c) {
	char against[128] = "";

	if (c->against)
		snprintf(against, sizeof(against), "%s: %s", c->against, c->base);
	printf("  %-66s %16s  %-44s %9s  %10s  %s\n", c->what, c->value, against, c->ratio, c->bound,
		c->judged ? c->reached ? "yes" : "NO" : "");
}

static void print_table(const struct report *r) {
	int judged = 0, reached = 0;

	for (int row = 1; row < ROWS; row++) {
		bool titled = false;
		json_t *figure;
		size_t i;

		json_array_foreach(r->figures, i, figure) {
			struct cells c;

			write_cells(&c, figure);
			if (c.row != row)
				continue;
			if (!titled)
				printf("\n%d. %s\n", row, titles[row]);
			titled = true;
			print_row(&c);
			judged += c.judged;
			reached += c.judged && c.reached;
		}
	}
	printf("\n%d of %d targets reached\n", reached, judged);
}

static void print_missed(const struct report *r) {
	json_t *figure;
	size_t i;

	json_array_foreach(r->figures, i, figure) {
		struct cells c;

		write_cells(&c, figure);
		if (c.judged && !c.reached && c.note)
			printf("  missed: %s: %s\n", c.what, c.note);
	}
}

/* ---- Files -------------------------------------------------------------------------- */

static FILE *create(struct report *r, const char *dir, const char *name) {
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	if (!file) {
		perror(path);
		r->broken++;
	}
	return file;
}

/* What the README shows: figures with a target. */
static void write_markdown(struct report *r, const char *dir) {
	FILE *file = create(r, dir, "table.md");
	json_t *figure;
	size_t i;

	if (!file)
		return;
	fprintf(file, "| workload | stint | against | ratio | to reach |\n|---|---|---|---|---|\n");
	json_array_foreach(r->figures, i, figure) {
		struct cells c;

		write_cells(&c, figure);
		if (c.judged)
			fprintf(file, "| %s | %s | %s%s%s | %s | %s%s |\n", c.what, c.value, c.against ? c.against : "", c.against ? ": " : "",
				c.base, c.ratio, c.bound, c.reached ? "" : ": **no**");
	}
	fclose(file);
}

/* A plot's points for gnuplot: one block for each label, its name in front. */
static void write_points(struct report *r, const char *dir) {
	const char *name, *label;
	json_t *plot, *points, *point;
	size_t i;

	json_object_foreach(r->plots, name, plot) {
		char file_name[128];
		FILE *file;

		snprintf(file_name, sizeof(file_name), "%s.dat", name);
		file = create(r, dir, file_name);
		if (!file)
			continue;
		json_object_foreach(plot, label, points) {
			fprintf(file, "\"%s\"\n", label);
			json_array_foreach(points, i, point)
				fprintf(file, "%.9g %.9g\n", json_number_value(json_array_get(point, 0)), json_number_value(json_array_get(point, 1)));
			fprintf(file, "\n\n");
		}
		fclose(file);
	}
}

/* ---- The machine ---------------------------------------------------------------------- */

/* The text behind a label in a file of "label : text" lines. */
static json_t *look_up(const char *path, const char *label) {
	FILE *file = fopen(path, "r");
	char line[512];
	json_t *found = json_string("unknown");

	while (file && fgets(line, sizeof(line), file)) {
		char *text = strchr(line, ':');

		if (!text || strncmp(line, label, strlen(label)) != 0)
			continue;
		text += 1 + strspn(text + 1, " \t");
		text[strcspn(text, "\n")] = '\0';
		json_string_set(found, text);
		break;
	}
	if (file)
		fclose(file);
	return found;
}

/* What /dev/shm says of huge pages. */
static const char *huge_pages(void) {
	static char line[512];
	FILE *file = fopen("/proc/mounts", "r");
	const char *found = "never";

	while (file && fgets(line, sizeof(line), file)) {
		char *huge = strstr(line, "huge=");

		if (strstr(line, " /dev/shm "))
			found = "never";
		if (strstr(line, " /dev/shm ") && huge) {
			huge[strcspn(huge, ", ")] = '\0';
			found = strdup(huge + strlen("huge="));
		}
	}
	if (file)
		fclose(file);
	return found;
}

static json_t *describe_machine(void) {
	struct utsname system;

	uname(&system);
	return json_pack("{s:o, s:i, s:o, s:s, s:s}", "cpu", look_up("/proc/cpuinfo", "model name"), "cores",
		(int)sysconf(_SC_NPROCESSORS_ONLN), "memory", look_up("/proc/meminfo", "MemTotal"), "kernel", system.release,
		"huge_pages_of_dev_shm", huge_pages());
}

static void write_json(struct report *r, const char *path) {
	char date[32], temporary[512];
	time_t now = time(NULL);
	json_t *whole;

	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	whole = json_pack("{s:s, s:s, s:b, s:o, s:O, s:O}", "stint", STINT_VERSION, "date", date, "quick",
		getenv("STINT_BENCH_QUICK") != NULL, "machine", describe_machine(), "figures", r->figures, "plots", r->plots);
	snprintf(temporary, sizeof(temporary), "%s.new", path);
	if (json_dump_file(whole, temporary, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) != 0 || rename(temporary, path) != 0) {
		perror(path);
		r->broken++;
	}
	json_decref(whole);
}

int main(int argc, char **argv) {
	struct report r = {json_array(), json_object(), 0};

	if (argc != 4) {
		fprintf(stderr, "usage: report FIGURES.jsonl OUT_DIR BENCH.json\n");
		return 2;
	}
	if (read_figures(&r, argv[1]) != 0)
		return 1;
	print_table(&r);
	print_missed(&r);
	write_markdown(&r, argv[2]);
	write_points(&r, argv[2]);
	write_json(&r, argv[3]);
	json_decref(r.figures);
	json_decref(r.plots);
	return r.broken > 0;
}
