-- One row for each symbol and UTC date: the last finite close, in one pass whose state grows with the days and not with the bars. Of
-- bars with one instant, which `duplicate_keys` reports, the highest close, so that the row order of the file never decides.
WITH days AS (
    SELECT symbol, CAST(make_timestamp(epoch_us(priced_at)) AS DATE) AS day, arg_max(close, (priced_at, close)) AS close
    FROM canonical.prices
    WHERE isfinite(close)
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
