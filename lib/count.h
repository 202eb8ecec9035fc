/*
 * count.h - counts each verdict once, where protocol/tally.h says.
 *
 * A warm check adds to the tally of the CPU that it runs on. Between finding out which CPU that is and adding, the
 * thread might be moved to another one, whose threads add there at the same time; so both are done as one
 * restartable sequence (rseq(2), Linux 4.18): the kernel sends a thread that it interrupts in there to another
 * place instead, which counts by an atomic addition, in a tally that nobody adds to otherwise. So do threads
 * without such sequences: where the C library doesn't ask the kernel for them (glibc does, from 2.35 on), under
 * valgrind, on other processors than x86-64.
 *
 * What is decided before the process has found an agent is kept in the process, and added when it has.
 */
#ifndef STINT_COUNT_H
#define STINT_COUNT_H

#include "limiter.h"
#include "protocol/hot.h"
#include "protocol/tally.h"

#if defined(__x86_64__) && defined(__LP64__) && defined(__has_include)
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define COUNT_BY_CPU
#endif
#endif

/* Adds one to a shared tally of the row, behind those of the CPUs. */
COLD void count_shared(struct tally *row, uint32_t cpus, unsigned place);

#ifdef COUNT_BY_CPU
/* Adds one to the count at an offset in this CPU's tally. Returns false when nothing was added. */
HOT_PART static inline bool count_on_cpu(struct tally *row, uint32_t cpus, unsigned place) {
	/* In the thread's struct rseq: cpu_id is at 4, rseq_cs at 8. The description of a sequence: version and flags,
	 * start, length, and where to go when it is interrupted; before that place stands the kernel's mark for such
	 * places. rseq_cs is cleared in the end, since the description goes when the library is unloaded. */
	__asm__ goto(
		".pushsection __rseq_cs, \"aw\"\n\t"
		".balign 32\n"
		"3:\n\t"
		".long 0, 0\n\t"
		".quad 1f, 2f - 1f, 4f\n\t"
		".popsection\n\t"
		".pushsection __rseq_failure, \"ax\"\n\t"
		".byte 0x0f, 0xb9, 0x3d\n\t"
		".long %c[mark]\n"
		"4:\n\t"
		"jmp %l[interrupted]\n\t"
		".popsection\n\t"
		"leaq 3b(%%rip), %%rax\n\t"
		"movq %%rax, %%fs:8(%[own])\n"
		"1:\n\t"
		"movl %%fs:4(%[own]), %%eax\n\t"
		"cmpl %%eax, %[cpus]\n\t"
		"jbe %l[interrupted]\n\t"
		"shlq $7, %%rax\n\t"
		"incq (%[count],%%rax)\n"
		"2:\n\t"
		"movq $0, %%fs:8(%[own])"
		:
		: [own] "r"(__rseq_offset), [cpus] "r"(cpus), [count] "r"(&row->count[place]), [mark] "i"(RSEQ_SIG)
		: "rax", "memory", "cc"
		: interrupted);
	return true;
interrupted:
	__asm__ volatile("movq $0, %%fs:8(%[own])" : : [own] "r"(__rseq_offset) : "memory");
	return false;
}
_Static_assert(sizeof(struct tally) == 1 << 7, "as the sequence has it");
#else
HOT_PART static inline bool count_on_cpu(struct tally *row, uint32_t cpus, unsigned place) {
	(void)row;
	(void)cpus;
	(void)place;
	return false;
}
#endif

/* Counts a decision by the table, under the policy that the limiter is bound to. */
HOT_PART static inline void count_plainly(const struct binding *binding, unsigned place) {
	if (SELDOM(!count_on_cpu(binding->tallies, binding->tally_cpus, place)))
		count_shared(binding->tallies, binding->tally_cpus, place);
}

/* Notes, for audits, whose client's slot it was that denied. Not inline: admissions stay what they are. */
void count_note_denied(const struct binding *, const struct slot *);

/* Returns the place of a verdict. */
static inline unsigned count_place(const struct stint_result *result) {
	enum tally_outcome outcome = result->shadow_denied ? TALLY_SHADOW_DENIED
	                             : result->allowed     ? TALLY_ALLOWED
	                                                   : TALLY_DENIED;
	return tally_place(result->source, outcome);
}

/* Counts a verdict, whoever has given it, under the limiter's policy. Any thread may call these, locked or not. */
void count_verdict(struct stint_limiter *, const struct stint_result *);
/* The same, of this question's client, whose denial the agent doesn't know of by itself. */
void count_verdict_of(const struct question *, const struct stint_result *);

/* Counts a check that ends with this error, and without a verdict. Returns the error; of others than errors counts
 * nothing. */
int count_error(struct stint_limiter *, int error);

/* What a limiter has counted in this process before it was bound. */
struct owed;
struct owed *owed_new(void); /* NULL where there is no such memory: then it isn't counted */
void owed_free(struct owed *);

/* Adds what is owed to the tallies that the limiter is bound to by now, if it is. */
void count_owed(struct stint_limiter *);

#endif
