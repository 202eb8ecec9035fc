set output dir . "/tail.svg"
set title "Latency of checks that come one at a time, 20 processes on 2 hosts"
set logscale y
set yrange [10:*]
set ytics ("10 ns" 10, "100 ns" 100, "1 us" 1e3, "10 us" 1e4, "100 us" 1e5, "1 ms" 1e6, "10 ms" 1e7)
set xtics ("50%" 0.30103, "90%" 1, "99%" 2, "99.9%" 3, "99.99%" 4)
set xlabel "share of checks that are as fast"
set key below horizontal maxcols 2
plot for [i=0:blocks("tail")-1] dir . "/tail.dat" index i using (-log10(1-$1)):2 with linespoints title columnheader(1)
