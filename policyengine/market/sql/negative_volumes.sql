SELECT concat_ws(' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'volume', volume), count(*) OVER ()
FROM canonical.prices
WHERE volume < 0
ORDER BY symbol, priced_at, volume
LIMIT 5
