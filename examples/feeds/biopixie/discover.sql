-- sqlite3 biopixie.feeds/evidence/evidence.db < discover.sql : pairs of genes that most repositories have, newest dumps
WITH newest AS (SELECT feed, max(due_ns) AS due_ns FROM evidence WHERE gene_a IS NOT NULL GROUP BY feed)
SELECT min(gene_a, gene_b) AS one, max(gene_a, gene_b) AS other, count(DISTINCT feed) AS repositories
FROM evidence JOIN newest USING (feed, due_ns) WHERE gene_a IS NOT NULL
GROUP BY one, other ORDER BY repositories DESC, one, other LIMIT 10;
