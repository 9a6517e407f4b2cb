"""Negative controls of searching, looking every day, and convexity."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from policyengine.evidence.controls.plain_rule import daily_retests, daily_t_tests
from policyengine.evidence.controls.rows import ControlRow, Run, row
from policyengine.evidence.controls.simulate import CONVEX_NULL_SHARPE, convex, shocks, solve_drifts, tilted
from policyengine.evidence.controls.simulate import SCALES as BUCKET_SCALES
from policyengine.evidence.controls.tilts import EVEN, MILD, TILT
from policyengine.evidence.looks import Schedule
from policyengine.evidence.statistics.judge import judge
from policyengine.evidence.statistics.selection import stepm
from policyengine.evidence.statistics.sequential import MATCHING_SESSIONS, confidence_sequence
from policyengine.records import Verdict
from policyengine.spec.significance import EffectKind, SignificanceSpec

LOOKS, LAST_DAY = Schedule(first_sessions=60, looks_max=4), 309
"""Four looks, the last at 203 sessions, inside the 250 daily evaluations of days 60 to 309."""
TRIALS = 100
GOOD = np.array([0.6, 0.8, 0.5])
"""Multipliers of the good trial that is logged beside a null candidate."""
CANARY_DAYS = 250
_LEVEL = 0.05


def convexity(run: Run) -> Iterator[ControlRow]:
    """Rare 8-sigma gains: `growth_at_es` sees them sooner than `sharpe`, and neither sees what is not there."""
    n = 500
    growth, plain = (SignificanceSpec(effect=kind) for kind in (EffectKind.GROWTH_AT_ES, EffectKind.SHARPE))
    hits = dict.fromkeys(("growth", "sharpe", "growth size", "sharpe size"), 0)
    for rng, reps in run.chunks(5000):
        samples = {s: convex(rng, len(reps), n, s) for s in (1.5, 1.0, CONVEX_NULL_SHARPE)}
        for i, rep in enumerate(reps):
            for name, gate, sharpe in (
                ("growth", growth, 1.5),
                ("sharpe", plain, 1.5),
                ("growth size", growth, CONVEX_NULL_SHARPE),
                ("sharpe size", plain, 1.0),
            ):
                baseline, candidate = samples[sharpe]
                verdict = judge(baseline[i], candidate[i], seed=rep, n_boot=run.n_boot, gate=gate).verdict
                hits[name] += verdict is Verdict.PROMOTE
            run.tick()
    better = hits["sharpe"] / run.reps
    yield row(
        run, "convex", "d Sharpe +.5", n, "growth promoted", hits["growth"], ">=", better, plain=hits["sharpe"], plain_rule="effect sharpe"
    )
    yield row(run, "convex", "growth unchanged", n, "growth promoted", hits["growth size"], "<=", 0.06)
    yield row(run, "convex", "Sharpe unchanged", n, "sharpe promoted", hits["sharpe size"], "<=", 0.06)


def sweep_null(run: Run) -> Iterator[ControlRow]:
    """The best of 100 useless policies."""
    n = 250
    promoted = unadjusted = 0
    for rng, reps in run.chunks(6000):
        for rep in reps:
            x, trades = shocks(rng, 1, n)
            pnl = np.where(trades, BUCKET_SCALES * x, 0.0)[0]
            multipliers = rng.uniform(0.3, 1.2, size=(TRIALS, 1, 3)) * np.exp(0.3 * rng.standard_normal((TRIALS, n, 3)) - 0.045)
            baseline, trials = pnl.sum(axis=1), np.sum(pnl * multipliers, axis=2).T
            stepped = stepm(baseline, trials, seed=rep, n_boot=run.n_boot)
            unadjusted += min(stepped.unadjusted) <= _LEVEL
            # Only members of the rejection set can be promoted; the set does not depend on which trial asks.
            members = [k for k, p in enumerate(stepped.p_values) if p <= _LEVEL]
            promoted += any(
                judge(baseline, trials[:, k], trials=np.delete(trials, k, axis=1), seed=rep, n_boot=run.n_boot).verdict is Verdict.PROMOTE
                for k in members
            )
            run.tick()
    yield row(
        run, "sweep null", "K = 100", n, "any promoted", promoted, "<=", 0.07, plain=unadjusted, plain_rule="best p of K", plain_bound=0.90
    )


def beside_good(run: Run) -> Iterator[ControlRow]:
    """A null candidate whose log also holds one good trial."""
    n = 250
    drifts = solve_drifts((EVEN, TILT, GOOD), (1.0, 1.0, 1.5))
    promoted = any_better = 0
    for rng, reps in run.chunks(7000):
        sample = tilted(rng, len(reps), n, drifts, TILT)
        baseline, candidate = sample.baseline.sum(axis=2), sample.candidate.sum(axis=2)
        good = (sample.baseline * GOOD).sum(axis=2)
        for i, rep in enumerate(reps):
            judgement = judge(baseline[i], candidate[i], trials=good[i][:, None], seed=rep, n_boot=run.n_boot)
            promoted += judgement.verdict is Verdict.PROMOTE
            any_better += judgement.selection is not None and min(judgement.selection.p_values) <= _LEVEL
            run.tick()
    yield row(
        run,
        "null beside a good trial",
        "K = 2",
        n,
        "null promoted",
        promoted,
        "<=",
        0.05,
        plain=any_better,
        plain_rule="is any trial better",
        plain_bound=0.50,
    )


def daily_evaluation(run: Run) -> Iterator[ControlRow]:
    """A null re-tilt looked at on 250 days in a row."""
    drifts = solve_drifts((EVEN, MILD), (0.0, 0.0))
    promoted = naive = 0
    for rng, reps in run.chunks(8000):
        sample = tilted(rng, len(reps), LAST_DAY, drifts, MILD)
        baseline, candidate = sample.baseline.sum(axis=2), sample.candidate.sum(axis=2)
        naive += int(np.count_nonzero(daily_retests(baseline.T, candidate.T, LOOKS.first_sessions)))
        for i, rep in enumerate(reps):
            promoted += any(
                judge(baseline[i, :look], candidate[i, :look], alpha=LOOKS.alpha, seed=rep, n_boot=run.n_boot).verdict is Verdict.PROMOTE
                for look in LOOKS.sessions
            )
            run.tick()
    yield row(
        run,
        "daily re-evaluation",
        "250 days, 4 looks",
        LAST_DAY,
        "ever promoted",
        promoted,
        "<=",
        0.065,
        plain=naive,
        plain_rule="5% test every day",
        plain_bound=0.15,
    )


def canary_null(run: Run) -> Iterator[ControlRow]:
    """A null re-tilt watched daily in a canary: the mirror must not pause it, nor the sequence praise it."""
    drifts = solve_drifts((EVEN, TILT), (1.0, 1.0))
    paused = praised = naive = 0
    for rng, reps in run.chunks(9000):
        sample = tilted(rng, len(reps), MATCHING_SESSIONS + CANARY_DAYS, drifts, TILT)
        baseline, candidate = sample.baseline.sum(axis=2).T, sample.candidate.sum(axis=2).T
        before = slice(0, MATCHING_SESSIONS)
        scale = np.std(baseline[before], axis=0) / np.std(candidate[before], axis=0)
        differences = scale * candidate[MATCHING_SESSIONS:] - baseline[MATCHING_SESSIONS:]
        lower, upper = confidence_sequence(differences, alpha=_LEVEL)
        paused += int(np.count_nonzero(np.any(upper < 0.0, axis=0)))
        praised += int(np.count_nonzero(np.any(lower > 0.0, axis=0)))
        naive += int(np.count_nonzero(daily_t_tests(differences)))
        for _ in reps:
            run.tick()
    yield row(
        run,
        "canary null",
        "250 daily looks",
        CANARY_DAYS,
        "ever paused",
        paused,
        "<=",
        0.05,
        plain=naive,
        plain_rule="t-test every day",
        plain_bound=0.25,
    )
    yield row(run, "canary null", "250 daily looks", CANARY_DAYS, "ever praised", praised, "<=", 0.05)
