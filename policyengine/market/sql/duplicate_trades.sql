-- As many hashes as rows means as many ids; only else are the ids themselves grouped, which holds all of them.
SELECT concat_ws(' ', trade_id, 'x', n), sum(n) OVER ()
FROM (
    SELECT trade_id, count(*) AS n
    FROM canonical.trades
    WHERE (SELECT count(DISTINCT hash(trade_id)) < count(*) FROM canonical.trades)
    GROUP BY trade_id
    HAVING count(*) > 1
)
ORDER BY trade_id
LIMIT 5
