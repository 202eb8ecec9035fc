/*
 * unit.h - what every program of these tests starts with.
 */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* No test takes seconds; under valgrind on a busy machine still none takes this long. */
#define UNIT_SECONDS_MAX 120

#endif
