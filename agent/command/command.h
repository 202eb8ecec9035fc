/*
 * command.h - what the subcommands of `stint` share: the table that they stand
 * in, exit codes, options, and the connection to the database.
 *
 * A command is a node of a tree of const tables. The dispatcher in main.c walks
 * it by the words on the command line, answers --help from it, and calls run()
 * of the leaf.
 */
#ifndef STINT_COMMAND_H
#define STINT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct command;
struct names_search;
struct pg;

/* Exit codes are the same for every command; scripts rely on them. */
enum command_exit {
	COMMAND_DONE = 0,        /* check: allowed */
	COMMAND_NO = 1,          /* check: denied; else: the database refuses, or its state doesn't allow it */
	COMMAND_USAGE = 2,       /* unknown command or option, a value out of range, no such policy */
	COMMAND_NO_AGENT = 3,    /* no answer from the agent */
	COMMAND_NO_DATABASE = 4, /* the database is out of reach; status: of the agent */
	COMMAND_FAILED = 5,      /* out of memory, or the output can't be written */
};

/* Options that every command takes. */
struct settings {
	const char *socket_path; /* NULL: $STINT_SOCKET, else the default */
	const char *conninfo;    /* NULL: $STINT_DATABASE, else libpq's own defaults */
};

struct command_call {
	struct settings *settings;
	char path[64]; /* "stint policy set", for messages */
	const struct command *command;
	int word_count;
	char **words; /* what follows the command's name */
	/* What the command is about, if anything; valid names. */
	const char *policy, *client_id;
};

struct command {
	const char *name;                  /* NULL ends a table */
	const char *synopsis;              /* the command's own arguments and options */
	const char *summary;               /* one line, without a full stop */
	const char *help;                  /* the rest of --help, whole lines; may be NULL */
	const struct command *children;    /* a node has either these ... */
	int (*run)(struct command_call *); /* ... or this, which returns an enum command_exit */
	const char *role;                  /* the database role that it needs; NULL: none, or no single one */
};

/* Subcommands, each table in its own file. */
int check_run(struct command_call *);
int metrics_run(struct command_call *);
int status_run(struct command_call *);
int doctor_run(struct command_call *);
int top_run(struct command_call *);
extern const char check_help[], metrics_help[], status_help[], doctor_help[], top_help[];
extern const struct command audit_commands[], policy_commands[], client_commands[], db_commands[];

/*
 * One option, `--name VALUE` or `--name=VALUE`. Exactly one of flag, text, number is not NULL; the variable that
 * it points to keeps its value when the option isn't given. A name of NULL ends a table.
 */
struct command_option {
	const char *name;
	bool *flag;
	const char **text;
	int64_t *number;
	int64_t min, max; /* of number, inclusive */
};

/*
 * Sorts a call's words into options (the command's own, or those of settings) and arguments. `least` to `most`
 * arguments must be there; elements of `arguments` beyond those that are there are left as they were. A word "--"
 * ends the options. Returns COMMAND_DONE, or COMMAND_USAGE with the reason on standard error.
 */
int command_parse(struct command_call *, const struct command_option *options, const char **arguments, int least,
                  int most);

/*
 * Takes one option of settings from the front of the words. Returns 1 if it took one, 0 if the first word is none,
 * -1 after an error, which it has reported.
 */
int command_take_setting(struct command_call *);

/* Reports an error on standard error, with the command's name in front. */
void command_error(const struct command_call *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports wrong use in the same way, with a pointer to --help behind it. Returns COMMAND_USAGE. */
int command_misuse(const struct command_call *, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct command_range {
	int64_t least_s, most_s;
	const char *words; /* for the message, such as "1s to 365d" */
};

/*
 * Reads a duration, "90s", "10m", "12h" or "7d", as milliseconds. `option` is for the message. Returns
 * COMMAND_DONE; or reports what is no such duration, or not in the range, and returns COMMAND_USAGE.
 */
int command_parse_duration(const struct command_call *, const char *option, const char *text,
                           const struct command_range *, int64_t *out_ms);

/* Check a policy's name or a client's id as the library would, and note that the command is about them. Return
 * COMMAND_DONE, or report and return COMMAND_USAGE. */
int command_check_policy(struct command_call *, const char *name);
int command_check_client(struct command_call *, const char *client_id);
/* Checks what is written down with a change; NULL is none. */
int command_check_note(const struct command_call *, const char *note);

/* The connection string that the settings or the environment give; NULL: neither, so libpq's own defaults hold. */
const char *command_conninfo(const struct command_call *);
/* Connects to the database that the settings name, and looks whether the schema in it may be used. Returns
 * COMMAND_DONE; or reports the error, returns its exit code and sets *out to NULL. */
int command_connect(const struct command_call *, struct pg **out);
/* Looks the same, and whether its tables may be used. Returns COMMAND_DONE; or reports why not, and returns the
 * exit code for it. */
int command_trust(const struct command_call *, struct pg *, bool tables);
/* Reports a failed statement and returns the exit code for it. Ends a transaction that is under way. */
int command_database_error(const struct command_call *, struct pg *, int pg_error);
/* Reports that there is no such policy, and the nearest of those that were considered. Returns COMMAND_USAGE. */
int command_no_policy(const struct command_call *, const struct names_search *);
/* Looks whether the policy exists that the command is about. Returns COMMAND_DONE if it does, or if that can't be
 * told; else reports that it doesn't. */
int command_find_policy(const struct command_call *, struct pg *);

#endif
