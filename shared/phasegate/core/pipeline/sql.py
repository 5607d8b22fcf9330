"""Every piece of SQL in a pipeline file."""

from collections.abc import Iterator

from phasegate.core.checks.sql import SqlKind
from phasegate.core.field_syntax import place
from phasegate.core.pipeline.model import Pipeline


def sql_texts(pipeline: Pipeline) -> Iterator[tuple[str, str, SqlKind]]:
    """Every piece of GoogleSQL in the file: its place, its text, and what it is."""
    if (expected := pipeline.calendar.expected) is not None:
        if expected.where is not None:
            yield place("calendar", "expected", "where"), expected.where, SqlKind.CONDITION
        if expected.query is not None:
            yield place("calendar", "expected", "query"), expected.query, SqlKind.QUERY
    for at, check in pipeline.written_checks():
        for sql in check.sql_texts():
            yield place(*at, *sql.key), sql.text, sql.kind
