set output dir . "/limit_use.svg"
set title "Admitted of a limit of 500 per second, offered 800"
set yrange [350:510]
set xlabel "resolution"
set ylabel "admitted per second"
set key below horizontal maxcols 2
plot for [i=0:blocks("limit_use")-1] dir . "/limit_use.dat" index i using 1:2 with linespoints title columnheader(1)
