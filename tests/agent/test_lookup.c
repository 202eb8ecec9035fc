/*
 * test_lookup.c - servers are searched for, their names looked up, and connections made, beside the loop:
 * errand.h, search.h, lookup.h, endpoints.h, dial.h, and all of them below database.h. The name service is the
 * test's own: it knows a few names, and is silent on demand, or hangs. So is the clock: it goes forward on
 * demand.
 */
#include "database_fixture.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pwd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
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
	bool silent;                   /* to all names but those that begin with "well" */
	bool holding;                  /* who hangs */
	_Atomic bool lost;             /* it says that it doesn't know, try again */
	const char *_Atomic addresses; /* of all names; with blanks between them */
	_Atomic int hang;              /* so many questions have no answer, ever */
	_Atomic int asked;
} service = {.mutex = PTHREAD_MUTEX_INITIALIZER, .ended = PTHREAD_COND_INITIALIZER};

static char user_name[] = "somebody", user_home[] = "/";

static int real_getaddrinfo(const char *name, const char *port, const struct addrinfo *hints,
                            struct addrinfo **found) {
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	return real(name, port, hints, found);
}

static int answer(const struct addrinfo *hints, struct addrinfo **found) {
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

/* False: for so long that a C library gives up, too. */
static bool wait_while_silent(void) {
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

static void set(bool *what, bool on) {
	pthread_mutex_lock(&service.mutex);
	*what = on;
	pthread_cond_broadcast(&service.ended);
	pthread_mutex_unlock(&service.mutex);
}

static void set_silent(bool silent) {
	set(&service.silent, silent);
}

/* As long as the test lasts. */
static void hang(void) {
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

/* libpq comes here, too. */
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

static int reset(void **state) {
	(void)state;
	service.addresses = "10.0.0.1 10.0.0.2";
	service.lost = false;
	service.asked = service.hang = 0;
	set_silent(false);
	set(&service.holding, true);
	return 0;
}

/* What hangs must end before its test does: another one counts. */
static int wait_for_all(void **state) {
	(void)state;
	set_silent(false);
	set(&service.holding, false);
	for (int i = 0; errand_is_any() && i < PATIENCE_MS; i++)
		usleep(1000);
	return errand_is_any() ? -1 : 0;
}

/* ---- One name ------------------------------------------------------------------------- */

static void wait_for(int fd) {
	struct pollfd woken = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&woken, 1, PATIENCE_MS), 1);
}

static struct lookup *look_up(const char *name) {
	int fd = eventfd(0, EFD_CLOEXEC);
	struct lookup *lookup;
	assert_int_equal(lookup_start(&lookup, name, fd), 0);
	wait_for(fd);
	close(fd);
	assert_true(lookup_is_over(lookup));
	return lookup;
}

static void a_lookup_finds_addresses_in_order(void **state) {
	(void)state;
	service.addresses = "fe80::1%lo 10.0.0.2 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
	struct lookup *lookup = look_up("db");
	assert_int_equal(lookup_count(lookup), 3);
	assert_string_equal(lookup_address(lookup, 0), "fe80::1%lo");
	assert_string_equal(lookup_address(lookup, 1), "10.0.0.2");
	assert_string_equal(lookup_address(lookup, 2), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	lookup_free(lookup);
}

static void more_addresses_than_fit_are_left_out(void **state) {
	char many[1024] = "";
	(void)state;
	for (int i = 0; i < LOOKUP_ADDRESSES_MAX + 4; i++)
		snprintf(many + strlen(many), sizeof(many) - strlen(many), "10.0.1.%d ", i);
	service.addresses = many;
	struct lookup *lookup = look_up("db");
	assert_int_equal(lookup_count(lookup), LOOKUP_ADDRESSES_MAX);
	assert_string_equal(lookup_address(lookup, LOOKUP_ADDRESSES_MAX - 1), "10.0.1.15");
	lookup_free(lookup);
}

static void a_lookup_says_why_it_found_nothing(void **state) {
	(void)state;
	struct lookup *lookup = look_up("nobody");
	assert_int_equal(lookup_count(lookup), 0);
	assert_string_equal(lookup_error(lookup), gai_strerror(EAI_NONAME));
	lookup_free(lookup);
}

static void nobody_waits_for_a_lookup_that_hangs(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC);
	struct lookup *lookup;
	(void)state;
	set_silent(true);
	assert_int_equal(lookup_start(&lookup, "db", fd), 0);
	assert_false(lookup_is_over(lookup));
	lookup_free(lookup);
	close(fd); /* it has one of its own to write to */
}

static void no_more_lookups_hang_than_are_allowed(void **state) {
	int fd = eventfd(0, EFD_CLOEXEC), started = 0;
	struct lookup *lookup;
	(void)state;
	set_silent(true);
	while (started <= ERRANDS_MAX && lookup_start(&lookup, "db", fd) == 0) {
		lookup_free(lookup);
		started++;
	}
	assert_int_equal(started, ERRANDS_MAX);
	assert_int_equal(errno, EAGAIN);
	assert_null(lookup);
	set_silent(false);
	for (int i = 0; lookup_start(&lookup, "well", fd) != 0 && i < PATIENCE_MS; i++)
		usleep(1000);
	assert_non_null(lookup);
	while (!lookup_is_over(lookup))
		wait_for(fd);
	lookup_free(lookup);
	close(fd);
}

/* ---- All names of a connection string ---------------------------------------------------- */

static struct endpoints *endpoints_of(const char *conninfo) {
	struct endpoints *e;
	assert_int_equal(endpoints_new(&e, conninfo), 0);
	assert_false(endpoints_are_usable(e));
	return e;
}

/* Looks up, and waits until that holds. */
static void look_up_until(struct endpoints *e, bool (*holds)(const struct endpoints *)) {
	endpoints_look_up(e);
	while (!holds(e)) {
		wait_for(endpoints_fd(e));
		endpoints_read(e);
	}
}

static void wait_until_settled(struct endpoints *e) {
	look_up_until(e, endpoints_are_settled);
}

static void expect_list(const struct endpoints *e, unsigned first, const char *host, const char *hostaddr,
                        const char *port) {
	struct pg_servers list;
	assert_int_equal(endpoints_list(e, first, &list), 0);
	assert_string_equal(list.host, host);
	assert_string_equal(list.hostaddr, hostaddr);
	assert_string_equal(list.port, port);
	pg_servers_free(&list);
}

static void each_address_becomes_an_endpoint(void **state) {
	struct endpoints *e = endpoints_of("host=db,/run/pg,10.9.9.9,backup port=1,2,3,4");
	(void)state;
	set_silent(true);
	look_up_until(e, endpoints_are_usable);
	expect_list(e, 0, "/run/pg,10.9.9.9", ",", "2,3");
	set_silent(false);
	wait_until_settled(e);
	expect_list(e, 0, "db,db,/run/pg,10.9.9.9,backup,backup", "10.0.0.1,10.0.0.2,,,10.0.0.1,10.0.0.2",
	            "1,1,2,3,4,4");
	expect_list(e, 1, "db,/run/pg,10.9.9.9,backup,backup,db", "10.0.0.2,,,10.0.0.1,10.0.0.2,10.0.0.1",
	            "1,2,3,4,4,1");
	expect_list(e, 6 * 1000 + 5, "backup,db,db,/run/pg,10.9.9.9,backup", "10.0.0.2,10.0.0.1,10.0.0.2,,,10.0.0.1",
	            "4,1,1,2,3,4");
	endpoints_free(e);
}

static void a_name_is_looked_up_once(void **state) {
	struct endpoints *e = endpoints_of("postgresql://db:5432,db:5433/stint");
	(void)state;
	wait_until_settled(e);
	assert_string_equal(endpoints_error(e), "");
	assert_int_equal(service.asked, 1);
	expect_list(e, 0, "db,db,db,db", "10.0.0.1,10.0.0.2,10.0.0.1,10.0.0.2", "5432,5432,5433,5433");
	endpoints_free(e);
}

static void what_needs_no_lookup_has_none(void **state) {
	static const struct {
		const char *conninfo, *host, *hostaddr, *port;
	} cases[] = {
		{"", "", "", "5432"},
		{"host=/run/pg", "/run/pg", "", "5432"},
		{"host=@abstract", "@abstract", "", "5432"},
		{"host=127.0.0.1,::1 port=7", "127.0.0.1,::1", ",", "7,7"},
		{"host=db hostaddr=10.1.1.1", "db", "10.1.1.1", "5432"},
		{"hostaddr=10.1.1.1,10.1.1.2", ",", "10.1.1.1,10.1.1.2", "5432,5432"},
		{"host=a,b hostaddr=10.1.1.1", "a,b", "10.1.1.1", "5432"}, /* libpq complains of it */
		{"host=a,b port=1,2,3", "a,b", "", "1,2,3"},
		{"nonsense=1", "", "", ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct endpoints *e = endpoints_of(cases[i].conninfo);
		wait_until_settled(e);
		expect_list(e, 0, cases[i].host, cases[i].hostaddr, cases[i].port);
		endpoints_free(e);
	}
	assert_int_equal(service.asked, 0);
}

static void a_part_of_the_list_may_have_its_address(void **state) {
	struct endpoints *e = endpoints_of("host=a,b hostaddr=10.1.1.1, port=5");
	(void)state;
	wait_until_settled(e);
	expect_list(e, 0, "a,b,b", "10.1.1.1,10.0.0.1,10.0.0.2", "5,5,5");
	endpoints_free(e);
}

static void addresses_are_remembered(void **state) {
	struct endpoints *e = endpoints_of("host=db");
	(void)state;
	assert_int_equal(endpoints_patience_ms(e, 500), 500);
	wait_until_settled(e);
	assert_int_equal(endpoints_patience_ms(e, 500), 250);
	assert_false(endpoints_are_remembered(e));
	set_silent(true);
	look_up_until(e, endpoints_are_usable);
	assert_false(endpoints_are_settled(e)); /* it may answer yet */
	endpoints_settle(e);
	assert_true(endpoints_are_settled(e));
	assert_true(endpoints_are_remembered(e));
	assert_string_equal(endpoints_error(e), "db: the name servers don't answer");
	expect_list(e, 0, "db,db", "10.0.0.1,10.0.0.2", "5432,5432");
	look_up_until(e, endpoints_are_usable);
	assert_true(endpoints_are_settled(e)); /* nobody waits a second time */
	service.addresses = "10.0.0.9";
	set_silent(false);
	while (endpoints_are_remembered(e)) {
		wait_for(endpoints_fd(e));
		endpoints_read(e);
	}
	assert_string_equal(endpoints_error(e), "");
	expect_list(e, 0, "db", "10.0.0.9", "5432");
	assert_int_equal(service.asked, 2);
	endpoints_free(e);
}

static void addresses_survive_an_error(void **state) {
	struct endpoints *e = endpoints_of("host=db");
	(void)state;
	wait_until_settled(e);
	service.lost = true;
	wait_until_settled(e);
	assert_true(endpoints_are_remembered(e));
	assert_non_null(strstr(endpoints_error(e), gai_strerror(EAI_AGAIN)));
	expect_list(e, 0, "db,db", "10.0.0.1,10.0.0.2", "5432,5432");
	look_up_until(e, endpoints_are_usable);
	assert_true(endpoints_are_settled(e)); /* nobody waits for who failed last */
	endpoints_free(e);
}

static void an_unknown_name_leaves_nothing_to_connect_to(void **state) {
	struct endpoints *e = endpoints_of("host=nobody");
	(void)state;
	wait_until_settled(e);
	assert_false(endpoints_are_usable(e));
	assert_false(endpoints_are_remembered(e));
	endpoints_look_up(e);
	assert_false(endpoints_are_settled(e)); /* there is nothing to go on with */
	endpoints_free(e);
}

static void one_silent_name_does_not_keep_the_others(void **state) {
	struct endpoints *e = endpoints_of("host=silent,well");
	(void)state;
	set_silent(true);
	look_up_until(e, endpoints_are_usable);
	assert_false(endpoints_are_settled(e));
	endpoints_settle(e);
	assert_false(endpoints_are_remembered(e));
	expect_list(e, 0, "well,well", "10.0.0.1,10.0.0.2", "5432,5432");
	wait_until_settled(e);
	expect_list(e, 0, "well,well", "10.0.0.1,10.0.0.2", "5432,5432");
	endpoints_free(e);
}

/* Also where it came when nobody looked. */
static void what_has_come_is_not_out(void **state) {
	struct endpoints *e = endpoints_of("host=db");
	(void)state;
	wait_until_settled(e);
	service.addresses = "10.0.0.9";
	look_up_until(e, endpoints_are_usable);
	while (errand_is_any())
		usleep(1000);
	endpoints_settle(e);
	assert_string_equal(endpoints_error(e), "");
	expect_list(e, 0, "db", "10.0.0.9", "5432");
	endpoints_free(e);
}

/* ---- What never ends ----------------------------------------------------------------------- */

static void wait_until_asked(int times) {
	for (int i = 0; service.asked < times && i < PATIENCE_MS; i++)
		usleep(1000);
	assert_int_equal(service.asked, times);
}

/* An attempt to connect, so much later. One server needs no lookup. */
static void look_up_after(struct endpoints *e, int64_t seconds) {
	later_s += seconds;
	look_up_until(e, endpoints_are_usable);
}

static void end_all_errands(void) {
	assert_int_equal(wait_for_all(NULL), 0);
}

static void a_lookup_that_never_ends_is_given_up(void **state) {
	struct endpoints *e = endpoints_of("host=10.9.9.9,db port=1,2");
	(void)state;
	service.hang = 1;
	look_up_after(e, 0);
	wait_until_asked(1);
	endpoints_settle(e);
	look_up_after(e, ERRAND_HANGS_MS / 2000);
	assert_string_equal(endpoints_error(e), "db: the name servers don't answer");
	look_up_after(e, ERRAND_HANGS_MS / 1000);
	while (endpoints_error(e)[0] != '\0') {
		wait_for(endpoints_fd(e));
		endpoints_read(e);
	}
	expect_list(e, 0, "10.9.9.9,db,db", ",10.0.0.1,10.0.0.2", "1,2,2");
	end_all_errands();
	assert_int_equal(service.asked, 2);
	endpoints_free(e);
}

static void each_time_it_takes_twice_as_long(void **state) {
	const int64_t hangs_s = ERRAND_HANGS_MS / 1000;
	struct endpoints *e = endpoints_of("host=10.9.9.9,db");
	(void)state;
	service.hang = 3;
	look_up_after(e, 0);
	look_up_after(e, hangs_s);
	wait_until_asked(2);
	look_up_after(e, hangs_s);
	look_up_after(e, hangs_s);
	wait_until_asked(3);
	end_all_errands();
	assert_int_equal(service.asked, 3);
	endpoints_free(e);
}

static void no_more_are_given_up_than_are_allowed(void **state) {
	struct endpoints *e = endpoints_of("host=10.9.9.9,db");
	(void)state;
	service.hang = 1000;
	for (int i = 0; i < ERRANDS_GIVEN_UP_MAX + 5; i++)
		look_up_after(e, 3600);
	end_all_errands();
	assert_int_equal(service.asked, ERRANDS_GIVEN_UP_MAX + 1);
	endpoints_settle(e);
	assert_string_equal(endpoints_error(e), ""); /* the last one was waited for */
	set(&service.holding, true);                 /* the others count no longer */
	service.asked = 0;
	service.hang = 1;
	look_up_after(e, 0);
	wait_until_asked(1);
	look_up_after(e, 3600);
	wait_until_asked(2);
	endpoints_free(e);
}

/* ---- A service file ------------------------------------------------------------------------ */

static char service_dir[64], service_file[80], service_pipe[96];
static int pipe_end = -1;

static void write_service(const char *host) {
	char text[80];
	int file = open(service_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int length = snprintf(text, sizeof(text), "[limits]\nhost=%s\nport=99\n", host);
	assert_int_equal(write(file, text, (size_t)length), length);
	close(file);
}

static int make_service(void **state) {
	const char *tmp = getenv("TMPDIR");
	snprintf(service_dir, sizeof(service_dir), "%.40s/stint-test.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(service_dir))
		return -1;
	snprintf(service_file, sizeof(service_file), "%s/pg_service", service_dir);
	snprintf(service_pipe, sizeof(service_pipe), "%s.pipe", service_file);
	setenv("PGSERVICEFILE", service_file, 1);
	return reset(state);
}

static int open_pipe(void) {
	return open(service_pipe, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
}

/* Who waits for a writer of the pipe meets one, and then its end. */
static int remove_service(void **state) {
	if (pipe_end >= 0)
		close(pipe_end);
	pipe_end = -1;
	for (int i = 0; errand_is_any() && i < PATIENCE_MS; i++) {
		int end = open_pipe();
		if (end >= 0)
			close(end);
		usleep(1000);
	}
	unlink(service_pipe);
	unlink(service_file);
	rmdir(service_dir);
	unsetenv("PGSERVICEFILE");
	return wait_for_all(state);
}

/* As one on a file system that doesn't answer. */
static void hang_service(void) {
	assert_int_equal(mkfifo(service_pipe, 0600), 0);
	assert_int_equal(symlink(service_pipe, service_file), 0);
}

/* From then on it waits for what is written, and nothing is. */
static void wait_until_read(void) {
	for (int i = 0; (pipe_end = open_pipe()) < 0 && i < PATIENCE_MS; i++)
		usleep(1000);
	assert_true(pipe_end >= 0);
}

static void servers_come_from_where_libpq_takes_them(void **state) {
	struct pg_servers servers;
	(void)state;
	write_service("served");
	setenv("PGHOST", "from-environment", 1);
	assert_int_equal(pg_find_servers("service=limits", &servers), 0);
	assert_string_equal(servers.host, "served");
	assert_string_equal(servers.port, "99");
	pg_servers_free(&servers);
	assert_int_equal(pg_find_servers("dbname=x password=secret sslmode=require", &servers), 0);
	assert_string_equal(servers.host, "from-environment");
	pg_servers_free(&servers);
	unsetenv("PGHOST");
}

static void servers_are_searched_for_each_time(void **state) {
	struct endpoints *e = endpoints_of("service=limits");
	(void)state;
	write_service("10.1.1.1");
	wait_until_settled(e);
	expect_list(e, 0, "10.1.1.1", "", "99");
	write_service("db");
	wait_until_settled(e);
	expect_list(e, 0, "db,db", "10.0.0.1,10.0.0.2", "99,99");
	write_service("10.1.1.2");
	wait_until_settled(e);
	expect_list(e, 0, "10.1.1.2", "", "99");
	endpoints_free(e);
}

static void a_search_that_never_ends_is_given_up(void **state) {
	struct endpoints *e = endpoints_of("service=limits");
	(void)state;
	hang_service();
	endpoints_look_up(e);
	wait_until_read();
	assert_false(endpoints_are_settled(e));
	endpoints_settle(e);
	assert_false(endpoints_are_usable(e));
	assert_non_null(strstr(endpoints_error(e), "service file"));
	unlink(service_file);
	write_service("10.1.1.1");
	later_s += ERRAND_HANGS_MS / 1000;
	wait_until_settled(e);
	assert_string_equal(endpoints_error(e), "");
	expect_list(e, 0, "10.1.1.1", "", "99");
	endpoints_free(e);
}

/* ---- In the agent's loop, and in the command --------------------------------------------- */

/* Of a loop whose tick is 5 ms, on a busy machine; one that waits takes twice that. */
#define STALL_MS (SILENCE_S * 1000 / 2)

static void expect_no_stall(const char *conninfo, const char *why) {
	struct fixture f = {.base = NULL};
	int64_t longest = 0;
	set_silent(true);
	open_database(&f, conninfo, TIMEOUT_MS);
	for (int64_t now = test_now_ms(), end = now + 4 * TIMEOUT_MS, last = now; now < end; last = now) {
		event_base_loop(f.base, EVLOOP_ONCE);
		now = test_now_ms();
		longest = now - last > longest ? now - last : longest;
	}
	assert_in_range(longest, 0, STALL_MS);
	assert_true(strlen(f.story) >= 2);
	expect_why(&f, why);
	close_database(&f);
}

static void no_silence_stops_the_loop(void **state) {
	(void)state;
	expect_no_stall("host=silent", "silent: the name servers don't answer");
}

static void no_service_file_stops_the_loop(void **state) {
	(void)state;
	hang_service();
	expect_no_stall("service=limits", "the connection service file can't be read");
}

/* A password file, certificates, Kerberos: all of it is in the same place. */
static void nothing_else_that_libpq_waits_for_stops_it(void **state) {
	(void)state;
	expect_no_stall("host=127.0.0.1 port=1", "no connection within");
}

static void the_agent_goes_on_by_what_it_finds(void **state) {
	struct fixture f = {.base = NULL};
	(void)state;
	service.addresses = "127.0.0.1";
	open_database(&f, "host=db port=1 user=x", TIMEOUT_MS); /* nobody listens there */
	expect(&f, "D");
	expect_why(&f, "\"127.0.0.1\", port 1 failed");
	assert_string_equal(database_lookup_error(f.db), "");
	set_silent(true);
	expect(&f, "DD"); /* by the address of before, and the same once more */
	expect_why(&f, "\"127.0.0.1\", port 1 failed");
	expect(&f, "DDD");
	expect_why(&f, "\"127.0.0.1\", port 1 failed");
	assert_string_equal(database_lookup_error(f.db), "db: the name servers don't answer");
	close_database(&f);
}

static void the_command_gives_up_in_time(void **state) {
	int64_t began = test_now_ms();
	struct pg *pg;
	(void)state;
	set_silent(true);
	assert_int_equal(pg_connect(&pg, "host=silent", TIMEOUT_MS), PG_UNREACHABLE);
	assert_in_range(test_now_ms() - began, TIMEOUT_MS - 50, TIMEOUT_MS + PATIENCE_MS / 2);
	assert_string_equal(pg_error(pg), "silent: the name servers don't answer");
	pg_close(pg);
	service.addresses = "127.0.0.1";
	assert_int_equal(pg_connect(&pg, "host=silent,well port=1 user=x", TIMEOUT_MS), PG_UNREACHABLE);
	assert_non_null(strstr(pg_error(pg), "\"127.0.0.1\", port 1 failed"));
	pg_close(pg);
}

#define TEST(name)    cmocka_unit_test_setup_teardown(name, reset, wait_for_all)
#define SERVICE(name) cmocka_unit_test_setup_teardown(name, make_service, remove_service)

int main(void) {
	const struct CMUnitTest tests[] = {
		TEST(a_lookup_finds_addresses_in_order),
		TEST(more_addresses_than_fit_are_left_out),
		TEST(a_lookup_says_why_it_found_nothing),
		TEST(nobody_waits_for_a_lookup_that_hangs),
		TEST(no_more_lookups_hang_than_are_allowed),
		TEST(each_address_becomes_an_endpoint),
		TEST(a_name_is_looked_up_once),
		TEST(what_needs_no_lookup_has_none),
		TEST(a_part_of_the_list_may_have_its_address),
		TEST(addresses_are_remembered),
		TEST(addresses_survive_an_error),
		TEST(an_unknown_name_leaves_nothing_to_connect_to),
		TEST(one_silent_name_does_not_keep_the_others),
		TEST(what_has_come_is_not_out),
		TEST(a_lookup_that_never_ends_is_given_up),
		TEST(each_time_it_takes_twice_as_long),
		TEST(no_more_are_given_up_than_are_allowed),
		SERVICE(servers_come_from_where_libpq_takes_them),
		SERVICE(servers_are_searched_for_each_time),
		SERVICE(a_search_that_never_ends_is_given_up),
		SERVICE(no_service_file_stops_the_loop),
		TEST(no_silence_stops_the_loop),
		TEST(nothing_else_that_libpq_waits_for_stops_it),
		TEST(the_agent_goes_on_by_what_it_finds),
		TEST(the_command_gives_up_in_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
