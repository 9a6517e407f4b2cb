from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from policyengine.errors import OutputError
from policyengine.signals.kept import Kept
from policyengine.signals.ts_core import forecast
from tests import engines

ARRAYS = {"forecast": np.array([0.1, np.nan, -3.0]), "silence": np.array([0, 5, 0], dtype=np.int8)}


def test_gives_back_what_was_saved(tmp_path: Path) -> None:
    kept = Kept(folder=tmp_path / "new" / "folder")
    assert kept.load("a") is None
    kept.save("a", ARRAYS)
    loaded = kept.load("a")
    assert loaded is not None
    assert {k: (v.dtype, v.tobytes()) for k, v in loaded.items()} == {k: (v.dtype, v.tobytes()) for k, v in ARRAYS.items()}
    assert kept.load("b") is None


def test_what_is_torn_changed_renamed_or_foreign_is_not_ours(tmp_path: Path) -> None:
    kept = Kept(folder=tmp_path)
    kept.save("a", ARRAYS)
    path = tmp_path / "a"
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for bad in (b"", content[:10], content[:-1], content + b"x", bytes(flipped), content[32:], b"not ours at all" * 9):
        path.write_bytes(bad)
        assert kept.load("a") is None
    (tmp_path / "b").write_bytes(content)
    assert kept.load("b") is None
    kept.save("a", ARRAYS)
    assert path.read_bytes() == content


def test_objects_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        Kept(folder=tmp_path).save("a", {"forecast": np.array([object()])})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file"):
        Kept(folder=tmp_path / "file").save("a", ARRAYS)


RUN = """
import sys, time
from pathlib import Path
from policyengine.signals.kept import Kept
from policyengine.signals.ts_core import forecast
from tests import engines
import numpy as np
close = engines.walk(3, 100, 4)
fresh = np.ones(close.shape, dtype=bool)
def told(done, total):
    print(done, total, flush=True)
    time.sleep(float(sys.argv[2]))
forecast(engines.garch(), close, fresh, cost_frac=0.0, kept=Kept(folder=Path(sys.argv[1])), progress=told)
"""


def test_a_run_that_was_killed_does_no_finished_symbol_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    root = Path(__file__).resolve().parents[3]
    with subprocess.Popen([*command, "60"], stdout=subprocess.PIPE, text=True, cwd=root) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "1 4\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    (finished,) = [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    before = finished.stat()
    torn = tmp_path / f".{finished.name}.killed"
    torn.write_bytes(b"half")
    done = subprocess.run([*command, "0"], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.split("\n")[3] == "4 4"
    after = finished.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), "a fit would have been saved anew"
    assert len([path for path in tmp_path.iterdir() if not path.name.startswith(".")]) == 4
    close = engines.walk(3, 100, 4)
    fresh = np.ones(close.shape, dtype=bool)
    resumed = forecast(engines.garch(), close, fresh, cost_frac=0.0, kept=Kept(folder=tmp_path))
    engines.same(resumed, forecast(engines.garch(), close, fresh, cost_frac=0.0), 100)
