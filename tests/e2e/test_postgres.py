"""A real Postgres server, with a password, on the loopback interface; started by the test and gone after it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policyengine.errors import DataError, SourceUnavailable
from policyengine.market import Market, open_market
from policyengine.market.ledgers import postgres
from policyengine.spec.bind import bind
from policyengine.spec.source import PostgresSource
from policyengine.spec.universe import UniverseSpec

pytestmark = pytest.mark.postgres

PASSWORD = "s3cr%t/@:"  # needs percent-encoding, and must never be seen
ENCODED = "s3cr%25t%2F%40%3A"
SETUP = """
CREATE TABLE prices (symbol text, priced_at timestamptz, close numeric(12, 4), volume bigint, currency char(3));
INSERT INTO prices VALUES
  ('SPY', '2020-01-02 21:00+00', 10.5, 100, 'USD'), ('SPY', '2020-01-03 21:00+00', 11.25, NULL, 'USD'),
  ('WTI', '2020-01-02 21:00+00', -36.98, 0, NULL), ('WTI', '2020-01-03 16:00-05', 0.0001, 7, 'USD');
CREATE TABLE signals (signal_id bigint, symbol varchar(9), signalled_at timestamptz, direction text, confidence real, regime text);
INSERT INTO signals VALUES (1, 'SPY', '2020-01-02 10:00Z', 'BUY', 0.5, NULL), (2, 'WTI', '2020-01-02 10:00Z', 'HOLD', NULL, 'calm');
CREATE TABLE trades (
  trade_id uuid, symbol text, traded_at timestamptz, side text, quantity numeric, realized_pnl numeric, is_close boolean, signal_id bigint
);
INSERT INTO trades VALUES
  ('00000000-0000-0000-0000-000000000001', 'SPY', '2020-01-02 15:00Z', 'BUY', 10, NULL, false, 1),
  ('00000000-0000-0000-0000-000000000002', 'SPY', '2020-01-03 15:00Z', 'SELL', 10, 7.5, true, 1),
  ('00000000-0000-0000-0000-000000000003', 'SPY', '2020-01-04 15:00Z', 'SELL', 10, -0.1, NULL, 1);
CREATE SCHEMA desk;
CREATE TABLE desk."Bars" AS SELECT symbol AS "Ticker", priced_at::timestamp AS priced_at, close FROM prices;
CREATE TABLE nothing (symbol text, priced_at timestamptz, close float8);
"""


@dataclass(frozen=True)
class Server:
    port: int
    socket_folder: Path

    def uri(self, user: str = "owner", password: str = ENCODED, database: str = "postgres") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"


def unprivileged() -> dict[str, Any]:
    """Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError("root, and neither a user postgres nor nobody to run the server as")


def binaries() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(p) for p in [shutil.which("initdb")] if p]
    assert found, "no PostgreSQL server is installed: initdb is neither in /usr/lib/postgresql/*/bin nor on the path"
    return found[-1].parent


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    who, bin_ = unprivileged(), binaries()
    home = Path(tempfile.mkdtemp(prefix="pe-pg-"))
    try:
        data, secret = home / "data", home / "password"
        secret.write_text(PASSWORD + "\n")
        if who:
            for path in (home, secret):
                os.chown(path, who["user"], who["group"])
        quiet: dict[str, Any] = {"cwd": home, "stdout": subprocess.DEVNULL, "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, **who}
        initdb = [bin_ / "initdb", "-D", data, "-U", "owner", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--no-sync"]
        subprocess.run(initdb, check=True, stderr=subprocess.PIPE, timeout=60, **quiet)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={home}", "fsync=off", "max_connections=10"]
        command = [bin_ / "postgres", "-D", data, "-p", str(port), *(arg for s in settings for arg in ("-c", s))]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, **quiet) as process:
            try:
                wait_for(process, bin_, port)
                psql = [bin_ / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(port), "-U", "owner", "postgres"]
                subprocess.run(
                    psql, input=SETUP, text=True, check=True, timeout=60, **{**quiet, "env": {**quiet["env"], "PGPASSWORD": PASSWORD}}
                )
                yield Server(port, home)
            finally:
                process.terminate()
                process.wait(30)
    finally:
        shutil.rmtree(home)


def wait_for(process: subprocess.Popen[Any], bin_: Path, port: int) -> None:
    for _ in range(300):
        assert process.poll() is None, f"the server ended with {process.returncode}"
        ready = subprocess.run([bin_ / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False)
        if ready.returncode == 0:
            return
        time.sleep(0.1)
    raise AssertionError("the server did not answer within 30 s")


@pytest.fixture
def opened(server: Server, tmp_path: Path) -> Any:
    universe = bind(UniverseSpec, {"instruments": {"SPY": {"bucket": "core"}, "WTI": {"bucket": "spec"}}}, "universe")

    def opening(uri: str | None = None, **views: str) -> Any:
        spec = bind(PostgresSource, {"uri": uri or server.uri(), "views": views}, "source")
        return open_market(spec, universe, memory_limit_mb=256, temp_dir=tmp_path, shipped_dir=tmp_path)

    return opening


def test_a_market_in_postgres(server: Server, opened: Any) -> None:
    views = {name: f"SELECT * FROM {name}" for name in ("prices", "signals", "trades")}
    with opened(**views) as market:
        assert market.origin == f"postgresql://owner@127.0.0.1:{server.port}/postgres"
        assert [f.check for f in market.check()] == []
        panel, signals, trades = market.prices(), market.signals(), market.closing_trades()
        assert len(market.digest()) == 64
    np.testing.assert_array_equal(panel.close, [[10.5, -36.98], [11.25, 0.0001]])
    assert signals is not None
    assert signals.signal_id.tolist() == ["1", "2"]
    assert signals.direction.tolist() == [1, 0]
    assert trades.trade_id.tolist() == [f"00000000-0000-0000-0000-00000000000{i}" for i in (2, 3)]
    np.testing.assert_array_equal(trades.realized_pnl, [7.5, -0.1])


@pytest.mark.parametrize("table", ["desk.bars", 'desk."Bars"', "DESK.BARS"])
def test_other_schemas_and_naive_times(table: str, opened: Any) -> None:
    with opened(prices=f"SELECT Ticker AS symbol, priced_at, close + 0 AS close FROM {table}") as market:
        assert [(f.check, f.count) for f in market.check()] == [("naive_times", 4)]
        np.testing.assert_array_equal(market.prices().close, [[10.5, -36.98], [11.25, 0.0001]])


def test_public_is_understood(opened: Any) -> None:
    with opened(prices="SELECT * FROM public.prices") as market:
        market: Market
        assert market.prices().symbols == ("SPY", "WTI")


def refusal(opening: Any) -> DataError:
    with pytest.raises(DataError) as caught, opening as market:
        market.check()
    for secret in (PASSWORD, ENCODED):
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value)
    return caught.value


def test_refusals_name_the_server_without_the_password(server: Server, opened: Any) -> None:
    select = {"prices": "SELECT * FROM prices"}
    wrong = refusal(opened(server.uri(password="wrong%20one"), **select))
    assert isinstance(wrong, SourceUnavailable)
    assert f"postgresql://owner@127.0.0.1:{server.port}/postgres: " in str(wrong)
    assert "password authentication failed" in str(wrong)
    assert 'database "nowhere" does not exist' in str(refusal(opened(server.uri(database="nowhere"), **select)))
    absent = refusal(opened(prices="SELECT * FROM bars"))
    assert "Table with name bars does not exist; tables found: desk.Bars, nothing, prices, signals, trades" in str(absent)
    assert "view prices: is empty: 0 rows" in str(refusal(opened(prices="SELECT * FROM nothing")))


def test_nothing_can_be_written(server: Server, opened: Any) -> None:
    for sql in ("INSERT INTO prices VALUES ('X')", "CREATE TABLE x (y int)", "UPDATE prices SET close = 0"):
        with postgres(server.uri()) as ledger, pytest.raises(SourceUnavailable, match="in a read-only transaction"):
            ledger.rows(sql)
