/*
 * absence.h - since when this process misses the agent, and what follows from it.
 *
 * An agent that was killed is started again, and one that was stopped goes on,
 * mostly within moments. No database counts what a process admits by itself
 * meanwhile. So a process that has lost the agent waits and denies for a grace
 * period, and only then decides by itself.
 *
 * The agent is missed from the loss of its connection, or from the first time that
 * it was waited for in vain, until its next message.
 *
 * A process that has never found an agent on the socket knows of one only if that
 * agent was killed: then the socket tells when it was last alive. Otherwise there
 * is no grace period.
 *
 * The values are atomic, and none depends on another: they need no lock, and the
 * child of a fork goes on with its parent's values.
 */
#ifndef STINT_ABSENCE_H
#define STINT_ABSENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct absence {
	_Atomic bool known;         /* an agent listens on the socket, or once did */
	_Atomic uint64_t since_ns;  /* since when the agent is missed; 0: it isn't */
	_Atomic uint64_t looked_ns; /* the last time that the agent was looked or waited for in vain */
};

/* Notes that the agent was looked for in vain. A process that hasn't looked for a while begins to miss it anew,
 * since an agent may have come and gone; unless absence_recall() has just found that none has. */
void absence_note(struct absence *, uint64_t now_ns);

/* Notes that the agent was waited for in vain, on a connection on which every message since it was missed would
 * have been heard. */
void absence_note_silence(struct absence *, uint64_t now_ns);

/* Notes that the agent was there until a moment ago: the grace period begins anew. */
void absence_begin(struct absence *, uint64_t now_ns);

/* Notes that an agent listens on the socket, but has not sent anything yet. A process that knew of no agent, or
 * hasn't looked for a while, begins to miss it only now. */
void absence_found(struct absence *, uint64_t now_ns);

/* Notes that the agent was last alive at alive_ns, as its socket tells; 0: there is no socket, so nobody knows. If
 * this process has never found an agent, or wasn't looking then, the agent is missed from then on. If alive_ns is
 * before the agent began to be missed, no agent has come and gone since. To be called before absence_note(). */
void absence_recall(struct absence *, uint64_t alive_ns, uint64_t now_ns);

/* Notes that the agent has sent a message: it isn't missed any more. */
void absence_end(struct absence *);

/* Whether the agent is missed. */
bool absence_has_begun(const struct absence *);

/* Returns how long this process must not yet admit anything by itself, in nanoseconds; 0: it may. Returns 1 when
 * the agent isn't missed: it may answer the next check. */
uint64_t absence_grace_left_ns(const struct absence *, uint64_t now_ns);

/* Whether a check with this timeout waits for an agent that isn't there. */
bool absence_is_waited_for(const struct absence *, uint64_t timeout_ns, uint64_t now_ns);

#endif
