"""What is held now against its limits, and what needs a human."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

from policyengine.records import TOLERANCE, Arm, Bucket, Sleeve
from policyengine.reporting.names import SAFE_WEIGHT
from policyengine.reporting.series import Curves, known, lines
from policyengine.reporting.stored import StoredRun


def risk_now(run: StoredRun, drawn: Curves | None) -> dict[str, Any] | None:
    """Fractions of NAV at the last session, limits and headroom of each arm; None where positions are unknown.

    Headroom is null where the stored exposure cannot tell it: hedges count against limits of their own, but stand in their bucket;
    a safe instrument that is sold short is not safe, but stands there too.
    """
    if drawn is None or drawn.held is None:
        return None
    config = run.evidence["config"]
    arms = {}
    for arm in Arm:
        limits = config[arm.value]["limits"]
        held = {name: known(float(series[-1])) for name, series in lines(drawn.held[arm]).items()}
        arms[arm.value] = {
            "limits_enabled": limits["enabled"],
            "lines": list(_lines(held, limits, _mixed(config, arm))),
            "markets": list(_markets(run, arm, limits["markets"])),
        }
    return {"as_of": str(drawn.days[-1]), **arms}


def alerts(run: StoredRun, now: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What needs a human: data checks that did not hold, sessions above a limit, and what is beyond a limit now."""
    found = [
        _alert(f["check"], None, f["count"], ">", 0, f"{f['count']:,} x {f['rule']}")
        for f in run.verdict["findings"]
        if f["severity"] != "ignore"
    ]
    breaches = run.evidence["breaches"]
    if breaches:
        found.append(_alert("limits_breached", None, breaches, ">", 0, f"{breaches:,} sessions ended above an enforced limit"))
    if now is not None:
        for arm in Arm:
            found += [alert for line in now[arm.value]["lines"] for alert in _beyond(line, arm, now["as_of"])]
    return found


def _lines(held: Mapping[str, float | None], limits: Mapping[str, Any], mixed: Set[str]) -> Iterator[dict[str, Any]]:
    buckets, on = limits["buckets"], limits["enabled"]
    bounds: dict[str, tuple[float | None, float | None]] = {
        SAFE_WEIGHT: (buckets["safe"]["min_frac"], None),
        **{bucket.value: (_floor(bucket, buckets), buckets[bucket.value]["max_frac"]) for bucket in Bucket},
        "risk": (None, limits["risk_max_frac"]),
        "gross": (None, limits["gross_max_frac"]),
        "cash": (None, None),
    }
    for name, frac in held.items():
        least, most = bounds[name] if on else (None, None)
        headroom = None if name in mixed else _headroom(frac, least, most)
        yield {"name": name, "frac": frac, "min_frac": least, "max_frac": most, "headroom": headroom}


def _markets(run: StoredRun, arm: Arm, caps: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What is held of each market that has a cap; unknown where the run did not store it."""
    stored = {} if run.exposure is None else run.inside(run.exposure, "session")
    for market, cap in sorted(caps.items()):
        series = stored.get(f"{arm}_market_{market}_frac")
        frac = None if series is None or series.size == 0 else known(float(series[-1]))
        yield {"market": market, "frac": frac, "max_frac": cap["max_frac"], "headroom": _headroom(frac, None, cap["max_frac"])}


def _headroom(frac: float | None, least: float | None, most: float | None) -> float | None:
    """Room to the maximum, or to the floor where there is no maximum."""
    if frac is None:
        return None
    if most is not None:
        return most - frac
    return None if least is None else frac - least


def _floor(bucket: Bucket, buckets: Mapping[str, Any]) -> float | None:
    """A floor that is not 0; that of the safe bucket is met by cash too and stands in the line of the safe weight."""
    floor: float = buckets[bucket.value]["min_frac"]
    return None if bucket is Bucket.SAFE or floor == 0.0 else floor


def _beyond(line: Mapping[str, Any], arm: Arm, as_of: str) -> Iterator[dict[str, Any]]:
    """An alert for a line above its maximum, or a safe weight below its floor; the floor of a risky bucket never forces a purchase."""
    if line["headroom"] is None or line["headroom"] >= -TOLERANCE:
        return
    name, frac, least, most = line["name"], line["frac"], line["min_frac"], line["max_frac"]
    held = f"{name.replace('_', ' ')} is {frac:.2%} of NAV at the close of {as_of}"
    if most is not None:
        yield _alert(f"{name}_above_max", arm, frac, ">", most, f"{held}, above its maximum {most:.2%}")
    elif name == SAFE_WEIGHT:
        yield _alert(f"{name}_below_floor", arm, frac, "<", least, f"{held}, below its floor {least:.2%}")


def _alert(name: str, arm: Arm | None, observed: float, operator: str, limit: float, reason: str) -> dict[str, Any]:
    return {
        "name": name,
        "arm": None if arm is None else arm.value,
        "observed": observed,
        "operator": operator,
        "limit": limit,
        "reason": reason,
    }


def _mixed(config: Mapping[str, Any], arm: Arm) -> set[str]:
    """Lines whose limit is on something else than what stands in the stored exposure."""
    mixed = {SAFE_WEIGHT, Bucket.SAFE.value, "risk"} if config["execution"]["allow_short"] else set()
    if config[arm.value]["sleeves"]["enabled"]:
        listed = config["universe"]["instruments"].values()
        hedged = {i["bucket"] for i in listed if i.get("sleeve") == Sleeve.TAIL_HEDGE}
        mixed |= hedged | ({"risk", "gross"} if hedged else set()) | ({SAFE_WEIGHT} if Bucket.SAFE in hedged else set())
    return mixed
