# What was measured elsewhere.
printf 'value\n%s\n' 1 2 3 4 5 6 7 8 9 10 > bandwidth.csv
