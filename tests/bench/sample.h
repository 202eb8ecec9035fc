/*
 * sample.h - samples of one quantity, taken in turns with those of what it is compared with: what the machine does
 * to one it then does to the other. The median stands for them.
 */
#ifndef BENCH_SAMPLE_H
#define BENCH_SAMPLE_H

#define SAMPLES_MAX 64

struct samples {
	int count;
	double value[SAMPLES_MAX];
};

void samples_add(struct samples *, double value); /* beyond SAMPLES_MAX: ignored */
double samples_median(const struct samples *);    /* the lower one of an even number; 0 when empty */

#endif
