/*
 * process.h - starting, waiting for and ending the processes of a test. Every
 * wait is bounded; every signal goes to an id that was recorded here. What is
 * started dies with the test.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A program of this build: $STINT_BUILD/name, by default build/name. Static storage, valid until the eighth
 * call from now. */
const char *process_built(const char *name);

/* Starts argv (ended by NULL); its stdout and stderr go to the end of log_path (NULL: the test's own stderr).
 * -1: failed. */
pid_t process_start(const char *const *argv, const char *log_path);

/* Waits up to timeout_ms. True when it ended; then *status is waitpid()'s (may be NULL). */
bool process_wait(pid_t, int timeout_ms, int *status);

/* SIGKILL and reap. 0 and negative ids are ignored. */
void process_kill(pid_t);

/* SIGTERM, wait up to timeout_ms, else SIGKILL. Returns the exit status, or -1 when it did not end by itself. */
int process_stop(pid_t, int timeout_ms);

/* Runs argv to its end, at most timeout_ms. Its stdout goes to out (cut to size, terminated; NULL: nowhere),
 * its stderr to the end of log_path (NULL: the test's own). Returns its exit status, or -1. */
int process_run(const char *const *argv, int timeout_ms, char *out, size_t size, const char *log_path);

/* Physical memory of a process in KiB (VmRSS), of which shared mappings (RssShmem) are *shared_kib. -1: gone. */
long process_memory_kib(pid_t, long *shared_kib);

/* Whether a process's first thread sleeps in a system call, but for that in which event loops do. False also
 * where the kernel doesn't tell (it tells root, and the process's own user). */
bool process_is_blocked(pid_t);

/* How many descriptors a process has open; -1: gone. */
int process_descriptors(pid_t);
/* Waits until it has at most so many. Gives how many it has in the end. */
int process_wait_descriptors(pid_t, int most, int timeout_ms);

#endif
