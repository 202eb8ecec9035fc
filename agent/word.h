/*
 * word.h - a policy's word: the limits that an app of this host has declared last. It is kept in case that the
 * database puts it off, because these limits were replaced too lately, see declare_policy() in sql/. The agent
 * then declares it again, once a minute.
 *
 * The agent must not bring back what nobody means any more, and hosts whose apps differ must not change a policy
 * by turns for ever. So a word that was put off is forgotten
 *   - when an app of this host declares something else, which takes its place,
 *   - when the policy's limits change, whoever changes them: they are the same as the word, or newer,
 *   - when the processes that declared it are gone, as those of an app's old version are after a deploy.
 * So when one host's word wins, all other hosts forget theirs for this policy: what happens next is up to apps
 * that declare anew. What other hosts' apps declare without changing anything isn't known here, and doesn't
 * count. An agent that is started anew knows no earlier word.
 */
#ifndef STINT_WORD_H
#define STINT_WORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy_row.h"
#include "server.h"

/* So many processes that said the same are remembered: the last ones, and rather those that are still there. */
#define WORD_SPEAKERS 8

struct word {
	struct policy_row limits;
	server_peer by[WORD_SPEAKERS]; /* the processes that declared these limits, the last one first */
	size_t count;                  /* 0: nobody has declared anything */
	int64_t ask_ns;                /* when the database, which put it off, is asked again; 0: never */
};

void word_say(struct word *, const struct policy_row *limits, server_peer by, const struct server *);
bool word_is(const struct word *, const struct policy_row *limits);
void word_put_off(struct word *, int64_t now_ns);
void word_settle(struct word *); /* the database needn't be asked again */

/* Whether it is put off, and somebody is left who said it. */
bool word_is_waiting(const struct word *, const struct server *);

/* Whether the database is to be asked now. Settles the word when nobody is left who said it. */
bool word_is_due(struct word *, const struct server *, int64_t now_ns);

#endif
