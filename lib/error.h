/*
 * error.h - how a function of the library reports what went wrong.
 */
#ifndef STINT_ERROR_H
#define STINT_ERROR_H

/* Writes the thread's detail, as stint_error_detail() shows it, and returns the code: `return error_set(...)`. */
__attribute__((format(printf, 2, 3))) int error_set(int error, const char *format, ...);

/* Whether the number is in the list of stint.h; what comes from the agent is asked this first. */
int error_is_known(int error);

#endif
