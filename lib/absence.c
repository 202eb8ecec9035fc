/*
 * absence.c - keeps since when the agent is missed, by when it was looked for
 * and heard.
 */
#include "absence.h"
#include "clock.h"

/* 2 s for the agent to be back, and 0.5 s until it has answered: to be found, and to reach the database or notice
 * within its database_timeout_ms that it can't. */
#define GRACE_NS (2 * NS_PER_S + 500 * NS_PER_MS)

/* After so long without a look an agent may have come and gone: it is missed only from now on. The socket of a
 * killed agent may tell that none has come. Without a socket, a process that looks less often than this always
 * misses the agent for a moment only. */
#define UNOBSERVED_NS (10 * NS_PER_S)

/* The same limit when an agent is found: it may have been there for some time. This is longer than the time
 * between two looks (channel.c's backoff): an agent that accepts and breaks each connection counts as not
 * there. */
#define UNSEEN_NS (2 * NS_PER_S)

/* Longer than the time from one look to the next in a busy process (channel.c's backoff). */
#define BETWEEN_LOOKS_NS (1250 * NS_PER_MS)

/* How often an agent notes on its socket that it is alive (agent/server.h). */
#define ALIVE_EVERY_NS (500 * NS_PER_MS)

static void note_look(struct absence *a, uint64_t now_ns, uint64_t seldom_ns) {
	uint64_t looked_ns = atomic_exchange(&a->looked_ns, now_ns);
	if (atomic_load(&a->since_ns) == 0 || now_ns - looked_ns > seldom_ns)
		atomic_store(&a->since_ns, now_ns);
}

void absence_note_silence(struct absence *a, uint64_t now_ns) {
	note_look(a, now_ns, UINT64_MAX);
}

void absence_note(struct absence *a, uint64_t now_ns) {
	note_look(a, now_ns, atomic_load(&a->known) ? UNOBSERVED_NS : UINT64_MAX);
}

void absence_begin(struct absence *a, uint64_t now_ns) {
	atomic_store(&a->looked_ns, now_ns);
	atomic_store(&a->since_ns, now_ns);
}

void absence_found(struct absence *a, uint64_t now_ns) {
	if (atomic_exchange(&a->known, true))
		note_look(a, now_ns, UNSEEN_NS);
	else
		absence_begin(a, now_ns);
}

/* Whether an agent came and went since it was missed, while this process didn't look. A process that looks often
 * finds any new agent, unless it dies as soon as it has started: such an agent doesn't count. */
static bool has_come_and_gone(const struct absence *a, uint64_t alive_ns, uint64_t now_ns) {
	uint64_t since_ns = atomic_load(&a->since_ns);
	return since_ns != 0 && alive_ns > since_ns && now_ns - atomic_load(&a->looked_ns) > BETWEEN_LOOKS_NS;
}

void absence_recall(struct absence *a, uint64_t alive_ns, uint64_t now_ns) {
	/* The agent may have lived on until its next note was due. */
	uint64_t since_ns = alive_ns + ALIVE_EVERY_NS < now_ns ? alive_ns + ALIVE_EVERY_NS : now_ns;

	/* No agent has come since it was missed: that is as good as if this process had looked all the time. */
	if (alive_ns != 0 && alive_ns <= atomic_load(&a->since_ns))
		atomic_store(&a->looked_ns, now_ns);
	if (alive_ns > now_ns || now_ns - since_ns >= GRACE_NS ||
	    (atomic_load(&a->known) && !has_come_and_gone(a, alive_ns, now_ns)))
		return;
	atomic_store(&a->looked_ns, now_ns);
	atomic_store(&a->since_ns, since_ns);
	atomic_store(&a->known, true);
}

void absence_end(struct absence *a) {
	atomic_store(&a->since_ns, 0);
}

bool absence_has_begun(const struct absence *a) {
	return atomic_load(&a->since_ns) != 0;
}

uint64_t absence_grace_left_ns(const struct absence *a, uint64_t now_ns) {
	uint64_t since_ns = atomic_load(&a->since_ns);
	if (!atomic_load(&a->known))
		return 0;
	return since_ns == 0 ? 1 : clock_left_ns(now_ns, since_ns + GRACE_NS);
}

bool absence_is_waited_for(const struct absence *a, uint64_t timeout_ns, uint64_t now_ns) {
	return now_ns < atomic_load(&a->since_ns) + (atomic_load(&a->known) ? GRACE_NS : timeout_ns);
}
