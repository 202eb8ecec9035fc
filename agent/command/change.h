/*
 * change.h - changes of policies and of their clients' exceptions: made, and told in words.
 */
#ifndef STINT_CHANGE_H
#define STINT_CHANGE_H

#include <jansson.h>

struct command_call;

struct change {
	const char *sql;
	int param_count;
	const char *const *params;
	const char *const *given; /* columns that the operator has named, up to a NULL; others change by default */
};

/*
 * Makes a change of the policy, or the client, that the command is about, and prints what that has changed.
 * *entries (if not NULL) are the rows of stint.policy_history, which the caller frees. Returns an enum
 * command_exit; has reported errors.
 */
int change_make(struct command_call *, const struct change *, json_t **entries);

/* In a row of stint.policy_history, replaces the rows before and after by words: "max_requests 100 → 500, pinned".
 * Of a row that is gone, the words say what it was. given: as above; NULL: they don't say what came by default.
 * Returns 0, or -1 when out of memory. */
int change_tell(json_t *entry, const char *const *given);

#endif
