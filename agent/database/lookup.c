/*
 * lookup.c - see lookup.h. Caller and thread share the lookup, and the last of them frees it. What the thread has
 * found is written before `over` is set, and never changes after that.
 */
#include "lookup.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct lookup {
	_Atomic unsigned users; /* caller and thread */
	_Atomic bool over;
	int wake_fd;
	int error; /* EAI_...; 0: none */
	size_t count;
	char address[LOOKUP_ADDRESSES_MAX][LOOKUP_ADDRESS_SIZE];
	char name[]; /* with its NUL */
};

static _Atomic unsigned under_way;

static void leave(struct lookup *lookup) {
	if (atomic_fetch_sub(&lookup->users, 1) > 1)
		return;
	close(lookup->wake_fd);
	free(lookup);
}

void lookup_free(struct lookup *lookup) {
	if (lookup)
		leave(lookup);
}

static void add_address(struct lookup *lookup, const struct addrinfo *found) {
	char *address = lookup->address[lookup->count];
	if (getnameinfo(found->ai_addr, found->ai_addrlen, address, LOOKUP_ADDRESS_SIZE, NULL, 0, NI_NUMERICHOST) == 0)
		lookup->count++;
}

static void look_up(struct lookup *lookup) {
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}; /* as libpq asks */
	struct addrinfo *found = NULL;
	lookup->error = getaddrinfo(lookup->name, NULL, &hints, &found);
	if (lookup->error != 0)
		return;
	for (const struct addrinfo *f = found; f && lookup->count < LOOKUP_ADDRESSES_MAX; f = f->ai_next)
		add_address(lookup, f);
	freeaddrinfo(found);
}

static void *run(void *context) {
	struct lookup *lookup = context;
	look_up(lookup);
	atomic_store(&lookup->over, true);
	eventfd_write(lookup->wake_fd, 1);
	atomic_fetch_sub(&under_way, 1);
	leave(lookup);
	return NULL;
}

/* Signals are for the caller's threads. */
static int start_thread(struct lookup *lookup) {
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;
	int error = pthread_attr_init(&attributes);
	if (error != 0)
		return error;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, run, lookup);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return error;
}

static int start(struct lookup *lookup, int wake_fd) {
	lookup->wake_fd = fcntl(wake_fd, F_DUPFD_CLOEXEC, 0);
	if (lookup->wake_fd < 0)
		return errno;
	int error = start_thread(lookup);
	if (error != 0)
		close(lookup->wake_fd);
	return error;
}

int lookup_start(struct lookup **out, const char *name, int wake_fd) {
	size_t size = strlen(name) + 1;
	struct lookup *lookup = *out = calloc(1, sizeof(*lookup) + size);
	if (!lookup)
		return -1;
	memcpy(lookup->name, name, size);
	lookup->users = 2;
	int error = atomic_fetch_add(&under_way, 1) < LOOKUPS_MAX ? start(lookup, wake_fd) : EAGAIN;
	if (error == 0)
		return 0;
	atomic_fetch_sub(&under_way, 1);
	free(lookup);
	*out = NULL;
	errno = error;
	return -1;
}

bool lookup_is_over(const struct lookup *lookup) {
	return atomic_load(&lookup->over);
}

size_t lookup_count(const struct lookup *lookup) {
	return lookup->count;
}

const char *lookup_address(const struct lookup *lookup, size_t index) {
	return lookup->address[index];
}

const char *lookup_error(const struct lookup *lookup) {
	return lookup->error != 0 ? gai_strerror(lookup->error) : "it has no address";
}
