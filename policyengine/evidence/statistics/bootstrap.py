"""Resampling blocks of sessions, and statistics studentised by the sums of those blocks.

A resample is a row of m blocks. Everything a smooth statistic needs is the sum of a few columns over each block, so no
series is ever gathered: block sums come from a table (fixed and calendar blocks) or from differences of running sums
(stationary blocks). Only elementwise operations and NumPy's own reductions are used, never BLAS, so that the bits depend
neither on the number of threads nor on the machine's linear algebra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.spec.significance import BootstrapScheme

_Floats = NDArray[np.float64]

CELLS_PER_CHUNK = 1 << 16
"""Blocks drawn at a time: their sums stay in a core's cache. Part of the definition of the stationary draws, hence of the bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """How to resample n sessions: `length` sessions a block (the mean, for stationary), or calendar blocks between `edges`."""

    scheme: BootstrapScheme
    n: int
    length: int = 1
    edges: NDArray[np.intp] | None = None

    @property
    def per_sample(self) -> int:
        """Blocks in a resample; for stationary, as many as cover n sessions in all but 1e-9 of resamples."""
        if self.edges is not None:
            return self.edges.size - 1
        expected = self.n // self.length
        return expected if self.scheme is BootstrapScheme.CIRCULAR else int(expected + 6.0 * expected**0.5 + 10)


BlockSums = tuple[list[_Floats], "_Floats | float"]
"""Sums of each column over each block, each of shape (r, m), and the blocks' lengths, (r, m) or one number."""


def block_sums(columns: list[_Floats], blocks: Blocks, n_boot: int, rng: np.random.Generator) -> Iterator[BlockSums]:
    """Sums of `columns`, each of shape (n,), over the blocks of `n_boot` resamples, some resamples at a time.

    The arrays are buffers: they may be overwritten, and are by the next step.
    """
    rows = min(max(1, CELLS_PER_CHUNK // blocks.per_sample), n_boot)
    draw = _drawer(columns, blocks, rng, rows)
    for start in range(0, n_boot, rows):
        yield draw(min(rows, n_boot - start))


def _drawer(columns: list[_Floats], blocks: Blocks, rng: np.random.Generator, most: int) -> Callable[[int], BlockSums]:
    m, n = blocks.per_sample, blocks.n
    # Fresh arrays of this size cost more than filling them.
    buffers = [np.empty((most, m)) for _ in columns]

    def gather(tables: list[_Floats], drawn: NDArray[np.int64]) -> list[_Floats]:
        return [np.take(t, drawn, out=out[: drawn.shape[0]], mode="clip") for t, out in zip(tables, buffers, strict=True)]

    if blocks.scheme is BootstrapScheme.STATIONARY:
        running = [np.concatenate([[0.0], np.cumsum(np.concatenate([x, x]))]) for x in columns]

        def stationary(rows: int) -> BlockSums:
            lengths = rng.geometric(1.0 / blocks.length, size=(rows, m))
            # The last block is cut where the resample reaches n sessions; later ones become empty.
            ends = np.minimum(np.cumsum(lengths, axis=1), n)
            lengths = np.diff(ends, axis=1, prepend=0)
            starts = rng.integers(0, n, size=(rows, m))
            sums = gather(running, starts + lengths)
            for total, x in zip(sums, running, strict=True):
                np.subtract(total, x[starts], out=total)
            return sums, lengths.astype(np.float64)

        return stationary
    if blocks.edges is not None:
        tables = [np.add.reduceat(x, blocks.edges[:-1]) for x in columns]
        sizes = np.diff(blocks.edges).astype(np.float64)

        def calendar(rows: int) -> BlockSums:
            drawn = rng.integers(0, m, size=(rows, m))
            return gather(tables, drawn), sizes.take(drawn)

        return calendar
    tables = [circular_sums(x, blocks.length) for x in columns]

    def circular(rows: int) -> BlockSums:
        drawn = rng.integers(0, n, size=(rows, m))
        return gather(tables, drawn), float(blocks.length)

    return circular


def circular_sums(x: _Floats, length: int) -> _Floats:
    """Sum of x over the `length` sessions from each session on, the end joined to the start; shape (n,)."""
    around = np.concatenate([x, x[: length - 1]]) if length > 1 else x
    return np.asarray(np.lib.stride_tricks.sliding_window_view(around, length).sum(axis=1))


def studentised_means(x: _Floats, blocks: Blocks, n_boot: int, rng: np.random.Generator) -> _Floats:
    """t* = (mean* - mean)/SE* of x in each resample, SE*^2 = sum over blocks (sum of x - mean*)^2 / n*^2; shape (n_boot,).

    A resample without variation gives +inf, which counts against whoever claims an effect on either side.

    Source: Goetze and Kuensch 1996 (natural studentisation of block sums); Ledoit and Wolf 2008, section 3.2.2.
    """
    centred = x - np.mean(x)
    parts = []
    for (sums,), lengths in block_sums([centred], blocks, n_boot, rng):
        total = total_sessions(lengths, sums.shape)
        parts.append(studentised(sums, lengths, total))
    return np.concatenate(parts)


def studentised_sharpe_differences(
    z_b: _Floats, s_b: float, z_c: _Floats, s_c: float, blocks: Blocks, n_boot: int, rng: np.random.Generator
) -> _Floats:
    """t* = (D* - D)/SE* of the Sharpe difference D = s_c - s_b, recomputed with its gradient in each resample; shape (n_boot,).

    z_b (n,) are the baseline's standardised returns and s_b its Sharpe ratio per session, z_c and s_c the candidate's; `rng` is advanced.

    Source: Ledoit and Wolf 2008, section 3.2; with S* = (mean z* + S)/sd z*, since r = sd (z + S).
    """
    parts = []
    for (w_b, q_b, w_c, q_c), lengths in block_sums([z_b, z_b * z_b, z_c, z_c * z_c], blocks, n_boot, rng):
        total = total_sessions(lengths, w_b.shape)
        sharpe_b, influence_b = _arm(w_b, q_b, lengths, total, s_b)
        sharpe_c, influence_c = _arm(w_c, q_c, lengths, total, s_c)
        difference = (sharpe_c - sharpe_b) - (s_c - s_b)
        influence_c -= influence_b
        parts.append(_studentise(difference, influence_c, total))
    return np.concatenate(parts)


def _arm(w: _Floats, q: _Floats, lengths: _Floats | float, total: _Floats, s: float) -> tuple[_Floats, _Floats]:
    """S* of each resample (r,) and the sum of its influence over each block (r, m), from block sums of z and z^2; overwrites both."""
    mean = _over_blocks(w) / total
    variance = np.maximum(_over_blocks(q) / total - mean * mean, 1e-24)
    sd = np.sqrt(variance)
    sharpe = (mean + s) / sd
    slope_w = 1.0 / sd + sharpe * mean / variance
    slope_q = 0.5 * sharpe / variance
    level = mean / sd + 0.5 * sharpe * (mean * mean / variance - 1.0)
    w *= slope_w[:, None]
    q *= slope_q[:, None]
    w -= q
    w -= lengths * level[:, None]
    return sharpe, w


def studentised(sums: _Floats, lengths: _Floats | float, total: _Floats) -> _Floats:
    """t* of the mean of a centred column in each resample (r,), from its block sums (r, m), which are overwritten."""
    mean = _over_blocks(sums) / total
    sums -= lengths * mean[:, None]
    return _studentise(mean, sums, total)


def _over_blocks(sums: _Floats) -> _Floats:
    return np.asarray(np.einsum("rm->r", sums))


def total_sessions(lengths: _Floats | float, shape: tuple[int, ...]) -> _Floats:
    """Sessions in each resample, (r,), from block lengths (r, m), or one length, of blocks of this shape."""
    return np.full(shape[0], lengths * shape[1]) if isinstance(lengths, float) else np.sum(lengths, axis=1)


def _studentise(difference: _Floats, influence: _Floats, total: _Floats) -> _Floats:
    error = np.sqrt(np.einsum("rm,rm->r", influence, influence)) / total
    return np.asarray(np.divide(difference, error, out=np.full_like(difference, np.inf), where=error > 1e-12))


def p_value(t_star: _Floats, t: float) -> float:
    """(1 + #{t* >= t})/(B + 1); a t* that is infinite (no variation in the resample) counts as exceeding.

    Source: Davison and Hinkley 1997, section 4.2.
    """
    return (1 + int(np.count_nonzero(t_star >= t))) / (t_star.size + 1)


def mirrored(t_star: _Floats) -> _Floats:
    """The t* of the swapped arms in the same resamples: the effect and its error are antisymmetric in the arms."""
    return np.where(np.isinf(t_star), np.inf, -t_star)
