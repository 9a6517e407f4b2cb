SELECT
    concat_ws(
        ' ', trade_id, symbol, 'signal', coalesce(nullif(trim(signal_id), ''), 'unnamed'), run_id,
        strftime(signalled_at, '%Y-%m-%dT%H:%M:%SZ')
    ),
    count(*) OVER ()
FROM arrived.trades AS trades
WHERE
    CASE
        WHEN trim(signal_id) <> ''
            THEN NOT EXISTS (FROM canonical.stored_signals AS signals WHERE signals.signal_id = trades.signal_id)
        ELSE NOT EXISTS (
            FROM canonical.stored_signals AS signals
            WHERE signals.run_id = trades.run_id
                AND signals.symbol = trades.symbol
                AND signals.signalled_at = trades.signalled_at
        )
    END
ORDER BY trade_id, symbol
LIMIT 5
