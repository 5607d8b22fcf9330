"""A warehouse on one machine: a DuckDB file, or a folder of Parquet and CSV files."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path

import duckdb

from phasegate.adapters.catalogue import NUMBERS, Catalogue, Table, googlesql_type, sql_of
from phasegate.adapters.dialect import Dialect, render
from phasegate.adapters.googlesql import check_sql
from phasegate.core.metrics import (
    Aggregate,
    Answer,
    AnyMetric,
    Cost,
    CustomSource,
    Fault,
    KeysOf,
    KeysPresent,
    Number,
    OutOfRange,
    PairSource,
    Query,
    Source,
    Unmeasured,
)
from phasegate.core.notation import Span
from phasegate.errors import WarehouseError

_NOT_THE_DATABASE = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)
"""What was asked, or what it was asked of, is at fault; any other error is the database's."""

_NUMERIC = (*NUMBERS, '"NULL"')

_COLUMNS = """
SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()
WHERE NOT internal AND database_name = current_database()
"""


class DuckDBWarehouse:
    """Measures the tables of a DuckDB file or of a folder. Read only.

    Args:
        path: A database file, open only while something is measured, so that a loader may write in between. Or a folder in
            which `dataset/table.parquet`, `dataset/table.csv`, or the files in `dataset/table/` are a table.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """See `Warehouse.measure`. SQL that is not known to mean the same here as in BigQuery is `Fault.REFUSED`."""
        for query in queries:
            for metric in query.metrics:
                for text, kind in sql_of(query.source, metric):
                    check_sql(text, kind)
        with self._opened() as connection:
            catalogue = self._catalogue(connection)
            for query in queries:
                yield _Asking(connection, catalogue, query, span).answer()

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self._path.exists():
            raise WarehouseError(f"no warehouse at {self._path}", retryable=False)
        try:
            connection = duckdb.connect() if self._path.is_dir() else duckdb.connect(self._path, read_only=True)
        except duckdb.Error as exc:
            # Held by a writer: a ConnectionException in the same process, an IOException in another one.
            held = isinstance(exc, duckdb.ConnectionException) or "lock" in str(exc)
            why = "it is open for writing" if held else _first_line(exc)
            raise WarehouseError(f"can't open the warehouse at {self._path}: {why}", retryable=held) from exc
        with connection:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection

    def _catalogue(self, connection: duckdb.DuckDBPyConnection) -> Catalogue:
        try:
            broken = dict(_make_views(connection, self._path)) if self._path.is_dir() else {}
        except OSError as exc:
            raise WarehouseError(f"can't open the warehouse at {self._path}: {exc.strerror}", retryable=False) from exc
        types: dict[str, dict[str, str]] = {}
        for dataset, table, column, declared in connection.execute(_COLUMNS).fetchall():
            types.setdefault(f"{dataset}.{table}", {})[column.lower()] = googlesql_type(declared)
        found = {name: Table(columns) for name, columns in types.items()}
        return Catalogue(found | {name: Table(broken=reason) for name, reason in broken.items()})


def _make_views(connection: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[tuple[str, str]]:
    """Make each file, or folder of files, a view; gives the tables that can't be read, and why."""
    made: set[str] = set()
    for dataset in sorted(path for path in folder.iterdir() if path.is_dir() and _is_name(path.name)):
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{dataset.name}"')
        for path in sorted(path for path in dataset.iterdir() if _is_name(path.stem)):
            reader = _reader(path)
            name = f"{dataset.name}.{path.stem}"
            if reader is None:
                continue
            if name in made:
                yield name, f"table {name} is there twice, as {path.name} and under another ending"
                continue
            made.add(name)
            try:
                view = f'"{dataset.name}"."{path.stem}"'  # both are names and nothing else
                connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {reader}")  # noqa: S608
            except duckdb.Error as exc:
                yield name, f"table {name} can't be read: {_first_line(exc)}"


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z_]\w*", text, re.ASCII) is not None


def _reader(path: Path) -> str | None:
    """What reads a file, or all files of a folder; None when there is no data in it."""
    for ending, function in ((".parquet", "read_parquet"), (".csv", "read_csv")):
        if path.is_dir() and next(path.rglob(f"*{ending}"), None):
            return f"{function}({_quoted(f'{path}/**/*{ending}')})"
        if path.is_file() and path.suffix == ending:
            return f"{function}({_quoted(str(path))})"
    return None


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _first_line(error: Exception) -> str:
    """What an error says, without its kind, the statement, and values of the data."""
    line = re.sub(r"^[A-Z][\w ]* Error: ", "", str(error).partition("\n")[0])
    return re.sub(r"'[^']*'", "'…'", line) if isinstance(error, duckdb.DataError) else line


@dataclass(frozen=True, slots=True)
class _Part:
    """Some metrics of a query, and the rows they came back in: the date, then a value for each."""

    metrics: tuple[AnyMetric, ...]
    rows: Sequence[Sequence[object]]


class _Asking:
    """One query, being answered."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, catalogue: Catalogue, query: Query, span: Span) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._query = query
        self._span = span
        self._statements = 0
        self._unmeasured = catalogue.faults(query)

    def answer(self) -> Answer:
        """What came back, and what did not and why."""
        query = self._query
        types = self._catalogue.types(query.source.table) if query.types else None
        wanted = tuple(metric for metric in query.metrics if metric not in self._unmeasured)
        guards = self._guards(wanted)
        parts = self._ask(query.source, (*wanted, *guards.get(query.source, ())))
        for place, guarded in guards.items():
            self._refuse_nans(guarded, parts if place == query.source else self._ask(place, tuple(guarded)))
        unmeasured = {metric: self._unmeasured[metric] for metric in query.metrics if metric in self._unmeasured}
        return Answer(query, self._numbers(parts), unmeasured, types, Cost(self._statements))

    def _ask(self, source: Source, metrics: tuple[AnyMetric, ...]) -> list[_Part]:
        """Ask for all in one statement; when that is refused, halve until those at fault stand alone."""
        if not metrics:
            return []
        try:
            return [self._run(source, metrics)]
        except _NOT_THE_DATABASE as exc:
            if len(metrics) > 1:
                half = len(metrics) // 2
                return self._ask(source, metrics[:half]) + self._ask(source, metrics[half:])
            self._unmeasured[metrics[0]] = self._explained(source, metrics[0], exc)
        except duckdb.Error as exc:
            fault = Unmeasured(Fault.UNAVAILABLE, f"the warehouse failed: {_first_line(exc)}")
            self._unmeasured |= dict.fromkeys(metrics, fault)
        return []

    def _run(self, source: Source, metrics: tuple[AnyMetric, ...]) -> _Part:
        statement = render(Query(source, metrics), self._span, Dialect.DUCKDB)
        self._statements += 1
        result = self._connection.execute(statement.text, {param.name: param.value for param in statement.params})
        day, *kinds = (googlesql_type(str(column[1])) for column in result.description)
        rows = result.fetchall()
        for metric, kind in zip(metrics, kinds, strict=True):
            if fault := _unusable(source, metric, day, kind, rows):
                self._unmeasured[metric] = fault
        return _Part(metrics, rows)

    def _explained(self, source: Source, metric: AnyMetric, error: Exception) -> Unmeasured:
        """Why one number was refused."""
        said = _first_line(error)
        table = source.other if isinstance(source, PairSource) and isinstance(metric, KeysOf | KeysPresent) else source.table
        name = "the query" if isinstance(source, CustomSource) else f"table {table}"
        if found := re.match(r'Referenced column "(.+?)" not found|Table ".+?" does not have a column named "(.+?)"', said):
            column = found[1] or found[2]
            missing = None if isinstance(source, CustomSource) else self._catalogue.missing(table, column)
            return missing or Unmeasured(Fault.COLUMN, f"{name} has no column {column}")
        if found := re.match(r'Table with name "?(.+?)"? does not exist', said):
            return Unmeasured(Fault.TABLE, f"there is no table {found[1]}")
        return Unmeasured(Fault.SQL, f"{name}: {said}")

    def _guards(self, metrics: Iterable[AnyMetric]) -> dict[Source, dict[AnyMetric, list[AnyMetric]]]:
        """Per table, what counts the NaN of a column that the user's SQL names, and the numbers that rest on it."""
        guards: dict[Source, dict[AnyMetric, list[AnyMetric]]] = {}
        for metric in metrics:
            if found := self._catalogue.floats(self._query.source, metric):
                place, columns = found
                for column in columns:
                    guard = OutOfRange(column, -math.inf, math.inf)
                    guards.setdefault(place, {}).setdefault(guard, []).append(metric)
        return guards

    def _refuse_nans(self, guarded: Mapping[AnyMetric, list[AnyMetric]], parts: Sequence[_Part]) -> None:
        found = {part.metrics[n - 1] for part in parts for row in part.rows for n in range(1, len(row)) if row[n]}
        for guard, metrics in guarded.items():
            assert isinstance(guard, OutOfRange)
            said = f"column {guard.column} holds NaN, which DuckDB does not compare as BigQuery does"
            fault = Unmeasured(Fault.REFUSED, said) if guard in found else self._unmeasured.get(guard)
            if fault is not None:
                self._unmeasured |= dict.fromkeys(metrics, fault)

    def _numbers(self, parts: Sequence[_Part]) -> Mapping[date, tuple[Number | None, ...]]:
        """Every part's columns in the order of the query."""
        places = {metric: n for n, metric in enumerate(self._query.metrics) if metric not in self._unmeasured}
        numbers: dict[date, list[Number | None]] = {}
        for part in parts:
            moves = [(n, places[metric]) for n, metric in enumerate(part.metrics, 1) if metric in places]
            for row in part.rows:
                day = row[0]
                assert isinstance(day, date)
                found = numbers.setdefault(day, [None] * len(self._query.metrics))
                for n, place in moves:
                    found[place] = _number(row[n])
        return {day: tuple(found) for day, found in numbers.items()}


def _unusable(source: Source, metric: AnyMetric, day: str, kind: str, rows: Sequence[Sequence[object]]) -> Unmeasured | None:
    """Why an answer that came is none: the user's SQL gave something else than dates and numbers."""
    if isinstance(metric, Aggregate) and kind not in _NUMERIC:
        return Unmeasured(Fault.SQL, f"{metric.expression} is {kind}, expected a number")
    if not isinstance(source, CustomSource):
        return None
    if day != "DATE":
        return Unmeasured(Fault.COLUMN, f"column {source.date} of the query is {day}, expected DATE")
    if kind not in _NUMERIC:
        return Unmeasured(Fault.SQL, f"column {source.value} of the query is {kind}, expected a number")
    if len({row[0] for row in rows}) < len(rows):
        return Unmeasured(
            Fault.SQL, f"the query gives several rows for one {source.date}, expected one with its {source.value}"
        )
    return None


def _number(value: object) -> Number | None:
    """Whole numbers stay whole; what is not finite is no number."""
    if value is None or isinstance(value, int):
        return value
    assert isinstance(value, float | Decimal), value
    number = float(value)
    return number if math.isfinite(number) else None
