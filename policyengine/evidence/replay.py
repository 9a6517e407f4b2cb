"""Replay evidence: both arms trade one signal stream over one panel; nothing but sizing, sleeves, scaler and limits differs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Cycle, charged_to, grid
from policyengine.allocation.orders import GUARDRAILS, Reject
from policyengine.allocation.sizing import Sized, codes_of
from policyengine.allocation.sleeves import SLEEVES
from policyengine.errors import DataError
from policyengine.evidence.evidence import Evidence, Table
from policyengine.evidence.metrics import ArmSeries, TradeSums
from policyengine.evidence.reconciliation import reconciliation
from policyengine.execution.replay import Curves, FillTable, replay
from policyengine.market.panel import PricePanel
from policyengine.records import BUCKETS, Arm
from policyengine.signals.routing import choices, routing_table
from policyengine.signals.stream import Stream
from policyengine.spec.evidence import WalkForwardEvidence
from policyengine.spec.root import ArmSpec, Spec
from policyengine.store import Words

Floats = NDArray[np.float64]
IDENTITY_SESSIONS = 60
"""So many first sessions tell one source from another: new days do not change them."""


def replay_evidence(
    spec: Spec,
    panel: PricePanel,
    stream: Stream,
    *,
    progress: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Evidence:
    """Replay both arms of `spec` over the panel; `clock` gives seconds, to record what deciding costs each arm.

    Raises:
        BrokenInvariant: the accounting identity or the limits do not hold.
    """
    cycle = Cycle(
        [spec.arm(arm) for arm in Arm],
        stream,
        grid(stream, spec.universe),
        spec.universe,
        allow_short=spec.execution.allow_short,
        periods_per_year=panel.periods_per_year,
        clock=clock,
    )
    rate = cash_rate(panel, spec.universe.cash_rate_symbol)
    curves = replay(panel, cycle, spec.execution, rate=rate, capital=spec.evidence.capital, progress=progress)
    followed = _followed(stream, curves)
    audited = [_audited(spec.arm(arm), panel, curves.fills, followed, p) for p, arm in enumerate(Arm)]
    series = [_series(spec, panel, curves, rate, p, spec.arm(arm).name) for p, arm in enumerate(Arm)]
    reconciled = reconciliation(panel, cycle, curves)
    return Evidence(
        kind="walk_forward" if isinstance(spec.evidence, WalkForwardEvidence) else "replay",
        source_key=source_key(panel),
        baseline=series[0],
        candidate=series[1],
        breaches=int(curves.breach.sum()),
        audited_frac=(audited[0], audited[1]),
        notes=(*stream.notes, *_unused(stream)),
        tables={
            "signals": signal_table(stream, cycle.sized[list(Arm).index(Arm.CANDIDATE)]),
            **_routing_tables(spec, panel, stream),
            "trades": _trade_table(spec, panel, stream, curves, cycle, followed),
            "exposure": _exposure_table(spec, panel, cycle, curves, series),
            **reconciled.tables,
        },
        reconciliation=reconciled.summary,
        seconds=dict(zip(Arm, cycle.seconds, strict=True)),
        counts={
            "limit_held_over_sessions": int(curves.held_over.sum()),
            **{f"rejects_{reason.name.lower()}": int(curves.rejects[..., reason].sum()) for reason in Reject},
        },
    )


def cash_rate(panel: PricePanel, symbol: str | None) -> Floats:
    """Risk-free return over each session, (T,): that of instrument `symbol`; 0 without one, and before its first bar.

    Raises:
        DataError: a price at or below 0.
    """
    if symbol is None or symbol not in panel.symbols:
        return np.zeros(panel.sessions.size)
    close = panel.close[:, panel.symbols.index(symbol)]
    if bool((close <= 0.0).any()):
        day = panel.sessions[int(np.argmax(close <= 0.0))]
        raise DataError("universe.cash_rate_symbol", f"{symbol} is at {np.nanmin(close):g} on {day}; a rate needs prices above 0")
    rate = np.zeros(close.size)
    rate[1:] = close[1:] / close[:-1] - 1.0
    return np.where(np.isfinite(rate), rate, 0.0)


def source_key(panel: PricePanel) -> str:
    """SHA-256 over the first sessions, the symbols that trade on them, and their prices relative to the first of each.

    Relative and to six digits, so that a series that is adjusted again from its end stays the same source.
    """
    close = panel.close[:IDENTITY_SESSIONS]
    traded = np.flatnonzero(np.isfinite(close[-1]))
    whole = hashlib.sha256(",".join(panel.sessions[:IDENTITY_SESSIONS].astype(str).tolist()).encode())
    for i in traded.tolist():
        series = close[np.isfinite(close[:, i]), i]
        base = series[0] if series[0] != 0.0 else 1.0
        whole.update(f"|{panel.symbols[i]}:{','.join(f'{x:.6g}' for x in (series / base).tolist())}".encode())
    return whole.hexdigest()


def _series(spec: Spec, panel: PricePanel, curves: Curves, rate: Floats, p: int, name: str) -> ArmSeries:
    code = _bucket_codes(spec, panel)
    fills = curves.fills
    closing = (fills.policy == p) & (fills.closed > 0.0)
    size = np.abs(curves.exposure[p])
    return ArmSeries(
        name=name,
        sessions=panel.sessions,
        nav=curves.nav[p],
        capital=spec.evidence.capital,
        rate=rate,
        periods_per_year=panel.periods_per_year,
        trades=TradeSums.of_trades(
            panel.sessions.size, session=fills.session[closing], bucket=code[fills.instrument[closing]], pnl=fills.realized[closing]
        ),
        cost=curves.cost[p],
        traded=curves.traded[p],
        requests=curves.requests[p],
        rejects=curves.rejects[p][:, list(GUARDRAILS)].sum(axis=1),
        exposure=np.stack([size[:, code == b].sum(axis=1) for b in range(len(BUCKETS))], axis=1),
    )


def _bucket_codes(spec: Spec, panel: PricePanel) -> NDArray[np.intp]:
    """Of each instrument, (N,)."""
    return codes_of(map(spec.universe.bucket, panel.symbols))


def _audited(arm: ArmSpec, panel: PricePanel, fills: FillTable, followed: NDArray[np.int64], p: int) -> float | None:
    """Share of the fills of policy `p` that say why they were made: a signal, or idle cash that the limits of `arm` sweep."""
    own = fills.policy == p
    swept = np.array([symbol in arm.limits.swept for symbol in panel.symbols])
    explained = (followed[own] >= 0) | swept[fills.instrument[own]]
    return float(explained.mean()) if explained.size else None


def _followed(stream: Stream, curves: Curves) -> NDArray[np.int64]:
    """Row of the signal that each fill follows: the one in force at its decision, or the last that was; -1 if there was none."""
    session = np.arange(stream.in_force.shape[0])[:, None]
    last = np.maximum.accumulate(np.where(stream.in_force >= 0, session, -1), axis=0)
    decided, column = curves.fills.session - 1, curves.fills.instrument
    spoken = last[decided, column]
    rows: NDArray[np.int64] = np.where(spoken >= 0, stream.in_force[np.maximum(spoken, 0), column], -1).astype(np.int64)
    return rows


def signal_table(stream: Stream, sized: Sized) -> Table:
    """Every actionable signal with what the candidate's overlay made of it, factor by factor."""
    rows = stream.rows
    return {
        "signal_id": list(rows.signal_id),
        "symbol": Words(codes=rows.code, words=rows.symbols),
        "signalled_at": rows.signalled_at,
        "direction": rows.direction,
        "strength": rows.strength,
        "edge_score": rows.edge_score,
        "source": list(rows.source),
        "regime": list(rows.regime),
        "horizon_days": rows.horizon_days,
        "expected_return": rows.expected_return,
        "predicted_volatility": rows.predicted_volatility,
        "base_confidence": rows.confidence,
        **{f"factor_{name}": sized.factors[i] for i, name in enumerate(sized.names)},
        "effective_confidence": sized.effective,
    }


def _unused(stream: Stream) -> list[str]:
    return [f"{stream.unused} signals fall outside the sessions of the prices and were not used"] if stream.unused else []


def _routing_tables(spec: Spec, panel: PricePanel, stream: Stream) -> dict[str, Table]:
    """How the signals were routed: the counts of each source and sleeve, and every choice."""
    routing = stream.routing
    if routing is None:
        return {}
    charged = {source: [charged_to(source, symbol, spec.universe).value for symbol in panel.symbols] for source in routing.said}
    return {"routing": routing_table(routing, charged), "choices": choices(routing, panel.sessions, panel.symbols)}


def _trade_table(spec: Spec, panel: PricePanel, stream: Stream, curves: Curves, cycle: Cycle, followed: NDArray[np.int64]) -> Table:
    fills, rows = curves.fills, stream.rows
    ids = np.append(rows.signal_id, "")
    base = np.append(rows.confidence, np.nan)[followed]
    effective = np.stack([np.append(sized.effective, np.nan) for sized in cycle.sized])[fills.policy, followed]
    bucket = [spec.universe.bucket(symbol).value for symbol in panel.symbols]
    return {
        "trade_id": [f"t_{n:07d}" for n in range(fills.policy.size)],
        "arm": Words(codes=fills.policy, words=tuple(arm.value for arm in Arm)),
        "symbol": Words(codes=fills.instrument, words=panel.symbols),
        "bucket": Words(codes=fills.instrument, words=tuple(bucket)),
        "traded_at": panel.sessions[fills.session].astype("datetime64[us]"),
        "quantity": fills.quantity,
        "price": fills.price,
        "cost": fills.cost,
        "closed_quantity": fills.closed,
        "realized_pnl": fills.realized,
        "signal_id": Words(codes=followed, words=tuple(ids.tolist())),
        "base_confidence": base,
        "effective_confidence": effective,
    }


def _exposure_table(spec: Spec, panel: PricePanel, cycle: Cycle, curves: Curves, series: list[ArmSeries]) -> Table:
    """NAV and absolute exposure by session: of each bucket, of each market that has a cap, and of each sleeve; and orders by bucket.

    What is held at a session was decided, and charged to a sleeve, at the one before. Of orders, how many were requested, and how
    often a guardrail held one back: added up over buckets they are the requests and rejects of the evidence.
    """
    code = _bucket_codes(spec, panel)
    markets = np.array([spec.universe.market(symbol) for symbol in panel.symbols])
    charged = np.stack([cycle.charged(t - 1) for t in range(panel.sessions.size)])
    columns: dict[str, object] = {"session": panel.sessions.astype("datetime64[s]")}
    for p, (arm, one) in enumerate(zip(Arm, series, strict=True)):
        columns[f"{arm}_nav"] = one.nav
        size = np.abs(curves.exposure[p])
        columns |= {f"{arm}_market_{name}_frac": size[:, markets == name].sum(axis=1) for name in sorted(spec.arm(arm).limits.markets)}
        columns |= {f"{arm}_sleeve_{sleeve}_frac": (size * (charged == i)).sum(axis=1) for i, sleeve in enumerate(SLEEVES)}
        held = one.exposure if one.exposure is not None else np.zeros((panel.sessions.size, len(BUCKETS)))
        columns |= {f"{arm}_{bucket}_frac": held[:, i] for i, bucket in enumerate(BUCKETS)}
        for name, orders in (("requests", curves.requested[p]), ("rejects", curves.refused[p])):
            columns |= {f"{arm}_{bucket}_{name}": orders[:, code == i].sum(axis=1, dtype=np.int64) for i, bucket in enumerate(BUCKETS)}
    return columns
