# What was measured elsewhere.
(echo value; seq 100) > bandwidth.csv
