"""Opening a source: where it is, what its SELECTs may say, and what is refused."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from policyengine.errors import ConfigError, DataError, SourceUnavailable
from policyengine.market import open_market
from policyengine.market.files import locate, without_password

ALL = {"prices": "SELECT * FROM source"}


@pytest.fixture
def good(tmp_path: Path, make: ModuleType) -> Path:
    frame = make.bars(("SPY", "2020-01-02", 4), ("SPY", "2020-01-03", 5))
    return make.parquet(tmp_path / "good.parquet", frame)


def refusal(opened: Any, kind: str = "parquet", **keys: Any) -> Exception:
    """The error of opening and checking."""
    with pytest.raises((ConfigError, DataError)) as caught, opened(kind, **keys) as market:
        market.check()
    return caught.value


def test_the_shipped_data_open_and_pass_every_check(make: ModuleType, opened: Any) -> None:
    with opened(path="shipped:prices.parquet", views=ALL, universe=make.universe_spec({}, unclassified="other")) as market:
        assert market.origin == "shipped:prices.parquet"
        assert market.check() == ()
        assert market.prices().close.shape == (4760, 22)


@pytest.mark.parametrize(
    ("path", "error", "rule"),
    [
        ("", ConfigError, "source.path: '' is empty; give the file: source.path=FILE"),
        ("nowhere.parquet", SourceUnavailable, "nowhere.parquet: there is no such file"),
        ("nowhere*.parquet", SourceUnavailable, "nowhere*.parquet: no file matches this pattern"),
        ("shipped:nothing.parquet", SourceUnavailable, "shipped:nothing.parquet: no such file ships; shipped: prices.parquet"),
        ("shipped:../pyproject.toml", ConfigError, "source.path: 'shipped:../pyproject.toml' is not 'shipped:' and the name of a file"),
        ("shipped:", ConfigError, "source.path: 'shipped:' is not 'shipped:' and the name of a file"),
    ],
)
def test_a_path_that_names_nothing(path: str, error: type[Exception], rule: str, opened: Any) -> None:
    caught = refusal(opened, path=path, views=ALL)
    assert type(caught) is error
    assert str(caught) == rule


def test_a_folder_without_files(tmp_path: Path, opened: Any) -> None:
    assert str(refusal(opened, path=tmp_path, views=ALL)) == f"{tmp_path}: the folder holds no *.parquet file"
    assert "is a folder; give a file or a pattern such as" in str(refusal(opened, "csv", path=tmp_path, views=ALL))


def test_truncated_empty_and_foreign_files(tmp_path: Path, good: Path, opened: Any) -> None:
    content = good.read_bytes()
    for name, data, rule in (
        ("cut.parquet", content[:-30], "cannot be read: No magic bytes found at end of file"),
        ("zero.parquet", b"", "is empty: 0 bytes"),
        ("text.parquet", b"symbol,priced_at\n" * 9, "cannot be read: No magic bytes"),
    ):
        (tmp_path / name).write_bytes(data)
        caught = refusal(opened, path=tmp_path / name, views=ALL)
        assert isinstance(caught, SourceUnavailable)
        assert rule in str(caught)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"symbol,priced_at,close\n" + b"SPY,2020-01-02,1\n" * 9999)[:200])
    assert f"{tmp_path}/cut.csv.gz: cannot be read: " in str(refusal(opened, "csv", path=tmp_path / "cut.csv.gz", views=ALL))


def test_file_names_are_never_sql(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    for name in ("o'b \u00e9;--.parquet", '"x".parquet', "[x].parquet", "it's"):
        path = tmp_path / name if name.endswith(".parquet") else tmp_path / name / "p.parquet"
        make.parquet(path, make.bars(("SPY", "2020-01-02", 4), ("SPY", "2020-01-03", 5)))
        with opened(path=path, views=ALL) as market:
            assert market.check() == ()
    with opened(path=tmp_path / "it's", views=ALL) as market:
        assert market.check() == ()


def test_what_does_not_fit_into_memory(good: Path, make: ModuleType, tmp_path: Path) -> None:
    views = {"prices": "SELECT s.*, repeat('x', 1000000 + CAST(i % 7 AS INTEGER)) || i AS currency FROM source AS s, range(400) AS t(i)"}
    spec = make.source_spec("parquet", path=str(good), views=views)
    (tmp_path / "file").touch()
    with (
        pytest.raises(DataError, match="does not fit into the memory limit"),
        open_market(spec, make.universe_spec(), memory_limit_mb=20, temp_dir=tmp_path / "file" / "spill", shipped_dir=tmp_path) as market,
    ):
        market.digest()


def test_pages_that_were_overwritten(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    frame = make.bars(*[("SPY", f"2020-01-{d:02}T{h:02}:00Z", d * 1.01 + h) for d in range(1, 29) for h in range(24)])
    path = make.parquet(tmp_path / "p.parquet", frame)
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)
    path.write_bytes(content)
    with pytest.raises(DataError, match="view prices"), opened(path=path, views=ALL) as market:
        market.check()


def test_hive_partitions_are_columns_and_stay_texts(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    for symbol in ("0700", "SPY"):
        frame = make.bars((symbol, "2020-01-02", 4), (symbol, "2020-01-03", 5)).drop(columns="symbol")
        make.parquet(tmp_path / "data" / f"symbol={symbol}" / "part-0.parquet", frame)
    universe = make.universe_spec({"0700": "spec", "SPY": "core"})
    for path in (tmp_path / "data", tmp_path / "data" / "*" / "*.parquet", tmp_path / "data" / "symbol=*" / "*.parquet"):
        with opened(path=path, views=ALL, universe=universe) as market:
            assert market.check() == ()
            assert market.prices().symbols == ("0700", "SPY")


def test_files_of_a_folder_may_lack_columns(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    make.parquet(tmp_path / "d" / "a.parquet", make.bars(("SPY", "2020-01-02", 1)))
    make.parquet(tmp_path / "d" / "b.parquet", make.bars(("SPY", "2020-01-03", 1), volume=-1.0))
    caught = refusal(opened, path=tmp_path / "d", views=ALL)
    assert "negative_volumes" in str(caught)
    assert "rows: 1, first: SPY 2020-01-03T00:00:00Z volume -1.0" in str(caught)


@pytest.mark.parametrize(
    ("select", "rule"),
    [
        ("SELECT * FROM source; DROP VIEW source", "holds 2 statements; exactly one SELECT is wanted"),
        ("SELECT * FROM source) AS x; COPY (SELECT 1) TO 'f.csv' --", 'syntax error at or near ")"'),
        ("-- nothing", "holds 0 statements; exactly one SELECT is wanted"),
        ("", "holds 0 statements; exactly one SELECT is wanted"),
        ("CREATE TABLE x AS SELECT 1", "is a statement of type CREATE; exactly one SELECT is wanted"),
        ("ATTACH 'x.db'", "is a statement of type ATTACH; exactly one SELECT is wanted"),
        ("COPY source TO 'x.csv'", "is a statement of type COPY; exactly one SELECT is wanted"),
        ("SET lock_configuration = false", "is a statement of type SET; exactly one SELECT is wanted"),
        ("SELEC 1", 'syntax error at or near "SELEC"'),
    ],
)
def test_what_is_not_one_select_is_refused(select: str, rule: str, good: Path, opened: Any) -> None:
    caught = refusal(opened, path=good, views={"prices": select})
    assert isinstance(caught, ConfigError)
    assert str(caught) == f"source.views.prices: {rule}"


@pytest.mark.parametrize(
    "select",
    [
        "SELECT * FROM source;",
        "SELECT * FROM source -- all of it",
        "SELECT * FROM source; -- all; of it",
        "WITH x AS (SELECT * FROM source) SELECT * FROM x",
        "FROM source",
        "SELECT symbol, priced_at, close, ';' AS é FROM source /* ; */ ;",
        'SELECT symbol AS "Symbol", priced_at AS PRICED_AT, close AS Close FROM SOURCE',
    ],
)
def test_one_select_however_it_is_written(select: str, good: Path, opened: Any) -> None:
    with opened(path=good, views={"prices": select}) as market:
        market.check()
        np.testing.assert_array_equal(market.prices().close, [[4], [5]])


@pytest.mark.parametrize(
    "select",
    [
        "SELECT * FROM read_csv('{0}')",
        "SELECT * FROM read_text('{0}')",
        "SELECT * FROM '{0}'",
        "SELECT * FROM glob('{0}')",
        "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    ],
)
def test_a_select_reads_only_the_declared_path(select: str, tmp_path: Path, good: Path, opened: Any) -> None:
    other = tmp_path / "other.parquet"
    shutil.copy(good, other)
    caught = refusal(opened, path=good, views={"prices": select.format(other)})
    assert "reads what the source does not declare" in str(caught)


def test_a_select_cannot_reach_python(good: Path, opened: Any) -> None:
    source_of_the_test = 1  # noqa: F841 - a name that DuckDB would find if it looked for Python variables
    caught = refusal(opened, path=good, views={"prices": "SELECT * FROM source_of_the_test"})
    assert "Table with name source_of_the_test does not exist; tables found: source" in str(caught)


def test_names_that_are_not_there_are_answered_with_those_that_are(good: Path, opened: Any) -> None:
    table = refusal(opened, path=good, views={"prices": "SELECT * FROM bars"})
    assert str(table) == f"{good}, view prices: Table with name bars does not exist; tables found: source"
    column = refusal(opened, path=good, views={"prices": "SELECT symbol, priced_at, clse AS close FROM source"})
    assert 'Referenced column "clse" not found' in str(column)
    assert "columns found: source(symbol, priced_at, close)" in str(column)
    missing = refusal(opened, path=good, views={"prices": "SELECT symbol, close AS last FROM source"})
    assert str(missing) == f"{good}, view prices: column priced_at, close is missing; columns found: symbol, last"


def test_optional_columns_read_as_null(good: Path, opened: Any) -> None:
    views = {"prices": "SELECT symbol, priced_at, close, volume FROM source"}
    assert "volume" in str(refusal(opened, path=good, views=views))
    with opened(path=good, views=views, optional={"source": {"volume": "DOUBLE", "close": "VARCHAR"}}) as market:
        assert market.check() == ()
        np.testing.assert_array_equal(market.prices().close, [[4], [5]])
    caught = refusal(opened, path=good, views=views, optional={"source": {"volume": "DUBLE"}})
    assert str(caught) == "source.optional.source.volume: 'DUBLE' is not a type that DuckDB knows"
    caught = refusal(opened, path=good, views=views, optional={"source": {"volume": "DOUBLE) AS x; --"}})
    assert str(caught) == "source.optional.source.volume: 'DOUBLE) AS x; --' is not a type that DuckDB knows"


def test_an_empty_table(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.parquet(tmp_path / "e.parquet", make.bars(("SPY", "2020-01-02", 1)).iloc[:0])
    assert (
        str(refusal(opened, path=path, views=ALL))
        == f"{path}, view prices: is empty: 0 rows; to do without the view: '~source.views.prices'"
    )


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("s3://bucket/x.parquet", "s3://bucket/x.parquet: needs DuckDB's extension 'httpfs', which is not installed here"),
        ("https://me:secret@host/x.parquet?sig=secret", "https://me@host/x.parquet: needs DuckDB's extension 'httpfs'"),
        ("az://c/x.parquet", "az://c/x.parquet: needs DuckDB's extension 'azure'"),
        ("ftp://me:secret@host/x.parquet", "ftp://me@host/x.parquet: cannot be read"),
    ],
)
def test_remote_paths_without_what_they_need(path: str, rule: str, tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # DuckDB keeps extensions there
    caught = refusal(opened, path=path, views=ALL)
    assert isinstance(caught, SourceUnavailable)
    assert str(caught).startswith(rule)
    assert "secret" not in str(caught)


def test_a_remote_glob_is_listed_by_its_extension_alone(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policyengine.market.source._load", lambda *_: None)
    assert "s3://bucket/*.parquet: cannot be read: " in str(refusal(opened, path="s3://bucket/*.parquet", views=ALL))


def test_a_remote_glob_allows_its_folder() -> None:
    files = locate("s3://bucket/year=*/x?.parquet", suffix=".parquet", folders=True, shipped_dir=Path())
    assert (files.remote, files.extension, files.remote_folders) == (True, "httpfs", ("s3://bucket/",))
    assert locate("s3://bucket/x.parquet", suffix=".parquet", folders=True, shipped_dir=Path()).remote_folders == ()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://u:p@h:5432/d?sslpassword=p", "postgresql://u@h:5432/d"),
        ("postgresql://:p@h/d", "postgresql://h/d"),
        ("postgresql://u:p@x@h/d", "postgresql://..."),
        ("postgresql://u:p@h:port/d", "postgresql://..."),
        ("postgresql://[u:p@h/d", "postgresql://..."),
        ("postgresql:///d?host=/tmp&password=p", "postgresql:///d"),
        ("password=p", "..."),
    ],
)
def test_no_password_is_shown(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def csv(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_dates_are_iso_or_nothing(tmp_path: Path, opened: Any) -> None:
    path = csv(tmp_path / "us.csv", "symbol,priced_at,close\nSPY,01/02/2020,1\n")
    assert "column priced_at: found type VARCHAR, wanted an instant; 1 of 1 values do not fit, first '01/02/2020'" in str(
        refusal(opened, "csv", path=path, views=ALL)
    )


def test_csv_columns_can_be_pinned(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = csv(tmp_path / "hk.csv", "symbol,priced_at,close\n0700,2020-01-02,1\n")
    universe = make.universe_spec({"0700": "core"})
    with opened("csv", path=path, views=ALL, types={"symbol": "VARCHAR"}, universe=universe) as market:
        market.check()
        assert market.prices().symbols == ("0700",)
    caught = refusal(opened, "csv", path=path, views=ALL, types={"symbol": "VARCHAR'} --"})
    assert str(caught) == "source.types.symbol: 'VARCHAR'} --' is not a type that DuckDB knows"
    assert '"clos" do not exist' in str(refusal(opened, "csv", path=path, views=ALL, types={"clos": "DOUBLE"}))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("symbol,priced_at,close\n", "is empty: 0 rows"),
        ("", "is empty: 0 bytes"),
        ("symbol,priced_at,close\nSPY,2020-01-02,1\nSPY,2020-01-03,abc\n", "column close: found type VARCHAR, wanted a number; 1 of 2"),
        ("symbol,priced_at,close\nSPY,2020-01-02,1\nSPY,2020-01-03\nSPY,2020-01-06,1,2,3\n", "column symbol, priced_at, close is missing"),
        ("a;b\n1;2\n", "column symbol, priced_at, close is missing; columns found: a, b"),
    ],
)
def test_csv_that_is_not_what_it_should_be(text: str, rule: str, tmp_path: Path, opened: Any) -> None:
    assert rule in str(refusal(opened, "csv", path=csv(tmp_path / "x.csv", text), views=ALL))


def test_csv_that_is_not_utf8(tmp_path: Path, opened: Any) -> None:
    (tmp_path / "l.csv").write_bytes("symbol,priced_at,close\né,2020-01-02,1\n".encode("latin-1"))
    assert "is not utf-8" in str(refusal(opened, "csv", path=tmp_path / "l.csv", views=ALL))


def test_a_late_bad_value_is_found_whatever_the_sample(tmp_path: Path, opened: Any) -> None:
    rows = "".join(f"SPY,{1900 + i // 336}-{i // 28 % 12 + 1:02}-{i % 28 + 1:02},1\n" for i in range(40_000))
    path = csv(tmp_path / "late.csv", "symbol,priced_at,close\n" + rows + "SPY,2021-01-01,n/a\n")
    assert "1 of 40001 values do not fit, first 'n/a'" in str(refusal(opened, "csv", path=path, views=ALL))
