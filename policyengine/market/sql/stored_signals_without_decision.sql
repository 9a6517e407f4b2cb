SELECT
    concat_ws(' ', signal_id, symbol, run_id, strftime(signalled_at, '%Y-%m-%dT%H:%M:%SZ')),
    count(*) OVER ()
FROM canonical.stored_signals AS signals
WHERE
    acted
    AND signals.run_id = $run_id
    AND NOT EXISTS (FROM arrived.decisions AS decisions WHERE decisions.signal_id = signals.signal_id)
    AND NOT EXISTS (
        FROM arrived.decisions AS decisions
        WHERE coalesce(trim(decisions.signal_id), '') = ''
            AND decisions.run_id = signals.run_id
            AND decisions.symbol = signals.symbol
            AND decisions.signalled_at = signals.signalled_at
    )
ORDER BY signalled_at, symbol, signal_id, run_id
LIMIT 5
