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

#include "output.h"
#include "database/pg_connect.h"
#include "protocol/limits.h"
#include "stint.h"

#define DURATION_MAX_S     (INT64_C(365) * 86400) /* as in sql/001_limiter/17_override.sql */
#define CONNECT_TIMEOUT_MS 5000                   /* an operator waits; long enough for a far server behind TLS */

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

static int take_setting_at(const struct command_call *call, int at) {
	const struct command_option settings[] = {
		{.name = "socket", .text = &call->settings->socket_path},
		{.name = "database", .text = &call->settings->conninfo},
		{0},
	};
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

static int report_unknown(const struct command_call *call, const char *word) {
	if (strncmp(word, "--", 2) != 0)
		return command_misuse(call, "unknown option \"%s\" (if it is no option, put -- before it)", word);
	return command_misuse(call, "unknown option \"%.*s\"", (int)strcspn(word, "="), word);
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
				return report_unknown(call, word);
			if (taken < 0)
				return COMMAND_USAGE;
		} else if (found == most) {
			return command_misuse(call, "unexpected argument \"%s\"", word);
		} else {
			arguments[found++] = word;
		}
		at += taken;
	}
	if (found < least)
		return command_misuse(call, "%s", found == 0 ? "arguments are missing" : "an argument is missing");
	return COMMAND_DONE;
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
                           int64_t *out_ms) {
	size_t digits = strspn(text, "0123456789");
	int64_t unit = digits > 0 ? unit_seconds(text + digits) : 0;
	int64_t number = strtoll(text, NULL, 10); /* what is too large becomes the largest, which is out of range */
	if (unit == 0 || number < 1 || number > DURATION_MAX_S / unit)
		return command_misuse(
			call, "--%s is \"%.80s\", must be a whole number of s, m, h or d, such as 10m, from 1s to 365d",
			option, text);
	*out_ms = number * unit * 1000;
	return COMMAND_DONE;
}

int command_check_policy(const struct command_call *call, const char *name) {
	size_t length = strlen(name);
	if (limits_is_policy_name(name, length))
		return COMMAND_DONE;
	return command_misuse(call,
	                      "the policy's name is \"%.80s\" (%zu bytes), must be 1 to %d bytes of [A-Za-z0-9_.:/-]",
	                      name, length, STINT_POLICY_NAME_MAX);
}

/* Checks the length only: the database, or the library, says whether the id is UTF-8. */
int command_check_client(const struct command_call *call, const char *client_id) {
	size_t length = strlen(client_id);
	if (length > 0 && length <= STINT_CLIENT_ID_MAX)
		return COMMAND_DONE;
	return command_misuse(call, "the client's id is \"%.80s\" (%zu bytes), must be 1 to %d bytes of UTF-8",
	                      client_id, length, STINT_CLIENT_ID_MAX);
}

int command_connect(const struct command_call *call, struct pg **out) {
	const char *conninfo = call->settings->conninfo;
	if (!conninfo)
		conninfo = getenv("STINT_DATABASE");
	if (!conninfo)
		conninfo = "";
	*out = NULL;
	if (strcmp(conninfo, "memory:") == 0)
		return command_misuse(call, "the database \"memory:\" lives inside the agent; nothing to connect to");
	struct pg *pg;
	int status = pg_connect(&pg, conninfo, CONNECT_TIMEOUT_MS);
	if (status == PG_OK) {
		*out = pg;
		return COMMAND_DONE;
	}
	command_error(call, "can't connect to the database: %s", pg ? pg_error(pg) : "out of memory");
	pg_close(pg);
	return COMMAND_NO_DATABASE;
}

/* Whether the database refused a value. The schema's functions check values before the tables' CHECKs do, and
 * raise class 22, data exception. */
static bool is_bad_value(const char *sqlstate) {
	return strncmp(sqlstate, "22", 2) == 0;
}

/* Whether it looks as if the database had no schema, or an older one. */
static bool is_missing_object(const char *sqlstate) {
	return strcmp(sqlstate, "3F000") == 0 || strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "42883") == 0;
}

int command_database_error(const struct command_call *call, const struct pg *pg, int error) {
	const char *sqlstate = pg_sqlstate(pg);
	const char *hint =
		is_missing_object(sqlstate) ? "; \"stint db status\" tells whether the schema is there" : "";
	const char *message = pg_error(pg);
	/* what the schema's functions start their errors with */
	if (strncmp(message, "stint: ", strlen("stint: ")) == 0)
		message += strlen("stint: ");
	command_error(call, "%s%s", message, hint);
	if (error == PG_UNREACHABLE)
		return COMMAND_NO_DATABASE;
	return is_bad_value(sqlstate) ? COMMAND_USAGE : COMMAND_NO;
}
