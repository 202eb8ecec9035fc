/*
 * one_line.h - libpq's texts have several lines and end in one; a log has one line an event.
 */
#ifndef STINT_ONE_LINE_H
#define STINT_ONE_LINE_H

#include <stdbool.h>

/* Makes one blank of each run of blanks, line ends and other control characters; none at the ends. */
static inline void one_line(char *text) {
	char *out = text;
	for (const char *in = text; *in != '\0'; in++) {
		bool space = (unsigned char)*in <= ' ';
		if (!space)
			*out++ = *in;
		else if (out != text && out[-1] != ' ')
			*out++ = ' ';
	}
	while (out != text && out[-1] == ' ')
		out--;
	*out = '\0';
}

#endif
