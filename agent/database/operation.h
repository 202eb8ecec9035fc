/*
 * operation.h - one command under way: the statement it sends, who is told of its end, and the lists that it waits
 * in.
 */
#ifndef STINT_OPERATION_H
#define STINT_OPERATION_H

#include "answers.h"

struct operation;
struct pg_answer;
struct session;

/* A statement and how its answer is read. */
struct call {
	const char *name; /* of the prepared statement, if it is prepared, and in messages */
	const char *sql;
	int columns;   /* that the answer must have */
	bool optional; /* refused while connecting: go on without */
	/*
	 * Ends an operation. With LEASE_DONE the answer is there. False then says that it is not what was asked
	 * for, and that nobody was called back; the operation ends once more, with LEASE_UNKNOWN. With another
	 * outcome the answer is NULL, and true is returned.
	 */
	bool (*finish)(struct session *, const struct operation *, enum lease_outcome, const struct pg_answer *);
};

struct operation {
	struct operation *next;
	const struct call *call;
	int64_t deadline_ms;
	size_t count; /* requests of a batch */
	union {
		database_grants *grants;
		database_declared *declared;
		database_policies *policies;
		database_changes *changes;
		database_recalls *recalls;
		database_pulsed *pulsed;
		database_expired *expired;
		database_ended *ended;
	} done;
	void *context;
	struct pg_answer *answer; /* kept until the transaction has ended */
	bool refused;
	bool counted; /* in the session's in_flight */
};

struct operation_list {
	struct operation *first;
	struct operation *last;
};

void operation_append(struct operation_list *, struct operation *);
void operation_prepend(struct operation_list *, struct operation *);
struct operation *operation_remove_first(struct operation_list *); /* of one that isn't empty */

/* One like *what, from the spare ones. */
struct operation *operation_new(struct operation **spares, const struct operation *what);
void operation_put_away(struct operation **spares, struct operation *);
bool operation_make_spares(struct operation **spares); /* false: out of memory */
void operation_free_all(struct operation *first);

/* A call's `finish`, where nothing but the end is of interest. */
bool operation_tell_end(struct session *, const struct operation *, enum lease_outcome, const struct pg_answer *);

#endif
