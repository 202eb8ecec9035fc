/*
 * screen.h - a text that is drawn in place on a terminal, again and again. Needs no library and no database of
 * terminals: the few sequences that it sends are those that all of today's know.
 *
 * A process has one screen. However the process ends, by exit() or by a signal that can be caught, the terminal is
 * as it was; while it is stopped by Ctrl-Z, too.
 */
#ifndef STINT_SCREEN_H
#define STINT_SCREEN_H

#include <stdbool.h>
#include <stdint.h>

enum screen_event {
	SCREEN_TIME,    /* it is that late */
	SCREEN_RESIZED, /* it has another size, or was away: draw again */
	SCREEN_QUIT,    /* q, or nobody is there any more */
};

/* Whether standard input and output are a terminal that knows more than lines. */
bool screen_is_possible(void);

/* Takes over the terminal: another page, no echo, no cursor. Returns 0, or -1 with errno. */
int screen_open(void);
void screen_close(void); /* puts back what was; without a screen, does nothing */

/* Lines of the window; at least 1. */
unsigned screen_lines(void);

/* Draws the text, which is fit for a terminal (output_printable()): as many lines as there are, and of each as
 * much as fits. Returns 0, or -1 with errno: the terminal is gone. */
int screen_draw(const char *text);

/* Waits until something happens; until_ms is on the monotonic clock. */
enum screen_event screen_wait(int64_t until_ms);

#endif
