WITH summary AS (
    SELECT count(*) AS n, count(DISTINCT CAST(traded_at AS DATE)) AS dates FROM canonical.closing_trades
)
SELECT concat_ws(' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ'), 'realized_pnl', realized_pnl), n
FROM canonical.closing_trades, summary
WHERE dates = 1
ORDER BY traded_at, trade_id
LIMIT 5
