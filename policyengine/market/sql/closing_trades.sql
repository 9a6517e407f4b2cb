WITH codes AS (
    SELECT symbol, row_number() OVER (ORDER BY symbol) - 1 AS code
    FROM (SELECT DISTINCT symbol FROM canonical.closing_trades)
)
SELECT
    trade_id,
    CAST(codes.code AS INTEGER) AS code,
    epoch_us(traded_at) AS traded_at,
    side,
    quantity,
    price,
    realized_pnl,
    commission,
    base_confidence,
    effective_confidence,
    multiplier,
    entry_price,
    epoch_us(entry_at) AS entry_at,
    bucket,
    signal_id,
    run_id
FROM canonical.closing_trades
JOIN codes USING (symbol)
ORDER BY closing_trades.traded_at, trade_id
