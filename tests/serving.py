"""A dashboard that is really served, and a snapshot to show on it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from policyengine.monitoring.snapshot import Snapshot, bound_snapshot, publish
from policyengine.records import Bucket, Sleeve

EVIL = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "O'Neil & Co",
    "[/x]",
    "a\u202eb",
    '=HYPERLINK("http://x.example","y")',
)
ENV = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL", "SYSTEMROOT")}
POLICYENGINE = str(Path(sys.executable).parent / "policyengine")


def snapshot(*, hours_old: float = 0.0, nav: float = 1_000_000.0, **changes: object) -> Snapshot:
    """A snapshot of account `paper` that was published so long ago; half of NAV is in cash."""
    held = {Bucket.SAFE: 0.3, Bucket.CORE: 0.15, Bucket.SPEC: 0.05, Bucket.OTHER: 0.0}
    span = {"state": "shadow", "start_date": "2026-01-02", "end_date": "2026-01-02", "sessions": 1, "turnover_frac": 0.1, "cost_bps": 0.5}
    bucket = {"bucket": "core", "orders": 4, "rejects": 1, "reject_frac": 0.25, "realized_pnl": 12.5}
    done = {**span, "profit_factor": None, "reject_frac": 0.25, "orders": 4, "rejects": 1, "buckets": [bucket]}
    sleeve = {"base_frac": 0.15, "effective_frac": 0.12, "allocated_frac": 0.1, "scale": 0.8}
    inputs = {"realised_vol": 0.2, "target_vol": 0.16, "drawdown": 0.03, "max_drawdown": 0.1}
    value = {
        "schema": 1,
        "account": "paper",
        "published_at": (datetime.now(UTC) - timedelta(hours=hours_old)).isoformat(),
        "as_of": "2026-01-02",
        "source": {"origin": "parquet prices.parquet", "synthetic": True},
        "currency": "USD",
        "nav": nav,
        "cash": nav / 2.0,
        "cash_frac": 0.5,
        "mode": "shadow",
        "state": "shadow",
        "halted": None,
        "buckets": [
            {
                "bucket": name.value,
                "held_frac": 0.8 if name is Bucket.SAFE else frac,
                "net_frac": frac,
                "min_frac": 0.75 if name is Bucket.SAFE else 0.0,
                "max_frac": 0.2,
                "headroom_frac": 0.05,
            }
            for name, frac in held.items()
        ],
        "risk": {"held_frac": 0.2, "max_frac": 0.25, "headroom_frac": 0.05},
        "sleeves": [{"sleeve": Sleeve.TS_CORE.value, **sleeve, **inputs}],
        "done": {"session": done, "rolling": done, "since_mode": done, "before_mode": None},
        "unmet": [],
        "quant_gate": {"active": False, "since": None, "reason": None, "disabled": []},
        "permit": {"stage": "shadow", "evidence_hash": "0" * 64, "made_at": None, "expires_at": None, "refusal": None},
        "kill": {"engaged": False, "since": None, "why": None},
        "audit": {"recorded_at": None, "records": 7, "checkpoint_at": None, "broken": None},
        "evidence": None,
        "canary": None,
        **changes,
    }
    return bound_snapshot(value, "snapshot")


def evil_snapshot() -> Snapshot:
    """One in which every text that data can bring tries to do harm."""
    unmet = [{"path": text, "value": 0.1, "symbol": text, "reason": text} for text in EVIL]
    gate = {"active": True, "since": EVIL[0], "reason": " ".join(EVIL), "disabled": list(EVIL)}
    return snapshot(
        source={"origin": EVIL[1], "synthetic": False},
        currency=EVIL[4],
        halted=EVIL[0],
        unmet=unmet,
        quant_gate=gate,
        audit={"recorded_at": None, "records": None, "checkpoint_at": None, "broken": EVIL[1]},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A dashboard that runs: its process, its port, and where its state is."""

    process: subprocess.Popen[str]
    port: int
    state_dir: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
        """One request of its own connection, the path exactly as it is given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": f"127.0.0.1:{self.port}", **(headers or {})}.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            got = connection.getresponse()
            return Answer(status=got.status, headers={k.lower(): v for k, v in got.getheaders()}, body=got.read())
        finally:
            connection.close()

    def publish(self, one: Snapshot) -> None:
        publish(self.state_dir, one)

    def resident_mb(self) -> float:
        """Memory that the server itself holds now."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Its exit code and what it complained of."""
        self.process.send_signal(number)
        _, complained = self.process.communicate(timeout=30)
        return self.process.returncode, complained


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


@contextmanager
def served(folder: Path, *, port: int = 0) -> Iterator[Served]:
    """The installed command on the run in `folder`, in an empty home, from a folder that is not the repository."""
    with tempfile.TemporaryDirectory() as home:
        command = [POLICYENGINE, "task=dashboard", f"task.path={folder}", f"task.port={port}"]
        process = subprocess.Popen(command, cwd=home, env={**ENV, "HOME": home}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("dashboard http://127.0.0.1:"), process.communicate(timeout=30)[1]
            yield Served(
                process=process, port=int(line.rstrip("/\n").rpartition(":")[2]), state_dir=Path(home, ".local/share/policyengine")
            )
        finally:
            process.kill()
            process.communicate()


def evaluated(home: Path, *overrides: str) -> Path:
    """The folder of a run of the demo with its report."""
    done: Any = subprocess.run(
        [POLICYENGINE, f"hydra.run.dir={home}/run", *overrides],
        cwd=home,
        env={**ENV, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return home / "run"
