"""The signal stream of a run: read from the source or made by the engine, and which signal is in force when."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.market.panel import PricePanel
from policyengine.market.rows import SignalRows
from policyengine.signals.ts_core import forecast
from policyengine.spec.bind import plain
from policyengine.spec.root import digest
from policyengine.spec.signals import SignalsSpec
from policyengine.spec.sizing import Overlay

SOURCES = ("TS", "ML", "LLM")
"""Time series, machine learning, language model."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Actionable signals, and the one in force at each session's decision.

    `rows` (S,) are BUY and SELL only; `in_force` (T, N) is the row in force, -1 for none; `considered` counts every signal
    or forecast, HOLD included; `origin` says where they come from; `unused` counts signals outside the panel's sessions.
    """

    rows: SignalRows
    in_force: Ints
    considered: int
    origin: str
    unused: int = 0


def engine_stream(spec: SignalsSpec, panel: PricePanel) -> Stream:
    """Signals that ts_core makes from the panel, one for each session and instrument on which it acts."""
    made = forecast(spec.ts_core, panel.close, panel.fresh)
    spoken = np.isfinite(made.edge_score)
    acts = made.direction != 0
    session, instrument = np.nonzero(acts)
    index = np.full(acts.shape, -1, dtype=np.int32)
    index[acts] = np.arange(session.size, dtype=np.int32)
    at = (session, instrument)
    size = session.size
    unknown = np.full(size, np.nan)
    rows = SignalRows(
        symbols=panel.symbols,
        code=instrument.astype(np.intp),
        signalled_at=panel.sessions[session].astype("datetime64[us]"),
        direction=made.direction[at],
        strength=np.abs(made.edge_score[at]),
        edge_score=made.edge_score[at],
        confidence=made.confidence[at],
        source=np.full(size, "TS", dtype=object),
        signal_id=_ids(spec, panel, session, instrument),
        horizon_days=np.full(size, float(spec.ts_core.horizon_sessions)),
        regime=np.full(size, None, dtype=object),
        cost_bps=unknown,
        gap_frac=unknown,
        funding_bps=unknown,
        participation_frac=unknown,
        leverage=unknown,
    )
    kind = plain(spec.ts_core)["kind"]
    return Stream(
        rows=rows, in_force=_carry(index, spoken, spec.max_age_sessions), considered=int(panel.fresh.sum()), origin=f"ts_core: {kind}"
    )


def source_stream(spec: SignalsSpec, panel: PricePanel, rows: SignalRows) -> Stream:
    """The source's own signals. One stamped on day D decides on the last session up to D and fills on the first after D.

    Of several on one symbol for one decision the last counts, by instant and then by id.

    Raises:
        DataError: no signal falls inside the panel's sessions.
    """
    day = rows.signalled_at.astype("datetime64[D]")
    session = np.searchsorted(panel.sessions.astype("datetime64[D]"), day, side="right") - 1
    position = {symbol: i for i, symbol in enumerate(panel.symbols)}
    column = np.array([position.get(s, -1) for s in rows.symbols], dtype=np.intp)[rows.code]
    inside = (session >= 0) & (day <= panel.sessions[-1]) & (column >= 0)
    if not inside.any():
        raise DataError(
            "signals",
            f"none of {day.size} meets prices of its symbol: signals {day.min()} to {day.max()}, "
            f"sessions {panel.sessions[0]} to {panel.sessions[-1]}",
        )
    order = np.lexsort((rows.signal_id.astype(np.str_), rows.signalled_at))
    order = order[inside[order]]
    kept = np.flatnonzero(inside & (rows.direction != 0))
    renumbered = np.full(rows.direction.size, -1, dtype=np.int32)
    renumbered[kept] = np.arange(kept.size, dtype=np.int32)
    index = np.full(panel.close.shape, -1, dtype=np.int32)
    spoken = np.zeros(panel.close.shape, dtype=np.bool_)
    index[session[order], column[order]] = renumbered[order]
    spoken[session[order], column[order]] = True
    return Stream(
        rows=_take(rows, kept, panel.symbols, column[kept]),
        in_force=_carry(index, spoken, spec.max_age_sessions),
        considered=int(rows.direction.size),
        origin="source",
        unused=int((~inside).sum()),
    )


def features(rows: SignalRows, overlays: tuple[Overlay, ...]) -> dict[Overlay, Floats]:
    """What each of `overlays` reads of the signals, (S,), NaN where unknown."""
    columns = {
        Overlay.COST: rows.cost_bps,
        Overlay.GAP: rows.gap_frac,
        Overlay.FUNDING: rows.funding_bps,
        Overlay.LIQUIDITY: rows.participation_frac,
        Overlay.LEVERAGE: rows.leverage,
    }
    return {overlay: columns[overlay] for overlay in overlays}


def _take(rows: SignalRows, kept: NDArray[np.intp], symbols: tuple[str, ...], code: NDArray[np.intp]) -> SignalRows:
    arrays = {f.name: getattr(rows, f.name)[kept] for f in fields(rows) if f.name not in ("symbols", "code", "source")}
    return SignalRows(symbols=symbols, code=code, source=_sources(rows)[kept], **arrays)


def _sources(rows: SignalRows) -> NDArray[np.object_]:
    """The source of each signal; one that the data do not state is TS.

    Raises:
        DataError: a source that is none of SOURCES.
    """
    named = np.where(rows.source == None, "TS", rows.source)  # noqa: E711 - element by element
    unknown = sorted(set(named.tolist()) - set(SOURCES))
    if unknown:
        raise DataError("signals", f"source '{unknown[0]}' is none of {', '.join(SOURCES)}; map it in the SELECT of source.views.signals")
    return named.astype(object)


def _carry(index: Ints, spoken: NDArray[np.bool_], max_age: int) -> Ints:
    """The row last spoken of each instrument, for at most `max_age` sessions, the one on which it was spoken included."""
    session = np.arange(index.shape[0])[:, None]
    last = np.maximum.accumulate(np.where(spoken, session, -1), axis=0)
    alive = (last >= 0) & (session - last < max_age)
    return np.where(alive, np.take_along_axis(index, np.maximum(last, 0), axis=0), -1).astype(np.int32)


def _ids(spec: SignalsSpec, panel: PricePanel, session: NDArray[np.intp], instrument: NDArray[np.intp]) -> NDArray[np.object_]:
    """Durable ids: the same engine settings, symbol and session give the same id on every run."""
    days = [str(day).encode() for day in panel.sessions]
    prefix = hashlib.sha256(digest(spec.ts_core).encode())
    named = [prefix.copy() for _ in panel.symbols]
    for name, symbol in zip(named, panel.symbols, strict=True):
        name.update(f"|{symbol}|".encode())
    ids = np.empty(session.size, dtype=object)
    for k, (t, i) in enumerate(zip(session.tolist(), instrument.tolist(), strict=True)):
        one = named[i].copy()
        one.update(days[t])
        ids[k] = "s_" + one.hexdigest()[:20]
    return ids
