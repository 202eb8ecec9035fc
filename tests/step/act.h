/*
 * act.h - what an app does while it is stepped: each act is one thing that an app can be in the
 * middle of when it is killed. An app prepares, says that it is ready, and then acts.
 */
#ifndef ACT_H
#define ACT_H

#include <stdbool.h>
#include <stdint.h>

#include "peek.h"
#include "stepper.h"
#include "stint.h"

/* Clients get no second lease while a test runs, and no credit comes back to them: what is admitted altogether
 * is the limit, less what was lost. */
#define ACT_POLICY     "stepped"
#define ACT_LIMIT      30
#define ACT_WINDOW_MS  STINT_TIME_WINDOW_MS_MAX
#define ACT_TIMEOUT_MS 3000

/* What the app tells of itself, in memory that it shares with the test: a SIGKILL doesn't touch it. */
struct note {
	volatile uint32_t done; /* the act is over */
	volatile uint32_t failed;
	volatile int64_t admitted_before; /* how much was admitted while it prepared */
	volatile uint32_t returned;       /* the act's check has its verdict */
	volatile uint32_t allowed;
	volatile int32_t source;
	volatile int32_t error;
};

struct app {
	struct note *note;
	const char *socket;
	const struct peek *peek; /* its host's table; NULL when the act doesn't look */
	const struct act *act;
	const struct stint_options *options;
	char id[32];
	struct stint *stint;
	struct stint_limiter *limiter;
};

struct act {
	const char *name;
	uint32_t cost; /* the check's cost: what may be lost with the app */
	bool waits;    /* the act waits for the agent */
	void (*prepare)(struct app *);
	void (*play)(struct app *);
};

extern const struct act acts[];
extern const unsigned act_count;
const struct act *act_find(const char *name);

extern const struct stint_options act_options;

/* Attaches with the options that the test's own app uses, too. */
int act_attach(struct stint **, struct stint_limiter **, const char *socket, const struct stint_options *options);

/* Starts an app, which gets ready for its act and has made no step of it. 0 or -1. */
int act_start(struct stepper *, struct app *);

struct note *note_make(void);

#endif
