"""The SQL of each metric in both dialects, against golden files; PHASEGATE_GOLDEN=write writes them again."""

import os
import re
from dataclasses import fields
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from phasegate.adapters.warehouse.dialect import Dialect, Param, Statement, render, table_name
from phasegate.adapters.warehouse.googlesql import UnsupportedSql
from phasegate.core.checks.metrics import (
    Aggregate,
    AnyMetric,
    Checksum,
    CustomSource,
    Distinct,
    ExpectedKeys,
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
    Surplus,
    TableSource,
    Violating,
)
from phasegate.core.field_syntax import Span
from phasegate.errors import ConfigError

GOLDEN = Path(__file__).parent / "golden"
SPAN = Span(date(2013, 1, 1), date(2013, 12, 31))
FLIGHTS = TableSource("raw.flights", "flight_date")
PAIR = PairSource("clean.flights", "flight_date", "my-project.raw.flights", "day")
FLOWN = "status = 'flown'"

QUERIES = {
    "rows": Query(FLIGHTS, (Rows(), Rows(FLOWN))),
    "nulls": Query(FLIGHTS, (Nulls("tailnum"), Nulls("tailnum", FLOWN))),
    "null_keys": Query(FLIGHTS, (NullKeys(("carrier", "flight")), NullKeys(("carrier", "flight"), FLOWN))),
    "surplus": Query(FLIGHTS, (Surplus(("flight_id",)), Surplus(("flight_id",), FLOWN))),
    "surplus_of_several": Query(FLIGHTS, (Rows(), Surplus(("carrier", "flight")), Surplus(("carrier", "flight"), FLOWN))),
    "distinct": Query(FLIGHTS, (Distinct("carrier"), Distinct("carrier", FLOWN))),
    "not_in": Query(FLIGHTS, (NotIn("origin", ("EWR", "JFK")), NotIn("stops", (0, 1)), NotIn("fare", (0.5, 1)), NotIn("late", (True,)))),
    "not_in_where": Query(FLIGHTS, (NotIn("origin", ("EWR", "JFK"), FLOWN),)),
    "out_of_range": Query(
        FLIGHTS,
        (
            OutOfRange("distance", 0, 6000),
            OutOfRange("distance", 0.5, None, FLOWN),
            OutOfRange("distance", None, 6000),
            OutOfRange("flight_date", "2013-01-01", None),
            OutOfRange("distance", None, None, above=0, below=6000),
        ),
    ),
    "not_matching": Query(FLIGHTS, (NotMatching("tailnum", "^N[0-9A-Z]{1,5}$"), NotMatching("tailnum", "^N", FLOWN))),
    "breaking": Query(FLIGHTS, (Violating("arr_time >= dep_time OR arr_delay > 0.5"), Violating("dep_time > 0", FLOWN))),
    "newest": Query(FLIGHTS, (Newest("loaded_at"), Newest("loaded_at", FLOWN))),
    "aggregate": Query(FLIGHTS, (Aggregate("AVG(dep_delay)"), Aggregate("SAFE_DIVIDE(COUNTIF(late), COUNT(*))"))),
    "aggregate_where": Query(
        FLIGHTS, (Aggregate("AVG(dep_delay)", FLOWN), Rows(), Aggregate("MAX(dep_delay)", FLOWN), Aggregate("SUM(x)", "x > 0 -- late"))
    ),
    "checksum": Query(FLIGHTS, (Rows(), Checksum(("flight_id",)), Checksum(("carrier", "flight_date"), FLOWN))),
    "linked": Query(PAIR, (Referencing(("carrier",)), Referencing(("carrier",), FLOWN))),
    "orphans": Query(PAIR, (Referencing(("carrier", "flight")), Orphans(("carrier", "flight"), ("carrier", "number"), dated=True))),
    "orphans_undated": Query(
        PairSource("raw.flights", "flight_date", "raw.planes", None), (Orphans(("tailnum",), ("tail",), False, FLOWN),)
    ),
    "coverage": Query(PAIR, (ExpectedKeys(("carrier",), FLOWN), PresentKeys(("carrier",), ("airline",), FLOWN))),
    "all_comparisons": Query(
        PAIR, (Referencing(("a",)), Orphans(("a",), ("b",), True), ExpectedKeys(("c",)), PresentKeys(("c",), ("d",)), Orphans(("a",), ("e",), False))
    ),
    "custom": Query(CustomSource("SELECT flight_date FROM raw.flights WHERE flight_date BETWEEN @from AND @to AND a > 0", "flight_date"), (Rows(),)),
    "custom_value": Query(
        CustomSource("WITH s AS (SELECT day, n FROM p-roject.raw.days WHERE day BETWEEN @from AND @to) SELECT day, n FROM s;", "day", "n"),
        (Rows(),),
    ),
}  # fmt: skip
METRICS = [metric for query in QUERIES.values() for metric in query.metrics]
REWRITE = (
    "PHASEGATE_GOLDEN=write .venv/bin/pytest tests/adapters/warehouse/test_dialect.py, and review the new files in golden/"
)


def written(statement: Statement) -> str:
    params = "".join(f"-- {param.name} {param.type} {param.value!r}\n" for param in statement.params)
    return f"{params}{statement.text}\n"


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("name", QUERIES)
def test_every_metric_is_written_as_it_was_reviewed(name: str, dialect: Dialect) -> None:
    got, golden = written(render(QUERIES[name], SPAN, dialect)), GOLDEN / f"{name}.{dialect}.sql"
    if os.environ.get("PHASEGATE_GOLDEN") == "write":
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(got, "utf-8")
    assert golden.exists(), f"run {REWRITE}"
    assert got == golden.read_text("utf-8")


def test_every_metric_has_golden_files() -> None:
    missing = {metric.__name__ for metric in get_args(AnyMetric)} - {type(metric).__name__ for metric in METRICS}
    assert not missing, f"add a query with {missing} to QUERIES, then run {REWRITE}"


def test_every_metric_has_a_golden_file_with_a_condition() -> None:
    missing = {type(metric).__name__ for metric in METRICS} - {type(metric).__name__ for metric in METRICS if metric.where}
    assert not missing, f"add {missing} with *where* to QUERIES, then run {REWRITE}"


def identifiers(text: str) -> set[str]:
    """Every quoted name in a statement for BigQuery, where the user's SQL is not quoted."""
    return set(re.findall(r"`([^`]+)`", text))


@pytest.mark.parametrize("name", QUERIES)
def test_metrics_declare_the_columns_that_they_are_written_with(name: str) -> None:
    """The catalogue finds missing columns, and the doctor lists needed ones, by what a metric declares."""
    for metric in QUERIES[name].metrics:
        query = Query(QUERIES[name].source, (metric,))
        others = metric.other_columns if isinstance(metric, PairMetric) else ()
        names = {"table": query.source.table, "other": getattr(query.source, "other", "")}
        not_columns = {part for table in names.values() for part in table.split(".")}
        not_columns |= {query.source.date, getattr(query.source, "other_date", None), getattr(query.source, "value", None)}
        written = identifiers(render(query, SPAN, Dialect.BIGQUERY).text) - not_columns
        declared = {*metric.own_columns, *others} - not_columns
        assert written == declared, f"{type(metric).__name__} declares the columns {declared}, its SQL has {written}"


@pytest.mark.parametrize("name", QUERIES)
def test_metrics_declare_the_users_sql_that_they_are_written_with(name: str) -> None:
    """Undeclared SQL would not be parsed before it is sent."""
    for metric in QUERIES[name].metrics:
        written = render(Query(QUERIES[name].source, (metric,)), SPAN, Dialect.BIGQUERY).text
        texts = {value for field in fields(metric) if isinstance(value := getattr(metric, field.name), str)}
        columns = {*metric.own_columns, *(metric.other_columns if isinstance(metric, PairMetric) else ())}
        users_sql = {text for text in texts - columns if text in written}
        declared = {text for text, _ in metric.sql}
        assert users_sql == declared, f"{type(metric).__name__} declares the SQL {declared}, it is written with {users_sql}"


def test_there_is_a_query_for_every_golden_file() -> None:
    extra = {path.name for path in GOLDEN.iterdir()} - {f"{name}.{dialect}.sql" for name in QUERIES for dialect in Dialect}
    assert not extra, f"no query in QUERIES writes {extra}: remove it, or add the query"


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("name", QUERIES)
def test_filters_do_not_wrap_the_date_column_in_a_function(name: str, dialect: Dialect) -> None:
    text = re.sub(r"[`\"]", "", render(QUERIES[name], SPAN, dialect).text)
    mark = "$" if dialect is Dialect.DUCKDB else "@"
    assert re.search(rf"WHERE \w+ BETWEEN \{mark}from AND \{mark}to", text)


@pytest.mark.parametrize("dialect", Dialect)
def test_no_value_is_written_into_the_text(dialect: Dialect) -> None:
    evil = "x'); DROP TABLE raw.flights; --"
    statement = render(
        Query(FLIGHTS, (NotIn("a", (evil,)), OutOfRange("a", evil, evil), NotMatching("a", evil))), SPAN, dialect
    )

    assert "DROP" not in statement.text
    assert [param.value for param in statement.params[2:]] == [evil] * 4


def test_values_carry_their_googlesql_types() -> None:
    statement = render(Query(FLIGHTS, (NotIn("a", ("x", 1, 1.5, True)),)), SPAN, Dialect.BIGQUERY)

    assert statement.params == (
        Param("from", "DATE", SPAN.first),
        Param("to", "DATE", SPAN.last),
        Param("p0", "STRING", "x"),
        Param("p1", "INT64", 1),
        Param("p2", "NUMERIC", Decimal("1.5")),
        Param("p3", "BOOL", True),
    )


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize(
    "query",
    [
        Query(TableSource("flights", "d"), (Rows(),)),
        Query(TableSource("raw.flights`", "d"), (Rows(),)),
        Query(TableSource("a.b.c.d", "d"), (Rows(),)),
        Query(TableSource("raw.flights", 'd"'), (Rows(),)),
        Query(FLIGHTS, (Nulls("x(y"),)),
        Query(FLIGHTS, (Surplus(("x", "1.")),)),
        Query(CustomSource("SELECT 1", "d", "x;"), (Rows(),)),
        Query(FLIGHTS, (OutOfRange("x", float("nan"), None),)),
        Query(PairSource("raw.flights", "d", "raw.planes", None), (ExpectedKeys(("x",)),)),
        Query(PairSource("raw.flights", "d", "raw.planes", None), (Orphans(("x",), ("x",), dated=True),)),
    ],
)
def test_invalid_names_and_numbers_are_refused(query: Query, dialect: Dialect) -> None:
    with pytest.raises(ConfigError, match="expected"):
        render(query, SPAN, dialect)


def test_a_project_is_written_for_bigquery_only() -> None:
    query = Query(TableSource("my-project.raw.flights", "d"), (Rows(),))

    assert "FROM `my-project`.`raw`.`flights`" in render(query, SPAN, Dialect.BIGQUERY).text
    assert 'FROM "raw"."flights"' in render(query, SPAN, Dialect.DUCKDB).text
    assert table_name("my-project.raw.flights") == ("my-project", "raw", "flights")


def test_only_duckdb_refuses_sql_that_it_would_answer_differently() -> None:
    query = Query(FLIGHTS, (Violating("a / b > 1"),))

    assert "NOT (a / b > 1)" in render(query, SPAN, Dialect.BIGQUERY).text
    with pytest.raises(UnsupportedSql):
        render(query, SPAN, Dialect.DUCKDB)
