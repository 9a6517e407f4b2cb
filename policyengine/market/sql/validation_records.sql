SELECT
    CASE WHEN $run_id IS NULL THEN true ELSE run_id = $run_id END,
    CASE
        WHEN $since IS NULL AND $before IS NULL THEN true
        ELSE epoch_us(recorded_at) >= coalesce($since, -9223372036854775807)
            AND epoch_us(recorded_at) < coalesce($before, 9223372036854775807)
    END,
    CASE WHEN $mode IS NULL THEN true ELSE execution_mode = $mode END,
    CASE WHEN $action IS NULL THEN true ELSE action = $action END,
    CASE WHEN status IN ('PASS', 'FAIL') THEN status END,
    CASE
        WHEN expected_profit IS NULL THEN 'missing'
        WHEN NOT isfinite(expected_profit) THEN 'not finite'
        WHEN expected_profit < 0 THEN 'loss'
        ELSE 'no loss'
    END,
    count(*)
FROM read_parquet({segments}, union_by_name = true)
GROUP BY ALL
