/*
 * wall_clock.h - sets the time of day of single programs, at any moment, as if somebody had set the machine's
 * clock.
 *
 * The programs are started with $LD_PRELOAD and $WALL_CLOCK_VARIABLE as wall_clock_words() says, and see the
 * true time plus what wall_clock_set() set last. Monotonic clocks are not touched.
 */
#ifndef WALL_CLOCK_H
#define WALL_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#include "scene.h"

#define WALL_CLOCK_VARIABLE "STINT_TEST_WALL_CLOCK"

struct wall_clock {
	_Atomic int64_t *shift_us;
	char file[108];    /* which holds the shift */
	char library[108]; /* to preload: a copy, where all users may read it */
};

/* Makes it in the scene's folder, with a shift of 0. 0 or -1. */
int wall_clock_make(struct wall_clock *, const struct scene *scene);
void wall_clock_set(struct wall_clock *, int64_t shift_us);
/* Sets the variables for the test's own children from here on, but not for those that pg-cluster starts. */
void wall_clock_export(const struct wall_clock *);
/* Sets the variables for servers that pg-cluster starts from here on, and for nobody else. */
void wall_clock_export_to_server(const struct wall_clock *);

#endif
