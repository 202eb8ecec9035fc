/*
 * nth.h - makes the Nth call of a kind fail: an allocation, a system call, a call of libpq.
 *
 * nth_failure.so goes before the C library (LD_PRELOAD) and counts the calls of a process while it is armed;
 * the Nth one, or all from the Nth on, fail as such a call can fail. Test and victim share one small file in
 * memory: the test arms it and reads the count. N = 1, 2, ... until a run made fewer than N calls: then
 * everything has failed once.
 *
 *     $NTH_CONTROL   the file; without it nth_failure.so does nothing but pass on
 */
#ifndef NTH_H
#define NTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum nth_class { NTH_MEMORY = 1, NTH_SYSTEM = 2, NTH_LIBPQ = 4 };

#define NTH_VARIANTS 5u /* the most errors that a call has to choose from */
#define NTH_FOR_EVER UINT64_MAX

/* What is to fail. */
struct nth_plan {
	uint32_t classes; /* of enum nth_class */
	uint32_t variant; /* which of the errors that the call may have */
	uint64_t n;       /* 0: none, only count */
	/* so many in a row. NTH_FOR_EVER: the kind of error that stays (no memory), not one that passes (EINTR) */
	uint64_t span;
};

struct nth_control {
	_Atomic uint32_t armed;
	uint32_t at_start; /* arm when the victim's main() begins: nothing of the loader's is counted */
	struct nth_plan plan;
	_Atomic uint64_t calls;
	_Atomic uint64_t failures;
	char failed[32];             /* the first one's name */
	_Atomic int64_t blocks;      /* allocations that are not freed, of all the process's life */
	_Atomic int64_t blocks_then; /* the same when it was armed */
	_Atomic int64_t blocks_end;  /* and after main() */

	/* What a victim that judges itself found. */
	_Atomic uint64_t runs, checked, violations;
	_Atomic int64_t recovery_ms;
	char complaint[256];
};

/* The test: makes the file at path and maps it; NULL without. The victim: maps the file that $NTH_CONTROL
 * names. */
struct nth_control *nth_make(const char *path);
struct nth_control *nth_find(void);

void nth_arm(struct nth_control *, const struct nth_plan *plan);
/* Returns how many calls were counted. */
uint64_t nth_disarm(struct nth_control *);

/* The same connection string, with a second server behind its only one: its name has to be looked up, and
 * nobody listens there. */
void nth_add_name(const char *conninfo, char named[static 400]);

/* Like process_start(), with nth_failure.so in front of the program, controlled by that file. */
pid_t nth_start(const char *const *argv, const char *log_path, const char *control_path);

/* For run number i of a sweep: seeded, all variants and spans in time. */
struct nth_plan nth_plan_for(uint32_t class, uint64_t n, uint64_t *random);
const char *nth_class_name(uint32_t class);
/* "3rd malloc", for messages; static storage. */
const char *nth_describe(const struct nth_control *);

#endif
