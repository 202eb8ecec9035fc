/*
 * operation.c - see operation.h. An operation that has ended is kept for the next one, and some are made in
 * advance. No operation can be refused for lack of memory, since its callback would have to run inside the
 * caller's call.
 */
#include "operation.h"

#include <stdlib.h>

#include "pg.h"

#define SPARE_OPERATIONS 64 /* several times what is under way at once in a busy agent */

void operation_append(struct operation_list *list, struct operation *op) {
	op->next = NULL;
	if (list->last)
		list->last->next = op;
	else
		list->first = op;
	list->last = op;
}

void operation_prepend(struct operation_list *list, struct operation *op) {
	op->next = list->first;
	list->first = op;
	if (!list->last)
		list->last = op;
}

struct operation *operation_remove_first(struct operation_list *list) {
	struct operation *op = list->first;
	list->first = op->next;
	if (!list->first)
		list->last = NULL;
	return op;
}

struct operation *operation_new(struct operation **spares, const struct operation *what) {
	struct operation *op = *spares;
	if (op)
		*spares = op->next;
	else if (!(op = malloc(sizeof(*op))))
		abort(); /* nobody can be told; a restarted agent takes the table over */
	*op = *what;
	return op;
}

void operation_put_away(struct operation **spares, struct operation *op) {
	pg_answer_free(op->answer);
	op->answer = NULL;
	op->next = *spares;
	*spares = op;
}

bool operation_make_spares(struct operation **spares) {
	for (int i = 0; i < SPARE_OPERATIONS; i++) {
		struct operation *op = calloc(1, sizeof(*op));
		if (!op)
			return false;
		operation_put_away(spares, op);
	}
	return true;
}

void operation_free_all(struct operation *first) {
	for (struct operation *op = first, *next; op; op = next) {
		next = op->next;
		pg_answer_free(op->answer);
		free(op);
	}
}

bool operation_tell_end(struct session *s, const struct operation *op, enum lease_outcome outcome,
                        const struct pg_answer *answer) {
	(void)s;
	(void)answer;
	op->done.ended(op->context, outcome);
	return true;
}
