/*
 * show.h - `stint client show`.
 */
#ifndef STINT_SHOW_H
#define STINT_SHOW_H

#include <stdbool.h>

struct command_call;

extern const char show_help[];

/* Shows the client that the command is about. Returns an enum command_exit; has reported errors. */
int show_client(struct command_call *, bool as_json);

#endif
