/*
 * wiped_page.h - memory that a fork wipes: the child finds zeros there (MADV_WIPEONFORK, Linux 4.14).
 */
#ifndef STINT_WIPED_PAGE_H
#define STINT_WIPED_PAGE_H

#include <stddef.h>

/* Returns memory that is all zero, or NULL where there is no such memory. */
void *wiped_page_new(size_t bytes);
void wiped_page_free(void *, size_t bytes); /* NULL is ignored */

#endif
