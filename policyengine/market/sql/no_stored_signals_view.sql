CREATE VIEW canonical.stored_signals AS
SELECT
    NULL::VARCHAR AS run_id,
    NULL::VARCHAR AS signal_id,
    NULL::VARCHAR AS symbol,
    NULL::TIMESTAMPTZ AS signalled_at,
    false AS acted
WHERE false
