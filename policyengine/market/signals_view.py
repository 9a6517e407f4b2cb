"""What was kept of signals, as DuckDB views over the segments of `signals.envelope`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policyengine.errors import DataError
from policyengine.market.engine import Engine, literal, printable, statement
from policyengine.records import Finding, Severity
from policyengine.store import Words

if TYPE_CHECKING:
    import pandas as pd

_KEYS = ("signal_id", "run_id", "symbol")


def segments(folder: Path) -> tuple[Path, ...]:
    """The segments in `folder`, in the order of their names; none where there is no such folder."""
    return tuple(sorted(folder.glob("*.parquet")))


def read_stored_signals(stored: Sequence[Path], *, memory_limit_mb: int, temp_dir: Path) -> pd.DataFrame:
    """The signals in the segments `stored`, as `schemas.signals.ENVELOPE` has them, ordered by run, instant, symbol and id.

    Raises:
        DataError: there is no segment, one cannot be read, or the frame breaks its contract.
    """
    from schemas import market, signals  # noqa: PLC0415 - pandera costs 0.45 s

    if not stored:
        raise DataError("stored signals", "there is no segment")
    with _signals_view(stored, memory_limit_mb=memory_limit_mb, temp_dir=temp_dir) as (engine, place):
        order = "ORDER BY run_id, signalled_at, symbol, signal_id"
        frame: pd.DataFrame = engine.table(f"FROM canonical.stored_signals {order}", place=place).to_pandas()
    try:
        market.validate(signals.ENVELOPE, frame)
    except market.ContractBroken as error:
        raise DataError(place, str(error)) from error
    return frame


def orphans(
    stored: Sequence[Path],
    *,
    run_id: str,
    trades: Mapping[str, object],
    decisions: Mapping[str, object],
    memory_limit_mb: int,
    temp_dir: Path,
) -> tuple[Finding, ...]:
    """Trades that no stored signal explains, and stored signals that run `run_id` acted on and that none of its decisions names.

    A trade or a decision names its signal by `signal_id`; where that is absent or blank, by `run_id`, `symbol` and `signalled_at` together,
    of which none may be absent. An id that names nothing is not saved by the second key. Both are equally long columns with those four
    names, `trades` with `trade_id` besides: lists, NumPy arrays or `Words`, None where absent; an instant without a zone is UTC. A finding
    has the count and the first five rows.

    Raises:
        DataError: a segment cannot be read, or a column is not what it should be.
    """
    import pyarrow as pa  # noqa: PLC0415 - only where something is compared

    with _signals_view(stored, memory_limit_mb=memory_limit_mb, temp_dir=temp_dir) as (engine, place):
        _arrive(pa, engine, "trades", ("trade_id", *_KEYS), trades)
        _arrive(pa, engine, "decisions", _KEYS, decisions)
        rows = [
            (check, rule, engine.run(statement(check), place=place, parameters=given))
            for check, rule, given in (
                ("trades_without_stored_signal", "every trade names a stored signal, by its id or else by run, symbol and instant", {}),
                ("stored_signals_without_decision", "every stored signal that was acted on is named by a decision", {"run_id": run_id}),
            )
        ]
    return tuple(
        Finding(check=check, severity=Severity.ALERT, count=int(first[0][1]), rule=rule, rows=tuple(printable(text) for text, _ in first))
        for check, rule, first in rows
        if first
    )


def count_records(
    stored: Sequence[Path],
    *,
    run_id: str | None,
    span: tuple[datetime | None, datetime | None],
    mode: str | None,
    action: str | None,
    memory_limit_mb: int,
    temp_dir: Path,
) -> tuple[list[tuple[Any, ...]], tuple[Path, ...]]:
    """Validation records in the segments `stored`, counted by what a judgement needs to know of them, and the segments that are unreadable.

    A row is: whether a record is of the run, span, mode and action asked for (None: it does not say), its status (None where that is
    unknown), what its expected profit is (`loss`, `no loss`, `missing` or `not finite`), and how many such records there are.
    """
    since, before = (None if at is None else round(at.timestamp() * 1_000_000) for at in span)
    asked = {"run_id": run_id, "since": since, "before": before, "mode": mode, "action": action}
    with _engine(stored, memory_limit_mb=memory_limit_mb, temp_dir=temp_dir) as (engine, place):

        def counted(paths: Sequence[Path]) -> list[tuple[Any, ...]]:
            return engine.run(statement("validation_records").format(segments=_listed(paths)), place=place, parameters=asked)

        try:
            return counted(stored), ()
        except DataError:
            rows, broken = [], []
            for path in stored:
                try:
                    rows += counted([path])
                except DataError:
                    broken.append(path)
            return rows, tuple(broken)


@contextmanager
def _signals_view(stored: Sequence[Path], *, memory_limit_mb: int, temp_dir: Path) -> Iterator[tuple[Engine, str]]:
    with _engine(stored, memory_limit_mb=memory_limit_mb, temp_dir=temp_dir) as (engine, place):
        view = statement("stored_signals_view").format(segments=_listed(stored)) if stored else statement("no_stored_signals_view")
        engine.run(view, place=place)
        yield engine, place


@contextmanager
def _engine(stored: Sequence[Path], *, memory_limit_mb: int, temp_dir: Path) -> Iterator[tuple[Engine, str]]:
    engine = Engine(memory_limit_mb=memory_limit_mb, temp_dir=temp_dir, secrets={})
    try:
        engine.lock([str(path) for path in stored])
        yield engine, str(stored[0].parent) if stored else "stored signals"
    finally:
        engine.close()


def _listed(paths: Sequence[Path]) -> str:
    return f"[{', '.join(literal(str(path)) for path in paths)}]"


def _arrive(pa: Any, engine: Engine, name: str, texts: Sequence[str], columns: Mapping[str, object]) -> None:
    types = {**dict.fromkeys(texts, pa.string()), "signalled_at": pa.timestamp("us", tz="UTC")}
    try:
        given = {column: columns[column] for column in types}
        table = pa.table({c: v.array(pa) if isinstance(v, Words) else pa.array(v, types[c]) for c, v in given.items()})
    except KeyError as error:
        raise DataError(name, f"have no column {error}") from None
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(name, f"a column is not of its type: {str(error).splitlines()[0]}") from error
    engine.store(name, table.to_reader(), {}, place=name)
