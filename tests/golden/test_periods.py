"""Frozen periods of the data that ship, whose evidence is compared byte for byte with reviewed files.

`make golden` writes the files again; a change of one is a change of what the tool says, and is reviewed as such.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from policyengine.spec.task import EvaluateTask
from policyengine.tasks.evaluate import evaluate
from policyengine.tasks.run import Run
from tests.conftest import composed_spec

HERE = Path(__file__).parent
PERIODS = {
    "calm_2005": "{label: calm, start_date: 2005-01-01, end_date: 2005-12-31}",
    "crisis_2008": "{label: crisis, start_date: 2008-01-01, end_date: 2008-12-31}",
    "oil_2015_2016": "{label: oil, start_date: 2015-07-01, end_date: 2016-06-30}",
}
NOT_COMPARED = ("run_id", "created_at", "version", "config", "hashes", "trial_log")


@pytest.mark.parametrize("period", sorted(PERIODS))
def test_the_evidence_of_a_frozen_period_does_not_change(period: str, run_in: Callable[..., Run]) -> None:
    window = PERIODS[period]
    last = window.rsplit(" ", 1)[1].rstrip("}")
    cut = f"SELECT symbol, priced_at, close, currency FROM source WHERE priced_at < DATE '{last}' + INTERVAL 1 DAY"
    spec = composed_spec("window=ranges", f"window.ranges=[{window}]", f'source.views.prices="{cut}"')
    assert isinstance(spec.task, EvaluateTask)
    run = run_in()
    evaluate(spec, spec.task, run)
    made = json.loads((run.folder / "evidence.json").read_text())
    kept = {key: value for key, value in made.items() if key not in NOT_COMPARED}
    text = json.dumps(kept, indent=1, sort_keys=True) + "\n"
    golden = HERE / f"{period}.json"
    if os.environ.get("POLICYENGINE_WRITE_GOLDEN"):
        golden.write_text(text)
    assert text.encode() == golden.read_bytes()
