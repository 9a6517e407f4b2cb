"""What evidence and trading are both made from: prices and signals of the configured source, checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from policyengine.allocation.nav import in_base_currency
from policyengine.errors import ConfigError, DataError
from policyengine.market import Market, PricePanel
from policyengine.signals.stream import Stream, engine_stream, source_stream
from policyengine.spec.root import Spec
from policyengine.spec.signals import SignalsSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """`quoted` has prices as quoted, `panel` in base currency; `stream_of` makes the signals of given settings on that panel."""

    quoted: PricePanel
    panel: PricePanel
    stream_of: Callable[[SignalsSpec], Stream]


def required(panel: PricePanel | None, market: Market, what: str) -> PricePanel:
    """`panel`, which `what` cannot do without.

    Raises:
        DataError: the source declares no prices.
    """
    if panel is None:
        raise DataError(market.origin, f"declares no view 'prices', which {what} needs; evidence=trade_history does not")
    return panel


def inputs(spec: Spec, market: Market, quoted: PricePanel) -> Inputs:
    """The signals on `quoted`, and it in base currency.

    Raises:
        ConfigError: signals of the source are asked for, and it declares none.
    """
    panel = in_base_currency(quoted, spec.universe)
    rows = market.signals()
    if rows is None and spec.signals.origin == "source":
        raise ConfigError("signals.origin", "'source', but the source declares no view 'signals'; 'engine' makes signals from prices")

    def stream_of(signals: SignalsSpec) -> Stream:
        return engine_stream(signals, panel) if rows is None or signals.origin == "engine" else source_stream(signals, panel, rows)

    return Inputs(quoted=quoted, panel=panel, stream_of=stream_of)


def until(panel: PricePanel, end: date) -> PricePanel:
    """The panel up to the day that is looked at: what came later is not."""
    last = int(np.searchsorted(panel.sessions, np.datetime64(end), side="right"))
    return replace(panel, sessions=panel.sessions[:last], close=panel.close[:last], fresh=panel.fresh[:last])
