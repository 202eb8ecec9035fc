# gnuplot -c clients.gp DATA PICTURE SERIES SCRIPTS: time of a check by number of clients in the table.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Time of a check, by number of clients"
load scripts . "/style.gp"

set xlabel "clients"
set xtics ("1,000" 1e3, "10,000" 1e4, "100,000" 1e5, "1 million" 1e6, "10 million" 1e7)
set ylabel "ns"
set yrange [0:*]
stats data using 1 nooutput
set logscale x
set xrange [STATS_min * 0.8:STATS_max * 1.25]

# The first half is stint's, the second what it is compared with, in the same order: the same colours, dashed.
half = (series + 1) / 2
plot for [i = 0:half - 1] data index i using 1:2 with linespoints linestyle style_of(i) title columnheader(1), \
	for [i = half:series - 1] data index i using 1:2 with linespoints linestyle style_of(i - half) linewidth 2 dashtype 2 \
		title columnheader(1)
