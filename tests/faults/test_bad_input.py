"""Bad input by the installed command: a message that names file or key, value and rule; exit code 1; nothing half-written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, Command

PRICES = "SELECT symbol, priced_at, close FROM source"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A user's folder of options with one universe of two instruments."""
    folder = tmp_path / "mine"
    (folder / "universe").mkdir(parents=True)
    (folder / "source").mkdir()
    (folder / "universe" / "two.yaml").write_text("instruments:\n  AAA: {bucket: core}\n  BBB: {bucket: safe}\n")
    return folder


def bars(days: int = 40) -> pd.DataFrame:
    when = pd.date_range("2024-01-01", periods=days, freq="D", tz="UTC")
    return pd.concat([pd.DataFrame({"symbol": s, "priced_at": when, "close": [100.0 + i for i in range(days)]}) for s in ("AAA", "BBB")])


@pytest.fixture
def on(pe: Command, mine: Path, tmp_path: Path) -> Callable[..., str]:
    """Run on one file of the user's and return what stderr says; checks the exit code, and that nothing was left behind."""

    def call(path: Path, *overrides: str, kind: str = "parquet", select: str = PRICES, extra: str = "") -> str:
        (mine / "source" / "ours.yaml").write_text(f"kind: {kind}\npath: {path}\nviews:\n  prices: {select}\n{extra}")
        result = pe("--config-dir", str(mine), "source=ours", "universe=two", "window=30d", *overrides)
        assert result.returncode == 1, result.stdout
        assert result.stderr.startswith("error  "), result.stderr
        assert "Traceback" not in result.stderr
        assert result.stdout == ""
        assert not list((tmp_path / "work").rglob("*.*"))
        return result.stderr

    return call


def parquet(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_parquet(path)
    return path


def test_a_good_file_passes(pe: Command, mine: Path, tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", bars())
    (mine / "source" / "ours.yaml").write_text(f"kind: parquet\npath: {path}\nviews:\n  prices: {PRICES}\n")
    assert pe("--config-dir", str(mine), "source=ours", "universe=two", "window=30d").returncode == 0


def test_missing_file(on: Callable[..., str], tmp_path: Path) -> None:
    assert "none.parquet" in on(tmp_path / "none.parquet")
    assert "none.db" in on(tmp_path / "none.db", kind="sqlite")
    assert not (tmp_path / "none.db").exists()


def test_truncated_parquet_and_sqlite(on: Callable[..., str], tmp_path: Path) -> None:
    whole = parquet(tmp_path / "whole.parquet", bars()).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    assert "cut.parquet" in on(tmp_path / "cut.parquet")
    with sqlite3.connect(tmp_path / "whole.db") as db:
        bars().assign(priced_at=lambda f: f.priced_at.astype(str)).to_sql("source", db)
    db.close()
    (tmp_path / "cut.db").write_bytes((tmp_path / "whole.db").read_bytes()[:5000])
    assert "cut.db" in on(tmp_path / "cut.db", kind="sqlite")
    (tmp_path / "text.db").write_text("not a database, but long enough to look like one " * 100)
    assert "text.db" in on(tmp_path / "text.db", kind="sqlite")


def test_empty_table(on: Callable[..., str], tmp_path: Path) -> None:
    assert "is empty: 0 rows" in on(parquet(tmp_path / "x.parquet", bars().iloc[:0]))


def test_missing_column_lists_what_it_found(on: Callable[..., str], tmp_path: Path) -> None:
    said = on(parquet(tmp_path / "x.parquet", bars()), select="SELECT symbol, close AS price FROM source")
    assert "priced_at" in said
    assert "price" in said
    said = on(parquet(tmp_path / "x.parquet", bars()), select="SELECT symbol, priced, close FROM source")
    assert "priced_at" in said


def test_wrong_type_names_the_first_value(on: Callable[..., str], tmp_path: Path) -> None:
    frame = bars().astype({"close": object})
    frame["close"] = frame["close"].astype(str)
    frame.iloc[3, 2] = "n/a"
    said = on(parquet(tmp_path / "x.parquet", frame))
    assert "close" in said
    assert "n/a" in said


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_prices_that_are_not_finite(on: Callable[..., str], tmp_path: Path, value: float) -> None:
    frame = bars().reset_index(drop=True)
    frame.loc[7, "close"] = value
    said = on(parquet(tmp_path / "x.parquet", frame))
    assert "close" in said
    assert "AAA" in said or "1 of 80" in said


def test_signals_that_meet_no_price(on: Callable[..., str], tmp_path: Path) -> None:
    select = "SELECT 'x' AS signal_id, 'AAA' AS symbol, '1999-01-01T00:00:00Z' AS signalled_at, 'BUY' AS direction, 0.5 AS confidence"
    said = on(parquet(tmp_path / "x.parquet", bars()), extra=f"  signals: {select}\n")
    assert "signal" in said
    assert "1999-01-01" in said


def test_window_without_data(on: Callable[..., str], tmp_path: Path) -> None:
    said = on(
        parquet(tmp_path / "x.parquet", bars()),
        "window=ranges",
        "window.ranges=[{label: old, start_date: 1999-01-01, end_date: 1999-12-31}]",
    )
    assert "window old: no session from 1999-01-01 to 1999-12-31; sessions run 2024-01-01 to 2024-02-09" in said


def test_a_symbol_that_the_universe_does_not_list_prints_the_yaml_to_add(on: Callable[..., str], tmp_path: Path) -> None:
    said = on(parquet(tmp_path / "x.parquet", bars().replace("BBB", "CCC")))
    assert '"CCC": {bucket: other}' in said


def test_sql_in_a_symbol_is_just_a_symbol(on: Callable[..., str], tmp_path: Path) -> None:
    name = "A'; DROP TABLE source; --"
    assert f'"{name}": {{bucket: other}}' in on(parquet(tmp_path / "x.parquet", bars().replace("BBB", name)))


def test_two_statements_in_a_select(on: Callable[..., str], tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", bars())
    assert "source.views.prices" in on(path, select='"SELECT 1; SELECT 2"')
    assert "source.views.prices" in on(path, select=f"\"SELECT 1) ; COPY (SELECT 1) TO '{tmp_path}/stolen.csv'; SELECT (1\"")
    assert not (tmp_path / "stolen.csv").exists()


def test_a_select_reads_nothing_but_the_declared_paths(on: Callable[..., str], tmp_path: Path) -> None:
    parquet(tmp_path / "other.parquet", bars())
    path = parquet(tmp_path / "x.parquet", bars())
    assert "other.parquet" in on(path, select=f"SELECT * FROM '{tmp_path}/other.parquet'")


def test_unwritable_output_folder(pe: Command, tmp_path: Path) -> None:
    (tmp_path / "work" / "outputs").write_text("a file where the folder should be")
    result = pe("window=30d")
    assert result.returncode == 1
    assert result.stderr.startswith("error  outputs")
    assert "Traceback" not in result.stderr


def test_a_yaml_file_of_10_mb_is_refused_at_once(pe: Command, mine: Path) -> None:
    (mine / "universe" / "huge.yaml").write_text("a: 1\n" * 2_000_000)
    result = pe("--config-dir", str(mine), "universe=huge", timeout=20)
    assert result.returncode == 1
    assert "huge.yaml: 10,000,000 bytes is more than 1,048,576" in result.stderr


def test_a_yaml_file_that_is_not_utf_8_is_named(pe: Command, mine: Path) -> None:
    (mine / "universe" / "latin.yaml").write_bytes(b"instruments:\n  \xe9: {bucket: core}\n")
    result = pe("--config-dir", str(mine), "universe=latin")
    assert result.returncode == 1
    assert "latin.yaml: is not UTF-8 at byte 15" in result.stderr


def test_a_user_file_with_a_shipped_name_is_refused(pe: Command, mine: Path) -> None:
    (mine / "limits").mkdir()
    (mine / "limits" / "barbell.yaml").write_text("enabled: false\n")
    result = pe("--config-dir", str(mine), "universe=two")
    assert result.returncode == 1
    assert "barbell.yaml: has the name of a shipped file, limits/barbell.yaml" in result.stderr


def test_a_file_that_is_not_yaml_is_named(pe: Command, mine: Path) -> None:
    (mine / "universe" / "broken.yaml").write_text("instruments: {A: [\n")
    result = pe("--config-dir", str(mine), "universe=broken")
    assert (result.returncode, "not valid YAML" in result.stderr, "broken.yaml" in result.stderr) == (1, True, True)


def test_a_key_twice_in_a_file_is_refused(pe: Command, mine: Path) -> None:
    (mine / "universe" / "twice.yaml").write_text("instruments:\n  A: {bucket: core}\n  A: {bucket: safe}\n")
    result = pe("--config-dir", str(mine), "universe=twice")
    assert (result.returncode, "duplicate key A" in result.stderr) == (1, True), result.stderr


def test_an_error_in_a_users_file_names_the_file(pe: Command, mine: Path) -> None:
    (mine / "limits").mkdir()
    text = (ROOT / "conf/limits/barbell.yaml").read_text().replace("min_frac: 0.75", "min_frac: 0.99")
    (mine / "limits" / "mine.yaml").write_text(text)
    result = pe("--config-dir", str(mine), "limits=mine")
    assert result.returncode == 1
    assert "mine/limits/mine.yaml: limits.buckets.safe.min_frac: 0.99 exceeds max_frac 0.95" in result.stderr


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        (["limits=barbel"], "error  limits: unknown option 'barbel'; did you mean 'barbell'?", 1),
        (["limitz=barbell"], "error  limitz: unknown key 'limitz'; did you mean 'limits'?", 1),
        (["task=xyz"], "error  task: unknown option 'xyz'; known: ", 1),
        (["sizing.multiplers.spec=0.5"], "error  sizing.multiplers: unknown key 'multiplers'; did you mean 'multipliers'?", 1),
        (["+sizing.extra=1"], "error  command line: sizing.extra: unknown key 'extra'", 1),
        (["sizing.multipliers.spec=3"], "error  command line: sizing.multipliers.spec: 3 is not in [0, 2]", 1),
        (["sizing.enabled=off"], "error  command line: sizing.enabled: 'off' is not true or false", 1),
        (["task.stage=lvie"], "error  command line: task.stage: unknown value 'lvie'; did you mean 'live'?", 1),
        (["x=["], "error  command line: x=[", 1),
        (["--no-such-flag"], "usage: ", 2),
    ],
)
def test_words_that_are_wrong(pe: Command, words: list[str], message: str, code: int) -> None:
    result = pe(*words)
    assert result.returncode == code
    assert result.stderr.startswith(message), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config-name", "nope"], "error  --config-name: there is no file nope.yaml; known: config\n"),
        (["--config-name", "nope.yaml"], "error  --config-name: there is no file nope.yaml; known: config\n"),
        (["--config-name", "sub/nope"], "error  sub: there is no file nope.yaml; known: none\n"),
    ],
)
def test_a_top_file_that_is_missing_is_named_with_those_there_are(pe: Command, words: list[str], message: str) -> None:
    result = pe(*words)
    assert (result.returncode, result.stderr, result.stdout) == (1, message, "")


def test_a_top_file_of_the_users_is_among_those_there_are(pe: Command, mine: Path) -> None:
    (mine / "ours.yaml").write_text("defaults: [config, _self_]\n")
    result = pe("--config-dir", str(mine), "--config-name", "our")
    assert (result.returncode, result.stderr) == (1, "error  --config-name: there is no file our.yaml; known: config, ours\n")


@pytest.mark.parametrize(("name", "words"), [("limits/tight", ["limits=tight"]), ("ours", ["--config-name", "ours"])])
def test_a_file_that_ends_in_yml_is_to_be_renamed(pe: Command, mine: Path, name: str, words: list[str]) -> None:
    (mine / "limits").mkdir()
    (mine / f"{name}.yml").write_text("enabled: false\n")
    result = pe("--config-dir", str(mine), *words)
    stem = Path(name).name
    assert (result.returncode, result.stderr) == (1, f"error  {mine}/{name}.yml: is not read: only .yaml is; rename it to {stem}.yaml\n")


def test_a_yml_with_a_shipped_name_is_refused_too(pe: Command, mine: Path) -> None:
    (mine / "limits").mkdir()
    (mine / "limits" / "barbell.yml").write_text("enabled: false\n")
    result = pe("--config-dir", str(mine), "limits=barbell")
    assert (result.returncode, "barbell.yml: has the name of a shipped file, limits/barbell.yaml" in result.stderr) == (1, True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_folder_with_the_results_of_another_run_is_refused(pe: Command, tmp_path: Path) -> None:
    work, log = tmp_path / "work", tmp_path / "home/.local/share/policyengine/trials/trials.jsonl"
    assert pe("window=30d", "hydra.run.dir=kept").returncode == 0
    before, logged = contents(work), log.read_bytes()
    again = pe("sizing.multipliers.spec=0.5", "hydra.run.dir=kept")
    assert (again.returncode, again.stdout, "Traceback" in again.stderr) == (1, "", False)
    assert again.stderr.startswith("error  hydra.run.dir: kept holds evidence.json of another run"), again.stderr
    assert again.stderr.rstrip().endswith("choose another folder")
    assert (contents(work), log.read_bytes()) == (before, logged)  # refused before anything was computed or logged
    swept = pe("-m", "window=30d,90d", "hydra.sweep.dir=kept")
    assert (swept.returncode, swept.stdout) == (1, "")
    assert swept.stderr.startswith("error  hydra.sweep.dir: kept holds evidence.json of another run"), swept.stderr
    assert contents(work) == before
    for name in ("verdict.json", "run.json"):
        (work / name).mkdir()
        (work / name / name).write_bytes(before[f"kept/{name}"])
        assert f"{name} holds {name} of another run" in pe("window=30d", f"hydra.run.dir={name}").stderr
    gate = pe("task=gate", "task.path=kept/evidence.json", "hydra.run.dir=kept")  # writes nothing there
    assert gate.returncode == 3, gate.stderr


def test_a_sweep_folder_with_the_results_of_another_sweep_is_refused(pe: Command, tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert pe("-m", "window=30d", "hydra.sweep.dir=kept").returncode == 0
    before = contents(work)
    again = pe("-m", "window=90d", "hydra.sweep.dir=kept")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("error  hydra.sweep.dir: kept holds "), again.stderr
    assert "kept holds " in pe("window=30d", "hydra.run.dir=kept").stderr
    assert contents(work) == before
    for _ in range(2):
        assert pe("task=collect", "task.path=kept").returncode == 0
        assert contents(work) == before
    (work / "kept" / "verdict.json").unlink()  # a sweep that died before it was collected is another sweep all the same
    assert "kept holds sweep.json of another run or sweep" in pe("-m", "window=90d", "hydra.sweep.dir=kept").stderr


@pytest.mark.long
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stdout_or_stderr_changes_nothing_that_is_decided(pe: Command, tmp_path: Path, closed: str) -> None:
    assert pe("window=30d", "hydra.run.dir=kept").returncode == 0
    command = Path(sys.executable).parent / "policyengine"

    def run(words: str) -> subprocess.CompletedProcess[str]:
        script = ["sh", "-c", f"exec {command} {words} {closed}"]
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
        return subprocess.run(script, cwd=tmp_path / "work", env=env, capture_output=True, text=True, timeout=120, check=False)

    for words, code in (
        ("window=30d", 0),
        ("task=gate task.path=kept/evidence.json", 3),
        ("--version", 0),
        ("--cfg job", 0),
        ("nope=1", 1),
    ):
        result = run(words)
        assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert len(list((tmp_path / "work").glob("outputs/*/*/evidence.json"))) == 1


def test_few_repetitions_say_how_little_they_prove(pe: Command) -> None:
    """20 repetitions of which none is a hit leave a rate as uncertain as 3/20."""
    said = pe("task=selftest", "task.reps=20", "task.only=[scale]").stdout.splitlines()
    assert said[-2] == "20 repetitions: rates within +-15.0% at worst; the recorded runs use 2,000"
