/*
 * record.h - steps an act once from its beginning to its end and writes down where in it things
 * happen: which steps leave another image of the table than there was, and which send something.
 *
 * An act that doesn't wait for the agent is stepped with the agent stopped, so that all that
 * changes is the app's doing.
 */
#ifndef RECORD_H
#define RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "act.h"
#include "host.h"
#include "peek.h"

enum event_kind { EVENT_CHANGE, EVENT_SEND };

/* One is what the step with this number (the first is 1) did. */
struct event {
	uint64_t step;
	enum event_kind kind;
	size_t image; /* the number of the image that it left */
	bool taking;  /* a change by which credits became less */
};

/* A place where an instruction comes for the first time: another app can run to it at full speed. */
struct landmark {
	uint64_t step; /* how many steps were made until then */
	uint64_t address;
};

struct recording {
	uint64_t steps;
	struct event *events;
	size_t event_count;
	struct landmark *landmarks;
	size_t landmark_count;
	char **images; /* the images that differ, in their order; the first is from before the first step */
	size_t image_count;
	int64_t admitted_before;
	uint32_t credits_before; /* the credits of the client's leases at the beginning */
	uint64_t sends;
	bool complete;
	uint64_t began_ns;
	bool undone; /* the table became what it had been before */
	bool hasty;  /* it did so without a reason: its lease lasted, and the app hadn't been slow. (An app must have
	              * decided in the table before its act, since the first time it knows no time.) */
};

/* Records the act of an app, which is gone afterwards; the host's agent is as it was. Takes one client after the
 * other, "NAME-00017" and so on by *number, until an app goes straight on: one that takes too long, as it may on a
 * busy machine, puts back what it has taken, and looks again. 0, or -1: the act came to no end, an app
 * put something back without a reason, or all were slow. */
int record(struct recording *, struct app *app, struct host *host, const struct peek *peek, const char *name,
           uint32_t *number);
/* Takes an app that is ready for the same act to when it has made so many steps. Its own way may differ by some
 * of them, where it waits or reads the clock. False: it went another way, and has ended. */
bool record_go_to(const struct recording *r, struct stepper *stepper, const struct app *app, uint64_t step);
void recording_free(struct recording *);

/* Stops the agent by SIGSTOP, and waits until it stands still. */
void host_hold(struct host *host);

#endif
