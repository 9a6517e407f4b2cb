"""Prices, signals and policies as the arrays that `compiled` replays, and what it leaves as an outcome."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policyengine.allocation.cycle import barred, buckets_of, budgets_by, charged, limits_of, sized_by
from policyengine.allocation.feasibility import layout_of
from policyengine.allocation.scaler import scaling_of
from policyengine.allocation.sleeves import Grid, relative
from policyengine.execution.arrays import Policy, Stage, Terms, book_of, kept_of, shell_of
from policyengine.execution.compiled import Status, replay_one
from policyengine.execution.outcome import Outcome
from policyengine.execution.replay import days
from policyengine.market.panel import PricePanel
from policyengine.signals.stream import Stream
from policyengine.spec.execution import ExecutionSpec
from policyengine.spec.root import ArmSpec, PolicySpec
from policyengine.spec.universe import UniverseSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """What all policies of one set of groups share. `order` (N,) brings instruments into the order of `stage`."""

    stage: Stage
    terms: Terms
    order: NDArray[np.intp]
    groups: int
    stream: Stream
    universe: UniverseSpec
    buckets: NDArray[np.intp]

    def replay(self, policy: ArmSpec | PolicySpec) -> tuple[Status, Outcome | None]:
        """How the replay of `policy` ended, and what it came to where it is done."""
        sessions, instruments = self.stage.price.shape
        kept = kept_of(sessions, self.groups)
        groups, classes = self.stage.member.shape
        book, shell = book_of(instruments), shell_of(classes, groups)
        status, breaches, held_over = replay_one(self.stage, self.terms, self._numbers(policy), book, shell, kept)
        if status != Status.DONE:
            return Status(status), None
        return Status.DONE, Outcome(**kept._asdict(), breaches=breaches, held_over=held_over)

    def _numbers(self, policy: ArmSpec | PolicySpec) -> Policy:
        symbols, rows = self.stream.rows.symbols, self.stream.rows
        limits, budgets, scaling = limits_of(policy, self.universe, symbols), budgets_by([policy]), scaling_of([policy.scaler])
        place = np.argsort(self.order)
        return Policy(
            retained=_retained(sized_by(policy, rows, self.buckets).effective, rows.confidence),
            limited=policy.limits.enabled,
            upper=limits.upper[self.order],
            caps=limits.group_upper,
            band=limits.drift_band,
            euclidean=limits.metric == "euclidean",
            swept=np.array([place[symbols.index(s)] for s in policy.limits.swept if s in symbols], dtype=np.int64),
            base=budgets.base[0],
            least=budgets.least[0],
            most=budgets.most[0],
            gross=float(budgets.gross[0]),
            room=float(budgets.room[0]),
            scaled=policy.scaler.enabled and policy.sleeves.enabled,
            listed=scaling.listed[0],
            target_vol=scaling.target_vol[0],
            max_drawdown=scaling.max_drawdown[0],
            vol_sensitivity=float(scaling.vol_sensitivity[0, 0]),
            dd_sensitivity=float(scaling.dd_sensitivity[0, 0]),
            min_scale=float(scaling.min_scale[0, 0]),
            max_scale=float(scaling.max_scale[0, 0]),
            decay=float(scaling.ewma_lambda[0, 0]),
            min_sessions=int(scaling.min_sessions[0, 0]),
        )


def staging(
    policy: ArmSpec | PolicySpec,
    panel: PricePanel,
    stream: Stream,
    asked: Grid,
    universe: UniverseSpec,
    execution: ExecutionSpec,
    *,
    rate: Floats,
    capital: float,
    group: Ints,
    groups: int,
) -> Staging:
    """Prices and signals for `policy` and those that have its groups of limits and, like it, sleeves or none; rest as in `outcomes`."""
    matrix = limits_of(policy, universe, stream.rows.symbols).groups
    alike = layout_of(matrix.shape, matrix.dtype, matrix.tobytes()).kind
    kind = group * (alike.max(initial=0) + 1) + alike
    order = np.argsort(kind, kind="stable")
    found, first = np.unique(kind[order], return_index=True)
    every = list(days(panel, rate))
    share = _shares(policy, asked, stream, universe, allow_short=execution.allow_short)
    stage = Stage(
        price=np.ascontiguousarray(np.stack([day.price for day in every])[:, order]),
        tradable=np.ascontiguousarray(np.stack([day.tradable for day in every])[:, order]),
        rate=rate,
        elapsed=np.array([float(day.elapsed_days) for day in every]),
        share=np.ascontiguousarray(share[:, order]),
        signal=np.ascontiguousarray(np.maximum(asked.signal, 0)[:, order]),
        sleeve=np.ascontiguousarray(asked.sleeve[:, order]),
        charged=np.ascontiguousarray(charged(asked)[:, order]),
        starts=np.append(first, order.size).astype(np.int64),
        member=np.vstack([matrix[:, order[first]] > 0.0, np.ones((1, found.size), dtype=np.bool_)]),
        group=np.searchsorted(group[order], np.arange(groups + 1)),
    )
    terms = Terms(
        cost_frac=execution.cost_frac,
        min_trade_frac=execution.min_trade_frac,
        financing=execution.financing_spread_bps / 10_000.0,
        borrow=execution.borrow_bps / 10_000.0,
        periods_per_year=float(panel.periods_per_year),
        capital=capital,
    )
    buckets = buckets_of(stream.rows, universe)
    return Staging(stage=stage, terms=terms, order=order, groups=groups, stream=stream, universe=universe, buckets=buckets)


def _shares(policy: ArmSpec | PolicySpec, asked: Grid, stream: Stream, universe: UniverseSpec, *, allow_short: bool) -> Floats:
    """(T, N) signed share of its budget that each signal takes at base confidence; 0 for a sale where shorts are not allowed."""
    share = relative(asked, by_sleeve=policy.sleeves.enabled)
    return np.where((share < 0.0) & barred(stream.rows.symbols, universe, allow_short=allow_short), 0.0, share)


def _retained(effective: Floats, base: Floats) -> Floats:
    """How much of its base confidence each signal keeps, 1 where base is 0; one entry where there is no signal, for the code reads one."""
    return np.divide(effective, base, out=np.ones(base.size), where=base > 0.0) if base.size else np.ones(1)
