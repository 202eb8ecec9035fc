/*
 * heir.h - who goes on with an image of a table that a kill left: the agent's own table and core
 * take it over in this process, another app decides in it by the library's own decision, and the
 * database is the twin of its arithmetic (agent/core/grant.h).
 */
#ifndef HEIR_H
#define HEIR_H

#include <stdbool.h>
#include <stdint.h>

#include "peek.h"

struct legacy {
	const struct peek *peek; /* whose directory it is */
	const void *image;
	const char *policy;
	const char *id;
	int32_t limit;
	int64_t window_ms;
	int32_t charged; /* to the client in the database, when the image was taken */
};

struct succession {
	bool possible;        /* the table was taken over */
	bool answered;        /* every check got a verdict without waiting for anybody but agent and database */
	uint32_t from_table;  /* admitted before the agent was asked for the first time */
	uint32_t admitted;    /* until the client was denied */
	bool repaid_too_much; /* the agent reported more, unspent or spent, than it had been granted */
	uint32_t left;        /* slots still in use when all had been idle for long */
};

struct succession heir_goes_on(const struct legacy *);

#endif
