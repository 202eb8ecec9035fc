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
	size_t image; /* of a change: which */
	bool taking;  /* of a change: credits became less */
};

/* Where an instruction comes for the first time: another app can run there at full speed. */
struct landmark {
	uint64_t step; /* made until then */
	uint64_t address;
};

struct recording {
	uint64_t steps;
	struct event *events;
	size_t event_count;
	struct landmark *landmarks;
	size_t landmark_count;
	char **images; /* distinct ones, as they came; the first is that before the first step */
	size_t image_count;
	int64_t admitted_before;
	uint32_t credits_before; /* of the client's leases at the beginning */
	uint64_t sends;
	bool complete;
};

/* The app and the host's agent are as they were afterwards; the app of the recording is gone. 0 or -1. */
int record(struct recording *, struct app *app, struct host *host, const struct peek *peek);
/* An app that is ready for the same act: to when it has made so many steps. Its own way may differ by some of
 * them, where it waits or reads the clock; false: it went another way, and is over. */
bool record_go_to(const struct recording *r, struct stepper *stepper, const struct app *app, uint64_t step);
void recording_free(struct recording *);

/* SIGSTOP, and it has taken effect. */
void host_hold(struct host *host);

#endif
