/*
 * interrupt.h - something else happens in the middle of what is tested: after its first instruction, after its
 * second, and so on to the last. The processor stops after each by its trap flag; what happens then runs in the
 * signal's handler, and may only do what another process could do to the same memory.
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

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
} interrupt;

static inline void on_step(int number, siginfo_t *info, void *context) {
	ucontext_t *at = context;

	(void)number, (void)info;
	if (interrupt.steps > 0 && --interrupt.steps > 0)
		return;
	at->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
	interrupt.meanwhile(interrupt.context);
}

/* False: what is tested had ended before. */
static inline bool interrupt_after(unsigned steps, void (*tested)(void *), void (*meanwhile)(void *),
                                   void *context) {
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO}, before;

	interrupt.meanwhile = meanwhile;
	interrupt.context = context;
	interrupt.steps = steps;
	sigaction(SIGTRAP, &action, &before);
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() | TRAP_FLAG);
	tested(context);
	__builtin_ia32_writeeflags_u64(__builtin_ia32_readeflags_u64() & ~(unsigned long long)TRAP_FLAG);
	sigaction(SIGTRAP, &before, NULL);
	return interrupt.steps == 0;
}
#else
static inline bool can_interrupt(void) {
	return false;
}

static inline bool interrupt_after(unsigned steps, void (*tested)(void *), void (*meanwhile)(void *),
                                   void *context) {
	(void)steps, (void)tested, (void)meanwhile, (void)context;
	return false;
}
#endif

#endif
