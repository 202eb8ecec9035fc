/*
 * sized.h - structs of an app that was compiled with another stint.h. They grow at
 * their end only, so what both know lies at the same place. What was padding at a released struct's end must stay
 * unused, since it may hold anything.
 */
#ifndef STINT_SIZED_H
#define STINT_SIZED_H

#include <stddef.h>

#include "stint.h"

/* A later struct may be larger by so much. */
#define SIZED_LATER_MAX 128u

/* Copies the app's options into this library's. Returns 0; STINT_EVERSION when the size can't be that of the
 * struct; or STINT_ERANGE when an option is set that this library doesn't know. */
int sized_options(struct stint_options *own, const struct stint_options *theirs, size_t size);
int sized_http_options(struct stint_http_options *own, const struct stint_http_options *theirs, size_t size);

/* Returns 0, or STINT_EVERSION when this can't be the size of a struct stint_result. */
int sized_check_result(size_t size);

/* The same of a struct stint_part. They stand in an array, so the size is one that can be there. */
int sized_check_part(size_t size);

/* Of a part whose size has been checked. Returns 0, or STINT_ERANGE when a field is set that this library doesn't
 * know. */
int sized_check_unknown_of_part(const struct stint_part *theirs, size_t size);

/* Copies a result into the app's, whose size has been checked. What a later struct has behind it becomes 0. */
void sized_copy_result(struct stint_result *theirs, size_t size, const struct stint_result *own);

/* Copies a result from the app's, whose size has been checked. What an earlier struct lacks becomes 0. */
void sized_take_result(struct stint_result *own, const struct stint_result *theirs, size_t size);

#endif
