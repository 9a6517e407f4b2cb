"""What a language model is shown: closes up to one session, and nothing else. The text is the same on every machine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.market.panel import PricePanel
from policyengine.signals.forecasts import Floats, Silence
from policyengine.signals.llm_fallback.answer import schema
from policyengine.spec.llm_fallback import OpenAiCompatible

DIGITS = 6
"""Significant digits of a close: below them a rescaled history, as each dividend leaves it, shows the same."""
_WIDEST = 1e9
"""Highest over lowest close that can be rebased; prices that are further apart, or not above 0, cannot."""

_SYSTEM = (
    "You judge price histories of financial instruments. Of each instrument you are given the closes of its last sessions, oldest first"
    "{scale}. For each, estimate the return from the last close shown over the next {horizon} sessions, as a fraction (0.01 is one "
    "percent, negative for a fall, between -{limit:g} and {limit:g}), and the probability, between 0 and 1, that this return has the right "
    "sign. Most histories cannot be told from chance: leave out every instrument of which you have no view. Use only what is shown. "
    "Answer with one JSON object of the given schema, each instrument at most once, and nothing else."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One prompt about session `session`: the instruments `columns` of the panel are called `names`; `body` is the whole request."""

    session: int
    columns: tuple[int, ...]
    names: tuple[str, ...]
    body: bytes

    def identity(self, url: str) -> str:
        """SHA-256 of the request and of where it goes: the same model name elsewhere may be another model."""
        return hashlib.sha256(url.encode() + b"\n" + self.body).hexdigest()


def history(spec: OpenAiCompatible, panel: PricePanel, session: int, column: int) -> NDArray[np.intp] | Silence:
    """The sessions whose closes a prompt shows of one instrument, or why there is nothing to show.

    They are the last `history_sessions` on which it has a bar, up to `session`. A bar whose close is not finite is none.
    """
    close = panel.close[: session + 1, column]
    bars = np.flatnonzero(panel.fresh[: session + 1, column] & np.isfinite(close))
    if bars.size == 0 or bars[-1] != session:
        return Silence.NO_BAR
    if bars.size < spec.history_sessions:
        return Silence.SHORT_HISTORY
    shown = bars[-spec.history_sessions :]
    if (close[shown] == close[session]).all():
        return Silence.CONSTANT
    low, high = float(close[shown].min()), float(close[shown].max())
    if low <= 0.0 or high / low > _WIDEST:
        return Silence.UNUSABLE_PRICE
    return shown


def question(spec: OpenAiCompatible, panel: PricePanel, session: int, bars: dict[int, NDArray[np.intp]]) -> Question:
    """The prompt about the instruments of `bars`: by column of the panel, the sessions shown."""
    names = tuple(f"A{k}" for k in range(1, len(bars) + 1)) if spec.anonymous else tuple(panel.symbols[i] for i in bars)
    shown = []
    for name, (column, sessions) in zip(names, bars.items(), strict=True):
        closes = panel.close[sessions, column]
        if spec.anonymous:
            shown.append({"name": name, "closes": _rounded(100.0 * (closes / closes[0]))})
        else:
            dates = [str(day) for day in panel.sessions[sessions]]
            shown.append({"name": name, "sessions": dates, "closes": _rounded(closes)})
    scale = ", rebased so that the first is 100" if spec.anonymous else ""
    request = {
        "model": spec.model,
        "messages": [
            {"role": "system", "content": _SYSTEM.format(scale=scale, horizon=spec.horizon_sessions, limit=spec.expected_return_max)},
            {"role": "user", "content": _text({"horizon_sessions": spec.horizon_sessions, "instruments": shown})},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "opinions", "strict": True, "schema": schema(names)}},
        "temperature": 0,
        "seed": spec.seed,
        "max_tokens": spec.max_tokens_per_answer,
    }
    return Question(session=session, columns=tuple(bars), names=names, body=_text(request).encode("ascii"))


def _rounded(closes: Floats) -> list[float]:
    return [float(f"{close:.{DIGITS}g}") for close in closes.tolist()]


def _text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
