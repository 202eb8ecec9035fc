/*
 * command.c - what the subcommands share, see command.h.
 *
 * Options are parsed here and not by getopt_long(): getopt_long() accepts
 * abbreviations, which break scripts when a longer option is added, and its
 * messages name neither ranges nor the command that was meant.
 */
#include "command.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"
#include "output.h"
#include "protocol/limits.h"
#include "protocol/utf8.h"
#include "stint.h"

#define NOTE_MAX 1000 /* bytes; as in sql/002_limiter/02_policy.sql */

static void print_message(const struct command_call *call, const char *format, va_list arguments) {
	char *message = NULL;
	if (vasprintf(&message, format, arguments) < 0)
		message = NULL;
	/* A message may quote text that comes from anywhere. */
	char *printable = message ? output_printable(message) : NULL;
	fprintf(stderr, "%s: %s\n", call->path, printable ? printable : "out of memory");
	free(printable);
	free(message);
}

void command_error(const struct command_call *call, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	print_message(call, format, arguments);
	va_end(arguments);
}

int command_misuse(const struct command_call *call, const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	print_message(call, format, arguments);
	va_end(arguments);
	fprintf(stderr, "Try \"%s --help\".\n", call->path);
	return COMMAND_USAGE;
}

/* Accepts digits only: strtoll() alone would accept blanks and a plus sign, and stop at what it doesn't know. */
static bool parse_number(const char *text, int64_t *number) {
	const char *digits = text + (*text == '-');
	if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
		return false;
	*number = strtoll(text, NULL, 10); /* what is too large becomes the largest, which is in no option's range */
	return true;
}

static int set_number(const struct command_call *call, const struct command_option *option, const char *text) {
	int64_t number;
	if (!parse_number(text, &number) || number < option->min || number > option->max)
		return command_misuse(call, "--%s is \"%s\", must be a whole number from %" PRId64 " to %" PRId64,
		                      option->name, text, option->min, option->max);
	*option->number = number;
	return COMMAND_DONE;
}

static int set_option(const struct command_call *call, const struct command_option *option, const char *value) {
	if (option->number)
		return set_number(call, option, value);
	*option->text = value;
	return COMMAND_DONE;
}

static const struct command_option *find_option(const struct command_option *options, const char *word) {
	size_t length = strcspn(word, "=");
	for (; options && options->name; options++)
		if (strlen(options->name) == length && strncmp(options->name, word, length) == 0)
			return options;
	return NULL;
}

/* Takes the option at words[at]. Returns how many words it took; 0: it is none of these options; -1: an error,
 * which is reported. */
static int take_option(const struct command_call *call, const struct command_option *options, int at) {
	const char *word = call->words[at];
	const struct command_option *option = strncmp(word, "--", 2) == 0 ? find_option(options, word + 2) : NULL;
	if (!option)
		return 0;
	const char *value = strchr(word, '=');
	if (option->flag) {
		if (value)
			return command_misuse(call, "--%s takes no value", option->name), -1;
		*option->flag = true;
		return 1;
	}
	if (value)
		return set_option(call, option, value + 1) == COMMAND_DONE ? 1 : -1;
	if (at + 1 == call->word_count || strncmp(call->words[at + 1], "--", 2) == 0)
		return command_misuse(call, "--%s needs a value", option->name), -1;
	return set_option(call, option, call->words[at + 1]) == COMMAND_DONE ? 2 : -1;
}

static void fill_settings(const struct command_call *call, struct command_option settings[3]) {
	settings[0] = (struct command_option){.name = "socket", .text = &call->settings->socket_path};
	settings[1] = (struct command_option){.name = "database", .text = &call->settings->conninfo};
	settings[2] = (struct command_option){0};
}

static int take_setting_at(const struct command_call *call, int at) {
	struct command_option settings[3];
	fill_settings(call, settings);
	return take_option(call, settings, at);
}

int command_take_setting(struct command_call *call) {
	int taken = call->word_count > 0 ? take_setting_at(call, 0) : 0;
	if (taken <= 0)
		return taken;
	call->words += taken;
	call->word_count -= taken;
	return 1;
}

static void consider_options(struct names_search *search, const struct command_option *options) {
	for (; options && options->name; options++)
		names_consider(search, options->name);
}

static int report_unknown(const struct command_call *call, const struct command_option *options,
                          const char *word) {
	if (strncmp(word, "--", 2) != 0)
		return command_misuse(call, "unknown option \"%s\" (if it is no option, put -- before it)", word);
	char name[64];
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
	struct names_search search = {.word = name};
	const struct command_option everywhere[] = {{.name = "help"}, {.name = "version"}, {0}};
	struct command_option settings[3];
	fill_settings(call, settings);
	consider_options(&search, options);
	consider_options(&search, settings);
	consider_options(&search, everywhere);
	if (search.nearest)
		return command_misuse(call, "unknown option \"--%s\"; did you mean \"--%s\"?", name, search.nearest);
	return command_misuse(call, "unknown option \"%.*s\"", (int)strcspn(word, "="), word);
}

/* The synopsis begins with the arguments that must be there. */
static int report_missing(const struct command_call *call, int found, int least) {
	const char *synopsis = call->command->synopsis;
	for (int i = 0; i < found; i++)
		synopsis += strcspn(synopsis, " ") + 1;
	size_t length = 0;
	for (int i = found; i < least; i++)
		length += strcspn(synopsis + length, " ") + (i + 1 < least);
	return command_misuse(call, "%.*s %s missing", (int)length, synopsis, least - found > 1 ? "are" : "is");
}

int command_parse(struct command_call *call, const struct command_option *options, const char **arguments,
                  int least, int most) {
	bool only_arguments = false;
	int found = 0;
	for (int at = 0; at < call->word_count;) {
		const char *word = call->words[at];
		bool is_option = !only_arguments && word[0] == '-' && word[1] != '\0';
		int taken = 1;
		if (is_option && strcmp(word, "--") == 0) {
			only_arguments = true;
		} else if (is_option) {
			taken = take_option(call, options, at);
			taken = taken != 0 ? taken : take_setting_at(call, at);
			if (taken == 0)
				return report_unknown(call, options, word);
			if (taken < 0)
				return COMMAND_USAGE;
		} else if (found == most) {
			return command_misuse(call, "unexpected argument \"%s\"", word);
		} else {
			arguments[found++] = word;
		}
		at += taken;
	}
	return found < least ? report_missing(call, found, least) : COMMAND_DONE;
}

/* Of one unit, in seconds; 0: there is none of that name. */
static int64_t unit_seconds(const char *unit) {
	static const struct {
		const char *name;
		int64_t seconds;
	} units[] = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (strcmp(unit, units[i].name) == 0)
			return units[i].seconds;
	return 0;
}

int command_parse_duration(const struct command_call *call, const char *option, const char *text,
                           const struct command_range *range, int64_t *out_ms) {
	size_t digits = strspn(text, "0123456789");
	int64_t unit = digits > 0 ? unit_seconds(text + digits) : 0;
	int64_t number = strtoll(text, NULL, 10); /* what is too large becomes the largest, which is out of range */
	if (unit == 0 || number > range->most_s / unit || number * unit < range->least_s)
		return command_misuse(call,
		                      "--%s is \"%.80s\", must be a whole number of s, m, h or d, such as 10m, from %s",
		                      option, text, range->words);
	*out_ms = number * unit * 1000;
	return COMMAND_DONE;
}

int command_check_policy(struct command_call *call, const char *name) {
	size_t length = strlen(name);
	call->policy = name;
	if (limits_is_policy_name(name, length))
		return COMMAND_DONE;
	return command_misuse(call,
	                      "the policy's name is \"%.80s\" (%zu bytes), must be 1 to %d bytes of [A-Za-z0-9_.:/-]",
	                      name, length, STINT_POLICY_NAME_MAX);
}

static int check_text(const struct command_call *call, const char *what, const char *text, size_t min,
                      size_t max) {
	size_t length = strlen(text), valid = utf8_valid_length(text, length);
	if (length < min || length > max)
		return command_misuse(call, "%s is \"%.80s\" (%zu bytes), must be %zu to %zu bytes of UTF-8", what, text,
		                      length, min, max);
	if (valid < length)
		return command_misuse(call, "%s is \"%.80s\", which is not UTF-8 from byte %zu on", what, text, valid + 1);
	return COMMAND_DONE;
}

int command_check_client(struct command_call *call, const char *client_id) {
	call->client_id = client_id;
	return check_text(call, "the client's id", client_id, 1, STINT_CLIENT_ID_MAX);
}

int command_check_note(const struct command_call *call, const char *note) {
	return note ? check_text(call, "--note", note, 0, NOTE_MAX) : COMMAND_DONE;
}
