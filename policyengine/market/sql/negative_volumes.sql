SELECT
    unnest(arg_min(
        concat_ws(' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'volume', volume), (symbol, priced_at, volume), 5
    )),
    count(*)
FROM canonical.prices
WHERE volume < 0
