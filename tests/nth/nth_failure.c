/*
 * nth_failure.c - stands in front of the C library and of libpq, and makes the Nth call fail: see nth.h.
 *
 * Left out is what can't fail in a program that is right (close, munmap, clock_gettime, timerfd_settime), and
 * what only tells an event loop to look again. libpq is spoken to by its documented interface, without its
 * header, which one file of the product alone may include.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "nth.h"

#define PUBLIC __attribute__((visibility("default")))

/* PGRES_FATAL_ERROR of libpq-fe.h. */
#define FATAL_ERROR 7

static struct nth_control *control;
static _Thread_local bool spared; /* nothing fails in this thread */

/* ---- To fail or not to fail ---------------------------------------------------- */

static bool falls_due(uint64_t number) {
	const struct nth_plan *plan = &control->plan;

	return plan->n > 0 && number >= plan->n && number - plan->n < plan->span;
}

/* True: this call fails, with an errno of the list. Lists begin with the error that is most likely to stay. */
static bool fails(uint32_t class, const char *name, const int *errors, unsigned count) {
	unsigned choice;

	if (control == NULL || spared || atomic_load(&control->armed) == 0 || (control->plan.classes & class) == 0)
		return false;
	if (!falls_due(atomic_fetch_add(&control->calls, 1) + 1))
		return false;
	choice = control->plan.span == NTH_FOR_EVER ? 0 : control->plan.variant % count;
	if (control->plan.span == NTH_FOR_EVER && errors[0] == EINTR)
		return false; /* nobody is interrupted for ever */
	if (atomic_fetch_add(&control->failures, 1) == 0)
		strncpy(control->failed, name, sizeof(control->failed) - 1);
	errno = errors[choice];
	return true;
}

#define FAILS(class, name, ...)                                                                                   \
	fails(class, name, (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

/* ---- Memory ----------------------------------------------------------------------- */

/* What glibc itself calls them: available before anything can be looked up. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

/*
 * For each thread the loader allocates a block (its table of thread-local variables). When the thread ends, the C
 * library keeps that block with the stack, for the next thread. So there are as many of these blocks as threads
 * have been alive at once, and that is chance: they are not counted.
 */
#define STACKS_MAX 64
static void *_Atomic of_stacks[STACKS_MAX];
static _Thread_local bool makes_thread;

/* NULL is a free place. False: there is none with `from`. */
static bool replace_of_stacks(void *from, void *to) {
	for (int i = 0; i < STACKS_MAX; i++) {
		void *there = atomic_load(&of_stacks[i]);

		if (there == from && atomic_compare_exchange_strong(&of_stacks[i], &there, to))
			return true;
	}
	return false;
}

static void *counted(void *block) {
	if (block == NULL || control == NULL || (makes_thread && replace_of_stacks(NULL, block)))
		return block;
	atomic_fetch_add(&control->blocks, 1);
	return block;
}

PUBLIC void *malloc(size_t size) {
	return FAILS(NTH_MEMORY, "malloc", ENOMEM) ? NULL : counted(__libc_malloc(size));
}

PUBLIC void *calloc(size_t count, size_t size) {
	return FAILS(NTH_MEMORY, "calloc", ENOMEM) ? NULL : counted(__libc_calloc(count, size));
}

PUBLIC void *realloc(void *block, size_t size) {
	void *moved;

	if (size > 0 && FAILS(NTH_MEMORY, "realloc", ENOMEM))
		return NULL;
	moved = __libc_realloc(block, size);
	if (control != NULL && !(block != NULL && moved != NULL && replace_of_stacks(block, moved)))
		atomic_fetch_add(&control->blocks, (moved != NULL) - (block != NULL && (moved != NULL || size == 0)));
	return moved;
}

PUBLIC void *aligned_alloc(size_t alignment, size_t size) {
	return FAILS(NTH_MEMORY, "aligned_alloc", ENOMEM) ? NULL : counted(__libc_memalign(alignment, size));
}

PUBLIC void *memalign(size_t alignment, size_t size) {
	return aligned_alloc(alignment, size);
}

PUBLIC int posix_memalign(void **out, size_t alignment, size_t size) {
	void *block = aligned_alloc(alignment, size);

	if (block == NULL)
		return ENOMEM;
	*out = block;
	return 0;
}

PUBLIC void free(void *block) {
	if (block != NULL && control != NULL && !replace_of_stacks(block, NULL))
		atomic_fetch_sub(&control->blocks, 1);
	__libc_free(block);
}

/* ---- System calls ------------------------------------------------------------------ */

/* Looked up before anything is armed, since that takes memory; or when a library that was initialised earlier
 * calls. */
#define REAL(result, name, parameters)                                                                            \
	static result(*found_##name) parameters;                                                                      \
	__attribute__((constructor(101))) static void find_##name(void) {                                             \
		*(void **)&found_##name = dlsym(RTLD_NEXT, #name);                                                        \
	}                                                                                                             \
	static __typeof__(found_##name) real_##name(void) {                                                           \
		if (found_##name == NULL)                                                                                 \
			find_##name();                                                                                        \
		return found_##name;                                                                                      \
	}

#define WRAP(result, failed, class, name, parameters, arguments, ...)                                             \
	REAL(result, name, parameters)                                                                                \
	PUBLIC result name parameters {                                                                               \
		return FAILS(class, #name, __VA_ARGS__) ? (failed) : real_##name() arguments;                             \
	}

#define CALL(name, parameters, arguments, ...) WRAP(int, -1, NTH_SYSTEM, name, parameters, arguments, __VA_ARGS__)
#define TRANSFER(name, parameters, arguments, ...)                                                                \
	WRAP(ssize_t, -1, NTH_SYSTEM, name, parameters, arguments, __VA_ARGS__)

CALL(socket, (int domain, int type, int protocol), (domain, type, protocol), EMFILE, ENFILE, ENOBUFS, ENOMEM)
CALL(socketpair, (int domain, int type, int protocol, int fds[2]), (domain, type, protocol, fds), EMFILE, ENFILE,
     ENOMEM)
CALL(connect, (int fd, __CONST_SOCKADDR_ARG address, socklen_t size), (fd, address, size), EAGAIN, EINTR, ENOMEM,
     EACCES)
CALL(accept4, (int fd, __SOCKADDR_ARG address, socklen_t *size, int flags), (fd, address, size, flags), EMFILE,
     ENFILE, ECONNABORTED, EINTR, ENOMEM)
CALL(bind, (int fd, __CONST_SOCKADDR_ARG address, socklen_t size), (fd, address, size), EADDRINUSE, EACCES, ENOMEM)
CALL(listen, (int fd, int backlog), (fd, backlog), EADDRINUSE)
CALL(setsockopt, (int fd, int level, int name, const void *value, socklen_t size), (fd, level, name, value, size),
     ENOMEM, ENOBUFS)
CALL(getsockopt, (int fd, int level, int name, void *value, socklen_t *size), (fd, level, name, value, size),
     ENOBUFS)
CALL(getsockname, (int fd, __SOCKADDR_ARG address, socklen_t *size), (fd, address, size), ENOBUFS)
/* A connection that is said to be gone is gone, for whoever looks at it next. */
#define TRAFFIC(name, parameters, arguments, ...)                                                                 \
	REAL(ssize_t, name, parameters)                                                                               \
	PUBLIC ssize_t name parameters {                                                                              \
		if (!FAILS(NTH_SYSTEM, #name, __VA_ARGS__))                                                               \
			return real_##name() arguments;                                                                       \
		if (errno == EPIPE || errno == ECONNRESET)                                                                \
			break_connection(fd);                                                                                 \
		return -1;                                                                                                \
	}

static void break_connection(int fd) {
	int error = errno;

	shutdown(fd, SHUT_RDWR);
	errno = error;
}

TRAFFIC(send, (int fd, const void *bytes, size_t size, int flags), (fd, bytes, size, flags), ENOBUFS, EAGAIN,
        EINTR, EPIPE, ECONNRESET)
TRAFFIC(sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), ENOBUFS, EAGAIN, EINTR,
        EPIPE, ECONNRESET)
TRAFFIC(recv, (int fd, void *bytes, size_t size, int flags), (fd, bytes, size, flags), ENOMEM, EAGAIN, EINTR,
        ECONNRESET)
TRAFFIC(recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), ENOMEM, EAGAIN, EINTR,
        ECONNRESET)
CALL(recvmmsg, (int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout),
     (fd, messages, count, flags, timeout), ENOMEM, EAGAIN, EINTR, ECONNRESET)
CALL(poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout), ENOMEM, EINTR)
CALL(ppoll, (struct pollfd * fds, nfds_t count, const struct timespec *timeout, const sigset_t *mask),
     (fds, count, timeout, mask), ENOMEM, EINTR)
CALL(eventfd, (unsigned count, int flags), (count, flags), EMFILE, ENFILE, ENOMEM)
CALL(epoll_create1, (int flags), (flags), EMFILE, ENFILE, ENOMEM)
CALL(epoll_wait, (int fd, struct epoll_event *events, int count, int timeout), (fd, events, count, timeout), EINTR)
CALL(timerfd_create, (int clock, int flags), (clock, flags), EMFILE, ENFILE, ENOMEM)
CALL(pipe2, (int fds[2], int flags), (fds, flags), EMFILE, ENFILE)
CALL(dup3, (int fd, int number, int flags), (fd, number, flags), EBUSY, EINTR)
CALL(shm_open, (const char *name, int flags, mode_t mode), (name, flags, mode), EMFILE, ENFILE, ENOMEM, ENOSPC)
CALL(ftruncate, (int fd, off_t size), (fd, size), ENOSPC, EINTR)
CALL(fstat, (int fd, struct stat *st), (fd, st), ENOMEM)
CALL(lstat, (const char *path, struct stat *st), (path, st), ENOMEM, EACCES)
CALL(fstatvfs, (int fd, struct statvfs *st), (fd, st), ENOMEM, EINTR)
CALL(fchmod, (int fd, mode_t mode), (fd, mode), EPERM)
CALL(chmod, (const char *path, mode_t mode), (path, mode), EPERM, ENOMEM)
CALL(flock, (int fd, int operation), (fd, operation), ENOLCK, EINTR)
CALL(unlink, (const char *path), (path), EACCES, ENOMEM)
CALL(shm_unlink, (const char *name), (name), EACCES, ENOMEM)
CALL(madvise, (void *memory, size_t size, int advice), (memory, size, advice), ENOMEM, EAGAIN, EINVAL)
TRANSFER(pread, (int fd, void *bytes, size_t size, off_t offset), (fd, bytes, size, offset), EIO, EINTR)
TRANSFER(pwrite, (int fd, const void *bytes, size_t size, off_t offset), (fd, bytes, size, offset), ENOSPC, EINTR)
TRANSFER(getrandom, (void *bytes, size_t size, unsigned flags), (bytes, size, flags), ENOSYS, EINTR)
WRAP(void *, MAP_FAILED, NTH_SYSTEM, mmap,
     (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset), ENOMEM, EAGAIN, ENFILE)
WRAP(FILE *, NULL, NTH_SYSTEM, fopen, (const char *path, const char *mode), (path, mode), EMFILE, ENFILE, ENOMEM)
/* These return their error. */
WRAP(int, errno, NTH_SYSTEM, posix_fallocate, (int fd, off_t offset, off_t size), (fd, offset, size), ENOSPC,
     EINTR)
WRAP(int, errno, NTH_SYSTEM, pthread_mutex_init, (pthread_mutex_t * mutex, const pthread_mutexattr_t *attributes),
     (mutex, attributes), ENOMEM, EAGAIN)
WRAP(int, errno, NTH_SYSTEM, pthread_cond_init, (pthread_cond_t * condition, const pthread_condattr_t *attributes),
     (condition, attributes), ENOMEM, EAGAIN)
WRAP(int, errno, NTH_SYSTEM, pthread_attr_init, (pthread_attr_t * attributes), (attributes), ENOMEM)
WRAP(int, errno, NTH_SYSTEM, pthread_condattr_init, (pthread_condattr_t * attributes), (attributes), ENOMEM)

/* So does this one; what it allocates belongs to the thread's stack. */
#define THREAD_PARAMETERS                                                                                         \
	(pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *context)
REAL(int, pthread_create, THREAD_PARAMETERS)
PUBLIC int pthread_create THREAD_PARAMETERS {
	int error;

	if (FAILS(NTH_SYSTEM, "pthread_create", EAGAIN))
		return errno;
	makes_thread = true;
	error = real_pthread_create()(thread, attributes, run, context);
	makes_thread = false;
	return error;
}

/* So do these; their errors have numbers of their own. Inside the first one nothing fails: the C library
 * asserts that it has memory for its name services. */
REAL(int, getaddrinfo, (const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found))
PUBLIC int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
	int error;

	if (FAILS(NTH_SYSTEM, "getaddrinfo", EAI_AGAIN, EAI_MEMORY, EAI_NONAME, EAI_FAIL))
		return errno;
	spared = true;
	error = real_getaddrinfo()(name, port, hints, found);
	spared = false;
	return error;
}
WRAP(int, errno, NTH_SYSTEM, getnameinfo,
     (const struct sockaddr *address, socklen_t size, char *host, socklen_t host_size, char *port,
      socklen_t port_size, int flags),
     (address, size, host, host_size, port, port_size, flags), EAI_MEMORY)

/* What a program says to itself, through a pipe or a timer, may be interrupted only. */
REAL(ssize_t, read, (int fd, void *bytes, size_t size))
PUBLIC ssize_t read(int fd, void *bytes, size_t size) {
	struct stat st;
	bool is_file = real_fstat()(fd, &st) == 0 && S_ISREG(st.st_mode);

	if (is_file ? FAILS(NTH_SYSTEM, "read", EIO, EINTR) : FAILS(NTH_SYSTEM, "read", EINTR, EAGAIN))
		return -1;
	return real_read()(fd, bytes, size);
}

/* To take something out of an epoll set needs no memory. */
REAL(int, epoll_ctl, (int fd, int operation, int other, struct epoll_event *event))
PUBLIC int epoll_ctl(int fd, int operation, int other, struct epoll_event *event) {
	if (operation == EPOLL_CTL_ADD && FAILS(NTH_SYSTEM, "epoll_ctl", ENOMEM, ENOSPC))
		return -1;
	return real_epoll_ctl()(fd, operation, other, event);
}

REAL(int, open, (const char *path, int flags, ...))
PUBLIC int open(const char *path, int flags, ...) {
	va_list rest;
	mode_t mode;

	va_start(rest, flags);
	mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	return FAILS(NTH_SYSTEM, "open", EMFILE, ENFILE, EACCES, ENOMEM) ? -1 : real_open()(path, flags, mode);
}

/* ---- libpq ------------------------------------------------------------------------------ */

#define LIBPQ(result, failed, name, parameters, arguments)                                                        \
	result name parameters;                                                                                       \
	WRAP(result, failed, NTH_LIBPQ, name, parameters, arguments, ENOMEM)

LIBPQ(void *, NULL, PQconnectStartParams, (const char *const *keywords, const char *const *values, int expand),
      (keywords, values, expand))
LIBPQ(void *, NULL, PQconninfo, (void *conn), (conn))
LIBPQ(void *, NULL, PQconninfoParse, (const char *conninfo, char **message), (conninfo, message))
LIBPQ(int, -1, PQsetnonblocking, (void *conn, int on), (conn, on))
LIBPQ(int, 0, PQenterPipelineMode, (void *conn), (conn))
LIBPQ(int, 0, PQpipelineSync, (void *conn), (conn))
LIBPQ(int, 0, PQsendQueryParams,
      (void *conn, const char *sql, int count, const void *types, const char *const *values, const int *lengths,
       const int *formats, int format),
      (conn, sql, count, types, values, lengths, formats, format))
LIBPQ(int, 0, PQsendPrepare, (void *conn, const char *name, const char *sql, int count, const void *types),
      (conn, name, sql, count, types))
LIBPQ(int, 0, PQsendQueryPrepared,
      (void *conn, const char *name, int count, const char *const *values, const int *lengths, const int *formats,
       int format),
      (conn, name, count, values, lengths, formats, format))
LIBPQ(int, -1, PQflush, (void *conn), (conn))
LIBPQ(int, 0, PQconsumeInput, (void *conn), (conn))

/* An answer may get lost after the statement was done: the result is taken, and a failure handed out in its
 * place, as libpq does when it has no memory for it. */
void *PQmakeEmptyPGresult(void *conn, int status);
void PQclear(void *result);

static void *lose_result(void *conn, void *result) {
	void *(*make)(void *, int);
	void (*clear)(void *);

	*(void **)&make = dlsym(RTLD_DEFAULT, "PQmakeEmptyPGresult");
	*(void **)&clear = dlsym(RTLD_DEFAULT, "PQclear");
	clear(result);
	return make(conn, FATAL_ERROR);
}

void *PQgetResult(void *conn);
REAL(void *, PQgetResult, (void *conn))
PUBLIC void *PQgetResult(void *conn) {
	void *result = real_PQgetResult()(conn);

	return result != NULL && FAILS(NTH_LIBPQ, "PQgetResult", ENOMEM) ? lose_result(conn, result) : result;
}

/* The connection breaks under it, so that libpq says what it says then. */
int PQconnectPoll(void *conn);
REAL(int, PQconnectPoll, (void *conn))
PUBLIC int PQconnectPoll(void *conn) {
	int (*socket_of)(const void *);

	if (!FAILS(NTH_LIBPQ, "PQconnectPoll", ENOMEM))
		return real_PQconnectPoll()(conn);
	*(void **)&socket_of = dlsym(RTLD_DEFAULT, "PQsocket");
	shutdown(socket_of(conn), SHUT_RDWR);
	return real_PQconnectPoll()(conn);
}

/* Every other one is done all the same. */
static bool is_done_anyway(void) {
	return control->plan.variant % 2 == 1;
}

void *PQexec(void *conn, const char *sql);
REAL(void *, PQexec, (void *conn, const char *sql))
PUBLIC void *PQexec(void *conn, const char *sql) {
	if (!FAILS(NTH_LIBPQ, "PQexec", ENOMEM))
		return real_PQexec()(conn, sql);
	return is_done_anyway() ? lose_result(conn, real_PQexec()(conn, sql)) : NULL;
}

#define EXEC_PARAMETERS                                                                                           \
	(void *conn, const char *sql, int count, const void *types, const char *const *values, const int *lengths,    \
	 const int *formats, int format)
void *PQexecParams EXEC_PARAMETERS;
REAL(void *, PQexecParams, EXEC_PARAMETERS)
PUBLIC void *PQexecParams EXEC_PARAMETERS {
	if (!FAILS(NTH_LIBPQ, "PQexecParams", ENOMEM))
		return real_PQexecParams()(conn, sql, count, types, values, lengths, formats, format);
	return is_done_anyway()
	           ? lose_result(conn, real_PQexecParams()(conn, sql, count, types, values, lengths, formats, format))
	           : NULL;
}

/* ---- The start mark, and the end ------------------------------------------------------- */

/* What calls main(), when the loader and all libraries have done what they do first. */
typedef int main_function(int argc, char **argv, char **environment);
#define START_PARAMETERS                                                                                          \
	(main_function * main, int argc, char **argv, void (*init)(void), void (*fini)(void),                         \
	 void (*loader_fini)(void), void *stack)
int __libc_start_main START_PARAMETERS;
REAL(int, __libc_start_main, START_PARAMETERS)
PUBLIC int __libc_start_main START_PARAMETERS {
	if (control != NULL && control->at_start != 0)
		nth_arm(control, &(struct nth_plan){control->plan.classes, control->plan.variant, control->plan.n,
		                                    control->plan.span});
	return real___libc_start_main()(main, argc, argv, init, fini, loader_fini, stack);
}

/* Children of the victim are not counted: the first process that finds the file has it. */
__attribute__((constructor(102))) static void begin(void) {
	struct nth_control *found = nth_find();

	unsetenv("LD_PRELOAD");
	control = found;
}

__attribute__((destructor)) static void end(void) {
	if (control == NULL)
		return;
	nth_disarm(control);
	atomic_store(&control->blocks_end, atomic_load(&control->blocks));
}
