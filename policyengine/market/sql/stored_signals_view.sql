CREATE VIEW canonical.stored_signals AS
SELECT
    run_id,
    signal_id,
    symbol,
    signalled_at,
    direction,
    strength,
    edge_score,
    confidence,
    source,
    horizon_days,
    regime,
    expected_return,
    predicted_volatility,
    sleeve,
    acted
FROM read_parquet({segments}, union_by_name = true)
