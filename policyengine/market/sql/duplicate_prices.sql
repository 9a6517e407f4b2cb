SELECT concat_ws(' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'x', n), sum(n) OVER ()
FROM (SELECT symbol, priced_at, count(*) AS n FROM canonical.prices GROUP BY symbol, priced_at HAVING count(*) > 1)
ORDER BY symbol, priced_at
LIMIT 5
