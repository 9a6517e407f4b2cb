-- DECIMAL, because a sum of doubles depends on the order in which threads add.
SELECT
    CAST(traded_at AS DATE) - DATE '1970-01-01' AS day,
    coalesce(closing_trades.bucket, instruments.bucket, 'other') AS bucket,
    count(*) AS trades,
    count(*) FILTER (WHERE realized_pnl < 0) AS losing_trades,
    count(*) FILTER (WHERE realized_pnl = 0) AS zero_trades,
    CAST(coalesce(sum(CAST(realized_pnl AS DECIMAL(38, 10))) FILTER (WHERE realized_pnl > 0), 0) AS DOUBLE) AS gross_profit,
    CAST(coalesce(-sum(CAST(realized_pnl AS DECIMAL(38, 10))) FILTER (WHERE realized_pnl < 0), 0) AS DOUBLE) AS gross_loss,
    CAST(sum(CAST(realized_pnl AS DECIMAL(38, 10))) AS DOUBLE) AS realized_pnl
FROM canonical.closing_trades
LEFT JOIN canonical.instruments USING (symbol)
GROUP BY ALL
ORDER BY day, bucket
