-- As many hashes as rows means as many keys; only else are the keys themselves grouped, which holds all of them.
SELECT concat_ws(' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'x', n), sum(n) OVER ()
FROM (
    SELECT symbol, priced_at, count(*) AS n
    FROM canonical.prices
    WHERE (SELECT count(DISTINCT hash(symbol, priced_at)) < count(*) FROM canonical.prices)
    GROUP BY symbol, priced_at
    HAVING count(*) > 1
)
ORDER BY symbol, priced_at
LIMIT 5
