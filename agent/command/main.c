/*
 * main.c - the operator's command `stint`: finds the subcommand in const tables, and
 * answers --help and --version from them.
 *
 * Writing into a closed pipe must neither kill the program nor change the exit
 * code of a check: SIGPIPE is ignored, and failed writing is noticed at the end.
 */
#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "command.h"
#include "names.h"
#include "database/errand.h"
#include "stint.h"

static const char exit_codes[] =
	"Exit codes\n"
	"  0  done; check: allowed\n"
	"  1  check: denied; otherwise: the database refuses, or its state doesn't allow it\n"
	"  2  wrong use: unknown command or option, a value out of range, no such policy\n"
	"  3  the agent is out of reach\n"
	"  4  the command needs the database, which is out of reach; status: the agent can't use it\n"
	"  5  out of memory, or the output can't be written\n";

static const char settings_help[] =
	"Everywhere\n"
	"  --socket PATH    the agent's socket (default: $STINT_SOCKET, else " STINT_DEFAULT_SOCKET ")\n"
	"  --database DSN   libpq connection string or URI (default: $STINT_DATABASE, else libpq's\n"
	"                   own, such as $PGHOST and $PGDATABASE)\n"
	"  --help           help on the command before it\n"
	"  --version        the version\n"
	"  --               the words that follow are no options, whatever they start with\n";

static const struct command top_commands[] = {
	{"check", "POLICY CLIENT [--cost N] [--json]", "ask for an admission, and take it", check_help, NULL,
     check_run, NULL},
	{"status", "[--json]", "what this host's agent is doing", status_help, NULL, status_run, NULL},
	{"top", "[--interval N] [--rows N] [--once] [--json]", "what this host decides and who uses most, live",
     top_help, NULL, top_run, NULL},
	{"metrics", "", "the same as status and more, for Prometheus", metrics_help, NULL, metrics_run, NULL},
	{"doctor", "[--json]", "look at everything that is usually wrong", doctor_help, NULL, doctor_run, NULL},
	{"policy", "set|list|history|unpin|drop ...", "the limits", NULL, policy_commands, NULL, NULL},
	{"client", "show|list|block|unblock|limit|clear|reset ...", "exceptions for single clients", NULL,
     client_commands, NULL, NULL},
	{"audit", "policies|clients|client|shadows ...", "what was decided in the last 30 days", NULL, audit_commands,
     NULL, NULL},
	{"db", "init|migrate|status|sql", "the schema in the database", NULL, db_commands, NULL, NULL},
	{0},
};

static const struct command root = {
	"stint",
	"[--socket PATH] [--database DSN] COMMAND ...",
	"rate limits that many processes of many hosts keep together",
	NULL,
	top_commands,
	NULL,
	NULL,
};

static void print_help(const struct command *command, const char *path, FILE *file) {
	const char *gap = *command->synopsis != '\0' ? " " : "";
	fprintf(file, "Usage: %s%s%s\n", path, gap, command->synopsis);
	fprintf(file, "%c%s.\n", toupper((unsigned char)command->summary[0]), command->summary + 1);
	if (command->help)
		fprintf(file, "\n%s", command->help);
	if (command->children) {
		fputs("\nCommands\n", file);
		for (const struct command *child = command->children; child->name; child++)
			fprintf(file, "  %-9s%s\n", child->name, child->summary);
	}
	if (command->role)
		fprintf(file, "\nNeeds a database login with the role %s.\n", command->role);
	fprintf(file, "\n%s\n%s", settings_help, exit_codes);
}

/* Looks before a "--" only: after it, the same word may be a client's id. */
static bool has_option(const struct command_call *call, const char *name) {
	for (int i = 0; i < call->word_count && strcmp(call->words[i], "--") != 0; i++)
		if (strcmp(call->words[i], name) == 0)
			return true;
	return false;
}

static const struct command *find_child(const struct command *command, const char *name) {
	for (const struct command *child = command->children; child->name; child++)
		if (strcmp(child->name, name) == 0)
			return child;
	return NULL;
}

static void report_unknown(const struct command_call *call, const struct command *command, const char *word) {
	struct names_search search = {.word = word};
	for (const struct command *child = command->children; child->name; child++)
		names_consider(&search, child->name);
	if (word[0] != '-' && search.nearest)
		command_misuse(call, "unknown command \"%s\"; did you mean \"%s\"?", word, search.nearest);
	else
		command_misuse(call, "unknown %s \"%s\"", word[0] == '-' ? "option" : "command", word);
}

static void enter(struct command_call *call, const struct command *command) {
	call->command = command;
	size_t length = strlen(call->path);
	snprintf(call->path + length, sizeof(call->path) - length, "%s%s", length > 0 ? " " : "", command->name);
	call->words++;
	call->word_count--;
}

/* Walks down to the leaf that the words name. Returns NULL if there is none: then *status is the exit code. */
static const struct command *find_command(const struct command *command, struct command_call *call, int *status) {
	while (command->children) {
		int taken;
		while ((taken = command_take_setting(call)) > 0)
			;
		*status = COMMAND_USAGE;
		if (taken < 0)
			return NULL;
		const char *word = call->word_count > 0 ? call->words[0] : NULL;
		const struct command *child = word ? find_child(command, word) : NULL;
		if (child) {
			command = child;
			enter(call, child);
		} else if (!word) {
			print_help(command, call->path, stderr);
			return NULL;
		} else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "--version") == 0) {
			return command;
		} else {
			report_unknown(call, command, word);
			return NULL;
		}
	}
	return command;
}

static int run(struct command_call *call) {
	int status;
	enter(call, &root);
	const struct command *command = find_command(&root, call, &status);
	if (!command)
		return status;
	if (has_option(call, "--version")) {
		puts("stint " STINT_VERSION);
		return COMMAND_DONE;
	}
	if (!command->run || has_option(call, "--help") || has_option(call, "-h")) {
		print_help(command, call->path, stdout);
		return COMMAND_DONE;
	}
	return command->run(call);
}

/* Returns the errno with which writing to standard output fails; 0: it doesn't fail. When an earlier write failed,
 * its errno is lost: only trying again tells. */
static int output_error(void) {
	bool failed_before = ferror(stdout);
	clearerr(stdout);
	errno = 0;
	if (failed_before)
		putchar('\n');
	return fflush(stdout) != 0 ? errno : failed_before ? EIO : 0;
}

/* Turns failed output into an exit code. A reader that went away has seen what it wanted; a full disk is an
 * error. */
static int finish_output(int status) {
	int error = output_error();
	if (error == 0 || error == EPIPE)
		return status;
	fprintf(stderr, "stint: can't write the output: %s\n", strerror(error));
	return COMMAND_FAILED;
}

/* Waits for no search or lookup that hangs, and clears nothing away that its thread still uses. */
static _Noreturn void end(int status) {
	fflush(stdout);
	if (errand_is_any())
		_exit(status);
	exit(status);
}

/* Ends the program when there is no memory: jansson's parser doesn't survive a failed allocation, and a command
 * can do nothing better than to say so and end. */
static void *allocate_or_end(size_t size) {
	void *block = malloc(size);
	if (!block) {
		fputs("stint: out of memory\n", stderr);
		end(COMMAND_FAILED);
	}
	return block;
}

int main(int argc, char **argv) {
	struct settings settings = {0};
	struct command_call call = {.settings = &settings, .word_count = argc, .words = argv};
	signal(SIGPIPE, SIG_IGN);
	json_set_alloc_funcs(allocate_or_end, free);
	setlocale(LC_CTYPE, "");
	if (MB_CUR_MAX == 1) /* cron jobs and containers run in the C locale, but the stored text is UTF-8 */
		setlocale(LC_CTYPE, "C.UTF-8");
	end(finish_output(run(&call)));
}
