/*
 * doctor.h - `stint doctor` looks at everything that is usually wrong: one finding a line, and what to do.
 */
#ifndef STINT_DOCTOR_H
#define STINT_DOCTOR_H

#include <jansson.h>
#include <stdbool.h>

struct command_call;

enum doctor_state { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_ERROR };

struct doctor {
	const struct command_call *call;
	json_t *findings; /* an array of objects */
	json_t *status;   /* the agent's, NULL: there is no agent */
	int errors;
};

/* Writes down what was found. remedy: what to do, for people; NULL: nothing, or nobody can. */
void doctor_find(struct doctor *, enum doctor_state, const char *what, const char *remedy, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* Looks at this host: socket, agent, shared memory. Sets status. */
void doctor_look_at_host(struct doctor *);
/* Looks which processes have the library. Needs status. */
void doctor_look_at_libraries(struct doctor *);
/* Looks at the database that the settings name. */
void doctor_look_at_database(struct doctor *);
/* Looks in which mode a pooler is, if one is between here and the server, and whether the agent knows. Needs
 * status. */
void doctor_look_at_pooler(struct doctor *, bool between, const char *conninfo);

#endif
