# How latencies are distributed: an axis of nines, so that the rare and slow have as much room as the frequent.

load scripts . "/style.gp"

nines(fraction) = fraction < 1 ? -log10(1 - fraction) : NaN

set xlabel "checks that take no longer"
set xrange [nines(0.5):nines(0.9999) + 0.02]
set xtics ("50 %%" nines(0.5), "90 %%" nines(0.9), "99 %%" nines(0.99), "99.9 %%" nines(0.999), "99.99 %%" nines(0.9999))

set logscale y
set ytics ("10 ns" 1e1, "100 ns" 1e2, "1 µs" 1e3, "10 µs" 1e4, "100 µs" 1e5, "1 ms" 1e6, "10 ms" 1e7, "100 ms" 1e8, "1 s" 1e9)
stats data using ($2 > 0 ? $2 : NaN) nooutput
# A little more than the decades, so that rounding does not lose the tics at the ends.
set yrange [0.99 * 10 ** floor(log10(STATS_min)):1.01 * 10 ** ceil(log10(STATS_max))]

plot for [i = 0:series - 1] data index i using (nines($1)):2 with lines linestyle style_of(i) title columnheader(1)
