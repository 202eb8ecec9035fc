# gnuplot -c tail.gp DATA PICTURE SERIES SCRIPTS: how long a check takes when it comes alone, right after a wake-up.

data = ARG1; picture = ARG2; series = int(ARG3); scripts = ARG4
heading = "Time of a check that comes right after a wake-up"
load scripts . "/nines.gp"
