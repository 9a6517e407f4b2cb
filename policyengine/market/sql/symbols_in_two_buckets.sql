SELECT concat_ws(' ', symbol, 'in', string_agg(bucket, ', ' ORDER BY bucket)), count(*) OVER ()
FROM (
    SELECT symbol, bucket FROM canonical.trades WHERE bucket IS NOT NULL
    UNION
    SELECT symbol, bucket FROM canonical.instruments WHERE symbol IN (SELECT symbol FROM canonical.trades WHERE bucket IS NOT NULL)
)
GROUP BY symbol
HAVING count(*) > 1
ORDER BY symbol
LIMIT 5
