"""A small panel, settings and the question put to a real server: what the tests of the language model share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from policyengine.market.panel import PricePanel
from policyengine.signals.forecasts import Opinions
from policyengine.signals.llm_fallback import Counts, ask
from policyengine.spec.bind import bind
from policyengine.spec.llm_fallback import OpenAiCompatible
from tests.conftest import ROOT

HISTORY = 5


def llm_spec(**changes: Any) -> OpenAiCompatible:
    """As shipped, on a short history, every day, in a hurry."""
    shipped = yaml.safe_load((ROOT / "conf" / "signals" / "llm_fallback" / "openai_compatible.yaml").read_text())
    given = {**shipped, "base_url": "http://127.0.0.1:9/v1", "model": "stub", "api_key_env": None}
    hurried = {"every_days": 1, "history_sessions": HISTORY, "max_symbols_per_prompt": 2, "timeout_seconds": 5.0, "backoff_seconds": 0.01}
    return bind(OpenAiCompatible, {**given, **hurried, **changes})


def panel_of(close: NDArray[np.float64], *, symbols: tuple[str, ...] | None = None, start: str = "2024-01-01") -> PricePanel:
    """`close` (T, N) on T days in a row; a NaN is a day without a bar."""
    sessions = np.datetime64(start, "D") + np.arange(close.shape[0])
    names = symbols if symbols is not None else tuple(f"SYM{k}" for k in range(close.shape[1]))
    return PricePanel(sessions=sessions, symbols=names, close=close, fresh=np.isfinite(close), calendar_used="all", periods_per_year=365)


def walk(sessions: int = 9, symbols: int = 3, seed: int = 1) -> NDArray[np.float64]:
    """Closes of a random walk, (T, N)."""
    rng = np.random.default_rng(seed)
    closes: NDArray[np.float64] = 100.0 * np.exp(rng.normal(0.0, 0.02, (sessions, symbols)).cumsum(axis=0))
    return closes


def put(
    spec: OpenAiCompatible,
    panel: PricePanel,
    cache: Path,
    *,
    silent: NDArray[np.bool_] | None = None,
    volatility: NDArray[np.float64] | None = None,
    key: str | None = None,
    online_from: int = 0,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[Opinions, Counts]:
    """Ask with everything silent, a volatility of 0.03 and the network on, unless said otherwise."""
    shape = panel.close.shape
    return ask(
        spec,
        panel,
        np.ones(shape, dtype=np.bool_) if silent is None else silent,
        np.full(shape, 0.03) if volatility is None else volatility,
        cache=cache,
        key=key,
        online_from=online_from,
        sleep=sleep,
        clock=time.monotonic,
    )


def last_only(panel: PricePanel) -> NDArray[np.bool_]:
    """Silent on the last session alone."""
    silent = np.zeros(panel.close.shape, dtype=np.bool_)
    silent[-1] = True
    return silent


def same(one: Opinions, other: Opinions) -> bool:
    """To the bit."""
    names = ("expected_return", "predicted_volatility", "confidence", "silence")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


def until(panel: PricePanel, session: int, later: NDArray[np.float64]) -> PricePanel:
    """The panel with other closes, and bars on every day, after `session`."""
    close, fresh = panel.close.copy(), panel.fresh.copy()
    close[session + 1 :] = later[session + 1 :]
    fresh[session + 1 :] = True
    return replace(panel, close=close, fresh=fresh)
