"""Patterns of `matches`, tried by the RE2 that DuckDB has; BigQuery has the same."""

import duckdb


def pattern_problem(pattern: str) -> str | None:
    """Why RE2 does not take a pattern, in its own words; None when it does."""
    try:
        with duckdb.connect() as connection:
            connection.execute("SELECT regexp_matches('', $pattern)", {"pattern": pattern})
    except duckdb.Error as error:
        return str(error).partition("\n")[0].rpartition("Error: ")[2]
    return None
