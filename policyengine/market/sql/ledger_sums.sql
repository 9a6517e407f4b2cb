-- One pass over the ledger. DECIMAL, because a sum of doubles depends on the order in which threads add. The UTC date by way of a time
-- without zone, which costs a fifth of asking the calendar.
WITH trades AS (
    SELECT
        CAST(make_timestamp(epoch_us(traded_at)) AS DATE) - DATE '1970-01-01' AS day,
        coalesce(closing_trades.bucket, instruments.bucket, 'other') AS bucket,
        coalesce({clipped}, 0) AS clipped,
        realized_pnl,
        base_confidence,
        signal_id
    FROM canonical.closing_trades AS closing_trades
    LEFT JOIN canonical.instruments AS instruments USING (symbol)
),
amounts AS (
    SELECT
        *,
        CAST(realized_pnl AS DECIMAL(38, 10)) AS pnl,
        CAST(CASE WHEN clipped > 0 THEN realized_pnl / base_confidence END AS DECIMAL(38, 10)) AS pnl_over_base
    FROM trades
)
SELECT
    day,
    bucket,
    CAST(clipped AS BIGINT) AS clipped,
    count(*) AS closed,
    count(*) FILTER (WHERE realized_pnl > 0) AS won,
    count(*) FILTER (WHERE realized_pnl < 0) AS lost,
    count(*) FILTER (WHERE base_confidence > 0) AS known,
    count(signal_id) AS named,
    min(base_confidence) AS least_base,
    max(base_confidence) AS most_base,
    CAST(coalesce(sum(pnl) FILTER (WHERE realized_pnl > 0), 0) AS DOUBLE) AS profit,
    CAST(coalesce(-sum(pnl) FILTER (WHERE realized_pnl < 0), 0) AS DOUBLE) AS loss,
    CAST(coalesce(sum(pnl_over_base) FILTER (WHERE realized_pnl > 0), 0) AS DOUBLE) AS profit_over_base,
    CAST(coalesce(-sum(pnl_over_base) FILTER (WHERE realized_pnl < 0), 0) AS DOUBLE) AS loss_over_base
FROM amounts
GROUP BY ALL
ORDER BY day, bucket, clipped
