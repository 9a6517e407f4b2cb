-- How many signals lie between the first and the last bar of their symbol (dates, so that a signal on the last day counts), and what
-- both views span, for the message when none does.
WITH spans AS (
    SELECT symbol, min(CAST(priced_at AS DATE)) AS first_day, max(CAST(priced_at AS DATE)) AS last_day
    FROM canonical.prices
    GROUP BY symbol
)
SELECT
    (
        SELECT count(*)
        FROM canonical.signals
        JOIN spans USING (symbol)
        WHERE CAST(signalled_at AS DATE) BETWEEN first_day AND last_day
    ),
    (
        SELECT concat_ws(
            ' ', min(symbol), 'to', max(symbol), CAST(min(CAST(signalled_at AS DATE)) AS VARCHAR), 'to',
            CAST(max(CAST(signalled_at AS DATE)) AS VARCHAR)
        )
        FROM canonical.signals
    ),
    (
        SELECT concat_ws(' ', min(symbol), 'to', max(symbol), CAST(min(first_day) AS VARCHAR), 'to', CAST(max(last_day) AS VARCHAR))
        FROM spans
    )
