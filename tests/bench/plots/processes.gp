set output dir . "/processes.svg"
set title "Checks per second by number of processes"
set logscale x 2
set yrange [0:*]
set format y "%.0s %c"
set xlabel "processes"
set ylabel "checks per second, all together"
set key below horizontal maxcols 2
plot for [i=0:blocks("processes")-1] dir . "/processes.dat" index i using 1:2 with linespoints title columnheader(1)
