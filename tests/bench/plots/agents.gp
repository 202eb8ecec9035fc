# gnuplot -c agents.gp DATA PICTURE SERIES SCRIPTS: how long the database takes, by number of agents.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Time of a statement, by number of agents"
load scripts . "/style.gp"

set xlabel "agents"
set logscale x
set ylabel "µs"
set yrange [0:*]
set offsets graph 0.03, graph 0.03, graph 0.05, 0

plot for [i = 0:series - 1] data index i using 1:2:xtic(1) with linespoints linestyle style_of(i) title columnheader(1)
