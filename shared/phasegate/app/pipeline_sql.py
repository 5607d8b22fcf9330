"""The SQL of a pipeline file, checked before any warehouse sees it."""

from collections.abc import Callable, Iterator

from phasegate.core.checks.sql import SqlKind
from phasegate.core.pipeline.model import Pipeline
from phasegate.core.pipeline.sql import sql_texts
from phasegate.errors import ConfigError, Problem

SqlCheck = Callable[[str, SqlKind], str | None]
"""Why only BigQuery can run a piece of SQL; None when DuckDB can, too. Raises ConfigError for SQL that does not parse."""


def syntax_problems(pipeline: Pipeline, check: SqlCheck) -> Iterator[Problem]:
    """The pieces of SQL in a pipeline file that do not parse."""
    for place, text, kind in sql_texts(pipeline):
        try:
            check(text, kind)
        except ConfigError as error:
            yield Problem(place, str(error))


def bigquery_only(pipeline: Pipeline, check: SqlCheck) -> Iterator[Problem]:
    """The pieces of SQL that DuckDB may not answer as BigQuery does, each with the reason."""
    for place, text, kind in sql_texts(pipeline):
        if reason := check(text, kind):
            yield Problem(place, reason)
