WITH summary AS (
    SELECT count(*) AS n, CAST(min(traded_at) AS DATE) AS first_day, CAST(max(traded_at) AS DATE) AS last_day FROM canonical.closing_trades
)
SELECT concat_ws(' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ'), 'realized_pnl', realized_pnl), n
FROM canonical.closing_trades, summary
WHERE first_day = last_day
ORDER BY traded_at, trade_id
LIMIT 5
