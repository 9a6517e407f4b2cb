-- Synthetic and diagnostic rows never count; a closing trade has a realised P&L and is not said to be open.
CREATE VIEW canonical.counted_trades AS
SELECT *
FROM canonical.trades
WHERE NOT coalesce(is_synthetic, false) AND NOT coalesce(is_diagnostic, false);

CREATE VIEW canonical.closing_trades AS
SELECT *
FROM canonical.counted_trades
WHERE realized_pnl IS NOT NULL AND coalesce(is_close, true);
