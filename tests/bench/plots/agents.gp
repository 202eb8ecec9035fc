set output dir . "/agents.svg"
set title "Time to a lease by number of agents, one database"
set logscale x 2
set yrange [0:*]
set xlabel "agents"
set ylabel "us"
set key below horizontal maxcols 2
plot for [i=0:blocks("agents")-1] dir . "/agents.dat" index i using 1:2 with linespoints title columnheader(1)
