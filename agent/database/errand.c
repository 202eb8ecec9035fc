/* errand.c - see errand.h. */
#include "errand.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "monotonic.h"

static _Atomic unsigned under_way, given_up;

static void leave(struct errand *errand) {
	if (atomic_fetch_sub(&errand->users, 1) > 1)
		return;
	bool was_given_up = errand->given_up;
	close(errand->wake_fd);
	errand->free(errand);
	atomic_fetch_sub(&given_up, was_given_up);
}

void errand_leave(struct errand *errand) {
	if (errand)
		leave(errand);
}

bool errand_give_up(struct errand *errand, int64_t hangs_ms) {
	if (errand_is_over(errand) || monotonic_now_ms() - errand->began_ms < hangs_ms)
		return false;
	if (atomic_fetch_add(&given_up, 1) >= ERRANDS_GIVEN_UP_MAX) {
		atomic_fetch_sub(&given_up, 1);
		return false;
	}
	errand->given_up = true; /* the thread reads it after this leave only */
	leave(errand);
	return true;
}

static void *run(void *context) {
	struct errand *errand = context;
	errand->run(errand);
	atomic_store(&errand->over, true);
	eventfd_write(errand->wake_fd, 1);
	leave(errand);
	atomic_fetch_sub(&under_way, 1); /* last: what the errand frees may need what goes when the agent ends */
	return NULL;
}

/* Signals are for the caller's threads. */
static int start_thread(struct errand *errand) {
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;
	int error = pthread_attr_init(&attributes);
	if (error != 0)
		return error;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, run, errand);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

static int start(struct errand *errand, int wake_fd) {
	errand->users = 2;
	errand->over = errand->given_up = false;
	errand->began_ms = monotonic_now_ms();
	errand->wake_fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0);
	if (errand->wake_fd < 0)
		return errno;
	int error = start_thread(errand);
	if (error != 0)
		close(errand->wake_fd);
	return error;
}

int errand_start(struct errand *errand, int wake_fd) {
	int error = atomic_fetch_add(&under_way, 1) < ERRANDS_MAX ? start(errand, wake_fd) : EAGAIN;
	if (error == 0)
		return 0;
	atomic_fetch_sub(&under_way, 1);
	errno = error;
	return -1;
}

bool errand_is_over(const struct errand *errand) {
	return atomic_load(&errand->over);
}

bool errand_is_any(void) {
	return atomic_load(&under_way) > 0;
}
