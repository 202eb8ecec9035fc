/*
 * errand.h - work that may block for long, done in a thread of its own, so that the caller never waits.
 *
 * A thread that hangs can't be stopped. A caller that has no use for an errand any more leaves it: it ends by
 * itself some time, and its thread frees it. Nothing waits for it, not even the end of the process.
 *
 * Some errands never end. A caller that still needs what such an errand was for gives it up after a while, and
 * starts another one. Only so many may be given up: each costs a thread until the process ends.
 */
#ifndef STINT_ERRAND_H
#define STINT_ERRAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* So many may be under way at once in this process, those included that nobody waits for any more. */
#define ERRANDS_MAX 48

/* So many of these may have been given up, and so many dials may hang beside them (dial.h). The others are for
 * what may still work: when a resolver hangs for ever, there is room for connecting by the addresses of before. */
#define ERRANDS_GIVEN_UP_MAX 16

/* An errand that takes longer hangs, most likely: the C library gives up its name servers within half a minute. */
#define ERRAND_HANGS_MS 30000

struct errand {                    /* the first member of a struct with what the work needs and finds */
	void (*run)(struct errand *);  /* in the thread */
	void (*free)(struct errand *); /* by whoever leaves last: caller or thread */
	_Atomic unsigned users;
	_Atomic bool over;
	bool given_up;
	int wake_fd;
	int64_t began_ms;
};

/*
 * When the errand is over, it writes to a copy of the descriptor wake_fd, an eventfd. 0, or -1 with errno: no
 * thread, memory or descriptor, or ERRANDS_MAX are under way (EAGAIN); then the errand is still the caller's
 * alone.
 */
int errand_start(struct errand *, int wake_fd);
/* True: what it has found is there, and changes no more. */
bool errand_is_over(const struct errand *);
/* Are some under way, of this caller or another one? Then the process has to end by _exit(), which clears nothing
 * away that the threads still use. */
bool errand_is_any(void);
/* The caller has what it wants. NULL is ignored. */
void errand_leave(struct errand *);
/* Leaves an errand that has been under way for hangs_ms or longer: true. False: it is over, or younger, or too
 * many others were given up already; then it is still the caller's. */
bool errand_give_up(struct errand *, int64_t hangs_ms);

#endif
