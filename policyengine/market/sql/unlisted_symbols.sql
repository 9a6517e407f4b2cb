SELECT DISTINCT symbol FROM canonical.{view} WHERE symbol NOT IN (SELECT symbol FROM canonical.instruments) ORDER BY symbol
