"""The SQL of a pipeline file, checked before any warehouse sees it."""

from collections.abc import Callable, Iterator

from phasegate.core.checks.kinds import Matches
from phasegate.core.checks.sql import SqlKind
from phasegate.core.field_syntax import place
from phasegate.core.pipeline.model import Pipeline
from phasegate.core.pipeline.sql import sql_texts
from phasegate.errors import ConfigError, Problem

SqlCheck = Callable[[str, SqlKind], str | None]
"""Why only BigQuery can run a piece of SQL; None when DuckDB can, too. Raises ConfigError for SQL that does not parse."""


def syntax_problems(pipeline: Pipeline, check: SqlCheck) -> Iterator[Problem]:
    """The pieces of SQL in a pipeline file that do not parse."""
    for path, text, kind in sql_texts(pipeline):
        try:
            check(text, kind)
        except ConfigError as error:
            yield Problem(path, str(error))


PatternCheck = Callable[[str], str | None]
"""Why RE2 does not take a pattern; None when it does."""


def pattern_problems(pipeline: Pipeline, check: PatternCheck) -> Iterator[Problem]:
    """The patterns in a pipeline file that RE2 does not take."""
    for at, each in pipeline.written_checks():
        if isinstance(each, Matches) and (reason := check(each.pattern)):
            yield Problem(place(*at, "pattern"), f"expected a pattern that RE2 accepts ({reason})", f'"{each.pattern}"')


def bigquery_only(pipeline: Pipeline, check: SqlCheck) -> Iterator[Problem]:
    """The pieces of SQL that DuckDB may not answer as BigQuery does, each with the reason."""
    for path, text, kind in sql_texts(pipeline):
        if reason := check(text, kind):
            yield Problem(path, reason)
