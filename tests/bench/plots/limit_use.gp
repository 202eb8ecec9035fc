# gnuplot -c limit_use.gp DATA PICTURE SERIES SCRIPTS: how much of a limit is used, by resolution, beside what can be given
# at most: the limit once in resolution + 1 sub-windows, as long as they really are. The points have that already.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Admitted, of a limit, when more is offered"
load scripts . "/style.gp"

set xlabel "resolution (a fixed window has none: it stands at 1)"
set logscale x
set ylabel "admitted/s"
set offsets graph 0.03, graph 0.03, 0, 0

# From well below the lowest, not from 0: what is to be seen is how near to the bound they come.
stats data using 2 nooutput
set yrange [STATS_min * 0.85:STATS_max * 1.03]

plot data index "[sliding_window]" using 1:2:xtic(1) with linespoints linestyle 1 title "sliding window", \
	data index "[sliding_window, possible]" using 1:2 with lines linestyle 7 dashtype 2 \
		title "the most its sub-windows can give", \
	data index "[fixed_window]" using 1:2:xtic(1) with points linestyle 2 pointsize 1 title "fixed window", \
	data index "[fixed_window, possible]" using 1:2 with points linestyle 7 pointtype 1 pointsize 1.2 title "the limit"
