SELECT DISTINCT symbol FROM canonical.{view} ORDER BY symbol
