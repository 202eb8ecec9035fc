/*
 * top_view.h - what `stint top` shows, as text.
 */
#ifndef STINT_TOP_VIEW_H
#define STINT_TOP_VIEW_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* Shares so many lines between two tables, each with an empty line and headings of its own. In: rows that there
 * are; out: rows that fit. Neither takes what the other needs, if both need more than half of it. */
void top_view_share(size_t lines, size_t *first, size_t *second);

/* Prints a view (the object that --json prints) on at most so many lines, if they are enough for its head;
 * 0: however many it takes. Returns 0, or -1: no memory. */
int top_view_print(FILE *, const json_t *view, size_t lines);

#endif
