/*
 * number.h - numbers as a table shows them: three digits that count, thousands apart, durations in the unit
 * that fits.
 */
#ifndef BENCH_NUMBER_H
#define BENCH_NUMBER_H

#define NUMBER_SIZE 64 /* of a buffer */

/* 12345.6 "checks/s": "12,300 checks/s"; 1234 "ns": "1.23 µs". Whole numbers below 100,000 are counts and stay
 * whole. */
void number_format(char out[static NUMBER_SIZE], double value, const char *unit);

/* A bound was chosen, not measured: its digits are all meant. */
void number_format_bound(char out[static NUMBER_SIZE], double bound, const char *unit);

#endif
