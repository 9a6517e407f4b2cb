SELECT unnest(arg_min(concat_ws(' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ')), (traded_at, trade_id), 5)), count(*)
FROM canonical.counted_trades
WHERE signal_id IS NULL OR (signal_id < '!' AND trim(signal_id) = '')
