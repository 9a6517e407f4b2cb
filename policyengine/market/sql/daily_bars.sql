-- One row for each symbol and UTC date: the last finite close. Of bars with one instant, which `duplicate_keys` reports, the
-- highest close, so that the row order of the file never decides.
WITH instants AS (
    SELECT symbol, priced_at, max(close) AS close
    FROM canonical.prices
    WHERE isfinite(close)
    GROUP BY symbol, priced_at
),
days AS (
    SELECT symbol, CAST(priced_at AS DATE) AS day, arg_max(close, priced_at) AS close
    FROM instants
    GROUP BY ALL
),
codes AS (
    SELECT symbol, row_number() OVER (ORDER BY symbol) - 1 AS code
    FROM (SELECT DISTINCT symbol FROM days)
)
SELECT CAST(codes.code AS INTEGER) AS code, days.day - DATE '1970-01-01' AS day, days.close
FROM days
JOIN codes USING (symbol)
ORDER BY code, day
