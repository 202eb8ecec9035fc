/*
 * error.h - how a function of the library reports what went wrong.
 */
#ifndef STINT_ERROR_H
#define STINT_ERROR_H

/* Sets the calling thread's stint_error_detail() and returns the error: `return error_set(...)`. */
__attribute__((format(printf, 2, 3))) int error_set(int error, const char *format, ...);

/* Whether stint.h lists this error. A status that comes from the agent is first checked by this. */
int error_is_known(int error);

#endif
