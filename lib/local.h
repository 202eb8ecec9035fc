/*
 * local.h - the lenient limit inside the process, for when the agent is away.
 *
 * Fixed windows, one count per client, in a fixed piece of memory: a
 * set-associative cache. When a set is full of clients of the present window,
 * the one with the lowest count is forgotten: a spray of ids makes the limit
 * more lenient for clients that send little, and not for those that send much.
 *
 * Each count is one word that changes by CAS. So threads need no lock, a fork at
 * any instant leaves a legal table in the child, and a signal or a kill does no
 * harm.
 */
#ifndef STINT_LOCAL_H
#define STINT_LOCAL_H

#include <stddef.h>
#include <stdint.h>

#include "question.h"
#include "stint.h"

struct local;

/* Returns NULL if there is no memory. */
struct local *local_new(void);
void local_free(struct local *);

/* Lets the question's client have at most max_requests per time_window_ms, and writes the verdict to *result.
 * Always decides. Of a question that takes nothing (`look`), the client's count stays as it is. */
void local_take(struct local *, int64_t max_requests, int64_t time_window_ms, const struct question *,
                uint64_t now_ns, struct stint_result *result);

/* Takes the question's cost off the client's count, if this window is the present one. Returns whether it did. */
bool local_give_back(struct local *, int64_t time_window_ms, uint32_t window, const struct question *,
                     uint64_t now_ns);

#endif
