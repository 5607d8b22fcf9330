"""A warehouse on one machine: a DuckDB file, or a folder of Parquet and CSV files."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import duckdb

from phasegate.adapters.warehouse.catalogue import Catalogue, Table, counted_table, decimal_digits, googlesql_type, sql_of
from phasegate.adapters.warehouse.dialect import Dialect, render
from phasegate.adapters.warehouse.folder import FolderTable, tables
from phasegate.adapters.warehouse.googlesql import check_sql, values_of_nothing
from phasegate.adapters.warehouse.isolation import IsolatedQuery, PartialAnswer, StatementFailed, numbers, unusable
from phasegate.core.checks.metrics import (
    Answer,
    AnyMetric,
    Cost,
    Fault,
    OutOfRange,
    Query,
    Source,
    TableSource,
    Unmeasured,
)
from phasegate.core.field_syntax import Span
from phasegate.errors import WarehouseError
from phasegate.installation import platform as described

_NOT_THE_DATABASE = (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError)
"""The statement or the data is at fault; any other error is the database's."""

_LARGEST = 2**127 - 1
"""The largest whole number of a column: HUGEINT's."""

_COLUMNS = """
SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()
WHERE NOT internal AND database_name = current_database() ORDER BY column_index
"""


class DuckDBWarehouse:
    """Measures the tables of a DuckDB file or of a folder. Read only.

    Args:
        path: A database file; it is open only while something is measured, so that a loader can write in between. Or a folder
            of files, see `folder`.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        """See `Warehouse.measure`. SQL that is not known to mean the same here as in BigQuery is `Fault.REFUSED`."""
        # Wrong SQL stops the whole measurement, so all of it is parsed before the first statement runs.
        for query in queries:
            for metric in query.metrics:
                for text, kind in sql_of(query.source, metric):
                    check_sql(text, kind)
        with self._opened() as connection:
            catalogue = self._catalogue(connection)
            for query in queries:
                yield _Measurement(connection, catalogue, query, span).answer()

    def describe_table(self, name: str) -> described.Table | None:
        """See `Tables.describe_table`. Nothing is partitioned here."""
        with self._opened() as connection:
            types = self._catalogue(connection).types(name)
        if isinstance(types, Unmeasured):
            if types.fault is Fault.TABLE and not self._exists(name):
                return None
            raise WarehouseError(types.reason, retryable=types.retryable)
        return described.Table(types)

    def tables_in(self, dataset: str) -> Sequence[str]:
        """See `Tables.tables_in`."""
        with self._opened() as connection:
            names = self._catalogue(connection).names
        local = dataset.rpartition(".")[2]
        return tuple(f"{dataset}.{table}" for name in names for own, _, table in [name.partition(".")] if own == local)

    def _exists(self, name: str) -> bool:
        return name in self.tables_in(name.rpartition(".")[0])

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        if not self._path.exists():
            raise WarehouseError(f"no warehouse at {self._path}", retryable=False)
        try:
            connection = duckdb.connect() if self._path.is_dir() else duckdb.connect(self._path, read_only=True)
        except duckdb.Error as exc:
            # A writer in this process gives a ConnectionException, one in another process an IOException.
            locked = isinstance(exc, duckdb.ConnectionException) or "lock" in str(exc)
            reason = "it is open for writing" if locked else _first_line(exc)
            raise WarehouseError(f"can't open the warehouse at {self._path}: {reason}", retryable=locked) from exc
        with connection:
            # DuckDB casts and prints TIMESTAMPTZ in the session's zone; BigQuery always does so in UTC.
            connection.execute("SET TimeZone = 'UTC'")
            yield connection

    def _catalogue(self, connection: duckdb.DuckDBPyConnection) -> Catalogue:
        try:
            found = tuple(tables(self._path)) if self._path.is_dir() else ()
            broken = dict(_make_views(connection, found))
            files = {table.full_name: table for table in found}
        except OSError as exc:
            raise WarehouseError(f"can't open the warehouse at {self._path}: {exc.strerror}", retryable=False) from exc
        types: dict[str, dict[str, str]] = {}
        digits: dict[str, dict[str, tuple[int, int]]] = {}
        for dataset, table, column, declared in connection.execute(_COLUMNS).fetchall():
            types.setdefault(f"{dataset}.{table}", {})[column.lower()] = googlesql_type(declared)
            if decimal := decimal_digits(declared):
                digits.setdefault(f"{dataset}.{table}", {})[column.lower()] = decimal
        readable = {
            name: Table(
                columns,
                digits=digits.get(name, {}),
                largest=_LARGEST,
                only_header=name in files and files[name].is_only_header,
                is_csv=name in files and files[name].is_csv,
            )
            for name, columns in types.items()
        }
        (database,) = connection.execute("SELECT current_database()").fetchone() or ("",)
        return Catalogue(readable | {name: Table(broken=reason) for name, reason in broken.items()}, database)


def _make_views(connection: duckdb.DuckDBPyConnection, found: Iterable[FolderTable]) -> Iterator[tuple[str, str]]:
    """Make a view of each table of a folder; yields the tables that can't be read, with the reason."""
    views: dict[str, FolderTable] = {}
    for table in found:
        name = table.full_name
        if name in views:
            yield name, f"table {name} exists twice, as {views[name].path.name} and as {table.path.name}"
            continue
        views[name] = table
        if table.problem:
            yield name, f"table {name} can't be read: {table.problem}"
            continue
        try:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_identifier(_MEMORY, table.dataset)}")
            view = _identifier(_MEMORY, table.dataset, table.name)
            connection.execute(f"CREATE VIEW {view} AS SELECT * FROM {table.source}")  # noqa: S608
        except duckdb.Error as exc:
            files = f" ({table.files[0].name})" if len(table.files) == 1 else ""
            yield name, f"table {name}{files} can't be read: {_first_line(exc)}"


_MEMORY = "memory"
"""The catalogue of a connection without a file, where the views of a folder are."""


def _identifier(*names: str) -> str:
    # All three parts: a dataset may be called like a catalogue.
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def _first_line(error: Exception) -> str:
    """The message of an error, without its class, the statement and values of the data."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith("Original Line:")]
    line = re.sub(r"^[A-Z][\w ]* Error: ", "", lines[0]) if lines else ""
    if line.startswith("CSV Error on Line") and len(lines) > 1:
        return f"{line}: " + re.sub(r'string "[^"]*"', "a value", lines[1])
    return re.sub(r"'[^']*'", "'…'", line) if isinstance(error, duckdb.DataError) else line


class _Measurement:
    """One query in progress."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, catalogue: Catalogue, query: Query, span: Span) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._query = query
        self._span = span
        self._statements = 0
        self._unmeasured = catalogue.faults(query)

    def answer(self) -> Answer:
        """The numbers, and why some could not be measured."""
        query = self._query
        types = self._catalogue.types(query.source.table) if query.types else None
        measurable = tuple(metric for metric in query.metrics if metric not in self._unmeasured)
        guards = self._nan_guards(measurable)
        parts = self._measure(query.source, (*measurable, *guards.get(query.source, ())))
        for source, guarded in guards.items():
            self._refuse_nans(guarded, parts if source == query.source else self._measure(source, tuple(guarded)))
        unmeasured = {metric: self._unmeasured[metric] for metric in query.metrics if metric in self._unmeasured}
        return Answer(
            query,
            numbers(query, parts, unmeasured),
            unmeasured,
            types,
            Cost(self._statements),
            values_of_nothing(query.metrics),
        )

    def _measure(self, source: Source, metrics: tuple[AnyMetric, ...]) -> Sequence[PartialAnswer]:
        isolated = IsolatedQuery(partial(self._run, source))
        isolated.run(metrics)
        self._unmeasured |= isolated.unmeasured
        for part in isolated.parts:
            self._unmeasured |= unusable(source, part)
        return isolated.parts

    def _run(self, source: Source, metrics: tuple[AnyMetric, ...]) -> PartialAnswer:
        if isinstance(source, TableSource) and self._catalogue.is_only_header(source):
            return PartialAnswer(metrics, ("DATE", *["INT64"] * len(metrics)), [])
        types, database = self._catalogue.column_types(source), self._catalogue.database
        statement = render(Query(source, metrics), self._span, Dialect.DUCKDB, types, catalogue=database)
        self._statements += 1
        try:
            result = self._connection.execute(statement.text, {param.name: param.value for param in statement.params})
            rows = result.fetchall()
        except _NOT_THE_DATABASE as exc:
            raise StatementFailed(self._explain(source, metrics[0], exc), of_all=False) from exc
        except duckdb.Error as exc:
            fault = Unmeasured(Fault.UNAVAILABLE, f"the warehouse failed: {_first_line(exc)}")
            raise StatementFailed(fault, of_all=True) from exc
        return PartialAnswer(metrics, tuple(_type(str(column[1])) for column in result.description), rows)

    def _explain(self, source: Source, metric: AnyMetric, error: Exception) -> Unmeasured:
        """Why a statement with this metric was refused."""
        message = _first_line(error)
        counted = counted_table(source, metric)
        name = "the query" if counted is None else f"table {counted.table}"
        if match := re.match(r'Referenced column "(.+?)" not found|Table ".+?" does not have a column named "(.+?)"', message):
            column = match[1] or match[2]
            missing = None if counted is None else self._catalogue.missing(counted.table, column)
            return missing or Unmeasured(Fault.COLUMN, f"{name} has no column {column}")
        if match := re.match(r'Table with name "?(.+?)"? does not exist', message):
            return Unmeasured(Fault.TABLE, f"there is no table {match[1]}")
        return Unmeasured(Fault.SQL, f"{name}: {message}")

    def _nan_guards(self, metrics: Iterable[AnyMetric]) -> dict[Source, dict[AnyMetric, list[AnyMetric]]]:
        """Per table, metrics that count the NaN of a column in the user's SQL, each with the metrics that depend on it.

        DuckDB and BigQuery compare NaN differently, so a number from user's SQL is trusted only where its columns have none.
        """
        guards: dict[Source, dict[AnyMetric, list[AnyMetric]]] = {}
        for metric in metrics:
            if floats := self._catalogue.floats(self._query.source, metric):
                source, columns = floats
                for column in columns:
                    guard = OutOfRange(column, -math.inf, math.inf)
                    guards.setdefault(source, {}).setdefault(guard, []).append(metric)
        return guards

    def _refuse_nans(self, guarded: Mapping[AnyMetric, list[AnyMetric]], parts: Sequence[PartialAnswer]) -> None:
        with_nan = {part.metrics[n - 1] for part in parts for row in part.rows for n in range(1, len(row)) if row[n]}
        for guard, metrics in guarded.items():
            assert isinstance(guard, OutOfRange)
            reason = f"column {guard.column} holds NaN, which DuckDB does not compare as BigQuery does"
            fault = Unmeasured(Fault.REFUSED, reason) if guard in with_nan else self._unmeasured.get(guard)
            if fault is not None:
                self._unmeasured |= dict.fromkeys(metrics, fault)


def _type(declared: str) -> str:
    """The GoogleSQL type of a result's column; there a bare NULL is an INT64."""
    return "INT64" if declared == '"NULL"' else googlesql_type(declared)
