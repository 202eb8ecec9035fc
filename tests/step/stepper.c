/* stepper.c - see stepper.h. */
#include "stepper.h"

#include <errno.h>
#include <stddef.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"

/* Preparing takes a few round trips to the agent. So long it takes at most on a busy machine. */
#define READY_MS 30000

#define CALL_INSTRUCTION 0x050fu /* syscall */
#define TRAP_INSTRUCTION 0xccu   /* int3 */

/* Running to a place takes as long as the agent's answers on the way. */
#define RUN_MS 5000

void stepper_ready(void) {
	raise(SIGSTOP);
}

/* A step interrupts a restartable sequence (lib/count.h), so an app that is stepped would count in another place
 * than one that runs, and could stop at no instruction on the way there. Without such sequences all go one way. */
static void leave_sequences(void) {
	syscall(SYS_rseq, (char *)__builtin_thread_pointer() + __rseq_offset, sizeof(struct rseq),
	        RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
}

static void be_stepped(void (*body)(void *), void *arg, pid_t parent) {
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(127);
	leave_sequences();
	body(arg);
	_exit(126); /* a body parks itself at its end */
}

static uint64_t address_of_next(const struct stepper *s) {
	return (uint64_t)ptrace(PTRACE_PEEKUSER, s->pid, (void *)offsetof(struct user_regs_struct, rip), NULL);
}

int stepper_start(struct stepper *s, void (*body)(void *), void *arg) {
	uint64_t deadline_ns = monotonic_ns() + READY_MS * NS_PER_MS;
	pid_t parent = getpid();

	*s = (struct stepper){.pid = fork()};
	if (s->pid == 0)
		be_stepped(body, arg, parent);
	if (s->pid < 0)
		return -1;
	while (monotonic_ns() < deadline_ns) {
		pid_t got = waitpid(s->pid, &s->status, WNOHANG);

		if (got == s->pid && WIFSTOPPED(s->status) && WSTOPSIG(s->status) == SIGSTOP) {
			s->at = address_of_next(s);
			return 0;
		}
		if (got == s->pid && !WIFSTOPPED(s->status)) {
			s->pid = 0;
			return -1;
		}
		if (got == s->pid)
			ptrace(PTRACE_CONT, s->pid, NULL, (void *)(long)WSTOPSIG(s->status));
		else
			sleep_until_ns(monotonic_ns() + 20 * NS_PER_US);
	}
	stepper_kill(s);
	return -1;
}

/* Waits until it stops at an instruction or ends, until *done isn't 0, or until the time is up. */
static bool await_trap(struct stepper *s, const volatile uint32_t *done) {
	uint64_t deadline_ns = monotonic_ns() + RUN_MS * NS_PER_MS;

	while ((done == NULL || *done == 0) && monotonic_ns() < deadline_ns) {
		if (waitpid(s->pid, &s->status, WNOHANG) == s->pid) {
			s->ended = !WIFSTOPPED(s->status);
			return !s->ended && WSTOPSIG(s->status) == SIGTRAP;
		}
		sleep_until_ns(monotonic_ns() + 10 * NS_PER_US);
	}
	return false;
}

/* Puts a trap in the place of the instruction there, for one time. */
static bool run_to(struct stepper *s, uint64_t address, const volatile uint32_t *done) {
	long text = ptrace(PTRACE_PEEKTEXT, s->pid, (void *)address, NULL);
	long trap = (long)(((unsigned long)text & ~0xfful) | TRAP_INSTRUCTION);

	if (ptrace(PTRACE_POKETEXT, s->pid, (void *)address, (void *)trap) != 0 ||
	    ptrace(PTRACE_CONT, s->pid, NULL, NULL) != 0 || !await_trap(s, done))
		return false;
	ptrace(PTRACE_POKETEXT, s->pid, (void *)address, (void *)text);
	ptrace(PTRACE_POKEUSER, s->pid, (void *)offsetof(struct user_regs_struct, rip), (void *)address);
	s->at = address;
	return true;
}

bool stepper_run_to(struct stepper *s, uint64_t address, uint64_t steps, const volatile uint32_t *done) {
	if (s->at != address && !run_to(s, address, done))
		return false;
	s->steps = steps;
	return true;
}

/* How many bytes the string instruction with a repeat prefix has that comes next. 0: it is another one. */
static unsigned repeat_length(const struct stepper *s) {
	unsigned long text = (unsigned long)ptrace(PTRACE_PEEKTEXT, s->pid, (void *)s->at, NULL);
	unsigned wide = (text >> 8 & 0xf0) == 0x40; /* there may be another prefix in between */
	unsigned operation = (unsigned)(text >> (wide ? 16 : 8)) & 0xfe;

	if ((text & 0xfe) != 0xf2)
		return 0;
	return operation == 0xa4 || operation == 0xaa || operation == 0xa6 || operation == 0xae ? 2 + wide : 0;
}

/*
 * The kernel's code for reading clocks, which is mapped into each process. It begins anew when the kernel has
 * written the time meanwhile, at each tick: in steps that are slower than that, it never ends. So it is run
 * through. (Two pages, and the child's is where this process has it.)
 */
#define VDSO_BYTES 8192u

static bool is_in_vdso(uint64_t address) {
	uint64_t start = getauxval(AT_SYSINFO_EHDR);

	return start != 0 && address >= start && address - start < VDSO_BYTES;
}

/* Of a function whose first instruction comes next. */
static uint64_t return_address(const struct stepper *s) {
	uint64_t stack =
		(uint64_t)ptrace(PTRACE_PEEKUSER, s->pid, (void *)offsetof(struct user_regs_struct, rsp), NULL);

	return (uint64_t)ptrace(PTRACE_PEEKDATA, s->pid, (void *)stack, NULL);
}

bool stepper_step(struct stepper *s) {
	uint64_t before = s->at;

	if (s->pid <= 0 || s->ended || ptrace(PTRACE_SINGLESTEP, s->pid, NULL, NULL) != 0)
		return false;
	while (waitpid(s->pid, &s->status, 0) < 0)
		if (errno != EINTR)
			return false;
	s->ended = !WIFSTOPPED(s->status);
	s->steps++;
	if (s->ended || WSTOPSIG(s->status) != SIGTRAP)
		return false;
	s->at = address_of_next(s);
	if (is_in_vdso(s->at))
		return run_to(s, return_address(s), NULL);
	if (s->at == before && repeat_length(s) > 0)
		return run_to(s, before + repeat_length(s), NULL);
	return true;
}

bool stepper_step_to(struct stepper *s, uint64_t steps, const volatile uint32_t *done) {
	while (s->steps < steps && *done == 0)
		if (!stepper_step(s))
			return false;
	return s->steps == steps;
}

long stepper_next_call(const struct stepper *s) {
	long text = ptrace(PTRACE_PEEKTEXT, s->pid, (void *)s->at, NULL);

	if (((unsigned long)text & 0xffff) != CALL_INSTRUCTION)
		return -1;
	return ptrace(PTRACE_PEEKUSER, s->pid, (void *)offsetof(struct user_regs_struct, rax), NULL);
}

bool stepper_run(struct stepper *s, const volatile uint32_t *done, int timeout_ms) {
	uint64_t deadline_ns = monotonic_ns() + (uint64_t)timeout_ms * NS_PER_MS;

	if (s->pid <= 0 || s->ended || ptrace(PTRACE_CONT, s->pid, NULL, NULL) != 0)
		return false;
	while (*done == 0 && monotonic_ns() < deadline_ns) {
		if (waitpid(s->pid, &s->status, WNOHANG) == s->pid) { /* nothing should stop it but a signal, or its end */
			s->ended = !WIFSTOPPED(s->status);
			return false;
		}
		sleep_until_ns(monotonic_ns() + 50 * NS_PER_US);
	}
	return *done != 0;
}

void stepper_kill(struct stepper *s) {
	if (s->pid > 0 && !s->ended)
		process_kill(s->pid);
	s->pid = 0;
}
