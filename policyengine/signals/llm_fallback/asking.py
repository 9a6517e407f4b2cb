"""llm_fallback: which instruments a language model is asked about on which sessions, and what its answers come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import ConfigError, DataError
from policyengine.market.panel import PricePanel
from policyengine.signals.forecasts import Floats, Opinions, Silence
from policyengine.signals.llm_fallback import cache as kept
from policyengine.signals.llm_fallback.answer import Answer, Said, read, understood
from policyengine.signals.llm_fallback.budget import Budget
from policyengine.signals.llm_fallback.calling import call
from policyengine.signals.llm_fallback.endpoint import Endpoint, endpoint
from policyengine.signals.llm_fallback.prompt import Question, history, question
from policyengine.spec.llm_fallback import OpenAiCompatible

EPOCH = np.datetime64("1970-01-05")
"""A Monday: `every_days: 7` asks on the first session of each week."""
SECRET_LENGTH = 8
"""A key shorter than this, such as the `none` that local servers are given, is no secret that an answer could tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What asking came to in one run.

    Of instruments on a session, among those on which others are silent: `asked` about, by `cached` answers or the network; `malformed`
    and `out_of_range` answers; not asked because the answer was not kept and the network is off (`offline`), because the budget is spent
    (`over_budget`), or because the endpoint has been given up (`given_up`).
    Of prompts: those answered from files that are kept (`cached`), too late (`timeouts`), in no envelope of the protocol (`garbled`).
    Of requests: `calls`, of these `retries`, other statuses than 200 (`http_errors`), broken or refused connections (`unreachable`).
    Of files: `broken_cache`. Tokens as in `policyengine.signals.llm_fallback.budget`.
    """

    asked: int = 0
    cached: int = 0
    calls: int = 0
    retries: int = 0
    timeouts: int = 0
    unreachable: int = 0
    http_errors: int = 0
    garbled: int = 0
    malformed: int = 0
    out_of_range: int = 0
    offline: int = 0
    over_budget: int = 0
    given_up: int = 0
    broken_cache: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


def ask(
    spec: OpenAiCompatible,
    panel: PricePanel,
    silent: NDArray[np.bool_],
    volatility: Floats,
    *,
    cache: Path,
    key: str | None,
    online_from: int,
    sleep: Callable[[float], object],
    clock: Callable[[], float],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Opinions, Counts]:
    """Opinions on the instruments of which others are `silent` (T, N).

    `volatility` (T, N) is predicted over `horizon_sessions`, NaN where unknown, which leaves the instrument unasked. Answers are kept in
    the folder `cache`. Sessions before index `online_from` are answered by it alone, later ones may ask the network with `key`, the value
    of the variable `api_key_env`. `clock` gives seconds that never go back.

    Row t depends on prices, `silent` and `volatility` up to t only, and, with every answer kept, on nothing else.

    Raises:
        ConfigError: the network may be asked, and the key is missing or no header can hold it.
        OutputError: an answer cannot be kept.
    """
    online = online_from < panel.sessions.size and spec.max_calls > 0
    to = endpoint(spec.base_url, _checked_key(spec, key) if online else None)
    desk = _Desk(spec=spec, to=to, cache=cache, sleep=sleep, clock=clock)
    silence = np.where(panel.fresh & np.isfinite(panel.close), Silence.NOT_ASKED, Silence.NO_BAR).astype(np.int8)
    expected, confidence = np.full(silence.shape, np.nan), np.full(silence.shape, np.nan)
    due = _due(spec, panel.sessions)
    for done, t in enumerate(due):
        for asked in _questions(spec, panel, t, silent[t], volatility[t], silence):
            answer = desk.answer(asked, online=online and t >= online_from)
            for column, name in zip(asked.columns, asked.names, strict=True):
                if isinstance(answer, Silence):
                    silence[t, column] = answer
                elif name in answer.told:
                    silence[t, column] = Silence.SPEAKS
                    expected[t, column] = answer.told[name].expected_return_frac
                    confidence[t, column] = min(answer.told[name].confidence, spec.confidence_max)
                else:
                    silence[t, column] = Silence.BAD_ANSWER if name in answer.bad else Silence.NO_ANSWER
        if progress is not None:
            progress(done + 1, len(due))
    predicted = np.where(silence == Silence.SPEAKS, volatility, np.nan)
    opinions = Opinions(expected_return=expected, predicted_volatility=predicted, confidence=confidence, silence=silence)
    return opinions, desk.counts()


def _due(spec: OpenAiCompatible, sessions: NDArray[np.datetime64]) -> list[int]:
    """The sessions on which the model is asked: the first of each span."""
    span = (sessions.astype("datetime64[D]") - EPOCH).astype(np.int64) // spec.every_days
    return np.flatnonzero(np.diff(span, prepend=span[:1] - 1) > 0).tolist()


def _questions(
    spec: OpenAiCompatible, panel: PricePanel, t: int, silent: NDArray[np.bool_], volatility: Floats, silence: NDArray[np.int8]
) -> Iterator[Question]:
    """Prompts about the `silent` instruments (N,) of session t, in the order of the panel; of those left out, `silence` is told why."""
    bars: dict[int, NDArray[np.intp]] = {}
    for column in np.flatnonzero(silent).tolist():
        shown = history(spec, panel, t, column)
        if isinstance(shown, Silence):
            silence[t, column] = shown
        elif 0.0 < volatility[column] < np.inf:
            bars[column] = shown
        if len(bars) == spec.max_symbols_per_prompt:
            yield question(spec, panel, t, bars)
            bars = {}
    if bars:
        yield question(spec, panel, t, bars)


class _Desk:
    """Where questions of one run are answered, and counted: from the cache, else by the endpoint."""

    def __init__(
        self, *, spec: OpenAiCompatible, to: Endpoint, cache: Path, sleep: Callable[[float], object], clock: Callable[[], float]
    ) -> None:
        self._spec, self._to, self._cache, self._sleep, self._clock = spec, to, cache, sleep, clock
        self._budget, self._tally = Budget(spec), Counter[str]()
        self._failed_in_a_row = 0

    def answer(self, asked: Question, *, online: bool) -> Answer | Silence:
        """What holds of the answer to `asked`, or why there is none."""
        said = self._kept(asked)
        if said is None:
            refused = self._refused(asked, online=online)
            if refused is not None:
                self._tally[refused] += len(asked.names)
                return Silence.NOT_ASKED
        self._tally["asked"] += len(asked.names)
        if said is not None:
            self._tally["cached"] += 1
        else:
            outcome = self._call(asked)
            self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(outcome, Silence) else 0
            if isinstance(outcome, Silence):
                return outcome
            said = outcome
            kept.save(self._cache, self._to.url, asked, said)
        answer = read(self._spec, said, asked.names)
        self._tally["malformed"] += answer.malformed
        self._tally["out_of_range"] += answer.out_of_range
        return answer

    def counts(self) -> Counts:
        """The count of everything."""
        taken = {name: getattr(self._budget, name) for name in ("calls", "tokens_in", "tokens_out")}
        return Counts(**self._tally, **taken)

    def _kept(self, asked: Question) -> Said | None:
        try:
            return kept.load(self._cache, self._to.url, asked)
        except DataError:
            self._tally["broken_cache"] += 1
            return None

    def _refused(self, asked: Question, *, online: bool) -> str | None:
        if not online:
            return "offline"
        if self._failed_in_a_row >= self._spec.give_up_after:
            return "given_up"
        return None if self._budget.allows(asked.body) else "over_budget"

    def _call(self, asked: Question) -> Said | Silence:
        body = call(self._spec, self._to, asked.body, budget=self._budget, tally=self._tally, sleep=self._sleep, clock=self._clock)
        if body is None:
            return Silence.NO_ANSWER
        said = understood(body)
        if said is None:
            self._tally["garbled"] += 1
            self._tally["malformed"] += len(asked.names)
            return Silence.BAD_ANSWER
        self._budget.settle(asked.body, said.tokens_in, said.tokens_out)
        key = self._to.key
        if key is not None and len(key) >= SECRET_LENGTH and key in (said.content or ""):
            return replace(said, content=None)  # a server that repeats the key: it must not reach a file
        return said


def _checked_key(spec: OpenAiCompatible, key: str | None) -> str | None:
    if spec.api_key_env is None:
        return None
    if key is None:
        raise ConfigError("signals.llm_fallback.api_key_env", f"the environment variable {spec.api_key_env} is not set; null sends no key")
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        rule = f"the value of the environment variable {spec.api_key_env} is empty or holds what no header can (not shown)"
        raise ConfigError("signals.llm_fallback.api_key_env", rule)
    return key
