SELECT concat_ws(' ', trade_id, 'x', n), sum(n) OVER ()
FROM (SELECT trade_id, count(*) AS n FROM canonical.trades GROUP BY trade_id HAVING count(*) > 1)
ORDER BY trade_id
LIMIT 5
