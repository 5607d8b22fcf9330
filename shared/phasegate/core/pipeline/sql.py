"""Every piece of SQL in a pipeline file."""

from collections.abc import Iterator
from enum import StrEnum

from phasegate.core.checks.kinds import AggregateCheck, Check, Coverage, Invariant, PerTable, RowCount, Sql
from phasegate.core.field_syntax import place
from phasegate.core.pipeline.model import Pipeline


class SqlKind(StrEnum):
    """What a piece of GoogleSQL in the pipeline file is."""

    CONDITION = "condition"
    AGGREGATE = "aggregate"
    QUERY = "query"


def sql_texts(pipeline: Pipeline) -> Iterator[tuple[str, str, SqlKind]]:
    """Every piece of GoogleSQL in the file: its place, its text, and what it is."""
    if (expected := pipeline.calendar.expected) is not None:
        if expected.where is not None:
            yield place("calendar", "expected", "where"), expected.where, SqlKind.CONDITION
        if expected.query is not None:
            yield place("calendar", "expected", "query"), expected.query, SqlKind.QUERY
    for name, phase in pipeline.phases.items():
        for group, tables in (("needs", phase.needs), ("outputs", phase.outputs)):
            for table, declared in tables.items():
                for n, check in enumerate(declared.checks):
                    for key, text, kind in _check_sql(check):
                        yield place("phases", name, group, table, "checks", n, check.kind, key), text, kind


def _check_sql(check: Check) -> Iterator[tuple[str, str, SqlKind]]:
    if check.where is not None:
        yield "where", check.where, SqlKind.CONDITION
    match check:
        case Invariant():
            yield "that", check.that, SqlKind.CONDITION
        case AggregateCheck():
            yield "sql", check.sql, SqlKind.AGGREGATE
        case Sql():
            yield "query", check.query, SqlKind.QUERY
        case Coverage(of_where=str(text)):
            yield "of_where", text, SqlKind.CONDITION
        case RowCount(per=PerTable(where=str(text))):
            yield "per", text, SqlKind.CONDITION
