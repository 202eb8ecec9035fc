/*
 * absence.h - since when this process misses the agent, and what follows from it.
 *
 * An agent that was killed is started again, and one that was stopped goes on:
 * mostly within moments. What a process admits by itself meanwhile, no database
 * has counted. So for a grace after it lost the agent, it waits and denies, and
 * only then decides by itself.
 *
 * The agent is missed from the loss of its connection on, or from the first time
 * that it was waited for in vain, until its next word.
 *
 * A process that has never found anybody on the socket knows of an agent only if
 * that was killed: the socket tells when it was last alive. Without that it has no
 * grace.
 *
 * Atomic values, none of which depends on another: they need no lock, and the
 * child of a fork goes on with what its parent knew.
 */
#ifndef STINT_ABSENCE_H
#define STINT_ABSENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct absence {
	_Atomic bool known;         /* somebody listened on the socket, now or once */
	_Atomic uint64_t since_ns;  /* 0: it isn't missed */
	_Atomic uint64_t looked_ns; /* the last time that it was waited, or looked for in vain */
};

/* It was looked for in vain. Who hasn't looked for a while begins to miss it anew, since it may have come and gone;
 * unless absence_recall() has just told better. */
void absence_note(struct absence *, uint64_t now_ns);

/* It was waited for in vain, on a connection where any word of it since it was missed would have been heard. */
void absence_note_silence(struct absence *, uint64_t now_ns);

/* It was there until a moment ago: the grace begins anew. */
void absence_begin(struct absence *, uint64_t now_ns);

/* Somebody listens on the socket, and has not said anything yet. Who didn't know of any agent, or hasn't looked for a while, begins to
 * miss it only now. */
void absence_found(struct absence *, uint64_t now_ns);

/* It was alive then, by its socket, and not later; 0: nobody knows, there is no socket. When this process never
 * found it, or didn't look then, it is missed from then on; when that was before it was missed, it has not come and gone
 * since. Before absence_note(). */
void absence_recall(struct absence *, uint64_t alive_ns, uint64_t now_ns);

/* It said something. */
void absence_end(struct absence *);

bool absence_has_begun(const struct absence *);

/* How long yet this process must not admit anything by itself; 0: it may. An agent that isn't missed may answer the
 * next check: 1. */
uint64_t absence_grace_left_ns(const struct absence *, uint64_t now_ns);

/* Whether a check with this timeout waits for an agent that isn't there. */
bool absence_is_waited_for(const struct absence *, uint64_t timeout_ns, uint64_t now_ns);

#endif
