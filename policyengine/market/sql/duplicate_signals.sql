SELECT concat_ws(' ', signal_id, 'x', n), sum(n) OVER ()
FROM (SELECT signal_id, count(*) AS n FROM canonical.signals GROUP BY signal_id HAVING count(*) > 1)
ORDER BY signal_id
LIMIT 5
