WITH codes AS (
    SELECT symbol, row_number() OVER (ORDER BY symbol) - 1 AS code
    FROM (SELECT DISTINCT symbol FROM canonical.signals)
)
SELECT
    CAST(codes.code AS INTEGER) AS code,
    epoch_us(signalled_at) AS signalled_at,
    direction,
    confidence,
    strength,
    edge_score,
    horizon_days,
    expected_return,
    predicted_volatility,
    cost_bps,
    gap_frac,
    funding_bps,
    participation_frac,
    leverage,
    source,
    regime,
    signal_id
FROM canonical.signals
JOIN codes USING (symbol)
ORDER BY signals.signalled_at, symbol, signal_id
