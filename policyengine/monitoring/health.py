"""Signal health: the share of validation records that FAIL, and that expect a loss, against ceilings.

A record counts towards a share where what the share is of is known: FAIL among the records with a status, losses among those with an
expected profit. A share is red above its red ceiling and yellow above its warning; at a ceiling it is not above. Where a share does not
exist, because no record says anything of it, health is red: there is nothing to rely on. With `strict` it is red too where anything could
not be read or understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from policyengine.spec.health import CeilingsSpec


class Level(StrEnum):
    """How healthy the signals are."""

    GREEN = "GREEN"
    YELLOW = "YELLOW"
    RED = "RED"


class Profit(StrEnum):
    """What a record says of its expected profit."""

    NO_LOSS = "no loss"
    LOSS = "loss"
    MISSING = "missing"
    NOT_FINITE = "not finite"


class Flaw(StrEnum):
    """What cannot be read or understood, in words that follow a number."""

    UNREADABLE = "that cannot be read"
    UNPLACED = "without what the filters ask for"
    UNKNOWN_STATUS = "with a status other than PASS and FAIL"
    NO_PROFIT = "without an expected_profit that is a number"
    NAN_PROFIT = "with an expected_profit that is not finite"


class Seen(NamedTuple):
    """What matters of a record: whether it is of the run, span, mode and action asked for, None where it does not say.

    `status` is PASS or FAIL, None where it is neither.
    """

    in_run: bool | None
    in_span: bool | None
    in_mode: bool | None
    in_action: bool | None
    status: str | None
    profit: Profit


FILTERS = ("run", "time", "mode", "action")
"""The first four of `Seen`, as they are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Records by what they say. What the filters left out is under the first of `FILTERS` that did; a record may have several flaws.

    `first` is where a flaw was met first, where that has a number.
    """

    judged: int
    passed: int
    failed: int
    losses: int
    no_losses: int
    left_out: Mapping[str, int]
    flaws: Mapping[Flaw, int]
    first: Mapping[Flaw, int] = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The judgement: shares are None where no record says anything of them; `why` has a sentence for each reason of the level."""

    level: Level
    fail_frac: float | None
    negative_frac: float | None
    why: tuple[str, ...]
    tally: Tally

    @property
    def ok(self) -> bool:
        """Whether it is anything but red."""
        return self.level is not Level.RED

    @property
    def clean(self) -> bool:
        """Whether nothing stood in the records that could not be read or understood."""
        return not self.tally.flaws


def tally(seen: Mapping[Seen, int], unreadable: int, first: Mapping[Seen | None, int] | None = None) -> Tally:
    """Add up `seen` with how often each was; `first` is the number of the first of each, of None that of the first unreadable one."""
    judged = {"PASS": 0, "FAIL": 0, Profit.LOSS: 0, Profit.NO_LOSS: 0}
    left_out = dict.fromkeys(FILTERS, 0)
    flaws = dict.fromkeys(Flaw, 0)
    flaws[Flaw.UNREADABLE] = unreadable
    places: dict[Flaw, int] = {}
    total = 0
    for one, count in seen.items():
        if False in one[:4]:
            left_out[FILTERS[one[:4].index(False)]] += count
            continue
        found = _flaws(one)
        for flaw in found:
            flaws[flaw] += count
            if first is not None:
                places[flaw] = min(first[one], places.get(flaw, first[one]))
        if Flaw.UNPLACED in found:
            continue
        total += count
        for what in (one.status, one.profit):
            if what in judged:
                judged[what] += count
    if first is not None and None in first:
        places[Flaw.UNREADABLE] = first[None]
    return Tally(
        judged=total,
        passed=judged["PASS"],
        failed=judged["FAIL"],
        losses=judged[Profit.LOSS],
        no_losses=judged[Profit.NO_LOSS],
        left_out={name: count for name, count in left_out.items() if count},
        flaws={flaw: count for flaw, count in flaws.items() if count},
        first=places,
    )


def _flaws(one: Seen) -> tuple[Flaw, ...]:
    """Of a record that no filter leaves out; where it belongs being unknown, what else it says does not matter."""
    if None in one[:4]:
        return (Flaw.UNPLACED,)
    status = (Flaw.UNKNOWN_STATUS,) if one.status is None else ()
    match one.profit:
        case Profit.MISSING:
            return (*status, Flaw.NO_PROFIT)
        case Profit.NOT_FINITE:
            return (*status, Flaw.NAN_PROFIT)
        case _:
            return status


def judge(counted: Tally, *, fail: CeilingsSpec, negative: CeilingsSpec, strict: bool) -> Health:
    """Hold the two shares to their ceilings."""
    shares = {
        "FAIL": (_share(counted.failed, counted.passed), fail),
        "an expected loss": (_share(counted.losses, counted.no_losses), negative),
    }
    red, yellow = [], []
    if counted.judged == 0:
        red.append("there is no usable record")
    for what, (share, ceilings) in shares.items():
        if share is None:
            red += [f"no record says whether it is {what}"] if counted.judged else []
        elif share > ceilings.red:
            red.append(f"{what} is a share of {share:.4g}, above {ceilings.red:g}")
        elif share > ceilings.warn:
            yellow.append(f"{what} is a share of {share:.4g}, above {ceilings.warn:g}")
    if strict:
        red += [f"{count:,} {flaw}" for flaw, count in counted.flaws.items()]
    level = Level.RED if red else Level.YELLOW if yellow else Level.GREEN
    return Health(
        level=level,
        fail_frac=shares["FAIL"][0],
        negative_frac=shares["an expected loss"][0],
        why=(*red, *yellow),
        tally=counted,
    )


def _share(part: int, rest: int) -> float | None:
    """Correctly rounded, so that a share of exactly 17 in 20 is the number 0.85 and not above it."""
    return part / (part + rest) if part + rest else None
