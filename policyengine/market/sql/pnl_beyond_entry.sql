-- The same by the trade's own prices, where it tells both: one lot cannot gain or lose more than it moved, plus costs.
SELECT
    unnest(arg_min(
        concat_ws(
            ' ', trade_id, symbol, strftime(traded_at, '%Y-%m-%dT%H:%M:%SZ'), 'realized_pnl', realized_pnl, 'quantity', quantity,
            'entry', entry_price, 'exit', price
        ),
        (traded_at, trade_id),
        5
    )),
    count(*)
FROM canonical.closing_trades
WHERE abs(realized_pnl) > abs(quantity) * abs(price - entry_price) + coalesce(abs(commission), 0) + 0.005
