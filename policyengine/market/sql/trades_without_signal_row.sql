SELECT
    unnest(arg_min(
        concat_ws(' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ'), 'signal', signal_id), (traded_at, trade_id), 5
    )),
    count(*)
FROM canonical.counted_trades AS trades
WHERE trim(signal_id) <> '' AND NOT EXISTS (FROM canonical.signals AS signals WHERE signals.signal_id = trades.signal_id)
