"""The signal stream of a run: read from the source or made by the engines, and which signal is in force when."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError
from policyengine.market.panel import PricePanel
from policyengine.market.rows import SignalRows
from policyengine.signals.engines import ALONE, Forecast, Means, language_model, machine_learning, time_series
from policyengine.signals.forecasts import Regime, Silence, Source
from policyengine.signals.router import NOBODY, SOURCES, Heard, Routing, quiet, route
from policyengine.spec.bind import plain
from policyengine.spec.root import digest
from policyengine.spec.signals import SignalsSpec
from policyengine.spec.sizing import Overlay

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Actionable signals, and the one in force at each session's decision.

    `rows` (S,) are BUY and SELL only, of every source that was heard, those that others outrank included; `in_force` (T, N) is the row in
    force, -1 for none, and `routing` how it came to that; None where that is not known. `considered` counts every signal or forecast, HOLD
    included; `origin` says where they come from; `unused` counts signals outside the panel's sessions; `counts` is what making them came
    to, for the record, `notes` what a reader must know.
    """

    rows: SignalRows
    in_force: Ints
    considered: int
    origin: str
    unused: int = 0
    routing: Routing | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def engine_stream(spec: SignalsSpec, panel: PricePanel, means: Means = ALONE) -> Stream:
    """Signals that the engines make from the panel, one for each session and instrument on which one of them acts.

    Raises:
        ConfigError: an engine's extra is not installed, or it lacks what it needs.
    """
    told = [time_series(spec, panel, means)]
    learned = machine_learning(spec, panel, means)
    told += [] if learned is None else [learned]
    silent = quiet([_words(one) for one in told], spec.max_age_sessions)
    answered = language_model(spec, panel, silent, means)
    told += [] if answered is None else [answered]
    acts = np.stack([one.forecasts.direction != 0 for one in told], axis=2)
    at = session, instrument, k = np.nonzero(acts)
    number = np.full(acts.shape, NOBODY, dtype=np.int32)
    number[at] = np.arange(session.size, dtype=np.int32)

    def stacked(name: str) -> NDArray[Any]:
        return np.stack([getattr(one.forecasts, name) for one in told], axis=2)[at]

    unknown = np.full(session.size, np.nan)
    edge = stacked("edge_score")
    rows = SignalRows(
        symbols=panel.symbols,
        code=instrument.astype(np.intp),
        signalled_at=panel.sessions[session].astype("datetime64[us]"),
        direction=stacked("direction"),
        strength=np.abs(edge),
        edge_score=edge,
        confidence=stacked("confidence"),
        source=np.array([one.source.value for one in told], dtype=object)[k],
        signal_id=_ids(told, panel, session, instrument, k),
        horizon_days=np.array([float(one.horizon_sessions) for one in told])[k],
        regime=np.array([*(regime.value for regime in Regime), None], dtype=object)[stacked("regime")],
        expected_return=stacked("expected_return"),
        predicted_volatility=stacked("predicted_volatility"),
        cost_bps=unknown,
        gap_frac=unknown,
        funding_bps=unknown,
        participation_frac=unknown,
        leverage=unknown,
    )
    heard = [Heard(source=one.source, row=number[:, :, i], said=one.forecasts.silence) for i, one in enumerate(told)]
    in_force, routing = route(heard, rows.direction, max_age=spec.max_age_sessions, conflict=spec.conflict)
    return Stream(
        rows=rows,
        in_force=in_force,
        routing=routing,
        considered=sum(int((one.forecasts.silence != Silence.NO_BAR).sum()) for one in told),
        origin=", ".join(f"{_SETTING[one.source]}: {plain(one.settings)['kind']}" for one in told),
        counts={name: count for one in told for name, count in one.counts.items()},
        notes=tuple(one.note for one in told if one.note is not None),
    )


def source_stream(spec: SignalsSpec, panel: PricePanel, rows: SignalRows) -> Stream:
    """The source's own signals. One stamped on day D decides on the last session up to D and fills on the first after D.

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
    named = _sources(rows)
    order = np.lexsort((rows.signal_id.astype(np.str_), rows.signalled_at))
    order = order[inside[order]]
    kept = np.flatnonzero(inside & (rows.direction != 0))
    number = np.full(rows.direction.size, NOBODY, dtype=np.int32)
    number[kept] = np.arange(kept.size, dtype=np.int32)
    heard = []
    for source in SOURCES:
        own = order[named[order] == source.value]
        if own.size:
            row = np.full(panel.close.shape, NOBODY, dtype=np.int32)
            said = np.full(panel.close.shape, Silence.NO_BAR, dtype=np.int8)
            row[session[own], column[own]] = number[own]
            said[session[own], column[own]] = np.where(rows.direction[own] == 0, Silence.HOLD, Silence.SPEAKS)
            heard.append(Heard(source=source, row=row, said=said))
    taken = _take(rows, kept, panel.symbols, column[kept], named)
    in_force, routing = route(heard, taken.direction, max_age=spec.max_age_sessions, conflict=spec.conflict)
    return Stream(
        rows=taken,
        in_force=in_force,
        routing=routing,
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


_SETTING = {Source.TS: "ts_core", Source.ML: "ml_secondary", Source.LLM: "llm_fallback"}


def _words(one: Forecast) -> Heard:
    """Where it speaks, before its signals are numbered."""
    return Heard(source=one.source, row=np.where(one.forecasts.direction != 0, 0, NOBODY).astype(np.int32), said=one.forecasts.silence)


def _take(
    rows: SignalRows, kept: NDArray[np.intp], symbols: tuple[str, ...], code: NDArray[np.intp], named: NDArray[np.object_]
) -> SignalRows:
    arrays = {f.name: getattr(rows, f.name)[kept] for f in fields(rows) if f.name not in ("symbols", "code", "source")}
    return SignalRows(symbols=symbols, code=code, source=named[kept], **arrays)


def _sources(rows: SignalRows) -> NDArray[np.object_]:
    """The source of each signal; one that the data do not state is TS.

    Raises:
        DataError: a source that is none of `Source`.
    """
    named = np.where(rows.source == None, Source.TS.value, rows.source)  # noqa: E711 - element by element
    unknown = sorted(set(named.tolist()) - set(SOURCES))
    if unknown:
        raise DataError("signals", f"source '{unknown[0]}' is none of {', '.join(SOURCES)}; map it in the SELECT of source.views.signals")
    return named.astype(object)


def _ids(
    told: Sequence[Forecast], panel: PricePanel, session: NDArray[np.intp], instrument: NDArray[np.intp], k: NDArray[np.intp]
) -> NDArray[np.object_]:
    """Durable ids: the same engine settings, symbol and session give the same id on every run."""
    days = [str(day).encode() for day in panel.sessions]
    named = []
    for one in told:
        prefix = hashlib.sha256(digest(one.settings).encode())
        own = [prefix.copy() for _ in panel.symbols]
        for name, symbol in zip(own, panel.symbols, strict=True):
            name.update(f"|{symbol}|".encode())
        named.append(own)
    ids = np.empty(session.size, dtype=object)
    for j, (t, i, source) in enumerate(zip(session.tolist(), instrument.tolist(), k.tolist(), strict=True)):
        one = named[source][i].copy()
        one.update(days[t])
        ids[j] = "s_" + one.hexdigest()[:20]
    return ids
