/*
 * report_plots.h - the points as data files, one for each plot, and as pictures where tests/bench/plots/ has a
 * script of the same name. Plots that nothing was measured for are skipped.
 */
#ifndef BENCH_REPORT_PLOTS_H
#define BENCH_REPORT_PLOTS_H

#include "report.h"

/* OUT_DIR/NAME.dat and OUT_DIR/NAME.svg. 0, or -1; without gnuplot, 0 and a word on stderr. Run at the
 * repository's root. */
int plots_make(const struct report *, const char *out_dir);

#endif
