CREATE VIEW canonical.audit_decisions AS
WITH records AS (
    SELECT
        CAST(json_extract_string(line, '$.seq') AS BIGINT) AS seq,
        json_extract_string(line, '$.kind') AS kind,
        json_extract_string(line, '$.decision_id') AS decision_id,
        line
    FROM read_csv(
        {segments},
        columns = {{'line': 'VARCHAR'}}, delim = '\x01', quote = '', escape = '', header = false, auto_detect = false
    )
    WHERE json_valid(line)
),
intents AS (
    SELECT *
    FROM records
    WHERE kind = 'intent' AND seq <= {count}
    QUALIFY row_number() OVER (PARTITION BY decision_id ORDER BY seq DESC) = 1
),
outcomes AS (
    SELECT *
    FROM records
    WHERE kind = 'outcome' AND seq <= {count}
)
SELECT
    intents.seq AS seq,
    intents.decision_id AS decision_id,
    json_extract_string(intents.line, '$.recorded_at') AS recorded_at,
    json_extract_string(intents.line, '$.account') AS account,
    CAST(CAST(json_extract_string(intents.line, '$.session') AS DATE) - DATE '1970-01-01' AS BIGINT) AS day,
    json_extract_string(intents.line, '$.signal_id') AS signal_id,
    json_extract_string(intents.line, '$.symbol') AS symbol,
    json_extract_string(intents.line, '$.bucket') AS bucket,
    json_extract_string(intents.line, '$.sleeve') AS sleeve,
    CAST(json_extract_string(intents.line, '$.base_confidence') AS DOUBLE) AS base_confidence,
    json_extract_string(intents.line, '$.multipliers') AS multipliers,
    CAST(json_extract_string(intents.line, '$.effective_confidence') AS DOUBLE) AS effective_confidence,
    CAST(json_extract_string(intents.line, '$.baseline_size') AS DOUBLE) AS baseline_size,
    CAST(json_extract_string(intents.line, '$.candidate_size') AS DOUBLE) AS candidate_size,
    CAST(json_extract_string(intents.line, '$.acted_size') AS DOUBLE) AS acted_size,
    json_extract_string(intents.line, '$.limits') AS limits,
    json_extract_string(intents.line, '$.mode') AS mode,
    json_extract_string(intents.line, '$.evidence_hash') AS evidence_hash,
    json_extract_string(intents.line, '$.policy_hash') AS policy_hash,
    json_extract_string(intents.line, '$.config_hash') AS config_hash,
    json_extract_string(intents.line, '$.code_hash') AS code_hash,
    json_extract_string(intents.line, '$.reasons') AS reasons,
    outcomes.seq IS NOT NULL AS has_outcome,
    json_extract_string(outcomes.line, '$.client_order_id') AS client_order_id,
    CAST(json_extract_string(outcomes.line, '$.quantity') AS DOUBLE) AS quantity,
    CAST(json_extract_string(outcomes.line, '$.price') AS DOUBLE) AS price,
    CAST(json_extract_string(outcomes.line, '$.cost') AS DOUBLE) AS cost,
    json_extract_string(outcomes.line, '$.refusal') AS refusal
FROM intents
LEFT JOIN outcomes ON outcomes.decision_id = intents.decision_id
