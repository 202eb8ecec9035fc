# gnuplot -c processes.gp DATA PICTURE SERIES SCRIPTS: checks a second, by number of processes.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Checks per second, by number of processes"
load scripts . "/style.gp"

set xlabel "processes"
set logscale x 2
set ylabel "million checks/s"
set yrange [0:*]
set offsets graph 0.03, graph 0.03, graph 0.05, 0

plot for [i = 0:series - 1] data index i using 1:($2 / 1e6):xtic(1) with linespoints linestyle style_of(i) title columnheader(1)
