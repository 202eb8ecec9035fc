/*
 * errand.h - work that may block for long, done beside the caller, who never waits: in a thread of its own.
 *
 * What hangs can't be stopped. Whoever has no use for it any more leaves the errand: it ends by itself some time, and its
 * thread frees it. Nothing waits for it, not even the end of the process.
 *
 * Some never end. Who needs what such an errand was for gives it up after a while and starts another one. There may
 * be only so many that were given up: each costs a thread until the process ends.
 */
#ifndef STINT_ERRAND_H
#define STINT_ERRAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Under way at once in this process, those included that nobody waits for any more. */
#define ERRANDS_MAX 32

/* Of these, given up and not over yet. The others are for what may still work: a resolver that hangs for ever leaves
 * room for connecting by the addresses of before. */
#define ERRANDS_GIVEN_UP_MAX 16

/* One that takes longer hangs, most likely: the C library gives up on its name servers within half a minute. */
#define ERRAND_HANGS_MS 30000

struct errand { /* the first member of what the work needs, and finds */
	void (*run)(struct errand *);  /* in the thread */
	void (*free)(struct errand *); /* by whoever leaves last: caller or thread */
	_Atomic unsigned users;
	_Atomic bool over;
	bool given_up;
	int wake_fd;
	int64_t began_ms;
};

/*
 * When it is over, it writes to a copy of the descriptor wake_fd, an eventfd. 0, or -1 with errno: no thread, memory or
 * descriptor (EAGAIN: also when there are ERRANDS_MAX); then the errand is still the caller's alone.
 */
int errand_start(struct errand *, int wake_fd);
/* What it has found is there, and changes no more. */
bool errand_is_over(const struct errand *);
/* Whether some are under way, of this caller or another one. Then a process that ends has to do so by _exit(): what they use must not be
 * cleared away under them. */
bool errand_is_any(void);
/* By the caller, when it has taken what it wants. NULL is ignored. */
void errand_leave(struct errand *);
/* Leaves one that has been under way for hangs_ms or longer: true. False: it is over, or younger, or too many others
 * were given up already; then it is still the caller's. */
bool errand_give_up(struct errand *, int64_t hangs_ms);

#endif
