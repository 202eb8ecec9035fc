/*
 * together.h - several limiters in one check, all or nothing.
 *
 * Credits are taken from the table alone, from one client after the other, and put back when one of them has none.
 * For a client of whom the table doesn't tell, the agent is asked to put credits there, and then all is tried once
 * more. If the agent can't help with a client, the process decides about that one. A part of a shadow policy that
 * denies is excused: nothing is taken of it, and the others decide.
 *
 *     while (!together_decide(t)) {
 *         ask the agent together_question(t), with or without waiting
 *         if (together_hear(t, its answer))
 *             break;
 *     }
 *     the verdict is t->result
 */
#ifndef STINT_TOGETHER_H
#define STINT_TOGETHER_H

#include "channel.h"
#include "question.h"
#include "stint.h"

struct together {
	uint32_t count;
	uint32_t asked; /* the agent is to be asked about this part */
	bool alone[STINT_PARTS_MAX];
	struct question part[STINT_PARTS_MAX];
	bool excused[STINT_PARTS_MAX]; /* the agent has denied this part, of a shadow policy */
	struct stint_result excuse;    /* of those parts, the verdict of the one that is denied for longest */
	uint64_t until_ns;             /* nobody waits longer */
	struct stint_result result;
	bool low[STINT_PARTS_MAX]; /* admitted: this part's credits run low, as the agent is to be told */
};

/* Fills *t from the app's parts. Returns 0, or an error that names the part. */
int together_make(struct together *t, const struct stint_part *parts, size_t part_size, size_t count);

/* Returns a copy that has copies of the ids, to be freed with free(); or NULL if there is no memory. */
struct together *together_keep(const struct together *);

/* Decides if that can be done without the agent; then everything or nothing has been taken. */
bool together_decide(struct together *);

struct question together_question(const struct together *);

/* Takes in the agent's answer: 0 and a verdict, or REQUEST_DECIDE_ALONE. Returns whether that decides. */
bool together_hear(struct together *, int status, const struct stint_result *verdict);

/* The agent is asked only while none of the limiters is being freed: its answer may come later. Returns 0, or
 * STINT_ECANCELED. */
int together_check_limiters(const struct together *);

/* Says that the error, which this thread's detail tells of, is of the part that was asked about. Returns it. */
int together_blame(const struct together *, int error);

/* Counts an error with which the whole check ends, and returns it. (Verdicts are counted where they are found.) */
int together_count_error(const struct together *, int error);

/* Tells the agent which clients' credits run low. Needs no lock. */
void together_tell_low(const struct together *, struct channel *);

/* Whether one of the parts is of this limiter. */
bool together_has(const struct together *, const struct stint_limiter *);

#endif
