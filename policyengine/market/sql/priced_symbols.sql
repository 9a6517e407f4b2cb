-- Symbols with a finite close, in the order of the codes of daily_bars.sql.
SELECT symbol FROM canonical.prices WHERE isfinite(close) GROUP BY symbol ORDER BY symbol
