# gnuplot -c limit_use_statements.gp DATA PICTURE SERIES SCRIPTS: what the database is asked for it, by resolution.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Statements, when more is offered than the limit"
load scripts . "/style.gp"

set xlabel "resolution (a fixed window has none: it stands at 1)"
set logscale x
set ylabel "statements/s"
set yrange [0:*]
set offsets graph 0.03, graph 0.03, graph 0.05, 0

plot data index "[sliding_window]" using 1:2:xtic(1) with linespoints linestyle 1 title "sliding window", \
	data index "[fixed_window]" using 1:2:xtic(1) with points linestyle 2 pointsize 1 title "fixed window"
