/* report_plots.c - writes the data files and runs gnuplot, if it is installed. */
#include "report_plots.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SCRIPTS "tests/bench/plots"

extern char **environ;

/*
 * A block for each label, two empty lines apart: what gnuplot calls an index. "# [label]" lets a script ask for
 * it by its whole name; quoted on a line of its own, it's the title.
 */
static void write_series(FILE *file, const char *label, const json_t *series) {
	fprintf(file, "# [%.*s]\n\"", (int)strcspn(label, "\n"), label);
	for (const char *c = label; *c; c++)
		fputc(*c == '"' || *c == '\\' || *c == '\n' ? ' ' : *c, file);
	fputs("\"\n", file);
	for (size_t i = 0; i < json_array_size(series); i++) {
		const json_t *point = json_array_get(series, i);

		fprintf(file, "%.9g %.9g\n", json_number_value(json_array_get(point, 0)),
		        json_number_value(json_array_get(point, 1)));
	}
	fputs("\n\n", file);
}

static bool is_stint(const char *label) {
	return strncmp(label, "stint", strlen("stint")) == 0;
}

/* stint's own come first, whenever they were measured: the scripts make the first line stand out. */
static int write_data(const char *path, json_t *plot) {
	FILE *file = fopen(path, "w");
	const char *label;
	json_t *series;

	if (!file) {
		perror(path);
		return -1;
	}
	json_object_foreach(plot, label, series) {
		if (is_stint(label))
			write_series(file, label, series);
	}
	json_object_foreach(plot, label, series) {
		if (!is_stint(label))
			write_series(file, label, series);
	}
	if (fclose(file) != 0) {
		perror(path);
		return -1;
	}
	return 0;
}

/* 0, -1, or ENOENT when there is no gnuplot. */
static int run_gnuplot(const char *script, const char *data, const char *picture, size_t series) {
	char count[24];
	const char *const argv[] = {"gnuplot", "-c", script, data, picture, count, SCRIPTS, NULL};
	int status, error;
	pid_t pid;

	snprintf(count, sizeof(count), "%zu", series);
	error = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);
	if (error != 0)
		return error == ENOENT ? ENOENT : -1;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	fprintf(stderr, "report: gnuplot failed on %s\n", script);
	unlink(picture); /* half of one */
	return -1;
}

static int make_one(const char *name, json_t *plot, const char *out_dir) {
	char data[PATH_MAX], picture[PATH_MAX], script[PATH_MAX];

	snprintf(data, sizeof(data), "%s/%s.dat", out_dir, name);
	snprintf(picture, sizeof(picture), "%s/%s.svg", out_dir, name);
	snprintf(script, sizeof(script), SCRIPTS "/%s.gp", name);
	if (write_data(data, plot) != 0)
		return -1;
	if (access(script, R_OK) != 0)
		return 0;
	return run_gnuplot(script, data, picture, json_object_size(plot));
}

int plots_make(const struct report *r, const char *out_dir) {
	bool without = false;
	const char *name;
	json_t *plot;
	int status = 0;

	json_object_foreach(r->plots, name, plot) {
		int made = make_one(name, plot, out_dir);

		without |= made == ENOENT;
		status |= made == -1;
	}
	if (without)
		fprintf(
			stderr,
			"report: no pictures, since gnuplot is not installed (apt-get install gnuplot-nox); the points are in %s/*.dat\n",
			out_dir);
	return status ? -1 : 0;
}
