# How long one check takes, by share of checks: each nine gets the same room.
set output dir . "/latency.svg"
set title "Latency of one check, one process, one at a time"
set logscale y
set yrange [10:*]
set format y "%.0s %cs"
set ytics ("10 ns" 10, "100 ns" 100, "1 us" 1e3, "10 us" 1e4, "100 us" 1e5, "1 ms" 1e6, "10 ms" 1e7)
set xtics ("50%" 0.30103, "90%" 1, "99%" 2, "99.9%" 3, "99.99%" 4)
set xlabel "share of checks that are as fast"
set key below horizontal maxcols 2
plot for [i=0:blocks("latency")-1] dir . "/latency.dat" index i using (-log10(1-$1)):2 with linespoints title columnheader(1)
