"""A warehouse on one machine: a DuckDB file, or a folder of Parquet and CSV files."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb

from phasegate.adapters.warehouse.catalogue import Catalogue, Table, googlesql_type, sql_of
from phasegate.adapters.warehouse.dialect import Dialect, render
from phasegate.adapters.warehouse.googlesql import check_sql
from phasegate.adapters.warehouse.isolation import IsolatedQuery, PartialAnswer, StatementFailed, numbers, unusable
from phasegate.core.checks.metrics import (
    Answer,
    AnyMetric,
    Cost,
    CustomSource,
    ExpectedKeys,
    Fault,
    OutOfRange,
    PairSource,
    PresentKeys,
    Query,
    Source,
    Unmeasured,
)
from phasegate.core.field_syntax import Span
from phasegate.errors import WarehouseError
from phasegate.installation import platform as described

_NOT_THE_DATABASE = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)
"""What was asked, or what it was asked of, is at fault; any other error is the database's."""

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
                yield _Asked(connection, catalogue, query, span).answer()

    def describe_table(self, name: str) -> described.Table | None:
        """See `Tables.describe_table`. Nothing is partitioned here."""
        with self._opened() as connection:
            found = self._catalogue(connection).types(name)
        if isinstance(found, Unmeasured):
            if found.fault is Fault.TABLE and not self._is_there(name):
                return None
            raise WarehouseError(found.reason, retryable=found.retryable)
        return described.Table(found)

    def tables_in(self, dataset: str) -> Sequence[str]:
        """See `Tables.tables_in`."""
        with self._opened() as connection:
            names = self._catalogue(connection).names
        local = dataset.rpartition(".")[2]
        return tuple(f"{dataset}.{table}" for name in names for own, _, table in [name.partition(".")] if own == local)

    def _is_there(self, name: str) -> bool:
        return name in self.tables_in(name.rpartition(".")[0])

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


class _Asked:
    """One query, to be answered."""

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
        return Answer(query, numbers(query, parts, unmeasured), unmeasured, types, Cost(self._statements))

    def _ask(self, source: Source, metrics: tuple[AnyMetric, ...]) -> Sequence[PartialAnswer]:
        asking = IsolatedQuery(partial(self._run, source))
        asking.ask(metrics)
        self._unmeasured |= asking.unmeasured
        for part in asking.parts:
            self._unmeasured |= unusable(source, part)
        return asking.parts

    def _run(self, source: Source, metrics: tuple[AnyMetric, ...]) -> PartialAnswer:
        statement = render(Query(source, metrics), self._span, Dialect.DUCKDB)
        self._statements += 1
        try:
            result = self._connection.execute(statement.text, {param.name: param.value for param in statement.params})
            rows = result.fetchall()
        except _NOT_THE_DATABASE as exc:
            raise StatementFailed(self._explained(source, metrics[0], exc), of_all=False) from exc
        except duckdb.Error as exc:
            fault = Unmeasured(Fault.UNAVAILABLE, f"the warehouse failed: {_first_line(exc)}")
            raise StatementFailed(fault, of_all=True) from exc
        return PartialAnswer(metrics, tuple(_type(str(column[1])) for column in result.description), rows)

    def _explained(self, source: Source, metric: AnyMetric, error: Exception) -> Unmeasured:
        """Why one number was refused."""
        said = _first_line(error)
        table = (
            source.other if isinstance(source, PairSource) and isinstance(metric, ExpectedKeys | PresentKeys) else source.table
        )
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

    def _refuse_nans(self, guarded: Mapping[AnyMetric, list[AnyMetric]], parts: Sequence[PartialAnswer]) -> None:
        found = {part.metrics[n - 1] for part in parts for row in part.rows for n in range(1, len(row)) if row[n]}
        for guard, metrics in guarded.items():
            assert isinstance(guard, OutOfRange)
            said = f"column {guard.column} holds NaN, which DuckDB does not compare as BigQuery does"
            fault = Unmeasured(Fault.REFUSED, said) if guard in found else self._unmeasured.get(guard)
            if fault is not None:
                self._unmeasured |= dict.fromkeys(metrics, fault)


def _type(declared: str) -> str:
    """A bare NULL is an INT64 in GoogleSQL."""
    return "INT64" if declared == '"NULL"' else googlesql_type(declared)
