/*
 * sqlstate.h - what a server's error means to the agent: whether the connection is of use after it, and in which
 * words an operator hears of it. Only words and verdicts: nothing here has an effect.
 *
 * An SQLSTATE is the code of five letters that comes with each error of the server; "" is an error of libpq's own.
 */
#ifndef STINT_SQLSTATE_H
#define STINT_SQLSTATE_H

#include <stdbool.h>

/* What the words depend on. */
struct sqlstate_facts {
	const char *in_hot_standby; /* as the server reports it: "on" or "off"; "": it doesn't */
	int server_version;         /* 150004, say */
	bool not_inherited;         /* the role is a member of stint_agent without its rights */
	bool not_owned;             /* the schema has another owner or other rights than it was made with */
};

/* Must the connection be dropped after this error? */
bool sqlstate_ends_session(const char *sqlstate);

/* The statement waited in vain for a lock. */
bool sqlstate_is_lock(const char *sqlstate);

/* What an operator should know or do, to be put before the server's message; NULL: the message says it all. */
const char *sqlstate_words(const char *sqlstate, const struct sqlstate_facts *);

#endif
