"""What a run signalled, kept: the signals, what their validation said, and whether trades, decisions and signals name each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import Cycle, charged_to
from policyengine.market import PricePanel
from policyengine.market.signals_view import orphans, segments
from policyengine.monitoring.validation import validation_rows
from policyengine.records import Arm, Finding
from policyengine.signals.envelope import SIGNALS, VALIDATION, append
from policyengine.signals.forecasts import Source
from policyengine.signals.stream import Stream
from policyengine.spec.llm_fallback import OpenAiCompatible
from policyengine.spec.ml_secondary import GradientBoosting
from policyengine.spec.root import Spec
from policyengine.spec.signals import SignalsSpec
from policyengine.spec.thresholds import ThresholdsSpec
from policyengine.tasks.run import Run

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """Signals that were acted on, K: the `row` of each in the stream, and the notional that was meant for it, base currency."""

    row: NDArray[np.int64]
    notional: Floats


class Signalled:
    """The signals of a trading run that begins with session `first`: kept before it trades, judged when it has."""

    def __init__(self, spec: Spec, run: Run, panel: PricePanel, stream: Stream, cycle: Cycle, *, first: int) -> None:
        self._spec, self._run, self._panel, self._stream, self._cycle = spec, run, panel, stream, cycle
        self.first = first
        self._decided = np.arange(max(first - 1, 0), max(panel.sessions.size - 1, 0))

    def keep(self) -> None:
        """`keep_signals` of the sessions that are decided on, where there are any.

        Raises:
            DataError: a signal breaks its contract; nothing was written.
            OutputError: they cannot be written.
        """
        if self.first < self._panel.sessions.size:
            keep_signals(self._spec, self._run, self._panel, self._stream, self._decided)

    def followed(self, t: int, symbol: str) -> str | None:
        """Id of the signal that `symbol` follows at session `t`: the one in force at the session before, or the last that was."""
        i = self._panel.symbols.index(symbol)
        spoken = np.flatnonzero(self._stream.in_force[:t, i] >= 0)
        return str(self._stream.rows.signal_id[self._stream.in_force[spoken[-1], i]]) if spoken.size else None

    def concluded(self, navs: Sequence[float], orders: Sequence[Mapping[str, Any]]) -> tuple[Finding, ...]:
        """Append what validation says of what was acted on, and find what does not name each other: `orders`, signals, decisions.

        `navs` are those of the sessions from `first` on, base currency.
        """
        if not navs:
            return ()
        nav = np.array(navs)
        acted = acted_on(self._stream, self._decided, self._cycle.desired()[0, self._decided], nav[-self._decided.size :])
        keep_validation(self._spec, self._run, self._stream, acted, mode=self._spec.rollout.mode.value)
        swept = {symbol for arm in Arm for symbol in self._spec.arm(arm).limits.swept}
        trades = [order for order in orders if order["filled"] and not (order["signal_id"] is None and order["symbol"] in swept)]
        rows = self._stream.rows
        return orphans(
            segments(self._run.state_dir / SIGNALS),
            run_id=self._run.run_id,
            trades={
                "trade_id": [order["client_order_id"] for order in trades],
                "signal_id": [order["signal_id"] for order in trades],
                "run_id": [self._run.run_id] * len(trades),
                "symbol": [order["symbol"] for order in trades],
                "signalled_at": [None] * len(trades),
            },
            decisions={
                "signal_id": rows.signal_id[acted.row].tolist(),
                "run_id": [self._run.run_id] * acted.row.size,
                "symbol": _symbols(self._stream, acted.row).tolist(),
                "signalled_at": rows.signalled_at[acted.row].tolist(),
            },
            memory_limit_mb=self._spec.runtime.memory_limit_mb,
            temp_dir=self._run.temporary,
        )


_AS_THEY_ARE = (
    "signalled_at", "direction", "strength", "edge_score", "confidence", "source", "horizon_days", "regime", "expected_return",
    "predicted_volatility",
)  # fmt: skip


def keep_signals(spec: Spec, run: Run, panel: PricePanel, stream: Stream, decided: NDArray[np.intp]) -> None:
    """Append what was signalled on the sessions `decided` (D,), and what acts on them besides, to the signals of the state folder.

    Raises:
        DataError: a signal breaks its contract; nothing was written.
        OutputError: they cannot be written.
    """
    rows = stream.rows
    session = np.searchsorted(panel.sessions, rows.signalled_at.astype("datetime64[D]"), side="right") - 1
    acted = _in_force(stream, decided)
    kept = np.union1d(np.flatnonzero(np.isin(session, decided)), acted)
    symbols = _symbols(stream, kept)
    columns = {
        "signal_id": rows.signal_id[kept],
        "symbol": symbols,
        "sleeve": [charged_to(source, symbol, spec.universe).value for source, symbol in zip(rows.source[kept], symbols, strict=True)],
        "acted": np.isin(kept, acted),
        **{name: getattr(rows, name)[kept] for name in _AS_THEY_ARE},
    }
    append(run.state_dir / SIGNALS, run.run_id, columns)


def acted_on(stream: Stream, decided: NDArray[np.intp], desired: Floats, nav: Floats) -> Acted:
    """Signals in force at the sessions `decided` (D,), each once, with what was meant for it where it first was.

    `desired` (D, N) are signed fractions of `nav` (D,), base currency.
    """
    in_force = stream.in_force[decided]
    at = session, instrument = np.nonzero(in_force >= 0)
    row, first = np.unique(in_force[at], return_index=True)
    meant = desired[session[first], instrument[first]] * nav[session[first]]
    return Acted(row=row.astype(np.int64), notional=np.abs(meant))


def keep_validation(spec: Spec, run: Run, stream: Stream, acted: Acted, *, mode: str) -> None:
    """Append what validation says of every signal that was acted on to the records of the state folder.

    Raises:
        OutputError: they cannot be written.
    """
    rows, parts = stream.rows, []
    for source in Source:
        own = rows.source[acted.row] == source.value
        at = acted.row[own]
        if not at.size:
            continue
        parts.append(
            validation_rows(
                signal_id=rows.signal_id[at],
                symbol=_symbols(stream, at),
                source=rows.source[at],
                direction=rows.direction[at],
                expected_return=rows.expected_return[at],
                edge_score=rows.edge_score[at],
                confidence=rows.confidence[at],
                notional=acted.notional[own],
                cost_frac=spec.execution.cost_frac,
                thresholds=_thresholds(spec.signals, source),
                execution_mode=mode,
                recorded_at=run.now(),
            )
        )
    if parts:
        append(run.state_dir / VALIDATION, run.run_id, {name: _joined([part[name] for part in parts]) for name in parts[0]}, "VALIDATION")


def _in_force(stream: Stream, decided: NDArray[np.intp]) -> NDArray[np.int32]:
    rows = np.unique(stream.in_force[decided])
    return rows[rows >= 0]


def _thresholds(signals: SignalsSpec, source: Source) -> ThresholdsSpec:
    """Those that its source is held to; of a source that the data bring and no engine of ours makes, those of ts_core."""
    match source, signals.ml_secondary, signals.llm_fallback:
        case Source.ML, GradientBoosting(thresholds=own), _:
            return own
        case Source.LLM, _, OpenAiCompatible(thresholds=own):
            return own
    return signals.ts_core.thresholds


def _symbols(stream: Stream, at: NDArray[Any]) -> NDArray[np.object_]:
    symbols: NDArray[np.object_] = np.array(stream.rows.symbols, dtype=object)[stream.rows.code[at]]
    return symbols


def _joined(parts: Sequence[Any]) -> Any:
    return (
        np.concatenate([np.asarray(part) for part in parts])
        if isinstance(parts[0], np.ndarray)
        else [one for part in parts for one in part]
    )
