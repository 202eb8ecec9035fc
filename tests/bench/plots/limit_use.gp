# gnuplot -c limit_use.gp DATA PICTURE SERIES SCRIPTS: how much of a limit is used, by resolution. A sliding window of
# resolution r can give r / (r + 1) of its limit; the bound is 99.5 % of that.

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
	data index "[sliding_window, possible]" using 1:($2 * 0.995) with lines linestyle 7 dashtype 2 \
		title "99.5 % of what it can give: limit × r / (r + 1)", \
	data index "[fixed_window]" using 1:2:xtic(1) with points linestyle 2 pointsize 1 title "fixed window", \
	data index "[fixed_window, possible]" using 1:2 with points linestyle 7 pointtype 1 pointsize 1.2 title "the limit"
