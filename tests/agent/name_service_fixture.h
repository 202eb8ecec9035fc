/*
 * name_service_fixture.h - a name service of the test's own: it knows a few names, and is silent or hangs on
 * demand. The clock is the test's, too: it goes forward on demand.
 */
#ifndef NAME_SERVICE_FIXTURE_H
#define NAME_SERVICE_FIXTURE_H

#include "database_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pwd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "database/endpoints.h"
#include "database/errand.h"
#include "database/lookup.h"

#define SILENCE_S 5

/* ---- The name service -------------------------------------------------------------- */

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t ended;
	bool silent;                   /* doesn't answer, but for names that begin with "well" */
	bool holding;                  /* questions that hang go on hanging */
	_Atomic bool lost;             /* answers "don't know, try again" */
	const char *_Atomic addresses; /* the addresses of all names, with blanks between them */
	_Atomic int hang;              /* so many questions hang */
	_Atomic int asked;
} service = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

static char user_name[] = "somebody", user_home[] = "/";

static inline int real_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints,
                                   struct addrinfo **found) {
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(name, port, hints, found);
}

static inline int answer(const struct addrinfo *hints, struct addrinfo **found) {
	struct addrinfo numeric = *hints, **end = found;
	char list[2048], *rest = list;
	snprintf(list, sizeof(list), "%s", service.addresses);
	numeric.ai_flags |= AI_NUMERICHOST;
	*found = NULL;
	for (const char *address; (address = strtok_r(rest, " ", &rest)) != NULL; end = &(*end)->ai_next)
		if (real_getaddrinfo(address, NULL, &numeric, end) != 0)
			abort();
	return 0;
}

/* False: the service was silent for so long that a C library gives up. */
static inline bool wait_while_silent(void) {
	struct timespec deadline;
	int error = 0;
	clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += SILENCE_S;
	pthread_mutex_lock(&service.mutex);
	while (service.silent && error == 0)
		error = pthread_cond_timedwait(&service.ended, &service.mutex, &deadline);
	pthread_mutex_unlock(&service.mutex);
	return error == 0;
}

static inline void set(bool *what, bool on) {
	pthread_mutex_lock(&service.mutex);
	*what = on;
	pthread_cond_broadcast(&service.ended);
	pthread_mutex_unlock(&service.mutex);
}

static inline void set_silent(bool silent) {
	set(&service.silent, silent);
}

/* Hangs as long as the test lasts. */
static inline void hang(void) {
	pthread_mutex_lock(&service.mutex);
	while (service.holding)
		pthread_cond_wait(&service.ended, &service.mutex);
	pthread_mutex_unlock(&service.mutex);
}

static _Atomic int64_t later_s;

int clock_gettime(clockid_t clock, struct timespec *now) {
	long result = syscall(SYS_clock_gettime, clock, now);
	if (clock == CLOCK_MONOTONIC)
		now->tv_sec += later_s;
	return (int)result;
}

/* Called by libpq, too. */
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
	if (!name || (hints && hints->ai_flags & AI_NUMERICHOST) || name[0] == '/' ||
	    (name[0] >= '0' && name[0] <= '9'))
		return real_getaddrinfo(name, port, hints, found);
	service.asked++;
	if (atomic_fetch_sub(&service.hang, 1) > 0)
		hang();
	if (strncmp(name, "well", 4) != 0 && !wait_while_silent())
		return EAI_AGAIN;
	return service.lost ? EAI_AGAIN : !strcmp(name, "nobody") ? EAI_NONAME : answer(hints, found);
}

/* libpq asks who the user is when nobody tells it. */
int getpwuid_r(uid_t uid, struct passwd *entry, char *buffer, size_t size, struct passwd **found) {
	(void)uid, (void)buffer, (void)size;
	wait_while_silent();
	*entry = (struct passwd){.pw_name = user_name, .pw_dir = user_home};
	*found = entry;
	return 0;
}

static inline int reset(void **state) {
	(void)state;
	service.addresses = "10.0.0.1 10.0.0.2";
	service.lost = false;
	service.asked = service.hang = 0;
	set_silent(false);
	set(&service.holding, true);
	return 0;
}

/* What hangs must end before its test does, since the next test counts errands. */
static inline int wait_for_all(void **state) {
	(void)state;
	set_silent(false);
	set(&service.holding, false);
	for (int i = 0; errand_is_any() && i < PATIENCE_MS; i++)
		usleep(1000);
	return errand_is_any() ? -1 : 0;
}

static inline void wait_until_asked(int times) {
	for (int i = 0; service.asked < times && i < PATIENCE_MS; i++)
		usleep(1000);
	assert_int_equal(service.asked, times);
}

static inline void end_all_errands(void) {
	assert_int_equal(wait_for_all(NULL), 0);
}

/* ---- All names of a connection string ---------------------------------------------------- */

static inline void wait_for(int fd) {
	struct pollfd woken = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&woken, 1, PATIENCE_MS), 1);
}

static inline struct endpoints *endpoints_of(const char *conninfo) {
	struct endpoints *e;
	assert_int_equal(endpoints_new(&e, conninfo), 0);
	assert_false(endpoints_are_usable(e));
	return e;
}

/* Looks up, and waits until that condition holds. */
static inline void look_up_until(struct endpoints *e, bool (*holds)(const struct endpoints *)) {
	endpoints_look_up(e);
	while (!holds(e)) {
		wait_for(endpoints_fd(e));
		endpoints_read(e);
	}
}

static inline void wait_until_settled(struct endpoints *e) {
	look_up_until(e, endpoints_are_settled);
}

static inline void expect_list(const struct endpoints *e, unsigned first, const char *host, const char *hostaddr,
                               const char *port) {
	struct pg_servers list;
	assert_int_equal(endpoints_list(e, first, &list), 0);
	assert_string_equal(list.host, host);
	assert_string_equal(list.hostaddr, hostaddr);
	assert_string_equal(list.port, port);
	pg_servers_free(&list);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, reset, wait_for_all)

#endif
