-- The engine keeps the order of the file, so that row numbers are positions in it.
SELECT
    concat_ws(
        ' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'after', strftime(before, '%Y-%m-%dT%H:%M:%SZ'), 'at row', position
    ),
    count(*) OVER ()
FROM (
    SELECT symbol, priced_at, position, lag(priced_at) OVER (PARTITION BY symbol ORDER BY position) AS before
    FROM (SELECT symbol, priced_at, row_number() OVER () AS position FROM canonical.prices)
)
WHERE priced_at < before
ORDER BY position
LIMIT 5
