"""SQLite through ADBC, and what a URI may show."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from policyengine.errors import ConfigError, DataError, SourceUnavailable
from policyengine.market.ledgers import secrets

BARS = ("symbol TEXT, priced_at TEXT, close REAL", [("SPY", "2020-01-02", 1.5), ("SPY", "2020-01-03", 2.0)])
VIEWS = {"prices": "SELECT * FROM bars"}


@pytest.fixture
def ledger(tmp_path: Path, make: ModuleType) -> Path:
    wide = ("x TEXT", [("x" * 900,) for _ in range(500)])
    return make.sqlite(tmp_path / "ledger.db", {"bars": BARS, "wide": wide, "Odd Name": BARS})


def refusal(opened: Any, kind: str = "sqlite", **keys: Any) -> Exception:
    with pytest.raises((ConfigError, DataError)) as caught, opened(kind, **keys) as market:
        market.check()
    return caught.value


@pytest.mark.parametrize("table", ["bars", "BARS", "main.bars", '"Odd Name"', 'main."odd name"'])
def test_tables_go_by_their_own_names(table: str, ledger: Path, opened: Any) -> None:
    with opened("sqlite", path=ledger, views={"prices": f"SELECT * FROM {table}"}) as market:
        assert market.check() == ()
        np.testing.assert_array_equal(market.prices().close, [[1.5], [2.0]])


def test_a_table_may_be_named_as_a_view_of_ours(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.sqlite(tmp_path / "p.db", {"prices": BARS})
    with opened("sqlite", path=path, views={"prices": "SELECT * FROM prices"}) as market:
        np.testing.assert_array_equal(market.prices().close, [[1.5], [2.0]])


@pytest.mark.parametrize(
    "select",
    [
        "SELECT b.symbol, b.priced_at, b.close FROM bars AS b LEFT JOIN main.bars AS c USING (symbol, priced_at)",
        'SELECT symbol, priced_at, close FROM bars JOIN (SELECT symbol, priced_at FROM "Odd Name") USING (symbol, priced_at)',
        "SELECT bars.* FROM bars, (SELECT * FROM wide LIMIT 1)",
        "WITH b AS (SELECT * FROM bars) SELECT * FROM b WHERE EXISTS (FROM wide)",
    ],
)
def test_joins(select: str, ledger: Path, opened: Any) -> None:
    with opened("sqlite", path=ledger, views={"prices": select}, checks={"bars_out_of_order": "ignore"}) as market:
        assert market.check() == ()
        np.testing.assert_array_equal(market.prices().close, [[1.5], [2.0]])


def test_the_file_is_read_and_never_written(ledger: Path, opened: Any) -> None:
    before = hashlib.sha256(ledger.read_bytes()).hexdigest()
    with opened("sqlite", path=ledger, views=VIEWS) as market:
        market.digest()
    assert hashlib.sha256(ledger.read_bytes()).hexdigest() == before
    assert sorted(p.name for p in ledger.parent.iterdir()) == ["ledger.db"]


def test_an_absent_file_is_not_made(tmp_path: Path, opened: Any) -> None:
    assert str(refusal(opened, path=tmp_path / "no.db", views=VIEWS)) == f"{tmp_path}/no.db: there is no such file"
    assert list(tmp_path.iterdir()) == []
    assert str(refusal(opened, path="", views=VIEWS)) == "source.path: '' is empty; give the file: source.path=FILE"
    assert "is not a file; give the SQLite file itself" in str(refusal(opened, path=tmp_path, views=VIEWS))


def test_broken_files(ledger: Path, tmp_path: Path, opened: Any) -> None:
    content = ledger.read_bytes()
    half = len(content) // 2
    broken = tmp_path / "broken.db"
    for data, rule in (
        (content[:half], f"is truncated: {half} of {len(content)} bytes are there"),
        (content[:4096] + bytes([255]) * 8192 + content[12288:], "malformed"),
        (b"hello" * 100, "is not a SQLite file"),
        (b"", "is not a SQLite file"),
        (b"SQLite format 3\x00", "is not a SQLite file"),
    ):
        broken.write_bytes(data)
        caught = refusal(opened, path=broken, views=VIEWS)
        assert isinstance(caught, SourceUnavailable)
        assert rule in str(caught)


def test_a_table_that_is_not_there(ledger: Path, opened: Any) -> None:
    caught = refusal(opened, path=ledger, views={"prices": "SELECT * FROM barz"})
    assert str(caught) == f'{ledger}, view prices: Table with name barz does not exist; tables found: "Odd Name", bars, wide'


def test_columns_that_start_empty_and_rows_beyond_the_drivers_batch(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    rows = [("SPY", f"{1800 + i // 336}-{i // 28 % 12 + 1:02}-{i % 28 + 1:02}", 1.0, None if i < 3000 else -0.5) for i in range(3001)]
    path = make.sqlite(tmp_path / "l.db", {"bars": ("symbol TEXT, priced_at TEXT, close REAL, volume REAL", rows)})
    caught = refusal(opened, path=path, views=VIEWS)
    assert "negative_volumes" in str(caught)
    assert "volume -0.5" in str(caught)


def test_columns_without_values_have_the_type_they_declare(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    columns = "symbol TEXT, priced_at DATE, close REAL, note VARCHAR(9), later TIMESTAMP, fee DECIMAL(9, 2), n INTEGER, untyped"
    path = make.sqlite(tmp_path / "l.db", {"bars": (columns, [("SPY", "2020-01-02", 1.0, *(None,) * 5)])})
    select = (
        "SELECT symbol, priced_at, coalesce(close, fee + 0.5, n + 1) AS close FROM bars WHERE lower(coalesce(note, later, untyped)) IS NULL"
    )
    with opened("sqlite", path=path, views={"prices": select}) as market:
        assert market.check() == ()


def test_numbers_beside_texts_keep_every_digit(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    rows = [("SPY", "2020-01-02", 1 / 3), ("SPY", "2020-01-03", "2.5"), ("SPY", "2020-01-06", 7)]
    path = make.sqlite(tmp_path / "l.db", {"bars": ("symbol, priced_at, close", rows)})
    with opened("sqlite", path=path, views=VIEWS) as market:
        np.testing.assert_array_equal(market.prices().close, [[1 / 3], [2.5], [7.0]])


def test_a_text_among_numbers_is_the_first_that_does_not_fit(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.sqlite(tmp_path / "l.db", {"bars": (BARS[0], [("SPY", "2020-01-02", 1.25), ("SPY", "2020-01-03", "n/a")])})
    rule = "column close: found type VARCHAR, wanted a number; 1 of 2 values do not fit, first 'n/a'"
    assert str(refusal(opened, path=path, views=VIEWS)) == f"{path}, view prices: {rule}"


def test_an_empty_table_and_one_without_the_optional_columns(tmp_path: Path, make: ModuleType, opened: Any) -> None:
    path = make.sqlite(tmp_path / "l.db", {"bars": (BARS[0], []), "Whole": BARS})
    assert (
        str(refusal(opened, path=path, views=VIEWS))
        == f"{path}, view prices: is empty: 0 rows; to do without the view: '~source.views.prices'"
    )
    views = {"prices": "SELECT symbol, priced_at, close, volume FROM whole"}
    with opened("sqlite", path=path, views=views, optional={"WHOLE": {"volume": "DOUBLE"}}) as market:
        assert market.check() == ()


def test_a_select_over_sqlite_reads_no_file(ledger: Path, tmp_path: Path, opened: Any) -> None:
    (tmp_path / "x.csv").write_text("symbol,priced_at,close\nSPY,2020-01-02,1\n")
    caught = refusal(opened, path=ledger, views={"prices": f"SELECT * FROM read_csv('{tmp_path}/x.csv')"})
    assert "reads what the source does not declare" in str(caught)


def test_without_the_drivers(ledger: Path, opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite.dbapi", None)
    caught = refusal(opened, path=ledger, views=VIEWS)
    assert str(caught) == f"{ledger}: needs drivers that are not installed: pip install 'barbell-policyengine[ledgers]'"


@pytest.mark.parametrize(
    ("uri", "rule"),
    [
        ("", "source.uri: '' is empty; give source.uri=postgresql://USER@HOST:PORT/DATABASE"),
        ("host=h password=secret", "is not a URI of the form"),
        ("mysql://u:secret@h/d", "is not a URI of the form"),
        ("postgresql://u:secret@h:port/d", "is not a URI of the form"),
        ("postgresql://u:sec@ret@h/d", "is not a URI of the form"),
    ],
)
def test_uris_that_are_none(uri: str, rule: str, opened: Any) -> None:
    caught = refusal(opened, "postgres", uri=uri, views=VIEWS)
    assert isinstance(caught, ConfigError)
    assert rule in str(caught)
    assert "sec" not in str(caught).removeprefix("source")


def test_a_server_that_does_not_answer_is_named_without_the_password(opened: Any) -> None:
    caught = refusal(opened, "postgres", uri="postgresql://u:s%40cret@127.0.0.1:1/d?sslpassword=hush", views=VIEWS)
    assert isinstance(caught, SourceUnavailable)
    assert str(caught).startswith("postgresql://u@127.0.0.1:1/d: ")
    assert not any(word in str(caught) for word in ("s%40cret", "s@cret", "hush"))


def test_what_is_hidden() -> None:
    assert list(secrets("postgresql://u:a%20b@h/d?password=long-one", "o").items()) == [
        ("postgresql://u:a%20b@h/d?password=long-one", "o"),
        ("long-one", "***"),
        ("a%20b", "***"),
        ("a b", "***"),
    ]
    assert secrets("postgresql://u@h/d", "o") == {"postgresql://u@h/d": "o"}
