/*
 * view.h - what the demo shows while it runs: on a terminal a picture that is
 * redrawn, otherwise a line a second.
 */
#ifndef VIEW_H
#define VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "stage.h"

#define VIEW_CLIENTS 5u
#define VIEW_HOSTS   2u

struct view {
	const struct stage *stage;
	const struct journal_plan *plan;
	uint64_t began_ns;
	bool is_terminal, has_colour, has_blocks;
	bool database_up;
	const char *story;                      /* what happens now, in a sentence */
	unsigned drawn_lines;                   /* lines of the picture above the cursor */
	uint32_t tail[CROWD_MAX];               /* per app: its first record that may still be in the window */
	uint64_t checks[VIEW_HOSTS], checks_ns; /* checks at the last drawing, and when that was */
	uint64_t said_ns;                       /* when the last plain line was */
};

void view_init(struct view *, const struct stage *stage, const struct journal_plan *plan);
/* Shows how it stands now. Call it several times a second. */
void view_show(struct view *);
/* Tells one thing that happened, which stays above the picture. */
void view_tell(struct view *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Leaves the picture as it is; what is printed next comes below. */
void view_end(struct view *);

/* Escape sequences, "" where there is no colour. */
const char *view_bold(const struct view *);
const char *view_green(const struct view *);
const char *view_red(const struct view *);
const char *view_plain(const struct view *);

#endif
