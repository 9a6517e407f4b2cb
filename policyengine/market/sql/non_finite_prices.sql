-- An absent open, high or low is no bar of that kind; NaN or infinity is a broken one.
SELECT
    unnest(arg_min(
        concat_ws(
            ' ', symbol, strftime(priced_at, '%Y-%m-%dT%H:%M:%SZ'), 'close', coalesce(CAST(close AS VARCHAR), 'missing'),
            'open ' || open, 'high ' || high, 'low ' || low
        ),
        (symbol, priced_at, close),
        5
    )),
    count(*)
FROM canonical.prices
WHERE close IS NULL OR NOT isfinite(close) OR NOT isfinite(open) OR NOT isfinite(high) OR NOT isfinite(low)
