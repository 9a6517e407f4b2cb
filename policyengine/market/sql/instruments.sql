CREATE TABLE canonical.instruments AS
SELECT
    unnest($symbols::VARCHAR[]) AS symbol,
    unnest($buckets::VARCHAR[]) AS bucket,
    unnest($currencies::VARCHAR[]) AS currency,
    unnest($types::VARCHAR[]) AS type
