-- A price is in its instrument's currency; a rate in the second currency of its pair.
WITH rates AS (SELECT unnest($rates::VARCHAR[]) AS symbol, unnest($pairs::VARCHAR[]) AS pair)
SELECT concat_ws(' ', symbol, currency, 'instead of', listed), count(*) OVER ()
FROM (
    SELECT DISTINCT symbol, prices.currency, coalesce(instruments.currency, split_part(rates.pair, '/', 2), $base_currency) AS listed
    FROM canonical.prices AS prices
    LEFT JOIN canonical.instruments AS instruments USING (symbol)
    LEFT JOIN rates USING (symbol)
)
WHERE currency <> listed
ORDER BY symbol, currency
LIMIT 5
