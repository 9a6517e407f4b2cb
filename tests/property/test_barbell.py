"""What holds for every book of named instruments: fuzzed over universes, limits, signs and requests of every size.

The limits are stated a second time here, from their definition and by plain loops, to check what the shell makes of them.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest

from policyengine.allocation.constraints import bound, constraints
from policyengine.allocation.shell import Projection, project_batch, project_to_feasible, sweep_idle_cash
from policyengine.errors import BrokenInvariant, DataError, InfeasibleLimits
from policyengine.records import Bucket, Sleeve
from policyengine.spec.limits import BucketLimitSpec, CashSweepSpec, LimitsSpec, MarketLimitSpec
from policyengine.spec.universe import InstrumentSpec, OptionsSpec, UniverseSpec
from tests.property.test_shell import Limits, by_quadprog

ROOT = Path(__file__).resolve().parents[2]
VIOLATION = 1e-12
DISTANCE = 1e-9
Weights = dict[str, float]


class Case(NamedTuple):
    """A set of limits over a universe."""

    limits: LimitsSpec
    universe: UniverseSpec
    hedge_max_frac: float | None

    def project(self, weights: Mapping[str, float]) -> Projection:
        return project_to_feasible(weights, self.limits, self.universe, hedge_max_frac=self.hedge_max_frac)


def some_universe(rng: np.random.Generator) -> UniverseSpec:
    instruments = {"CASHLIKE": InstrumentSpec(bucket=Bucket.SAFE)}
    for i in range(int(rng.integers(2, 11))):
        bucket = Bucket(rng.choice(["safe", "core", "spec", "other"], p=[0.3, 0.35, 0.3, 0.05]))
        option = {"type": "option", "contract_multiplier": 100.0, "stress_loss": 1.0} if rng.random() < 0.1 else {}
        sleeve = Sleeve.TAIL_HEDGE if rng.random() < 0.1 else None
        market = str(rng.choice(["us", "us", "crypto", "em", "ngx"]))
        instruments[f"S{i:02d}"] = InstrumentSpec(bucket=bucket, market=market, sleeve=sleeve, **option)  # type: ignore[arg-type]
    return UniverseSpec(instruments=instruments, unclassified="other", options=OptionsSpec(enabled=True))


def some_case(rng: np.random.Generator, *, metric: Literal["proportional", "euclidean"], sweep: bool = False) -> Case:
    """The default limits in half of the cases, any in the others."""
    safe_min, risk_max, gross, caps = 0.75, 0.25, 1.0, {"crypto": 0.10, "em": 0.10, "ngx": 0.05}
    most, position = {"safe": 0.95, "core": 0.2, "spec": 0.1, "other": 0.0}, {"safe": 0.5, "core": 0.1, "spec": 0.05, "other": None}
    if rng.random() < 0.5:
        safe_min, risk_max = float(rng.choice([0.0, 0.5, 0.9])), rng.choice([None, 0.1, 0.4])
        gross, caps = float(rng.choice([0.3, 0.8, 1.0])), {"us": 0.6, "em": 0.0, "unknown": 0.01}
        most = {b: float(rng.choice([0.02, 0.3, 1.0])) if b != "safe" else 0.95 for b in most}
        position = {b: rng.choice([None, 0.02, 0.4]) for b in most}
    limits = LimitsSpec(
        enabled=True,
        buckets={b: BucketLimitSpec(max_frac=most[b], position_max_frac=position[b], min_frac=safe_min * (b == "safe")) for b in Bucket},
        gross_max_frac=gross,
        risk_max_frac=risk_max,
        markets={market: MarketLimitSpec(max_frac=cap) for market, cap in caps.items()},
        metric=metric,
        cash_sweep=CashSweepSpec(symbols=("CASHLIKE",)) if sweep else None,
    )
    return Case(limits, some_universe(rng), None if rng.random() < 0.5 else float(rng.choice([0.0, 0.03, 0.2])))


def some_request(rng: np.random.Generator, universe: UniverseSpec) -> Weights:
    """Long and short, with names nobody knows: concentrated, no safe name, net short, sums 0, .5, 1, 1.3, huge, tiny, of all sizes, on a
    grid, and small enough to be feasible."""
    symbols = [*universe.instruments, "XAA", "XBB"][: len(universe.instruments) + int(rng.integers(0, 3))]
    rng.shuffle(symbols)
    n = len(symbols)
    w = rng.dirichlet(np.full(n, rng.choice([0.2, 1.0]))) * rng.choice([0.0, 0.5, 1.0, 1.3])
    w *= np.where(rng.random(n) < rng.choice([0.0, 0.0, 0.4]), -1.0, 1.0)
    match rng.integers(0, 10):
        case 0:
            w = np.where(np.arange(n) == rng.integers(n), rng.choice([0.5, -1.0, 1.3, 5.0]), 0.0)
        case 1:
            w = np.where([universe.bucket(s) == "safe" for s in symbols], 0.0, w)
        case 2:
            w = rng.normal(-0.3, 1.0, n) / n
        case 3:
            w = rng.normal(0.0, 1e6, n)
        case 4:
            w = rng.normal(0.0, 1e-12, n)
        case 5:
            w = 10.0 ** rng.uniform(-12, 6, n) * rng.choice([-1.0, 1.0], n)
        case 6:
            w = np.round(rng.normal(0.0, 0.3, n), 1)
        case 7:
            w = np.where([s in universe.instruments for s in symbols], w * 0.04, 0.0)
        case _:
            pass
    return dict(zip(symbols, w.tolist(), strict=True))


Rules = list[tuple[set[str], float]]


def rules(case: Case, weights: Mapping[str, float]) -> Rules:
    """Every limit on a book of these signs: who is in it, and the most that their absolute exposures may sum to."""
    limits, universe, found = case.limits, case.universe, []
    hedges: set[str] = set()
    by_bucket: dict[Bucket, set[str]] = {bucket: set() for bucket in Bucket}
    by_market: dict[str, set[str]] = {market: set() for market in limits.markets}
    safe_shorts = set()
    for symbol, weight in weights.items():
        instrument = universe.instruments.get(symbol)
        bucket = Bucket.OTHER if instrument is None else instrument.bucket
        by_market.setdefault("unknown" if instrument is None else instrument.market, set()).add(symbol)
        if case.hedge_max_frac is not None and instrument is not None and instrument.sleeve is Sleeve.TAIL_HEDGE and weight >= 0:
            hedges.add(symbol)
        elif bucket is Bucket.SAFE and weight < 0:
            safe_shorts.add(symbol)
        else:
            by_bucket[bucket].add(symbol)
        position_max = limits.buckets[bucket].position_max_frac
        if position_max is not None:
            found.append(({symbol}, position_max))
    risk = by_bucket[Bucket.CORE] | by_bucket[Bucket.SPEC] | by_bucket[Bucket.OTHER] | safe_shorts
    found.append((risk | by_bucket[Bucket.SAFE], limits.gross_max_frac))
    found.append((risk | hedges, 1.0 - limits.buckets[Bucket.SAFE].min_frac))
    if limits.risk_max_frac is not None:
        found.append((risk, limits.risk_max_frac))
    if case.hedge_max_frac is not None:
        found.append((hedges, case.hedge_max_frac))
    found += [(members, limits.buckets[bucket].max_frac) for bucket, members in by_bucket.items()]
    return found + [(by_market[market], spec.max_frac) for market, spec in limits.markets.items()]


def excess(limits: Rules, book: Mapping[str, float]) -> float:
    """How far the absolute exposures of a book go beyond any rule."""
    return max(math.fsum([abs(book[s]) for s in members]) - cap for members, cap in limits)


def bits(projection: Projection) -> str:
    """Everything that was returned, to the last bit, under sorted symbols."""
    weights = sorted((symbol, weight.hex()) for symbol, weight in projection.weights.items())
    return repr((weights, projection.l1_drift.hex(), sorted(projection.swept.items()), projection.binding, projection.unmet))


def check(case: Case, asked: Weights) -> bool:
    """Check one projection, and say whether the request was feasible."""
    got = case.project(asked)
    assert list(got.weights) == list(asked)
    cut = {symbol for symbol, w in asked.items() if got.weights[symbol] != w}
    for symbol in cut:
        x, w = got.weights[symbol], asked[symbol]
        assert abs(x) < abs(w)
        assert x == 0.0 or (x > 0) == (w > 0)
        assert x != 0.0 or math.copysign(1.0, x) == 1.0
    limits = rules(case, asked)
    assert excess(limits, got.weights) <= VIOLATION
    assert got.l1_drift == math.fsum(abs(got.weights[s] - asked[s]) for s in asked)
    assert cut <= {symbol for limit in got.binding for symbol in limit.members}
    zeroed = {symbol for symbol in cut if got.weights[symbol] == 0.0}
    assert zeroed == {symbol for limit in got.binding for symbol in limit.shrunk_to_zero}
    feasible = excess(limits, asked) <= 0.0
    if feasible:
        assert [w.hex() for w in got.weights.values()] == [w.hex() for w in asked.values()]
        assert got.binding == ()
    return feasible


@pytest.mark.long
@pytest.mark.parametrize("metric", ["proportional", "euclidean"])
def test_fuzz_of_twenty_thousand_named_requests_in_each_metric(metric: Literal["proportional", "euclidean"]) -> None:
    """Within every limit, never above the request, feasible requests untouched, every cut explained; idempotent, in any order."""
    rng = np.random.default_rng(4 if metric == "proportional" else 5)
    seen = feasible = 0
    for _ in range(400):
        case = some_case(rng, metric=metric)
        for number in range(50):
            asked = some_request(rng, case.universe)
            feasible += check(case, asked)
            seen += 1
            if number % 25 == 0:
                got = case.project(asked)
                again = case.project(got.weights)
                assert [w.hex() for w in again.weights.values()] == [w.hex() for w in got.weights.values()]
                assert (again.binding, again.l1_drift) == ((), 0.0)
                assert bits(case.project(dict(sorted(asked.items(), reverse=True)))) == bits(got)
    sys.stdout.write(f"{metric}: {seen} named requests, {seen - feasible} of them infeasible\n")
    assert seen >= 20_000
    assert feasible >= 1_000
    assert seen - feasible >= 10_000


def exposures(book: Mapping[str, float], symbols: list[str]) -> np.ndarray:
    return np.array([abs(book[s]) for s in symbols])


@pytest.mark.parametrize("metric", ["proportional", "euclidean"])
def test_an_independent_solver_finds_the_same_book(metric: Literal["proportional", "euclidean"]) -> None:
    """From the limits as they are stated here; up to a few thousand times the caps, as over arrays."""
    rng = np.random.default_rng(6)
    compared = 0
    for _ in range(60):
        case = some_case(rng, metric=metric)
        for _ in range(15):
            asked = some_request(rng, case.universe)
            symbols = list(asked)
            stated = rules(case, asked)
            rows = np.array([[symbol in members for symbol in symbols] for members, _ in stated], dtype=np.float64)
            problem = Limits(np.full(len(symbols), np.inf), rows, np.array([cap for _, cap in stated]))
            size = exposures(asked, symbols)
            expected = by_quadprog(size, problem, metric) if size.max() <= 1e3 else None
            if expected is not None:
                assert np.abs(exposures(case.project(asked).weights, symbols) - expected).max() <= DISTANCE
                compared += 1
    sys.stdout.write(f"{metric}: {compared} named requests against quadprog\n")
    assert compared >= 500


def test_euclidean_books_of_two_requests_are_no_further_apart() -> None:
    """Signs included: a short in a safe instrument is bound by other limits than a long one, and the set is convex all the same."""
    rng = np.random.default_rng(8)
    for _ in range(100):
        case = some_case(rng, metric="euclidean")
        for _ in range(10):
            one = some_request(rng, case.universe)
            scale = max(map(abs, one.values()))
            two = {s: w + rng.normal(0.0, 0.3) * scale for s, w in one.items()}
            left, right = case.project(one).weights, case.project(two).weights
            apart = math.dist(list(one.values()), list(two.values()))
            assert math.dist(list(left.values()), list(right.values())) <= apart * (1 + 1e-12) + 1e-12


def test_a_book_that_was_swept_keeps_every_limit_and_loses_nothing() -> None:
    """What is bought is what the sweep was told to buy; it stops where cash or room ends, and finds nothing to do the next time."""
    rng = np.random.default_rng(10)
    swept = 0
    for _ in range(100):
        case = some_case(rng, metric="proportional", sweep=True)
        plain = Case(replace(case.limits, cash_sweep=None), *case[1:])
        for _ in range(20):
            asked = some_request(rng, case.universe)
            got, before = case.project(asked), plain.project(asked)
            assert {s: got.weights[s].hex() for s in asked if s not in got.swept} == {
                s: w.hex() for s, w in before.weights.items() if s not in got.swept
            }
            limits = rules(case, {"CASHLIKE": 0.0, **asked})
            assert excess(limits, {"CASHLIKE": 0.0, **got.weights}) <= VIOLATION
            cash = 1.0 - math.fsum(map(abs, got.weights.values()))
            room = min(cap - math.fsum(abs(got.weights.get(s, 0.0)) for s in members) for members, cap in limits if "CASHLIKE" in members)
            if got.weights.get("CASHLIKE", 0.0) >= 0:
                assert min(cash, room) <= VIOLATION
            if got.swept:
                assert got.swept["CASHLIKE"] == got.weights["CASHLIKE"] - before.weights.get("CASHLIKE", 0.0) > 0
                assert case.project(got.weights).swept == {}
                swept += 1
    assert swept >= 500


def test_a_row_of_a_sweep_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(12)
    for _ in range(20):
        case = some_case(rng, metric="proportional")
        symbols = tuple(case.universe.instruments)
        within = constraints(case.limits, case.universe, symbols)
        asked = rng.dirichlet(np.full(len(symbols), 0.5), 200) * 0.7
        weights = project_batch(asked, within.upper, within.groups, within.group_upper)
        members = [i for i, symbol in enumerate(symbols) if case.universe.bucket(symbol) is Bucket.SAFE]
        swept = sweep_idle_cash(weights, within, members)
        assert (swept >= weights).all()
        assert (swept <= within.upper + VIOLATION).all()
        assert (swept @ within.groups.T <= within.group_upper + VIOLATION).all()
        for row in (0, 7, 199):
            assert sweep_idle_cash(weights[row : row + 1], within, members).tobytes() == swept[row].tobytes()


def test_what_holds_many_books_is_what_holds_each() -> None:
    rng = np.random.default_rng(14)
    for _ in range(20):
        case = some_case(rng, metric="proportional")
        symbols = sorted(case.universe.instruments)
        within = constraints(case.limits, case.universe, symbols, hedge_max_frac=case.hedge_max_frac)
        asked = rng.dirichlet(np.full(len(symbols), 0.5), 50) * rng.choice([0.5, 1.0, 1.3])
        rows = bound(asked, project_batch(asked, within.upper, within.groups, within.group_upper), within)
        for weights, row in zip(asked, rows, strict=True):
            got = case.project(dict(zip(symbols, weights.tolist(), strict=True)))
            assert [limit.origin for limit in got.binding] == [o for o, held in zip(within.origins, row, strict=True) if held]


BAD_WEIGHTS = [math.nan, math.inf, -math.inf, 1e31, -1e200]


def test_weights_that_are_no_numbers_and_unknown_symbols_are_refused_every_time() -> None:
    rng = np.random.default_rng(16)
    for number in range(300):
        case = some_case(rng, metric="proportional")
        asked = {"CASHLIKE": 0.1, **some_request(rng, case.universe)}
        asked[list(asked)[number % len(asked)]] = BAD_WEIGHTS[number % len(BAD_WEIGHTS)]
        with pytest.raises(BrokenInvariant, match="is not a finite number"):
            case.project(asked)
        known = case._replace(universe=replace(case.universe, unclassified="error"))
        with pytest.raises(DataError, match="'XZZ' is not in universe.instruments"):
            known.project({"CASHLIKE": 0.1, "XZZ": float(rng.choice([0.0, 0.1, -0.1]))})


def conflict(stated: Mapping[str, float], chosen: tuple[str, ...]) -> bool:
    """Whether no book can keep the limits named in `chosen`: what their floors need, against each cap that is among them."""
    floors = {bucket: stated[path] for bucket in ("core", "spec", "other") if (path := f"buckets.{bucket}.min_frac") in chosen}
    room = [1.0 - (stated[SAFE_FLOOR] if SAFE_FLOOR in chosen else 0.0)]
    room += [stated[path] for path in ("gross_max_frac", "risk_max_frac") if path in chosen]
    barred = [bucket for bucket in floors if (path := f"buckets.{bucket}.position_max_frac") in chosen and stated[path] == 0]
    return any(floors[bucket] > 0 for bucket in barred) or sum(floors.values()) > min(room) + DISTANCE


SAFE_FLOOR = "buckets.safe.min_frac"


def some_numbers(rng: np.random.Generator) -> dict[str, float]:
    """Floors, position caps and shared caps that may contradict each other, by path."""
    stated = {SAFE_FLOOR: float(rng.choice([0.0, 0.3, 0.6, 0.75]))}
    for bucket in ("core", "spec", "other"):
        stated[f"buckets.{bucket}.min_frac"] = float(rng.choice([0.0, 0.0, 0.05, 0.1, 0.3, 0.6]))
        if rng.random() < 0.3:
            stated[f"buckets.{bucket}.position_max_frac"] = float(rng.choice([0.0, 0.1]))
    stated["gross_max_frac"] = float(rng.choice([0.2, 0.5, 1.0]))
    if rng.random() < 0.7:
        stated["risk_max_frac"] = float(rng.choice([0.1, 0.25, 0.5]))
    return stated


def test_contradictory_limits_are_refused_every_time_with_a_smallest_set() -> None:
    """Against every subset of the limits in turn."""
    rng = np.random.default_rng(18)
    refused = 0
    for _ in range(400):
        stated = some_numbers(rng)
        buckets: dict[Bucket, dict[str, float]] = {bucket: {"max_frac": 1.0} for bucket in Bucket}
        for path, value in stated.items():
            _, _, rest = path.partition("buckets.")
            if rest:
                buckets[Bucket(rest.partition(".")[0])][rest.partition(".")[2]] = value
        shared = {path: value for path, value in stated.items() if not path.startswith("buckets.")}
        given: dict[str, Any] = {"enabled": True, "buckets": {b: BucketLimitSpec(**numbers) for b, numbers in buckets.items()}, **shared}
        subsets = (chosen for size in range(len(stated) + 1) for chosen in itertools.combinations(sorted(stated), size))
        smallest = next((chosen for chosen in subsets if conflict(stated, chosen)), None)
        if smallest is None:
            LimitsSpec(**given)
            continue
        with pytest.raises(InfeasibleLimits) as caught:
            LimitsSpec(**given)
        named = tuple(sorted(set(re.findall(r"buckets\.\w+\.\w+|gross_max_frac|risk_max_frac", str(caught.value)))))
        assert conflict(stated, named), str(caught.value)
        assert len(named) == len(smallest), f"{caught.value}, but {smallest} conflict"
        refused += 1
    assert 100 <= refused <= 350


def digest() -> str:
    """A hash of everything that many projections return; requests are put together in the order of a set."""
    rng = np.random.default_rng(20)
    found = hashlib.sha256()
    for _ in range(30):
        case = some_case(rng, metric="proportional" if rng.random() < 0.5 else "euclidean", sweep=rng.random() < 0.3)
        for _ in range(5):
            asked = some_request(rng, case.universe)
            found.update(bits(case.project({symbol: asked[symbol] for symbol in set(asked)})).encode())
    return found.hexdigest()


def test_eight_hash_seeds_give_the_same_bits() -> None:
    code = f"import sys, runpy; sys.path.insert(0, {str(ROOT)!r}); print(runpy.run_path({__file__!r})['digest']())"
    running = [
        subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": str(seed)}, stdout=subprocess.PIPE, text=True)
        for seed in range(8)
    ]
    assert {process.communicate()[0].strip() for process in running} == {digest()}
