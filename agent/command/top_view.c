/* top_view.c - see top_view.h. Windows cut lines at their end, so what may be long, or matters least, comes
 * last. */
#include "top_view.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "output.h"
#include "summary.h"
#include "top_rates.h"

#define AGED_MS 5000 /* from then on it is said how old an answer is */

/* ---- The head ------------------------------------------------------------------------------ */

static void print_hosts(FILE *to, const json_t *hosts) {
	char *words = NULL;
	size_t size, i;
	json_t *group;
	FILE *text = json_array_size(hosts) > 0 ? open_memstream(&words, &size) : NULL;
	if (!text)
		return;
	json_array_foreach(hosts, i, group) {
		const char *state = fields_text(group, "state");
		const json_t *names = json_object_get(group, "names");
		fprintf(text, "%s%" PRId64 " %s", i > 0 ? ", " : "", fields_number(group, "hosts"), state);
		for (size_t n = 0; n < json_array_size(names) && strcmp(state, "in step") != 0; n++)
			fprintf(text, "%s%s%s", n > 0 ? ", " : " (", json_string_value(json_array_get(names, n)),
			        n + 1 == json_array_size(names) ? ")" : "");
	}
	if (fclose(text) == 0)
		summary_print_field(to, "hosts", words);
	free(words);
}

static double sum_of(const json_t *rates, const char *key) {
	double sum = 0;
	for (size_t i = 0; i < json_array_size(rates); i++)
		sum += json_real_value(json_object_get(json_array_get(rates, i), key)); /* 0 of what isn't known */
	return sum;
}

static void print_sums(FILE *to, const json_t *view) {
	const json_t *rates = json_object_get(view, "decisions_per_second");
	char text[200];
	if (!json_is_real(json_object_get(view, "seconds")))
		return;
	snprintf(text, sizeof(text), "%.1f/s in the last %.1f s: %.1f allowed, %.1f denied, %.1f shadow_denied",
	         sum_of(rates, "decisions"), json_real_value(json_object_get(view, "seconds")),
	         sum_of(rates, "allowed"), sum_of(rates, "denied"), sum_of(rates, "shadow_denied"));
	summary_print_field(to, "decisions", text);
}

static void print_age(FILE *to, const json_t *view) {
	char text[100], age[OUTPUT_TEXT_SIZE];
	int64_t age_ms = fields_number(view, "database_age_ms");
	if (age_ms < AGED_MS)
		return;
	snprintf(text, sizeof(text), "as they were %s ago: the database was slow to tell",
	         output_duration(age, age_ms / 1000 * 1000));
	summary_print_field(to, "clients", text);
}

static void print_head(FILE *to, const json_t *view) {
	const json_t *agent = json_object_get(view, "agent");
	summary_print_field(to, "time", fields_text(view, "at"));
	if (json_is_object(agent))
		summary_print_agent(to, agent);
	summary_print_field(to, "agent", fields_text(view, "agent_error"));
	print_hosts(to, json_object_get(view, "hosts"));
	summary_print_field(to, "clients", fields_text(view, "database_error"));
	print_age(to, view);
	print_sums(to, view);
}

/* ---- The tables ------------------------------------------------------------------------------ */

/* Copies the row with one member as text; the key is what it is by now. */
static void set_text(json_t *row, const char *key, const char *text) {
	json_object_set_new(row, key, json_string(text));
}

static json_t *first_rows(const json_t *rows, size_t count) {
	json_t *first = json_array();
	for (size_t i = 0; i < count; i++)
		json_array_append_new(first, json_copy(json_array_get(rows, i)));
	return first;
}

static void show_rates(json_t *row) {
	const char *key;
	json_t *value;
	void *next;
	char text[32];
	json_object_foreach_safe(row, next, key, value) if (json_is_real(value)) {
		snprintf(text, sizeof(text), "%.1f", json_real_value(value));
		set_text(row, key, text);
	}
}

static int print_rates(FILE *to, const json_t *rates, size_t count) {
	static const char *const keys[] = {"decisions", "allowed",  "denied",   "shadow_denied", "policy",
	                                   "lease",     "database", "fallback", "local",         "advance"};
	static const char *const headings[] = {"total/s", "allowed",  "denied",   "shadow", "policy",
	                                       "lease",   "database", "fallback", "local",  "advance"};
	json_t *rows = first_rows(rates, count);
	for (size_t i = 0; i < count; i++)
		show_rates(json_array_get(rows, i));
	fputc('\n', to);
	int error = output_objects(rows, sizeof(keys) / sizeof(*keys), keys, headings, to);
	json_decref(rows);
	return error;
}

static int print_clients(FILE *to, const json_t *clients, size_t count) {
	static const char *const keys[] = {"used", "max_requests", "percent", "free", "policy", "client_id"};
	static const char *const headings[] = {"used", "limit", "percent", "free in", "policy", "client"};
	json_t *rows = first_rows(clients, count);
	for (size_t i = 0; i < count; i++) {
		json_t *row = json_array_get(rows, i);
		char text[OUTPUT_TEXT_SIZE];
		const char *free_in = output_duration(text, fields_number(row, "resets_in_ms") / 1000 * 1000);
		set_text(row, "free", fields_is_set(row, "blocked") ? "blocked" : free_in);
	}
	fputc('\n', to);
	int error = output_objects(rows, sizeof(keys) / sizeof(*keys), keys, headings, to);
	json_decref(rows);
	return error;
}

#define TABLE_LINES 2 /* beside its rows: an empty one, and the headings */

static size_t least(size_t a, size_t b) {
	return a < b ? a : b;
}

void top_view_share(size_t lines, size_t *first, size_t *second) {
	size_t room = lines > 2 * TABLE_LINES ? lines - 2 * TABLE_LINES : 0;
	size_t half = room / 2, wanted = *second;
	*second = least(wanted, *first < half ? room - *first : room - half);
	*first = least(*first, room - *second);
}

static size_t count_lines(const char *text) {
	size_t lines = 0;
	for (; *text != '\0'; text++)
		lines += *text == '\n';
	return lines;
}

static int print_tables(FILE *to, const json_t *view, size_t room) {
	const json_t *rates = json_object_get(view, "decisions_per_second"),
				 *clients = json_object_get(view, "clients");
	size_t rate_count = json_array_size(rates), client_count = json_array_size(clients);
	if (room > 0)
		top_view_share(room, &rate_count, &client_count);
	int error = json_is_array(rates) ? print_rates(to, rates, rate_count) : 0;
	if (error == 0 && json_is_array(clients))
		error = print_clients(to, clients, client_count);
	return error;
}

int top_view_print(FILE *to, const json_t *view, size_t lines) {
	char *head = NULL;
	size_t size, room = 0;
	FILE *text = open_memstream(&head, &size);
	if (!text)
		return -1;
	print_head(text, view);
	int error = fclose(text);
	if (error == 0) {
		size_t taken = count_lines(head);
		if (lines > 0)
			room = lines > taken ? lines - taken : 1;
		fputs(head, to);
		error = print_tables(to, view, room);
	}
	free(head);
	return error;
}
