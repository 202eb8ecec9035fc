/* points.c - see points.h. */
#include "points.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "clock.h"
#include "process.h"

#define SYMBOLS_MAX      512
#define TRAP_INSTRUCTION 0xcc /* int3 */
#define STOP_MS          2000
#define NOBODY           0

struct symbol {
	char name[64];
	uint64_t offset; /* the distance from the program's beginning, since its place isn't fixed */
};

static char traced[PATH_MAX]; /* the program that has them */
static struct symbol symbols[SYMBOLS_MAX];
static size_t symbol_count;

/* ---- Where things are --------------------------------------------------------------- */

static void read_line(const char *line) {
	struct symbol *symbol = &symbols[symbol_count];
	char kind;

	if (symbol_count < SYMBOLS_MAX &&
	    sscanf(line, "%" SCNx64 " %c %63s", &symbol->offset, &kind, symbol->name) == 3 && kind == 'T')
		symbol_count++;
}

int points_read(const char *program) {
	static char text[1 << 18];
	const char *argv[] = {"nm", "--defined-only", program, NULL};
	char *rest = NULL;

	if (realpath(program, traced) == NULL || process_run(argv, 10000, text, sizeof(text), NULL) != 0) {
		fprintf(stderr, "# nm %s failed\n", program);
		return -1;
	}
	symbol_count = 0;
	for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
		read_line(line);
	return symbol_count > 0 ? 0 : -1;
}

static const struct symbol *find(const char *name) {
	for (size_t i = 0; i < symbol_count; i++)
		if (strcmp(symbols[i].name, name) == 0)
			return &symbols[i];
	return NULL;
}

bool point_exists(const struct point *point) {
	return find(point->function) != NULL;
}

/* Gives the address of the process's first mapping of the traced program. 0: it has none yet. */
static uint64_t base_of(pid_t pid) {
	char path[64], line[PATH_MAX + 256];
	uint64_t base = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	while (file != NULL && base == 0 && fgets(line, sizeof(line), file) != NULL)
		if (strstr(line, traced) != NULL)
			base = strtoull(line, NULL, 16);
	if (file != NULL)
		fclose(file);
	return base;
}

/* A process that has just been started may still have the program of who started it. */
static uint64_t await_base(pid_t pid) {
	uint64_t deadline_ns = monotonic_ns() + STOP_MS * NS_PER_MS, base;

	while ((base = base_of(pid)) == 0 && monotonic_ns() < deadline_ns)
		sleep_until_ns(monotonic_ns() + 200 * NS_PER_US);
	return base;
}

/* ---- Registers and memory ------------------------------------------------------------- */

static long word_at(const struct tracer *t, uint64_t address) {
	return ptrace(PTRACE_PEEKTEXT, t->pid, (void *)address, NULL);
}

static uint64_t reg(const struct tracer *t, size_t offset) {
	return (uint64_t)ptrace(PTRACE_PEEKUSER, t->pid, (void *)offset, NULL);
}

static void plant(struct tracer *t, uint64_t place) {
	t->text = word_at(t, place);
	t->place = place;
	ptrace(PTRACE_POKETEXT, t->pid, (void *)place, (void *)((t->text & ~0xffL) | TRAP_INSTRUCTION));
}

static void uproot(struct tracer *t) {
	if (t->place != 0)
		ptrace(PTRACE_POKETEXT, t->pid, (void *)t->place, (void *)t->text);
	t->place = 0;
}

/* ---- Going on and stopping ------------------------------------------------------------- */

/* Waits for the next stop at a trap, and hands signals on. False: the time is up, or the process has ended. */
static bool await_stop(struct tracer *t, uint64_t deadline_ns) {
	while (monotonic_ns() < deadline_ns) {
		int status, signal;

		if (waitpid(t->pid, &status, WNOHANG) != t->pid) {
			sleep_until_ns(monotonic_ns() + 50 * NS_PER_US);
			continue;
		}
		if (!WIFSTOPPED(status)) {
			t->pid = NOBODY;
			return false;
		}
		signal = WSTOPSIG(status);
		if (signal == SIGTRAP || status >> 16 == PTRACE_EVENT_STOP)
			return true;
		ptrace(PTRACE_CONT, t->pid, NULL, (void *)(long)signal);
	}
	return false;
}

static bool step(struct tracer *t) {
	return ptrace(PTRACE_SINGLESTEP, t->pid, NULL, NULL) == 0 &&
	       await_stop(t, monotonic_ns() + STOP_MS * NS_PER_MS);
}

/* The process stands behind the trap: goes back to the instruction that belongs there. */
static void take_back(struct tracer *t) {
	uint64_t place = t->place;

	uproot(t);
	ptrace(PTRACE_POKEUSER, t->pid, (void *)offsetof(struct user_regs_struct, rip), (void *)place);
}

static bool stands_at_trap(const struct tracer *t) {
	return t->place != 0 && reg(t, offsetof(struct user_regs_struct, rip)) == t->place + 1;
}

static bool run_to_trap(struct tracer *t, uint64_t deadline_ns) {
	do {
		if (ptrace(PTRACE_CONT, t->pid, NULL, NULL) != 0 || !await_stop(t, deadline_ns))
			return false;
	} while (!stands_at_trap(t));
	take_back(t);
	return true;
}

static void let_go(struct tracer *t) {
	if (t->pid == NOBODY)
		return;
	ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL);
	if (await_stop(t, monotonic_ns() + STOP_MS * NS_PER_MS)) {
		if (stands_at_trap(t))
			take_back(t);
		uproot(t);
		ptrace(PTRACE_DETACH, t->pid, NULL, NULL);
	}
	t->pid = NOBODY;
}

int tracer_set(struct tracer *t, pid_t pid, const struct point *point) {
	const struct symbol *symbol = find(point->function);

	*t = (struct tracer){.pid = pid, .base = await_base(pid)};
	if (symbol == NULL || t->base == 0 || ptrace(PTRACE_SEIZE, pid, NULL, (void *)(long)PTRACE_O_EXITKILL) != 0)
		return -1;
	if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) != 0 || !await_stop(t, monotonic_ns() + STOP_MS * NS_PER_MS))
		return -1;
	plant(t, t->base + symbol->offset);
	return ptrace(PTRACE_CONT, pid, NULL, NULL) == 0 ? 0 : -1;
}

/* Runs from the function's entry until it has returned. */
static bool run_to_return(struct tracer *t, uint64_t deadline_ns) {
	plant(t, (uint64_t)word_at(t, reg(t, offsetof(struct user_regs_struct, rsp))));
	return run_to_trap(t, deadline_ns);
}

/* Steps over the instruction at the trap's place, and puts the trap there again. */
static bool pass(struct tracer *t, uint64_t place) {
	if (!step(t))
		return false;
	plant(t, place);
	return true;
}

static bool reach(struct tracer *t, const struct point *point, unsigned hit, unsigned steps,
                  uint64_t deadline_ns) {
	uint64_t place = t->place;

	if (!await_stop(t, deadline_ns))
		return false;
	if (stands_at_trap(t))
		take_back(t);
	else if (!run_to_trap(t, deadline_ns))
		return false;
	while (--hit > 0)
		if (!pass(t, place) || !run_to_trap(t, deadline_ns))
			return false;
	if (point->leaving && !run_to_return(t, deadline_ns))
		return false;
	while (steps-- > 0)
		if (!step(t))
			return false;
	return true;
}

bool tracer_wait(struct tracer *t, const struct point *point, unsigned hit, unsigned steps, int timeout_ms) {
	if (reach(t, point, hit, steps, monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS))
		return true;
	let_go(t);
	return false;
}
