"""What every engine says of every instrument and session, and why it says nothing where it is silent."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Source(StrEnum):
    """Who speaks, in the order in which they are heard: time series, machine learning, language model."""

    TS = "TS"
    ML = "ML"
    LLM = "LLM"


class Regime(StrEnum):
    """What kind of market an instrument is in."""

    LIQUID_RANGEBOUND = "LIQUID_RANGEBOUND"
    MODERATE_TRENDING = "MODERATE_TRENDING"
    HIGH_VOL_TRENDING = "HIGH_VOL_TRENDING"
    CRISIS = "CRISIS"


class Silence(IntEnum):
    """Why there is no signal; the first that applies. SPEAKS where there is one."""

    SPEAKS = 0
    NO_BAR = 1  # no price of this session
    SHORT_HISTORY = 2  # fewer returns than the engine needs
    CONSTANT = 3  # the volatility is 0
    UNUSABLE_PRICE = 4  # a price at or below 0 where the engine needs one above
    NOT_FITTED = 5  # no model: its fit failed, or there is none yet
    TRAINED_ON = 6  # the model has seen this session in training
    NOT_ASKED = 7  # others speak, or the budget is spent
    NO_ANSWER = 8  # asked, and nothing usable came in time
    BAD_ANSWER = 9  # malformed, or out of range
    HOLD = 10  # an expected return of 0
    COST = 11  # the expected return does not pay the round trip
    LOW_EDGE = 12
    LOW_CONFIDENCE = 13


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opinions:
    """What an engine thinks of T sessions and N instruments, (T, N), before thresholds; row t knows sessions up to t only.

    `expected_return` and `predicted_volatility` are over the horizon, as fractions; `confidence` is the engine's own probability that the
    sign is right. All three are NaN exactly where `silence` is not SPEAKS.
    """

    expected_return: Floats
    predicted_volatility: Floats
    confidence: Floats
    silence: NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forecasts:
    """Opinions once costs, calibration and thresholds have been applied, (T, N).

    `edge_score` is the expected return net of the round trip over the predicted volatility, with the sign of the direction; `confidence`
    is calibrated. Both are NaN where the engine has no opinion. `direction` is 1, -1, or 0 where `silence` is not SPEAKS. `regime` is an
    index into `Regime`, -1 where it is unknown.
    """

    expected_return: Floats
    predicted_volatility: Floats
    edge_score: Floats
    confidence: Floats
    direction: NDArray[np.int8]
    regime: NDArray[np.int8]
    silence: NDArray[np.int8]
