# gnuplot -c latency.gp DATA PICTURE SERIES SCRIPTS: how long a check takes, stint beside its peers.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Time of a check, beside the peers"
load scripts . "/nines.gp"
