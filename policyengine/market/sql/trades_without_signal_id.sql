SELECT concat_ws(' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ')), count(*) OVER ()
FROM canonical.counted_trades
WHERE signal_id IS NULL OR trim(signal_id) = ''
ORDER BY traded_at, trade_id
LIMIT 5
