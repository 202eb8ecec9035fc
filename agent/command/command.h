/*
 * command.h - what the subcommands of `stint` share: the table that they stand
 * in, exit codes, options, and the connection to the database.
 *
 * A command is a node of a tree of const tables. The dispatcher in stint.c walks
 * it by the words on the command line, answers --help from it, and calls run()
 * of the leaf.
 */
#ifndef STINT_COMMAND_H
#define STINT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg;

/* The same for every command, and a contract. */
enum command_exit {
	COMMAND_DONE = 0,        /* check: allowed */
	COMMAND_NO = 1,          /* check: denied; elsewhere: refused by the database, or by the state that it is in */
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
	int word_count;
	char **words;  /* what follows the command's name */
};

struct command {
	const char *name;     /* NULL ends a table */
	const char *synopsis; /* its own arguments and options */
	const char *summary;  /* one line, without a full stop */
	const char *help;     /* the rest of --help, whole lines; may be NULL */
	const struct command *children; /* either these ... */
	int (*run)(struct command_call *); /* ... or this: an enum command_exit */
};

/* Subcommands, each table in its own file. */
int check_run(struct command_call *);
int status_run(struct command_call *);
extern const char check_help[], status_help[];
extern const struct command policy_commands[], client_commands[], db_commands[];

/*
 * One option, `--name VALUE` or `--name=VALUE`. Exactly one of flag, text, number is not NULL; it keeps what it
 * held when the option isn't given. A name of NULL ends a table.
 */
struct command_option {
	const char *name;
	bool *flag;
	const char **text;
	int64_t *number;
	int64_t min, max; /* of number, inclusive */
};

/*
 * Sorts a call's words into options (own ones, or those of settings) and arguments, of which `least` to `most` must
 * be there; those that aren't are left as they were. A word "--" ends the options. COMMAND_DONE, or COMMAND_USAGE
 * with the reason on standard error.
 */
int command_parse(struct command_call *, const struct command_option *options, const char **arguments, int least,
                  int most);

/*
 * Takes one option of settings from the front of the words. 1: taken; 0: the first word is none; -1: an error,
 * reported.
 */
int command_take_setting(struct command_call *);

/* Reports on standard error, with the command's name in front. */
void command_error(const struct command_call *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for wrong use, with a pointer to --help behind it. Returns COMMAND_USAGE. */
int command_misuse(const struct command_call *, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Checks a policy's name or a client's id as the library would; COMMAND_DONE, or COMMAND_USAGE, reported. */
int command_check_policy(const struct command_call *, const char *name);
int command_check_client(const struct command_call *, const char *client_id);

/* Connects to the database that the settings name. COMMAND_DONE, or reported and *out is NULL. */
int command_connect(const struct command_call *, struct pg **out);
/* Reports a failed statement and returns the exit code for it. */
int command_database_error(const struct command_call *, const struct pg *, int pg_error);

#endif
