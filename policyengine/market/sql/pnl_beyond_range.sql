-- Whatever its entry, a trade cannot gain or lose more than the widest move its quantity saw, plus costs. The range runs over all
-- bars of the symbol up to the trade's UTC date; high and low count where they are, else the close. Half a cent is rounding. The range
-- is looked up once for each symbol and date that traded, so that what must be sorted does not grow with the trades.
WITH days AS (
    SELECT
        symbol,
        CAST(make_timestamp(epoch_us(priced_at)) AS DATE) AS day,
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
traded AS (
    SELECT DISTINCT symbol, CAST(make_timestamp(epoch_us(traded_at)) AS DATE) AS day FROM canonical.closing_trades
),
seen AS (
    SELECT traded.symbol, traded.day, ranges.highest, ranges.lowest
    FROM traded
    ASOF LEFT JOIN ranges ON traded.symbol = ranges.symbol AND traded.day >= ranges.day
),
bounds AS (
    SELECT
        trades.*,
        seen.highest,
        seen.lowest,
        abs(trades.quantity) * (seen.highest - seen.lowest) + coalesce(abs(trades.commission), 0) + 0.005 AS bound
    FROM canonical.closing_trades AS trades
    JOIN seen ON seen.symbol = trades.symbol AND seen.day = CAST(make_timestamp(epoch_us(trades.traded_at)) AS DATE)
)
SELECT
    unnest(arg_min(
        concat_ws(
            ' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ'), 'realized_pnl', realized_pnl, 'quantity', quantity,
            CASE WHEN bound IS NULL THEN 'no bars' ELSE concat('range ', lowest, ' to ', highest) END
        ),
        (traded_at, trade_id),
        5
    )),
    count(*)
FROM bounds
WHERE bound IS NULL OR NOT abs(realized_pnl) <= bound
