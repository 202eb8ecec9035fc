# What all plots share. Set before: `picture`, the file to write; `heading`; `series`, how many the key has to name.
# White behind everything: the same on a light and on a dark page. Colours after Okabe and Ito, told apart by all eyes.

set terminal svg size 860,480 dynamic font "sans-serif,15" background "#ffffff" rounded enhanced
set encoding utf8
set output picture

set border 3 linecolor "#666666" linewidth 1
set tics nomirror out textcolor "#333333" scale 0.6,0.3
set grid xtics ytics linecolor "#e4e4e4" linewidth 1, linecolor "#e4e4e4" linewidth 1
set xlabel textcolor "#333333"
set ylabel textcolor "#333333"
set label 1 heading at screen 0.02, screen 0.94 left noenhanced font ",19" textcolor "#111111"
set key at graph 0, graph 1.03 left bottom Left reverse vertical noenhanced samplen 2.2 spacing 1.15 textcolor "#333333"
set lmargin 11
set rmargin 4
set bmargin 4

# stint comes first, and stands out.
set style line 1 linecolor "#0072b2" linewidth 3.5 pointtype 7 pointsize 0.6
set style line 2 linecolor "#d55e00" linewidth 2 pointtype 5 pointsize 0.5
set style line 3 linecolor "#009e73" linewidth 2 pointtype 9 pointsize 0.6
set style line 4 linecolor "#cc79a7" linewidth 2 pointtype 11 pointsize 0.6
set style line 5 linecolor "#e69f00" linewidth 2 pointtype 13 pointsize 0.6
set style line 6 linecolor "#56b4e9" linewidth 2 pointtype 4 pointsize 0.6
set style line 7 linecolor "#444444" linewidth 2 pointtype 6 pointsize 0.6
set style line 8 linecolor "#999999" linewidth 2 pointtype 8 pointsize 0.6
style_of(i) = 1 + i % 8

# The key stands between title and plot, in two columns: room for it, by how many lines it has.
key_lines(n) = (n + 1) / 2
set key maxrows key_lines(series)
set tmargin 3.2 + 1.3 * key_lines(series)
