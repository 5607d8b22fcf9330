"""The tables of a warehouse with their columns and types, and which metrics they rule out before any query runs."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import assert_never

from phasegate.adapters.warehouse.dialect import table_name
from phasegate.adapters.warehouse.fitting import ColumnType
from phasegate.adapters.warehouse.googlesql import check_sql
from phasegate.core.checks.metrics import (
    Aggregate,
    AnyMetric,
    Checksum,
    CustomSource,
    Distinct,
    ExpectedKeys,
    Fault,
    Newest,
    NotIn,
    NotMatching,
    NullKeys,
    Nulls,
    Orphans,
    OutOfRange,
    PairMetric,
    PairSource,
    PresentKeys,
    Query,
    Referencing,
    Rows,
    Scalar,
    Source,
    Surplus,
    TableSource,
    Unmeasured,
    Violating,
)
from phasegate.core.checks.sql import SqlKind

NUMBERS = ("INT64", "FLOAT64", "NUMERIC")
_MOMENTS = ("DATE", "DATETIME", "TIMESTAMP")
_SAME_TEXT = ("STRING", "INT64", "BOOL", "DATE")
"""Types whose values have the same text in DuckDB and in BigQuery."""

_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"), "INT64"),
    **dict.fromkeys(("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"), "INT64"),
    **dict.fromkeys(("FLOAT", "DOUBLE"), "FLOAT64"),
    **dict.fromkeys(("VARCHAR", "UUID", "ENUM"), "STRING"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"), "DATETIME"),
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMP",
    "DECIMAL": "NUMERIC",
    "BOOLEAN": "BOOL",
    "BLOB": "BYTES",
}


def decimal_digits(declared: str) -> tuple[int, int] | None:
    """The most digits before and after the point of a DuckDB decimal type; None for any other type.

    >>> decimal_digits("DECIMAL(18,3)")
    (15, 3)
    """
    match = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", declared)
    return (int(match[1]) - int(match[2]), int(match[2])) if match else None


def googlesql_type(declared: str) -> str:
    """The GoogleSQL name of a DuckDB type; a type that BigQuery does not have keeps its name."""
    if array := re.fullmatch(r"(.*)\[\d*\]", declared, re.DOTALL):
        return f"ARRAY<{googlesql_type(array[1])}>"
    family = declared.partition("(")[0]
    return _TYPES.get(family, family)


@dataclass(frozen=True, slots=True)
class Table:
    """A table with its GoogleSQL types by lower-case column name.

    Args:
        broken: Why an existing table can't be read.
        digits: Of decimal columns, the most digits before and after the point, where the type does not say it.
        largest: The largest whole number that the warehouse has.
        only_header: It is a CSV file without a row, which says nothing about the types of its columns.
        is_csv: It is read from CSV files.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    broken: str = ""
    digits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    largest: int = 2**63 - 1
    only_header: bool = False
    is_csv: bool = False

    @property
    def column_types(self) -> Mapping[str, ColumnType]:
        """The types of its columns, as far as bounds must know them."""
        usual = {"NUMERIC": (29, 9), "BIGNUMERIC": (38, 38)}
        return {
            name: ColumnType(kind, self.digits.get(name, usual.get(kind, (29, 9))), self.largest)
            for name, kind in self.types.items()
        }


def sql_of(source: Source, metric: AnyMetric) -> Iterator[tuple[str, SqlKind]]:
    """The user's SQL that a number is measured with."""
    if isinstance(source, CustomSource):
        yield source.text, SqlKind.QUERY
    yield from metric.sql


def counted_table(source: Source, metric: AnyMetric) -> TableSource | None:
    """The table whose rows or keys a metric counts, and to which its *where* applies; None for a user's query."""
    match source:
        case TableSource():
            return source
        case PairSource(other=other, other_date=str(day)) if isinstance(metric, PairMetric) and metric.counts_other:
            return TableSource(other, day)
        case PairSource(table, day):
            return TableSource(table, day)
        case CustomSource():
            return None
        case _:
            assert_never(source)


@dataclass(frozen=True, slots=True)
class _Required:
    """A table that a number needs, with its run date column and the other columns."""

    table: str
    date: str | None
    columns: tuple[str, ...] = ()


def _required(source: Source, metric: AnyMetric) -> tuple[_Required, ...]:
    match source, metric:
        case CustomSource(), _:
            return ()  # only the warehouse knows which tables a query reads
        case PairSource(), PairMetric():
            own = [_Required(source.table, source.date, metric.own_columns)] if metric.own_columns else []
            day = source.other_date if metric.needs_other_date else None
            other = [_Required(source.other, day, metric.other_columns)] if metric.other_columns else []
            return (*other, *own) if metric.counts_other else (*own, *other)
        case _:
            return (_Required(source.table, source.date, metric.own_columns),)


class Catalogue:
    """The tables of a warehouse by `dataset.table`; names are case-sensitive, as in BigQuery."""

    def __init__(self, tables: Mapping[str, Table], database: str = "") -> None:
        self._tables = tables
        self.database = database
        """On DuckDB the database that holds the tables."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every table as `dataset.table`, those that can't be read included."""
        return tuple(sorted(self._tables))

    def types(self, table: str) -> Mapping[str, str] | Unmeasured:
        """Type by lower-case column name."""
        return self._table_fault(_Required(table, None)) or self._types(table)

    def column_types(self, source: Source) -> Mapping[str, ColumnType]:
        """The types of a table's columns, as far as bounds must know them; none for a user's query."""
        if isinstance(source, CustomSource):
            return {}
        return self._tables.get(_without_project(source.table), Table()).column_types

    def faults(self, query: Query) -> dict[AnyMetric, Unmeasured]:
        """The metrics that can't be measured here, or not as BigQuery would."""
        return {metric: fault for metric in query.metrics if (fault := self._fault(query.source, metric))}

    def missing(self, table: str, column: str) -> Unmeasured | None:
        """The fault of a column that does not exist, with the closest name; None when it exists."""
        types = self._types(table)
        if column.lower() in types:
            return None
        return Unmeasured(Fault.COLUMN, f"table {table} has no column {column}{_suggestion(column.lower(), types)}")

    def floats(self, source: Source, metric: AnyMetric) -> tuple[TableSource, tuple[str, ...]] | None:
        """The table and its columns that may hold NaN and are named in the user's SQL of a metric.

        DuckDB treats NaN as the greatest number and equal to itself; in BigQuery every comparison with it is false.
        """
        if (table := counted_table(source, metric)) is None:
            return None
        words = {word.lower() for text, _ in sql_of(source, metric) for word in re.findall(r"\w+", text)}
        columns = tuple(column for column, kind in self._types(table.table).items() if kind == "FLOAT64" and column in words)
        return (table, columns) if columns else None

    def _types(self, table: str) -> Mapping[str, str]:
        return self._tables.get(_without_project(table), Table()).types

    def _type(self, table: str, column: str) -> str:
        return self._types(table)[column.lower()]

    def _fault(self, source: Source, metric: AnyMetric) -> Unmeasured | None:
        for required in _required(source, metric):
            if fault := self._table_fault(required):
                return fault
            for column in required.columns:
                if fault := self.missing(required.table, column):
                    return fault
        for text, kind in sql_of(source, metric):
            if reason := check_sql(text, kind):
                return Unmeasured(Fault.REFUSED, reason)
        return self._type_fault(source, metric)

    def is_only_header(self, source: Source) -> bool:
        """True when a table, or one of a compared pair, is a CSV file without a row."""
        names = [source.table] if isinstance(source, TableSource) else []
        names = [source.table, source.other] if isinstance(source, PairSource) else names
        return any(self._tables.get(_without_project(name), Table()).only_header for name in names)

    def _table_fault(self, required: _Required) -> Unmeasured | None:
        """Why nothing in a table can be measured."""
        name = _without_project(required.table)
        if name not in self._tables:
            return Unmeasured(Fault.TABLE, f"there is no table {name}{_suggestion(name, self._tables)}")
        if broken := self._tables[name].broken:
            return Unmeasured(Fault.TABLE, broken)
        if required.date is None:
            return None
        if fault := self.missing(required.table, required.date):
            return fault
        kind = self._type(required.table, required.date)
        if kind == "DATE" or self._tables[name].only_header:
            return None
        iso = "; in a CSV file, write dates like 2024-02-05" if self._tables[name].is_csv and kind == "STRING" else ""
        return Unmeasured(Fault.COLUMN, f"{required.table}.{required.date} is {kind}, a run date column must be DATE{iso}")

    def _type_fault(self, source: Source, metric: AnyMetric) -> Unmeasured | None:
        """Why a metric does not work on columns of these types: BigQuery would refuse it, or DuckDB answer differently."""
        if self.is_only_header(source):
            return None
        match metric:
            case NotIn(column, values):
                return self._value_fault(source.table, column, values)
            case OutOfRange(column, low, high, _, above, below):
                return self._value_fault(source.table, column, [each for each in (low, high, above, below) if each is not None])
            case Newest(column):
                kind = self._type(source.table, column)
                reason = f"{source.table}.{column} is {kind}, expected {', '.join(_MOMENTS)}"
                return None if kind in _MOMENTS else Unmeasured(Fault.COLUMN, reason)
            case NotMatching(column):
                kind = self._type(source.table, column)
                reason = f"{source.table}.{column} is {kind}, whose text is not known to be the same on DuckDB as in BigQuery"
                return None if kind in _SAME_TEXT else Unmeasured(Fault.REFUSED, reason)
            case Orphans(columns, other_columns) | PresentKeys(other_columns, columns):
                assert isinstance(source, PairSource), "a comparison is measured on a pair"
                return self._key_fault(source, columns, other_columns)
            case Rows() | Nulls() | NullKeys() | Surplus() | Distinct() | Checksum() | Referencing() | ExpectedKeys():
                return None
            case Violating() | Aggregate():
                return None  # the warehouse checks the types in the user's SQL
            case _:
                assert_never(metric)

    def _value_fault(self, table: str, column: str, values: Iterable[Scalar]) -> Unmeasured | None:
        kind = self._type(table, column)
        for value in values:
            fitting = ("BOOL",) if isinstance(value, bool) else ("STRING", *_MOMENTS) if isinstance(value, str) else NUMBERS
            if kind not in fitting:
                shown = f'the text "{value}"' if isinstance(value, str) else str(value)
                return Unmeasured(Fault.COLUMN, f"{table}.{column} is {kind}, which can't be compared with {shown}")
        return None

    def _key_fault(self, pair: PairSource, columns: Sequence[str], other_columns: Sequence[str]) -> Unmeasured | None:
        for column, other in zip(columns, other_columns, strict=True):
            kinds = self._type(pair.table, column), self._type(pair.other, other)
            types = f"{pair.table}.{column} is {kinds[0]}, {pair.other}.{other} is {kinds[1]}"
            if "FLOAT64" in kinds:
                return Unmeasured(Fault.REFUSED, f"{types}; NaN equals itself on DuckDB, and does not in BigQuery")
            if kinds[0] != kinds[1] and not {*kinds} <= {*NUMBERS}:
                return Unmeasured(Fault.COLUMN, f"{types}; they can't be compared")
        return None


def _without_project(table: str) -> str:
    return ".".join(table_name(table)[-2:])


def _suggestion(word: str, names: Iterable[str]) -> str:
    close = get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
