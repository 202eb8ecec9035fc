/*
 * interrupt.h - something else happens in the middle of what is tested: after its first instruction, after its
 * second, and so on to the last; in a run for each, or in one run after all of them. The processor stops after
 * each by its trap flag; what happens then runs in the signal's handler, and may only do what another process
 * could do to the same memory.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

/* How many instructions further it happens in the next of many runs. Unoptimized, as for coverage, there are ten
 * times as many, and each run steps through all before it: one for each would take a hundred times as long. */
#ifdef __OPTIMIZE__
#define INTERRUPT_STRIDE 1
#else
#define INTERRUPT_STRIDE 31
#endif

/* Under a sanitizer, its own code would be interrupted as well, and that takes long. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define TRAP_FLAG 0x100

/* Valgrind's processor has no trap flag. */
static inline bool can_interrupt(void) {
	const char *preloaded = getenv("LD_PRELOAD");

	return !preloaded || !strstr(preloaded, "vgpreload");
}

static struct {
	void (*meanwhile)(void *);
	void *context;
	volatile unsigned steps; /* instructions that are left until it happens */
	bool often;
	uintptr_t at; /* the instruction that comes next */
} interrupt;

extern const char __executable_start, etext; /* the linker's */

/* Whether it happens in the program itself, and not in a library, which may be in the middle of anything. */
static inline bool interrupt_is_in_program(void) {
	return interrupt.at >= (uintptr_t)&__executable_start && interrupt.at < (uintptr_t)&etext;
}

static inline void on_step(int number, siginfo_t *info, void *context) {
	ucontext_t *at = context;

	(void)number, (void)info;
	interrupt.at = (uintptr_t)at->uc_mcontext.gregs[REG_RIP];
	if (interrupt.often) {
		interrupt.meanwhile(interrupt.context);
		return;
	}
	if (interrupt.steps > 0 && --interrupt.steps > 0)
		return;
	at->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	interrupt.meanwhile(interrupt.context);
}

static inline void interrupt_run(void (*tested)(void *), void (*meanwhile)(void *), void *context) {
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, before;

	interrupt.meanwhile = meanwhile;
	interrupt.context = context;
	sigaction(SIGTRAP, &action, &before);
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | TRAP_FLAG);
	tested(context);
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(unsigned long long)TRAP_FLAG);
	sigaction(SIGTRAP, &before, NULL);
}

/* False: what is tested had ended before. */
static inline bool interrupt_after(unsigned steps, void (*tested)(void *), void (*meanwhile)(void *),
                                   void *context) {
	interrupt.steps = steps;
	interrupt.often = false;
	interrupt_run(tested, meanwhile, context);
	return interrupt.steps == 0;
}

/* After each instruction, in one run. */
static inline void interrupt_often(void (*tested)(void *), void (*meanwhile)(void *), void *context) {
	interrupt.often = true;
	interrupt_run(tested, meanwhile, context);
}
#else
static inline bool can_interrupt(void) {
	return false;
}

static inline bool interrupt_is_in_program(void) {
	return false;
}

static inline bool interrupt_after(unsigned steps, void (*tested)(void *), void (*meanwhile)(void *),
                                   void *context) {
	(void)steps, (void)tested, (void)meanwhile, (void)context;
	return false;
}

static inline void interrupt_often(void (*tested)(void *), void (*meanwhile)(void *), void *context) {
	(void)tested, (void)meanwhile, (void)context;
}
#endif

/* Where nothing can be interrupted, what is tested runs once at most, and nothing happens in the middle: so the
 * test doesn't count. What it has taken must be free by then, for it ends here. */
static inline void interrupt_or_skip(void) {
	if (can_interrupt())
		return;
	print_message("skipped: no trap flag here (sanitizer, valgrind, or another processor than x86-64)\n");
	skip();
}

#endif
