"""What evidence and trading are both made from: prices and signals of the configured source, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from policyengine.allocation.nav import in_base_currency
from policyengine.errors import ConfigError, DataError
from policyengine.market import Market, PricePanel
from policyengine.signals.engines import Means
from policyengine.signals.stream import Stream, engine_stream, source_stream
from policyengine.spec.evidence import WalkForwardEvidence
from policyengine.spec.execution import ExecutionSpec
from policyengine.spec.root import Spec
from policyengine.spec.signals import SignalsSpec
from policyengine.tasks.run import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """`quoted` has prices as quoted, `panel` in base currency; `stream` is what the run's own settings signal on that panel.

    `stream_of` makes the signals of other settings, net of other costs: offline, a language model's answers that were not kept are silence.
    """

    quoted: PricePanel
    panel: PricePanel
    stream: Stream
    stream_of: Callable[[SignalsSpec, ExecutionSpec], Stream]


def required(panel: PricePanel | None, market: Market, what: str) -> PricePanel:
    """`panel`, which `what` cannot do without.

    Raises:
        DataError: the source declares no prices.
    """
    if panel is None:
        raise DataError(market.origin, f"declares no view 'prices', which {what} needs; evidence=trade_history does not")
    return panel


def inputs(spec: Spec, market: Market, quoted: PricePanel, run: Run, *, online_from: int) -> Inputs:
    """The signals on `quoted`, and it in base currency. A language model may be asked on sessions from index `online_from` on.

    Raises:
        ConfigError: signals of the source are asked for, and it declares none; or as `engine_stream`.
    """
    panel = in_base_currency(quoted, spec.universe)
    own = not isinstance(spec.evidence, WalkForwardEvidence)
    rows = market.signals() if own else None
    if own and rows is None and spec.signals.origin == "source":
        raise ConfigError("signals.origin", "'source', but the source declares no view 'signals'; 'engine' makes signals from prices")

    def stream_of(signals: SignalsSpec, execution: ExecutionSpec, online_from: int | None = None) -> Stream:
        if rows is not None and signals.origin != "engine":
            return source_stream(signals, panel, rows)
        means = Means(
            round_trip_frac=2.0 * execution.cost_frac,
            folder=run.state_dir / "engines",
            secret=run.environment.get,
            online_from=online_from,
            progress=run.progress.step,
        )
        return engine_stream(signals, panel, means)

    return Inputs(quoted=quoted, panel=panel, stream=stream_of(spec.signals, spec.execution, online_from), stream_of=stream_of)


def until(panel: PricePanel, end: date) -> PricePanel:
    """The panel up to the day that is looked at: what came later is not."""
    last = int(np.searchsorted(panel.sessions, np.datetime64(end), side="right"))
    return replace(panel, sessions=panel.sessions[:last], close=panel.close[:last], fresh=panel.fresh[:last])
