"""The language model that is asked where nothing else speaks: which endpoint, how often, at what cost, and how far it is believed."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import SplitResult, urlsplit

from policyengine.errors import ConfigError
from policyengine.spec.rules import at_least, in_range, ordered
from policyengine.spec.thresholds import ThresholdsSpec

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(r"[A-Za-z0-9/._~-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoLlm:
    """No language model is asked."""

    KIND: ClassVar[str] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiCompatible:
    """An endpoint that speaks the chat completions protocol: POST {base_url}/chat/completions.

    `base_url` is https, or http on this machine: answers decide trades, and a key travels with each question. `api_key_env` is the name of
    the environment variable that holds the key; None sends no key.

    Asked on the first session of each `every_days` calendar days, counted from Monday 1970-01-05, so that sessions added before or
    after shift nothing. A prompt shows the last `history_sessions` closes of up to `max_symbols_per_prompt` instruments; `anonymous`
    ones as A1, A2, ... from 100 and without dates, so that a backtest is not answered from the model's memory. Temperature is 0, `seed`
    is sent.

    An expected return over `horizon_sessions` beyond `expected_return_max`, up or down, is refused; a confidence above `confidence_max`
    counts as that.

    A prompt has `timeout_seconds` in all, `retries` and their waits included; these double from `backoff_seconds`. After `give_up_after`
    prompts in a row without an answer the endpoint is not asked again in this run. A run sends at most `max_calls` requests, retries
    included; none that could take it beyond `max_tokens_in` or `max_tokens_out` as counted in `policyengine.signals.llm_fallback.budget`;
    `max_tokens_per_answer` is sent as the bound of one answer.
    """

    KIND: ClassVar[str] = "openai_compatible"
    base_url: str
    model: str
    api_key_env: str | None
    anonymous: bool
    every_days: int
    history_sessions: int
    horizon_sessions: int
    max_symbols_per_prompt: int
    seed: int
    expected_return_max: float
    confidence_max: float
    timeout_seconds: float
    retries: int
    backoff_seconds: float
    give_up_after: int
    max_calls: int
    max_tokens_in: int
    max_tokens_out: int
    max_tokens_per_answer: int
    thresholds: ThresholdsSpec

    def __post_init__(self) -> None:
        """Refuse an address that is unsafe, a key in the open, and limits that limit nothing."""
        check_base_url(self.base_url)
        if not self.model.strip():
            raise ConfigError("model", f"{self.model!r} is empty")
        if self.api_key_env is not None and _VARIABLE.fullmatch(self.api_key_env) is None:
            raise ConfigError(
                "api_key_env", "is not the name of an environment variable (not shown, it may be a key: keys stand there, not here)"
            )
        in_range("every_days", self.every_days, 1, 366)
        in_range("history_sessions", self.history_sessions, 5, 1000)
        in_range("horizon_sessions", self.horizon_sessions, 1, 252)
        in_range("max_symbols_per_prompt", self.max_symbols_per_prompt, 1, 100)
        in_range("seed", self.seed, 0, 2**31 - 1)
        _in_range_above_zero("expected_return_max", self.expected_return_max, 1.0)
        _in_range_above_zero("confidence_max", self.confidence_max, 1.0)
        ordered("thresholds.confidence_min", self.thresholds.confidence_min, "confidence_max", self.confidence_max)
        _in_range_above_zero("timeout_seconds", self.timeout_seconds, 600.0)
        in_range("retries", self.retries, 0, 10)
        _in_range_above_zero("backoff_seconds", self.backoff_seconds, 60.0)
        at_least("give_up_after", self.give_up_after, 1)
        at_least("max_calls", self.max_calls, 0)
        at_least("max_tokens_in", self.max_tokens_in, 0)
        at_least("max_tokens_out", self.max_tokens_out, 0)
        at_least("max_tokens_per_answer", self.max_tokens_per_answer, 1)


LlmSpec = NoLlm | OpenAiCompatible


def check_base_url(url: str) -> SplitResult:
    """The parts of `url`.

    Raises:
        ConfigError: another scheme than https, or than http to this machine; a name, a password, a query, a fragment; no valid host, port
            or path. The URL itself is not shown where it may hold a secret.
    """
    if any(mark in url for mark in "@?#"):
        raise ConfigError(
            "base_url", "holds a user, a query or a fragment (not shown, it may be a secret); a key stands in api_key_env's variable"
        )
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ConfigError("base_url", f"{url!r} is not a URL") from None
    if parts.scheme not in ("http", "https"):
        raise ConfigError("base_url", f"{url!r} is neither https:// nor http://")
    address = _address(host)
    named = address is not None or _HOST.fullmatch(host) is not None
    if port == 0 or not named or _PATH.fullmatch(parts.path) is None or any(c.isspace() for c in url):
        raise ConfigError("base_url", f"{url!r} has no valid host, port or path")
    if parts.scheme == "http" and host != "localhost" and not (address is not None and address.is_loopback):
        rule = f"{url!r} is http to another machine, where a key can be read and an answer changed on the way; use https or a tunnel"
        raise ConfigError("base_url", rule)
    return parts


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _in_range_above_zero(path: str, value: float, high: float) -> None:
    if not 0.0 < value <= high:
        raise ConfigError(path, f"{value:g} is not in (0, {high:g}]")
