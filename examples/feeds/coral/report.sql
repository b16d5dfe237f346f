-- sqlite3 coral.feeds/performance/requests.db < report.sql : each node's requests, megabytes, share of failures
SELECT location, count(*) AS requests, round(sum(size_bytes) / 1e6, 1) AS mb, round(avg(status >= 500), 3) AS failed
FROM performance GROUP BY location ORDER BY failed DESC, requests DESC LIMIT 10;
