-- Whole factors and their parts, within 2 in 100, as in policyengine.signals.returns. An option may double any day.
SELECT
    concat_ws(' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'close', close, 'after', before),
    count(*) OVER ()
FROM (
    SELECT symbol, priced_at, close, lag(close) OVER (PARTITION BY symbol ORDER BY priced_at) AS before
    FROM canonical.prices
    WHERE isfinite(close) AND symbol NOT IN (SELECT symbol FROM canonical.instruments WHERE type = 'option')
)
WHERE close > 0 AND before > 0
    AND greatest(close / before, before / close) > 1.9
    AND EXISTS (
        FROM (SELECT unnest([2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 50, 100]) AS split)
        WHERE abs(greatest(close / before, before / close) / split - 1) <= 0.02
    )
ORDER BY symbol, priced_at
LIMIT 5
