"""Joint resampling of both arms' paths: d return, volatility-matched d max_drawdown, d profit factor.

Drawdown depends on the order of sessions, so paths are needed; but a path is only ever needed one session at a time, for
many resamples at once. With Y_t = wealth/peak, Y_t = min(1, Y_{t-1} (1 + r_t)) and max_drawdown = 1 - min Y: three
elementwise operations a session, exact under compounding, and no path is stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policyengine.errors import DataError

_Floats = NDArray[np.float64]
_Whole = NDArray[np.signedinteger[Any]]

_ROWS = 2048
"""Resamples advanced together. Part of the definition of the draws, hence of the bits."""
_THREADS = 2
"""Chunks of resamples measured at a time, while the next is drawn. Decides no bit."""
_TILE = 32
"""Sessions gathered at a time; a tile of both arms stays in a core's cache."""
_RICHEST = 1e150
"""Wealth is cut here, after each tile, so that absurd inputs cannot overflow."""
_NO_LOSS = 1e-12
"""Losses of a resample below this are rounding."""
_FLAT = 1e-18
"""Variance at which an arm did not move in a resample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathDifferences:
    """Candidate less baseline in each resample, arrays of shape (n_boot,).

    `total_return` compounds each arm as it is, a fraction. `max_drawdown` is a positive fraction, the candidate scaled to the
    baseline's volatility in that resample; 1 where the candidate did not move at all and no scale matches. `profit_factor` is of
    sessions, NaN where an arm has no losing session (null, not infinity).
    """

    total_return: _Floats
    max_drawdown: _Floats
    profit_factor: _Floats


def path_differences(
    baseline: _Floats, candidate: _Floats, *, mean_block: int, n_boot: int, rng: np.random.Generator, matched: bool = True
) -> PathDifferences:
    """Statistics of `n_boot` stationary-bootstrap resamples of checked arms (n,), the same sessions for both.

    Args:
        baseline: excess returns per session, (n,).
        candidate: the same sessions, (n,).
        mean_block: mean block length of the geometric blocks, in sessions.
        n_boot: resamples.
        rng: advanced by the draws.
        matched: scale the candidate to the baseline's volatility, anew in each resample; False leaves it as it is.

    Wealth at or below zero is ruin: a drawdown of 1 from which no path recovers.

    Raises:
        DataError: more sessions times block length than 32-bit draws can address (some 90,000 sessions).

    Source: Politis and Romano 1994 for the resampling.
    """
    if baseline.size * mean_block >= 1 << 31:
        raise DataError("baseline", f"{baseline.size} sessions in blocks of {mean_block} are more than can be resampled")
    chunks = list(_measured(_Paths(baseline, candidate, mean_block, matched), n_boot, rng))
    total_return, max_drawdown, profit_factor = (np.concatenate(part) for part in zip(*chunks, strict=True))
    return PathDifferences(total_return=total_return, max_drawdown=max_drawdown, profit_factor=profit_factor)


_Measured = tuple[_Floats, _Floats, _Floats]
"""d total return, d max_drawdown and d profit factor of a chunk, (rows,) each."""


def _measured(paths: _Paths, n_boot: int, rng: np.random.Generator) -> Iterator[_Measured]:
    """Chunks in turn: drawn one after the other, for each advances `rng`, and measured on threads."""
    with ThreadPoolExecutor(_THREADS) as pool:
        waiting: deque[Future[_Measured]] = deque()
        for start in range(0, n_boot, _ROWS):
            if len(waiting) == _THREADS:
                yield waiting.popleft().result()
            waiting.append(pool.submit(paths.measure, paths.draw(min(_ROWS, n_boot - start), rng)))
        while waiting:
            yield waiting.popleft().result()


class _Paths:
    """Tables of one call; `draw` says which sessions each resample has, `measure` what it comes to.

    Both arms travel as one array (.., 2 rows) with arms alternating: gathered as the two halves of a complex number, and
    everything after that is elementwise.
    """

    def __init__(self, baseline: _Floats, candidate: _Floats, mean_block: int, matched: bool) -> None:
        self.n = baseline.size
        # A run of n sessions that starts at n - 1 ends at 2n - 2: a doubled table needs no wrapping.
        self.table = np.tile(baseline + 1j * candidate, 2)
        self.lowest = min(float(np.min(baseline)), float(np.min(candidate)))
        # A 32-bit word over this is a session or beyond n: each session has as many words, a block ends with probability
        # 1/mean_block up to 1e-3 of it.
        self.words_per_session = np.uint32((1 << 32) // (self.n * mean_block))
        self.matched = matched
        # Keys hold day and session side by side; 16 bits each are enough for a century of sessions and twice as fast.
        self.shift = 16 if self.n < 1 << 15 else 32
        self.whole: type[np.signedinteger[Any]] = np.int32 if self.n < 1 << 15 else np.int64

    def draw(self, rows: int, rng: np.random.Generator) -> _Whole:
        """Sessions of so many resamples, (n, rows)."""
        sessions = np.empty((self.n, rows), dtype=self.whole)
        # Buffers, because fresh arrays of this size cost more than filling them.
        buffers = (
            np.empty((_TILE, rows), dtype=self.whole),
            np.empty((_TILE, rows), dtype=self.whole),
            np.empty((_TILE, rows), dtype=np.bool_),
        )
        last = np.zeros(rows, dtype=self.whole)
        for first in range(0, self.n, _TILE):
            last = self._draw(sessions[first : first + _TILE], first, last, rng, buffers)
        return sessions

    def measure(self, sessions: _Whole) -> _Measured:
        """What the resamples of `sessions` (n, rows) come to."""
        rows = sessions.shape[1]
        gathered, buffer = np.empty((_TILE, rows), dtype=np.complex128), np.empty((_TILE, 2 * rows))
        sums, squares, sizes, wealth = (np.zeros(2 * rows) for _ in range(4))
        wealth += 1.0
        for first in range(0, self.n, _TILE):
            tile = self._gather(sessions[first : first + _TILE], gathered)
            scratch = buffer[: tile.shape[0]]
            sums += np.add.reduce(tile, axis=0)
            squares += np.einsum("tr,tr->r", tile, tile)
            sizes += np.add.reduce(np.abs(tile, out=scratch), axis=0)
            np.multiply(wealth, np.multiply.reduce(self._wealth(tile), axis=0), out=wealth)
            np.minimum(wealth, _RICHEST, out=wealth)
        scale, flat = self._scale(sums / self.n, squares / self.n)
        drawdown = self._drawdowns(sessions, scale, gathered)
        # Twice the losses and twice the gains: sums of |x| -+ x.
        losses, gains = sizes - sums, sizes + sums
        factor = np.divide(gains, losses, out=np.full(2 * rows, np.nan), where=losses > _NO_LOSS)
        difference = np.where(flat, 1.0, drawdown[1::2] - drawdown[::2])
        return wealth[1::2] - wealth[::2], difference, factor[1::2] - factor[::2]

    def _draw(
        self, out: _Whole, first: int, last: _Whole, rng: np.random.Generator, buffers: tuple[_Whole, _Whole, NDArray[np.bool_]]
    ) -> _Whole:
        """Fill `out` (days, rows) with sessions; `last` and the result hold the newest block start of each row as a key.

        One draw decides both: below n it starts a block at that session, else the block goes on. A key is day and session side by
        side, so the newest start is a running maximum.
        """
        days = np.arange(first, first + out.shape[0], dtype=out.dtype)[:, None]
        drawn, older, starts = (buffer[: out.shape[0]] for buffer in buffers)
        words = rng.integers(0, 1 << 64, size=(out.size + 1) // 2, dtype=np.uint64).view(np.uint32)[: out.size].reshape(out.shape)
        np.floor_divide(words, self.words_per_session, out=words)
        np.copyto(drawn, words, casting="unsafe")
        if first == 0:
            drawn[0] %= self.n
        np.less(drawn, self.n, out=starts)
        # Draws that go on may overflow here; the next line makes them 0.
        np.add(drawn, days << self.shift, out=out)
        np.multiply(out, starts, out=out)
        for today in out:
            last = np.maximum(last, today, out=today)
        last = last.copy()
        np.right_shift(out, self.shift, out=older)
        np.bitwise_and(out, (1 << self.shift) - 1, out=out)
        np.subtract(out, older, out=out)
        np.add(out, days, out=out)
        return last

    def _gather(self, sessions: _Whole, gathered: NDArray[np.complex128]) -> _Floats:
        tile = gathered[: sessions.shape[0]]
        np.take(self.table, sessions, out=tile, mode="clip")
        return tile.view(np.float64)

    def _wealth(self, returns: _Floats, largest_scale: float = 1.0) -> _Floats:
        """1 + returns in place, not below 0."""
        np.add(returns, 1.0, out=returns)
        if 1.0 + min(self.lowest, self.lowest * largest_scale) < 0.0:
            np.maximum(returns, 0.0, out=returns)
        return returns

    def _scale(self, mean: _Floats, second: _Floats) -> tuple[_Floats, NDArray[np.bool_]]:
        variance = second - mean * mean
        scale = np.ones_like(variance)
        if not self.matched:
            return scale, np.zeros(variance.size // 2, dtype=np.bool_)
        flat = variance[1::2] <= _FLAT
        ratio = np.divide(variance[::2], variance[1::2], out=np.ones(flat.size), where=~flat)
        scale[1::2] = np.sqrt(np.maximum(ratio, 0.0))
        return scale, flat

    def _drawdowns(self, sessions: _Whole, scale: _Floats, gathered: NDArray[np.complex128]) -> _Floats:
        level, lowest = np.ones_like(scale), np.ones_like(scale)
        # An array of ones: NumPy has no vectorised minimum with a scalar.
        peak = np.ones_like(scale)
        largest = float(np.max(scale))
        for first in range(0, self.n, _TILE):
            tile = self._gather(sessions[first : first + _TILE], gathered)
            np.multiply(tile, scale, out=tile)
            for today in self._wealth(tile, largest):
                np.multiply(level, today, out=today)
                level = np.minimum(today, peak, out=today)
            np.minimum(lowest, np.minimum.reduce(tile, axis=0), out=lowest)
            level = level.copy()
        return 1.0 - lowest
