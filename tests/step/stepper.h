/*
 * stepper.h - a child process that makes one machine instruction at a time, when the
 * test says so (ptrace), and can be killed or left standing between any two of them.
 *
 * An instruction that repeats itself (rep stos: malloc's and memset's large pieces, memory of the child's
 * own) is one step. Children of one parent that do the same have the same addresses (no exec lies between), so
 * a place can be named by one, and another can run to it at full speed.
 */
#ifndef STEPPER_H
#define STEPPER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct stepper {
	pid_t pid;  /* 0: none */
	bool ended; /* it has ended by itself */
	int status; /* its status by waitpid(), when it has ended */
	uint64_t steps;
	uint64_t at; /* the address of the next instruction */
};

/* Forks; `body` runs in the child until it calls stepper_ready(). 0, or -1 when it ended or took too long. */
int stepper_start(struct stepper *, void (*body)(void *), void *arg);
/* Called in the child: when this returns, the parent gives it each instruction. */
void stepper_ready(void);
/* Lets it make one instruction; a system call takes as long as it takes. False: the child has ended. */
bool stepper_step(struct stepper *);
/* Lets it make up to `steps` instructions in all, or until *done isn't 0 or it ends. True: it got there. */
bool stepper_step_to(struct stepper *, uint64_t steps, const volatile uint32_t *done);
/* Lets it run to the first time that this is its next instruction; `steps` is what it has made then. False: it
 * got elsewhere. */
bool stepper_run_to(struct stepper *, uint64_t address, uint64_t steps, const volatile uint32_t *done);
/* Gives the number of the system call that comes next; -1: the next instruction is no system call. */
long stepper_next_call(const struct stepper *);
/* Lets it run until *done isn't 0. False: not within timeout_ms. */
bool stepper_run(struct stepper *, const volatile uint32_t *done, int timeout_ms);
/* Kills it by SIGKILL, and waits for its end. */
void stepper_kill(struct stepper *);

#endif
