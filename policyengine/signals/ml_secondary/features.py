"""What the model sees of an instrument: its last bars, in units of its own volatility."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def names(spans: Sequence[int]) -> tuple[str, ...]:
    """The names of the features, in order: a span of one bar has no mean or high to be away from."""
    return tuple(f"{what}_{span}" for span in spans for what in ("return", "activity", "from_mean", "from_high")[: 4 if span > 1 else 2])


def features(spans: Sequence[int], close: Floats, fresh: NDArray[np.bool_], volatility: Floats) -> Floats:
    """Features (T, N, F) of closes (T, N) at the bars that are `fresh`; `volatility` (T, N) is of one bar's return, a fraction.

    With p the closes of an instrument at its own bars, u = v |p| the size of one bar's move, and k a span:

        return      (p_t - p_{t-k}) / (u sqrt(k))
        activity    root mean square of the last k returns (p - p') / |p'|, over v
        from_mean   (p_t - mean of the last k closes) / (u sqrt(k))
        from_high   (p_t - highest of the last k closes) / (u sqrt(k))

    No feature has a unit, and row t knows bars up to t only. NaN where there is no bar, where the span reaches back before the first
    bar, and where a division is by 0: without movement, or at a price of 0. Negative prices count as they are.
    """
    order = np.argsort(~fresh, axis=0, kind="stable")
    is_bar = np.take_along_axis(fresh, order, axis=0)
    price = np.where(is_bar, np.take_along_axis(close, order, axis=0), np.nan)
    v = np.take_along_axis(volatility, order, axis=0)
    made = np.empty((*close.shape, len(names(spans))))
    for k, column in enumerate(_by_bar(spans, price, v)):
        np.put_along_axis(made[:, :, k], order, np.where(np.isfinite(column), column, np.nan), axis=0)
    return made


def _by_bar(spans: Sequence[int], price: Floats, v: Floats) -> Iterator[Floats]:
    """The features one by one, (T, N), of prices whose rows are bars and not sessions."""
    with np.errstate(all="ignore"):
        before = _earlier(price, 1)
        squared = ((price - before) / np.abs(before)) ** 2
        for span in spans:
            unit = v * np.abs(price) * np.sqrt(float(span))
            yield (price - _earlier(price, span)) / unit
            yield np.sqrt(_last(squared, span, np.add) / span) / v
            if span > 1:
                yield (price - _last(price, span, np.add) / span) / unit
                yield (price - _last(price, span, np.maximum)) / unit


def feature_hash(spans: Sequence[int]) -> str:
    """SHA-256 of the names of the features and of the values they take on a fixed series: another definition has another hash."""
    bars = np.arange(2 * max(spans) + 2, dtype=np.float64)
    close = (1_000.0 + (bars * 7_919.0) % 101.0 - 5.0 * (bars % 17.0))[:, None]
    made = features(spans, close, np.ones(close.shape, dtype=np.bool_), np.full(close.shape, 0.0625))
    known = hashlib.sha256("\n".join(names(spans)).encode())
    known.update(np.where(np.isnan(made), 0.0, made + 0.0).astype("<f8").tobytes())
    return known.hexdigest()


def _earlier(rows: Floats, span: int) -> Floats:
    """The row `span` rows before, NaN before the first."""
    moved = np.full_like(rows, np.nan)
    moved[span:] = rows[: max(rows.shape[0] - span, 0)]
    return moved


def _last(rows: Floats, span: int, combine: np.ufunc) -> Floats:
    """The last `span` rows combined, NaN where there are fewer.

    By powers of two, each from its own window alone: a running sum would carry the rounding of one huge value on for ever.
    """
    made, power, width, reach = rows, rows, 1, 0
    while width <= span:
        if span & width:
            piece = _earlier(power, reach)
            made = piece if reach == 0 else combine(made, piece)
            reach += width
        power = combine(power, _earlier(power, width))
        width *= 2
    return made
