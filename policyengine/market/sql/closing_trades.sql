SELECT
    trade_id,
    symbol,
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
FROM (
    SELECT *
    FROM canonical.closing_trades
    WHERE traded_at >= CAST($first AS TIMESTAMPTZ) AND traded_at < CAST($last AS TIMESTAMPTZ) + INTERVAL 1 DAY
    ORDER BY traded_at {order}, trade_id {order}
    LIMIT {count}
) AS closing_trades
ORDER BY closing_trades.traded_at, trade_id
