"""What a grid costs: time that grows with its cells alone, memory that does not grow with its policies."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from policyengine.spec.root import Spec
from policyengine.tasks.evaluate import evaluate
from policyengine.tasks.run import Run
from tests.conftest import composed_spec


def of(policies: int) -> Spec:
    axes = f"sizing.multipliers.core:{{start:0.1,stop:1.0,num:{policies // 8}}},sizing.multipliers.spec:{{start:0.1,stop:0.8,step:0.1}}"
    return composed_spec("experiment=grid", "window.as_of=2000-06-30", f"grid.axes={{{axes}}}")


@pytest.mark.long
def test_memory_does_not_grow_with_the_policies(run_in: Callable[..., Run]) -> None:
    """Chunks are dropped once they are written: three times the policies need no three times the memory."""

    def peak(policies: int) -> int:
        spec, run = of(policies), run_in(str(policies))
        tracemalloc.start()
        evaluate(spec, spec.task, run)  # type: ignore[arg-type]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    spec = of(16)
    evaluate(spec, spec.task, run_in("warm"))  # type: ignore[arg-type]  # what is imported, and compiled, once
    few, many = peak(64), peak(192)
    assert many < 1.5 * few, (few, many)
