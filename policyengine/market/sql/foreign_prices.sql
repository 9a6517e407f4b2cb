SELECT concat_ws(' ', symbol, currency, 'instead of', listed), count(*) OVER ()
FROM (
    SELECT DISTINCT symbol, prices.currency, coalesce(instruments.currency, $base_currency) AS listed
    FROM canonical.prices AS prices
    LEFT JOIN canonical.instruments AS instruments USING (symbol)
)
WHERE currency <> listed
ORDER BY symbol, currency
LIMIT 5
