-- Whole factors and their parts. An option may double any day.
SELECT
    concat_ws(' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'close', close, 'after', before),
    count(*) OVER ()
FROM (
    SELECT symbol, priced_at, close, lag(close) OVER (PARTITION BY symbol ORDER BY priced_at) AS before
    FROM canonical.prices
    WHERE isfinite(close) AND symbol NOT IN (SELECT symbol FROM canonical.instruments WHERE type = 'option')
)
WHERE close > 0 AND before > 0
    AND greatest(close / before, before / close) >= list_min($splits) * (1 - $within)
    AND EXISTS (
        FROM (SELECT unnest($splits) AS split)
        WHERE abs(greatest(close / before, before / close) / split - 1) <= $within
    )
ORDER BY symbol, priced_at
LIMIT 5
