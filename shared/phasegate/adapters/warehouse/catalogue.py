"""What the tables of one machine are like, and which numbers are out of reach before anything is asked of them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from phasegate.adapters.warehouse.dialect import table_name
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
    PairSource,
    PresentKeys,
    Query,
    Referencing,
    Scalar,
    Source,
    Surplus,
    TableSource,
    Unmeasured,
    Violating,
)
from phasegate.core.pipeline.sql import SqlKind

NUMBERS = ("INT64", "FLOAT64", "NUMERIC")
_MOMENTS = ("DATE", "DATETIME", "TIMESTAMP")
_SAME_TEXT = ("STRING", "INT64", "BOOL", "DATE")
"""Types whose values DuckDB and BigQuery write alike."""

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


def googlesql_type(declared: str) -> str:
    """The GoogleSQL name of a DuckDB type; a type that BigQuery lacks keeps its own."""
    if array := re.fullmatch(r"(.*)\[\d*\]", declared, re.DOTALL):
        return f"ARRAY<{googlesql_type(array[1])}>"
    family = declared.partition("(")[0]
    return _TYPES.get(family, family)


@dataclass(frozen=True, slots=True)
class Table:
    """GoogleSQL types by lower-case column name; *broken* says why a table that is there can't be read."""

    types: Mapping[str, str] = field(default_factory=dict)
    broken: str = ""


def sql_of(source: Source, metric: AnyMetric) -> Iterator[tuple[str, SqlKind]]:
    """The user's SQL that a number rests on."""
    if isinstance(source, CustomSource):
        yield source.text, SqlKind.QUERY
    if metric.where is not None:
        yield metric.where, SqlKind.CONDITION
    if isinstance(metric, Violating):
        yield metric.condition, SqlKind.CONDITION
    if isinstance(metric, Aggregate):
        yield metric.expression, SqlKind.AGGREGATE


@dataclass(frozen=True, slots=True)
class _Need:
    """A table that a number needs, with its run date and other columns."""

    table: str
    date: str | None
    columns: tuple[str, ...] = ()


def _needs(source: Source, metric: AnyMetric) -> tuple[_Need, ...]:
    match source, metric:
        case CustomSource(), _:
            return ()
        case TableSource(table, day), Nulls(column) | Distinct(column) | Newest(column) | NotMatching(column):
            return (_Need(table, day, (column,)),)
        case TableSource(table, day), NotIn(column) | OutOfRange(column):
            return (_Need(table, day, (column,)),)
        case TableSource(table, day), NullKeys(columns) | Surplus(columns) | Checksum(columns):
            return (_Need(table, day, columns),)
        case TableSource(table, day), _:
            return (_Need(table, day),)
        case PairSource(table, day), Referencing(columns):
            return (_Need(table, day, columns),)
        case PairSource(table, day, other, other_day), Orphans(columns, to, dated):
            return _Need(table, day, columns), _Need(other, other_day if dated else None, to)
        case PairSource(table, day, other, other_day), PresentKeys(key, columns):
            return _Need(other, other_day, key), _Need(table, day, columns)
        case PairSource(other=other, other_date=day), ExpectedKeys(key):
            return (_Need(other, day, key),)
    raise AssertionError(f"{metric} can't be asked of {source}")


class Catalogue:
    """The tables of a warehouse by `dataset.table`, spelt exactly, as in BigQuery."""

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    @property
    def names(self) -> tuple[str, ...]:
        """Every table, those that can't be read among them, as `dataset.table`."""
        return tuple(sorted(self._tables))

    def types(self, table: str) -> Mapping[str, str] | Unmeasured:
        """Type by lower-case column name."""
        return self._table_fault(_Need(table, None)) or self._types(table)

    def faults(self, query: Query) -> dict[AnyMetric, Unmeasured]:
        """The numbers that can't be measured here, or not as BigQuery would."""
        return {metric: fault for metric in query.metrics if (fault := self._fault(query.source, metric))}

    def missing(self, table: str, column: str) -> Unmeasured | None:
        """Says that a column is not there, and which may have been meant; None when it is."""
        types = self._types(table)
        if column.lower() in types:
            return None
        return Unmeasured(Fault.COLUMN, f"table {table} has no column {column}{_meant(column.lower(), types)}")

    def floats(self, source: Source, metric: AnyMetric) -> tuple[TableSource, tuple[str, ...]] | None:
        """The table and those of its columns that may hold NaN and are named in the user's SQL of a number.

        DuckDB compares NaN as the greatest number and equal to itself, BigQuery finds every comparison with it false.
        """
        match source, metric:
            case TableSource(), _:
                place = source
            case PairSource(other=other, other_date=str(day)), ExpectedKeys() | PresentKeys():
                place = TableSource(other, day)
            case PairSource(table, day), _:
                place = TableSource(table, day)
            case _:
                return None
        words = {word.lower() for text, _ in sql_of(source, metric) for word in re.findall(r"\w+", text)}
        found = tuple(column for column, kind in self._types(place.table).items() if kind == "FLOAT64" and column in words)
        return (place, found) if found else None

    def _types(self, table: str) -> Mapping[str, str]:
        return self._tables.get(_local(table), Table()).types

    def _fault(self, source: Source, metric: AnyMetric) -> Unmeasured | None:
        for need in _needs(source, metric):
            if fault := self._table_fault(need):
                return fault
            for column in need.columns:
                if fault := self.missing(need.table, column):
                    return fault
        for text, kind in sql_of(source, metric):
            if reason := check_sql(text, kind):
                return Unmeasured(Fault.REFUSED, reason)
        return self._unfit(source, metric)

    def _table_fault(self, need: _Need) -> Unmeasured | None:
        """Why nothing of a table can be measured."""
        name = _local(need.table)
        if name not in self._tables:
            return Unmeasured(Fault.TABLE, f"there is no table {name}{_meant(name, self._tables)}")
        if broken := self._tables[name].broken:
            return Unmeasured(Fault.TABLE, broken)
        if need.date is None:
            return None
        if fault := self.missing(need.table, need.date):
            return fault
        found = self._types(need.table)[need.date.lower()]
        said = f"{need.table}.{need.date} is {found}, a run date column must be DATE"
        return None if found == "DATE" else Unmeasured(Fault.COLUMN, said)

    def _unfit(self, source: Source, metric: AnyMetric) -> Unmeasured | None:
        """Why the types of its columns don't allow a number: BigQuery would refuse it, or answer otherwise."""
        match metric:
            case NotIn(column, values):
                return self._unlike(source.table, column, values)
            case OutOfRange(column, low, high):
                return self._unlike(source.table, column, [bound for bound in (low, high) if bound is not None])
            case Newest(column) if (found := self._types(source.table)[column.lower()]) not in _MOMENTS:
                return Unmeasured(Fault.COLUMN, f"{source.table}.{column} is {found}, expected {', '.join(_MOMENTS)}")
            case NotMatching(column) if (found := self._types(source.table)[column.lower()]) not in _SAME_TEXT:
                said = f"{source.table}.{column} is {found}, whose text is not known to be the same on DuckDB as in BigQuery"
                return Unmeasured(Fault.REFUSED, said)
            case Orphans(columns, other_columns) | PresentKeys(other_columns, columns) if isinstance(source, PairSource):
                return self._incomparable(source, columns, other_columns)
        return None

    def _unlike(self, table: str, column: str, values: Iterable[Scalar]) -> Unmeasured | None:
        found = self._types(table)[column.lower()]
        for value in values:
            fitting = ("BOOL",) if isinstance(value, bool) else ("STRING", *_MOMENTS) if isinstance(value, str) else NUMBERS
            if found not in fitting:
                what = f'the text "{value}"' if isinstance(value, str) else str(value)
                return Unmeasured(Fault.COLUMN, f"{table}.{column} is {found}, which can't be compared with {what}")
        return None

    def _incomparable(self, pair: PairSource, columns: Sequence[str], other_columns: Sequence[str]) -> Unmeasured | None:
        for column, other in zip(columns, other_columns, strict=True):
            left, right = (self._types(pair.table)[column.lower()], self._types(pair.other)[other.lower()])
            said = f"{pair.table}.{column} is {left}, {pair.other}.{other} is {right}"
            if "FLOAT64" in (left, right):
                return Unmeasured(Fault.REFUSED, f"{said}; NaN is found equal to itself on DuckDB, and not in BigQuery")
            if left != right and not {left, right} <= {*NUMBERS}:
                return Unmeasured(Fault.COLUMN, f"{said}; they can't be compared")
        return None


def _local(table: str) -> str:
    return ".".join(table_name(table)[-2:])


def _meant(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
