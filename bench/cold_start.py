"""A cold run on the shipped data, to its printed verdict, against the bare import of its stack, in turn, in one call.

python bench/cold_start.py [RUNS]
"""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = [sys.executable, "-c", "import hydra, duckdb, pandas, scipy.stats, pandera.pandas"]
COMMAND = [str(Path(sys.executable).parent / "policyengine")]


def seconds(command: list[str], folder: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - started


def to_verdict(command: list[str], folder: str) -> float:
    """Seconds to the last line of what is said; the report is drawn after it."""
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [time.perf_counter() - started for line in process.stdout if line.startswith("next ")]
        assert process.wait() == 0
    return said[-1]


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        seconds(IMPORTS, folder)
        to_verdict(COMMAND, folder)
        pairs = [(seconds(IMPORTS, folder), to_verdict(COMMAND, folder)) for _ in range(runs)]
    imports, ours = zip(*pairs, strict=True)
    ratios = sorted(b / a for a, b in pairs)
    print(f"Python {platform.python_version()}, {platform.machine()}, {runs} pairs after a warm-up")
    print(f"bare imports   median {statistics.median(imports):.2f} s   spread {min(imports):.2f}-{max(imports):.2f} s")
    print(f"policyengine   median {statistics.median(ours):.2f} s   spread {min(ours):.2f}-{max(ours):.2f} s")
    print(f"ratio          median {statistics.median(ratios):.2f}     spread {ratios[0]:.2f}-{ratios[-1]:.2f}")


if __name__ == "__main__":
    main()
