# What all plots have: a white ground (READMEs are read on dark ones too), colours that the colour-blind can tell apart
# (Okabe and Ito), one style a line. `dir` is where the data are and the pictures go.
set terminal svg size 760,440 font "Helvetica,13" background rgb "white" enhanced
set border 3 linecolor rgb "#666666"
set tics nomirror
set grid linecolor rgb "#dddddd" linetype 1
set key outside right top vertical spacing 1.3 samplen 2
array colours[7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
do for [i=1:7] { set linetype i linecolor rgb colours[i] linewidth 2.2 pointtype 7 pointsize 0.6 }
blocks(name) = int(system(sprintf("grep -c '^\"' %s/%s.dat", dir, name)))
