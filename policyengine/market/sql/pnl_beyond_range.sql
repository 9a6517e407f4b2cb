-- Whatever its entry, a trade cannot gain or lose more than the widest move its quantity saw, plus costs. The range runs over all
-- bars of the symbol up to the trade's UTC date; high and low count where they are, else the close. Half a cent is rounding.
WITH days AS (
    SELECT
        symbol,
        CAST(priced_at AS DATE) AS day,
        max(CASE WHEN high > close AND isfinite(high) THEN high ELSE close END) AS high,
        min(CASE WHEN low < close AND isfinite(low) THEN low ELSE close END) AS low
    FROM canonical.prices
    WHERE isfinite(close)
    GROUP BY ALL
),
ranges AS (
    SELECT symbol, day, max(high) OVER so_far AS highest, min(low) OVER so_far AS lowest
    FROM days
    WINDOW so_far AS (PARTITION BY symbol ORDER BY day)
),
bounds AS (
    SELECT
        trades.*,
        ranges.highest,
        ranges.lowest,
        abs(trades.quantity) * (ranges.highest - ranges.lowest) + coalesce(abs(trades.commission), 0) + 0.005 AS bound
    FROM (SELECT *, CAST(traded_at AS DATE) AS day FROM canonical.closing_trades) AS trades
    ASOF LEFT JOIN ranges ON trades.symbol = ranges.symbol AND trades.day >= ranges.day
)
SELECT
    concat_ws(
        ' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ'), 'realized_pnl', realized_pnl, 'quantity', quantity,
        CASE WHEN bound IS NULL THEN 'no bars' ELSE concat('range ', lowest, ' to ', highest) END
    ),
    count(*) OVER ()
FROM bounds
WHERE bound IS NULL OR NOT abs(realized_pnl) <= bound
ORDER BY traded_at, trade_id
LIMIT 5
