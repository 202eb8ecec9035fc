# Time per check by number of clients in the table.
set output dir . "/clients.svg"
set title "Time per check, clients drawn from a table of as many"
set logscale x
set format x "10^{%T}"
set yrange [0:*]
set xlabel "clients in the table"
set ylabel "ns per check"
set key below horizontal maxcols 2
plot for [i=0:blocks("clients")-1] dir . "/clients.dat" index i using 1:2 with linespoints title columnheader(1)
