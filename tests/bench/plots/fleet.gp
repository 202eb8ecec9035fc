# gnuplot -c fleet.gp DATA PICTURE SERIES SCRIPTS: what the database is asked for, by how often clients check. What
# has no leases, one upsert per check or rate-limiter-flexible, asks once for each.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Rows for 1,000 checks of clients that may have 100 in 60 s"
load scripts . "/style.gp"

set xlabel "a client's rate, % of its limit (lines: simulated)"
set logscale x
set xrange [0.9:220]
set xtics (1, 2, 5, 10, 20, 50, 100, 200)
set ylabel "rows for 1,000 checks"
set yrange [0:*]

# Lines for how many hosts, then points of what was measured, then the line of what others need.
plot for [i = 0:3] data index i using 1:2 with lines linestyle 1 + i title columnheader(1), \
	data index "[measured, 1 host]" using 1:2 with points linestyle 1 pointsize 1.4 title columnheader(1), \
	data index "[measured, 4 hosts]" using 1:2 with points linestyle 2 pointsize 1.4 title columnheader(1), \
	data index "[without leases]" using 1:2 with lines linestyle 7 dashtype 2 title columnheader(1)
