/*
 * ask.h - asks about a client of whom the table doesn't tell: the agent, and if that can't help the limit inside
 * the process.
 */
#ifndef STINT_ASK_H
#define STINT_ASK_H

#include "question.h"
#include "stint.h"

/* Waits. Returns 0 and a verdict, or an error. */
int ask_and_wait(const struct question *, struct stint_result *);

/* Waits. Returns 0 and the agent's verdict, an error, or REQUEST_DECIDE_ALONE (request.h). */
int ask_agent(const struct question *, struct stint_result *);

/* Doesn't wait. Returns 1 and a verdict; 0 and a ticket, when the callback will tell; or an error. */
int ask_async(const struct question *, struct stint_result *, stint_callback *, void *arg);

/* Tells the agent that the client's credits run low. Needs no lock, and doesn't wait. */
void ask_for_more(struct stint_limiter *, const char *id, size_t length);

#endif
