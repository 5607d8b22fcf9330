"""The contract of `phasegate.ports.Warehouse`. A backend is a warehouse and a way to create small tables in it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import xor
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import duckdb
import pytest
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.core.checks.metrics import (
    Aggregate,
    Answer,
    AnyMetric,
    Checksum,
    Comparison,
    Cost,
    CustomSource,
    Distinct,
    ExpectedKeys,
    Fault,
    Metric,
    Newest,
    NotIn,
    NotMatching,
    NullKeys,
    Nulls,
    Number,
    Orphans,
    OutOfRange,
    PairSource,
    PresentKeys,
    Query,
    Referencing,
    Rows,
    Source,
    Surplus,
    TableSource,
    Violating,
)
from phasegate.core.field_syntax import Span
from phasegate.errors import ConfigError
from phasegate.ports import Warehouse

from tests.contracts.conftest import WAREHOUSES

if TYPE_CHECKING:
    from google.cloud.bigquery import Client

MON, TUE, WED = date(2013, 6, 3), date(2013, 6, 4), date(2013, 6, 5)
DAYS = Span(MON, WED)
NAN, INF = float("nan"), float("inf")
FLIGHTS = TableSource("raw.flights", "d")


NO_COERCION = "Cannot compare values of type … and type VARCHAR - an explicit cast is required"
OTHERWISE_IN_THE_EMULATOR: Mapping[str, str] = {
    "test_nan_is_out_of_every_range_and_infinity_only_of_bounded_ones": "NaN >= 0 is true in DuckDB: (3, 1, 2)",
    "test_nan_is_outside_strict_bounds": "NaN > 0 is true in DuckDB: (1, 2)",
    "test_a_strict_bound_that_is_a_date_is_the_whole_day": NO_COERCION,
    "test_bounds_are_of_any_ordered_type[bigquery-DATE-values0-2013-06-04-2013-06-04]": NO_COERCION,
    "test_bounds_are_of_any_ordered_type[bigquery-DATETIME-values1-2013-06-04-2013-06-04 00:00:00]": NO_COERCION,
    "test_bounds_are_of_any_ordered_type[bigquery-TIMESTAMP-values2-2013-06-04 00:00:00-2013-06-04 00:00:00+00]": NO_COERCION,
}
"""Tests that the BigQuery emulator fails, with the error: it runs DuckDB inside. A parameter of type STRING is a DATE, DATETIME
or TIMESTAMP where it is compared with one (GoogleSQL, "Conversion rules", "Parameter coercion")."""


@dataclass(frozen=True)
class Backend:
    """A warehouse, and a way to create a table: its name, its columns in GoogleSQL, its rows."""

    warehouse: Warehouse
    create: Callable[[str, str, Sequence[tuple[object, ...]]], None]


@pytest.fixture
def duckdb_backend(tmp_path: Path) -> Backend:
    path = tmp_path / "warehouse.duckdb"
    names = {
        "INT64": "BIGINT",
        "FLOAT64": "DOUBLE",
        "DATETIME": "TIMESTAMP",
        "TIMESTAMP": "TIMESTAMPTZ",
        "NUMERIC": "DECIMAL(38, 9)",
    }
    duckdb.connect(path).close()

    def create(table: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
        declared = [column.split() for column in columns.split(", ")]
        types = ", ".join(f'"{name}" {names.get(kind, kind)}' for name, kind in declared)
        with duckdb.connect(path) as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {table.split('.')[0]}")
            connection.execute(f"CREATE TABLE {table} ({types})")
            if rows:
                connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(declared))})", rows)  # noqa: S608

    return Backend(DuckDBWarehouse(path), create)


@pytest.fixture
def bigquery_backend(request: pytest.FixtureRequest, bigquery_client: "Client") -> Backend:
    from phasegate.adapters.warehouse.bigquery import BigQueryWarehouse

    from tests.bigquery import create

    for name, error in OTHERWISE_IN_THE_EMULATOR.items():
        if request.node.name in (name, f"{name}[bigquery]"):
            request.applymarker(pytest.mark.xfail(strict=True, reason=error, raises=AssertionError))
    warehouse = BigQueryWarehouse(bigquery_client.project, client=bigquery_client, timeout=30, retry_timeout=5)
    return Backend(warehouse, lambda table, columns, rows: create(bigquery_client, table, columns, rows))


@pytest.fixture(params=WAREHOUSES)
def backend(request: pytest.FixtureRequest) -> Backend:
    made: Backend = request.getfixturevalue(f"{request.param}_backend")
    return made


def ask(backend: Backend, source: Source, *metrics: AnyMetric, span: Span = DAYS) -> Answer:
    [answer] = backend.warehouse.measure([Query(source, metrics)], span)
    return answer


def on(backend: Backend, day: date, source: Source, *metrics: AnyMetric) -> tuple[Number | None, ...]:
    """The numbers of one date; all must have been measured."""
    answer = ask(backend, source, *metrics)
    assert not answer.unmeasured
    return answer.numbers[day]


def one_column(backend: Backend, kind: str, *values: object) -> None:
    """A table whose column x has these values on Monday."""
    backend.create("raw.flights", f"d DATE, x {kind}", [(MON, value) for value in values])


def test_numbers_are_given_per_date_in_the_order_of_the_metrics(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1), (MON, None), (WED, 7)])

    answer = ask(backend, FLIGHTS, Nulls("x"), Rows(), Aggregate("SUM(x)"))

    assert answer.numbers == {MON: (1, 2, 1), WED: (0, 1, 7)}
    assert answer.unmeasured == {} and answer.cost == Cost(queries=1) and answer.types is None


def test_the_span_includes_both_ends_and_nothing_beyond(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE", [(MON + timedelta(days=n),) for n in range(-1, 4)] + [(None,)])

    assert set(ask(backend, FLIGHTS, Rows()).numbers) == {MON, TUE, WED}


def test_an_empty_table_gives_no_date(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [])

    answer = ask(backend, FLIGHTS, Rows(), Surplus(("d", "x")), Aggregate("SUM(x)", "x > 1"), Newest("d"))

    assert answer.numbers == {} and answer.unmeasured == {}


def test_nulls_are_counted(backend: Backend) -> None:
    backend.create(
        "raw.flights", "d DATE, x INT64, y STRING", [(MON, 1, None), (MON, None, None), (MON, None, "a"), (MON, 2, "")]
    )

    assert on(backend, MON, FLIGHTS, Nulls("x"), Nulls("y"), NullKeys(("x", "y"))) == (2, 2, 3)


def test_surplus_rows_are_those_beyond_the_first(backend: Backend) -> None:
    """a, a, a, b has two; rows with a null are excluded."""
    rows = [(MON, "a", 1), (MON, "a", 1), (MON, "a", 1), (MON, "b", 1), (MON, None, 1), (MON, None, 1), (MON, "a", None)]
    backend.create("raw.flights", "d DATE, x STRING, y INT64", [*rows, (TUE, "a", 1), (WED, None, None)])

    answer = ask(
        backend, FLIGHTS, Surplus(("x",)), Surplus(("x", "y")), Surplus(("d", "x", "y")), Surplus(("x", "y"), "x = 'b'")
    )

    assert answer.numbers == {MON: (3, 2, 2, 0), TUE: (0, 0, 0, 0), WED: (0, 0, 0, 0)}


def test_combinations_are_not_confused_by_what_their_parts_contain(backend: Backend) -> None:
    backend.create(
        "raw.flights", "d DATE, x STRING, y STRING", [(MON, 'a"', "b"), (MON, "a", '"b'), (MON, "a,", "b"), (MON, "a", ",b")]
    )

    assert on(backend, MON, FLIGHTS, Surplus(("x", "y"))) == (0,)


KEYS = (
    (MON, "é", 1, True, datetime(2013, 6, 3, 10, tzinfo=UTC)),
    (MON, None, -(2**63), False, datetime(1970, 1, 1, tzinfo=UTC)),
    (MON, "", 2**63 - 1, None, None),
)
KEY = ("d", "s", "n", "b", "t")
TEXTS = (
    "2013-06-03\x1fé\x1f1\x1ftrue\x1f2013-06-03 10:00:00+00",
    "2013-06-03\x1f\x1f-9223372036854775808\x1ffalse\x1f1970-01-01 00:00:00+00",
    "2013-06-03\x1f\x1f9223372036854775807\x1f\x1f",
)


def checksum(*texts: str) -> int:
    return reduce(xor, (int(hashlib.md5(text.encode()).hexdigest()[:15], 16) for text in texts))  # noqa: S324


def test_a_checksum_is_the_same_number_everywhere_and_in_any_order(backend: Backend) -> None:
    """A null counts as an empty text; other metrics find nulls in keys."""
    expected = (checksum(*TEXTS), checksum("1", "-9223372036854775808", "9223372036854775807"))
    backend.create("raw.flights", "d DATE, s STRING, n INT64, b BOOL, t TIMESTAMP", KEYS)
    backend.create("raw.turned", "d DATE, s STRING, n INT64, b BOOL, t TIMESTAMP", KEYS[::-1])

    assert on(backend, MON, FLIGHTS, Checksum(KEY), Checksum(("n",))) == expected
    assert on(backend, MON, TableSource("raw.turned", "d"), Checksum(KEY), Checksum(("n",))) == expected


def test_a_checksum_differs_for_other_values(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x STRING, y STRING", [(MON, "a", "b"), (TUE, "b", "a"), (WED, "ab", None)])

    checksums = [on(backend, day, FLIGHTS, Checksum(("x", "y")))[0] for day in DAYS.days()]
    assert len(set(checksums)) == 3
    assert all(isinstance(number, int) and 0 <= number < 2**60 for number in checksums)


def test_distinct_values_are_counted_without_null(backend: Backend) -> None:
    one_column(backend, "STRING", "a", "A", "a", "é", "e\u0301", "", None)

    assert on(backend, MON, FLIGHTS, Distinct("x"), Distinct("x", "x = 'a'")) == (5, 1)


def test_nan_is_one_value(backend: Backend) -> None:
    one_column(backend, "FLOAT64", NAN, NAN, 1.0, None)

    assert on(backend, MON, FLIGHTS, Distinct("x"), Surplus(("x",)), Surplus(("d", "x"))) == (2, 1, 1)


def test_values_outside_the_accepted_ones_are_counted(backend: Backend) -> None:
    one_column(backend, "STRING", "EWR", "JFK", "jfk", "'; DROP TABLE raw.flights; --", "Zoë", None)

    assert on(backend, MON, FLIGHTS, NotIn("x", ("EWR", "JFK", "Zoë")), NotIn("x", ("'; DROP TABLE raw.flights; --",))) == (
        2,
        4,
    )


@pytest.mark.parametrize(
    ("kind", "values", "accepted", "expected"),
    [
        ("INT64", (1, 2, 3, None), (1, 2), 1),
        ("INT64", (1, 2, 3), (1.0, 2.5), 2),
        ("FLOAT64", (1.0, 0.1, NAN, None), (1, 0.1), 1),
        ("NUMERIC", (Decimal("0.1"), Decimal("0.2")), (0.1,), 1),
        ("BOOL", (True, False, None), (True,), 1),
        ("DATE", (MON, TUE, None), ("2013-06-03",), 1),
    ],
)
def test_accepted_values_are_of_any_type(
    backend: Backend, kind: str, values: tuple[object, ...], accepted: tuple[str | float | bool, ...], expected: int
) -> None:
    one_column(backend, kind, *values)

    assert on(backend, MON, FLIGHTS, NotIn("x", accepted)) == (expected,)


@pytest.mark.parametrize("kind", ["INT64", "FLOAT64", "NUMERIC"])
def test_bounds_are_inclusive_and_null_is_no_violation(backend: Backend, kind: str) -> None:
    one_column(backend, kind, -1, 0, 5, 10, 11, None)

    ranges = (OutOfRange("x", 0, 10), OutOfRange("x", 0, None), OutOfRange("x", None, 10), OutOfRange("x", -0.5, 10.5))
    assert on(backend, MON, FLIGHTS, *ranges, OutOfRange("x", 0, 10, "x > 5")) == (2, 1, 1, 2, 1)


@pytest.mark.parametrize("kind", ["INT64", "FLOAT64", "NUMERIC"])
def test_strict_bounds_are_outside_themselves(backend: Backend, kind: str) -> None:
    one_column(backend, kind, -1, 0, 5, 10, 11, None)

    both = OutOfRange("x", None, None, above=0, below=10)
    between = OutOfRange("x", None, None, above=-0.5, below=10.5)
    single = OutOfRange("x", None, None, above=0), OutOfRange("x", None, None, below=10), OutOfRange("x", 0, None, below=10)
    assert on(backend, MON, FLIGHTS, both, between, *single) == (4, 2, 2, 2, 3)


def test_nan_is_outside_strict_bounds(backend: Backend) -> None:
    one_column(backend, "FLOAT64", NAN, INF, -INF, 1.0, None)

    assert on(backend, MON, FLIGHTS, OutOfRange("x", None, None, above=0), OutOfRange("x", None, None, below=10)) == (2, 2)


def test_a_strict_bound_that_is_a_date_is_the_whole_day(backend: Backend) -> None:
    one_column(backend, "DATETIME", *(datetime(2013, 6, day, hour) for day, hour in ((3, 23), (4, 0), (4, 23), (5, 0))), None)

    strict = OutOfRange("x", None, None, above="2013-06-04"), OutOfRange("x", None, None, below="2013-06-04")
    moment = OutOfRange("x", None, None, above="2013-06-04 00:00:00"), OutOfRange("x", None, None, below="2013-06-04 23:00:00")
    assert on(backend, MON, FLIGHTS, *strict, *moment) == (3, 3, 2, 2)


def test_nan_is_out_of_every_range_and_infinity_only_of_bounded_ones(backend: Backend) -> None:
    one_column(backend, "FLOAT64", NAN, INF, -INF, 1.0, None)

    assert on(backend, MON, FLIGHTS, OutOfRange("x", 0, 10), OutOfRange("x", 0, None), OutOfRange("x", None, 10)) == (3, 2, 2)


@pytest.mark.parametrize(
    ("kind", "values", "low", "high"),
    [
        ("DATE", (MON, TUE, WED), "2013-06-04", "2013-06-04"),
        (
            "DATETIME",
            (datetime(2013, 6, 3, 23), datetime(2013, 6, 4), datetime(2013, 6, 4, 1)),
            "2013-06-04",
            "2013-06-04 00:00:00",
        ),
        (
            "TIMESTAMP",
            tuple(datetime(2013, 6, 4, hour, tzinfo=timezone(timedelta(hours=2))) for hour in (1, 2, 3)),
            "2013-06-04 00:00:00",
            "2013-06-04 00:00:00+00",
        ),
        ("STRING", ("a", "b", "c"), "b", "b"),
        ("STRING", ("1", "10", "2"), "10", "10"),  # as text
    ],
)
def test_bounds_are_of_any_ordered_type(backend: Backend, kind: str, values: tuple[object, ...], low: str, high: str) -> None:
    one_column(backend, kind, *values, None)

    assert on(backend, MON, FLIGHTS, OutOfRange("x", low, high), OutOfRange("x", low, None), OutOfRange("x", None, high)) == (
        2,
        1,
        1,
    )


def test_a_pattern_matches_anywhere(backend: Backend) -> None:
    one_column(backend, "STRING", "N123", "xN123", "n123", "N12\n", "", "Zoë", None)

    patterns = ("N1", "^N[0-9]+$", "(?i)n1", r"ë", r"^\S*$", "N12.")
    assert on(backend, MON, FLIGHTS, *(NotMatching("x", pattern) for pattern in patterns)) == (3, 5, 2, 5, 1, 4)


@pytest.mark.parametrize(
    ("kind", "values"), [("INT64", (12, -12, 3, None)), ("DATE", (date(2012, 1, 1), date(1912, 1, 1), MON, None))]
)
def test_a_pattern_matches_the_text_of_other_types(backend: Backend, kind: str, values: tuple[object, ...]) -> None:
    one_column(backend, kind, *values)

    assert on(backend, MON, FLIGHTS, NotMatching("x", "12"), NotMatching("x", "^-?[12]")) == (1, 1 if kind == "INT64" else 0)


def test_rows_violate_a_condition_when_it_is_false(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64, y INT64", [(MON, 1, 2), (MON, 2, 1), (MON, None, 1), (MON, 3, 3)])

    breaking = (Violating("x <= y"), Violating("x <= y", "x = 3"), Violating("x < y OR y < x"), Violating("x IS NOT NULL"))
    assert on(backend, MON, FLIGHTS, *breaking) == (1, 0, 1, 1)


def test_where_excludes_rows_for_which_it_is_false_or_null(backend: Backend) -> None:
    rows = [(MON, 1, True), (MON, 1, True), (MON, 1, False), (MON, 1, None), (MON, None, True), (TUE, 1, False)]
    backend.create("raw.flights", "d DATE, x INT64, b BOOL", rows)
    where = "b = TRUE"

    metrics: tuple[AnyMetric, ...] = (
        Rows(where),
        Nulls("x", where),
        NullKeys(("x", "b"), where),
        Surplus(("x",), where),
        Surplus(("x", "b"), where),
        Distinct("x", where),
        NotIn("x", (2,), where),
        OutOfRange("x", 2, 3, where),
        NotMatching("x", "2", where),
        Violating("x = 2", where),
        Newest("d", where),
        Aggregate("COUNT(*)", where),
        Checksum(("x", "d"), where),
    )
    missing = {metric.__name__ for metric in get_args(Metric)} - {type(metric).__name__ for metric in metrics}
    assert not missing, f"add {missing} with *where* to this test"

    answer = ask(backend, FLIGHTS, *metrics)

    assert not answer.unmeasured
    assert answer.numbers[MON] == (3, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1370217600, 3, checksum("\x1f2013-06-03"))
    for metric, number in zip(metrics, answer.numbers[TUE], strict=True):
        assert number == (0 if metric.is_count else None), f"{type(metric).__name__}.is_count, on a date without matching rows"


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("DATE", (MON, WED, None), 1370390400),
        ("DATETIME", (datetime(2013, 6, 3, 1, 2, 3, 999999), datetime(2012, 1, 1)), 1370221323),
        (
            "TIMESTAMP",
            (datetime(2013, 6, 3, 3, 2, 3, tzinfo=timezone(timedelta(hours=2))), datetime(2013, 6, 3, 1, tzinfo=UTC)),
            1370221323,
        ),
        ("TIMESTAMP", (datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC),), -1),
        ("TIMESTAMP", (None,), None),
    ],
)
def test_the_newest_time_is_whole_seconds_utc(
    backend: Backend, kind: str, values: tuple[object, ...], expected: int | None
) -> None:
    one_column(backend, kind, *values)

    assert on(backend, MON, FLIGHTS, Newest("x")) == (expected,)


@pytest.mark.parametrize(
    ("kind", "values", "expression", "expected"),
    [
        ("INT64", (1, 2, None), "SUM(x)", 3),
        ("INT64", (1, 2, None), "AVG(x)", 1.5),
        ("INT64", (None,), "SUM(x)", None),
        ("FLOAT64", (1.5, 2.5), "SUM(x)", 4.0),
        ("FLOAT64", (INF, 1.0), "MAX(x)", INF),
        ("NUMERIC", (Decimal("1.25"), Decimal("1.25")), "SUM(x)", Decimal("2.5")),
        ("STRING", ("a", "b", None), "SAFE_DIVIDE(COUNTIF(x = 'a'), COUNT(*))", 1 / 3),
        ("STRING", (None,), "SAFE_DIVIDE(COUNTIF(x = 'a'), COUNT(x))", None),
    ],
)
def test_an_aggregate_is_a_number_as_the_warehouse_has_it_or_none(
    backend: Backend, kind: str, values: tuple[object, ...], expression: str, expected: Number | None
) -> None:
    one_column(backend, kind, *values)

    [got] = on(backend, MON, FLIGHTS, Aggregate(expression))

    assert (got, type(got)) == (expected, type(expected))


def test_aggregates_of_different_rows_are_in_one_statement(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1), (MON, 2), (MON, 3), (TUE, 1)])

    answer = ask(
        backend, FLIGHTS, Aggregate("SUM(x)", "x > 1"), Rows(), Aggregate("MAX(x)", "x < 2"), Aggregate("MIN(x)", "x > 1")
    )

    assert answer.numbers == {MON: (5, 3, 1, 2), TUE: (None, 1, 1, None)}
    assert answer.cost == Cost(queries=1)


def test_names_may_be_reserved_words(backend: Backend) -> None:
    backend.create("raw.group", "from DATE, select INT64, order STRING", [(MON, 1, "a"), (MON, 1, "a")])

    assert on(backend, MON, TableSource("raw.group", "from"), Surplus(("select", "order")), Distinct("order")) == (1, 1)


def test_column_names_are_case_insensitive(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, depTime INT64", [(MON, 1)])

    assert on(backend, MON, TableSource("raw.flights", "D"), Nulls("DEPTIME"), Aggregate("SUM(deptime)")) == (0, 1)


def test_two_tables_are_answered_in_one_call_in_any_order(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE", [(MON,), (MON,)])
    backend.create("raw.weather", "day DATE, x INT64", [(TUE, 5)])
    queries = [Query(FLIGHTS, (Rows(),)), Query(TableSource("raw.weather", "day"), (Rows(), Aggregate("MAX(x)")))]

    answers = {answer.query: answer.numbers for answer in backend.warehouse.measure(queries, DAYS)}

    assert answers == {queries[0]: {MON: (2,)}, queries[1]: {TUE: (1, 5)}}


def test_types_have_their_googlesql_names(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, aB INT64, c FLOAT64, e STRING, f BOOL, g DATETIME, h TIMESTAMP, i NUMERIC", [])

    [answer] = backend.warehouse.measure([Query(FLIGHTS, (Rows(),), types=True)], DAYS)

    names = {
        "d": "DATE",
        "ab": "INT64",
        "c": "FLOAT64",
        "e": "STRING",
        "f": "BOOL",
        "g": "DATETIME",
        "h": "TIMESTAMP",
        "i": "NUMERIC",
    }
    assert answer.types == names


# Pairs.

PLANES = PairSource("raw.flights", "d", "raw.planes", None)
CLEAN = PairSource("raw.flights", "d", "clean.flights", "day")


def test_orphans_of_a_table_without_dates(backend: Backend) -> None:
    rows = [(MON, "N1"), (MON, "N1"), (MON, "N2"), (MON, "N9"), (MON, "N9"), (MON, None), (TUE, "N2"), (WED, None)]
    backend.create("raw.flights", "d DATE, tail STRING", rows)
    backend.create("raw.planes", "tailnum STRING", [("N1",), ("N2",), ("N2",), (None,)])

    answer = ask(backend, PLANES, Referencing(("tail",)), Orphans(("tail",), ("tailnum",), dated=False))

    assert not answer.unmeasured and answer.cost == Cost(queries=1)
    assert {day: numbers for day, numbers in answer.numbers.items() if any(numbers)} == {MON: (5, 2), TUE: (1, 0)}


def test_a_dated_comparison_ignores_partners_of_another_date(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1), (MON, 2), (TUE, 1)])
    backend.create("clean.flights", "day DATE, x INT64", [(MON, 1), (MON, 1), (WED, 2), (date(2013, 1, 1), 1)])

    answer = ask(
        backend, CLEAN, Orphans(("x",), ("x",), dated=True), Orphans(("x",), ("x",), dated=False), Referencing(("x",), "x > 1")
    )

    assert {day: answer.numbers[day] for day in (MON, TUE)} == {MON: (1, 0, 1), TUE: (1, 0, 0)}


def test_keys_of_several_columns_match_as_a_whole(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, a STRING, b INT64", [(MON, "x", 1), (MON, "x", 2), (MON, "y", None), (MON, None, 1)])
    backend.create("clean.flights", "day DATE, c STRING, e INT64", [(MON, "x", 1), (MON, "y", 2), (MON, "y", None)])

    assert on(backend, MON, CLEAN, Referencing(("a", "b")), Orphans(("a", "b"), ("c", "e"), dated=True)) == (2, 1)


def test_coverage_counts_distinct_keys_of_the_other_table_on_the_date(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, a STRING, b INT64", [(MON, "x", 1), (MON, "x", 1), (MON, "z", 9), (TUE, "y", 1)])
    there = [
        (MON, "x", 1, True),
        (MON, "x", 1, True),
        (MON, "y", 1, True),
        (MON, "w", 1, False),
        (MON, None, 1, True),
        (WED, "x", 1, True),
    ]
    backend.create("clean.flights", "day DATE, a STRING, e INT64, due BOOL", there)

    keys, present = ExpectedKeys(("a", "e"), "due = TRUE"), PresentKeys(("a", "e"), ("a", "b"), "due = TRUE")
    answer = ask(backend, CLEAN, keys, present, ExpectedKeys(("a",)), PresentKeys(("a",), ("a",)))

    assert not answer.unmeasured
    assert {day: numbers for day, numbers in answer.numbers.items() if any(numbers)} == {MON: (2, 1, 3, 1), WED: (1, 0, 1, 0)}


def test_all_comparisons_of_a_pair_are_in_one_statement(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1), (MON, 2), (TUE, 2)])
    backend.create("clean.flights", "day DATE, x INT64", [(MON, 1), (MON, 3), (WED, 4)])

    comparisons = (Referencing(("x",)), ExpectedKeys(("x",)), Orphans(("x",), ("x",), dated=True), PresentKeys(("x",), ("x",)))
    missing = {comparison.__name__ for comparison in get_args(Comparison)} - {type(each).__name__ for each in comparisons}
    assert not missing, f"add {missing} to this test"
    answer = ask(backend, CLEAN, *comparisons)

    assert answer.numbers == {MON: (2, 2, 1, 1), TUE: (1, 0, 1, 0), WED: (0, 1, 0, 0)}
    assert answer.cost == Cost(queries=1)


def test_a_table_can_be_compared_with_itself(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, id INT64, before INT64", [(MON, 1, None), (MON, 2, 1), (MON, 3, 7), (TUE, 4, 3)])
    own = PairSource("raw.flights", "d", "raw.flights", "d")

    answer = ask(backend, own, Referencing(("before",)), Orphans(("before",), ("id",), dated=True))

    assert answer.numbers[MON] == (2, 1) and answer.numbers[TUE] == (1, 1)


# Users' queries.


def test_rows_of_a_query_are_counted_by_date_within_the_span(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1), (MON, 2), (WED, 2), (date(2013, 7, 1), 2), (None, 1)])
    source = CustomSource("SELECT d, x FROM raw.flights WHERE x > 1 AND (d IS NULL OR d >= @from OR d <= @to)", "d")

    assert ask(backend, source, Rows()).numbers == {MON: (1,), WED: (1,)}


def test_rows_of_a_query_without_a_date_are_a_fault(backend: Backend) -> None:
    """They belong to no date, and so could be missed on every date."""
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1), (None, 2)])
    source = CustomSource("SELECT d, x FROM raw.flights WHERE d IS NULL OR d BETWEEN @from AND @to", "d")

    unmeasured = ask(backend, source, Rows()).unmeasured[Rows()]

    assert (unmeasured.fault, unmeasured.reason) == (
        Fault.SQL,
        "the query returns rows whose d is null, which belong to no date",
    )


def test_a_query_may_return_the_number_itself(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x FLOAT64", [(MON, 1.5), (MON, 2.5), (TUE, None)])
    text = "SELECT d, SUM(x) AS total FROM raw.flights WHERE d BETWEEN @from AND @to GROUP BY d -- per date"

    assert ask(backend, CustomSource(text, "d", "total"), Rows()).numbers == {MON: (4.0,), TUE: (None,)}


def test_a_query_with_several_numbers_for_a_date_is_a_fault(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1), (MON, 2)])
    source = CustomSource("SELECT d, x FROM raw.flights WHERE d BETWEEN @from AND @to", "d", "x")

    assert ask(backend, source, Rows()).unmeasured[Rows()].fault is Fault.SQL


# Errors.


def test_a_missing_table_fails_its_own_metrics_only(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE", [(MON,)])
    queries = [Query(TableSource("raw.flihgts", "d"), (Rows(), Nulls("x")), types=True), Query(FLIGHTS, (Rows(),))]

    missing, there = sorted(backend.warehouse.measure(queries, DAYS), key=lambda answer: queries.index(answer.query))

    assert {unmeasured.fault for unmeasured in missing.unmeasured.values()} == {Fault.TABLE}
    assert set(missing.unmeasured) == {Rows(), Nulls("x")} and missing.numbers == {} and not isinstance(missing.types, dict)
    assert there.numbers == {MON: (1,)}


def test_a_missing_column_fails_the_metrics_that_need_it_only(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, dep_time INT64", [(MON, 7)])
    bad = (Nulls("dep_tme"), Aggregate("AVG(dep_tme)"), Rows("dep_tme > 1"), Surplus(("d", "nope")))

    answer = ask(backend, FLIGHTS, Rows(), *bad, Aggregate("AVG(dep_time)"))

    assert {metric: unmeasured.fault for metric, unmeasured in answer.unmeasured.items()} == dict.fromkeys(bad, Fault.COLUMN)
    assert "dep_tme" in answer.unmeasured[bad[0]].reason and "\n" not in answer.unmeasured[bad[1]].reason
    assert answer.numbers[MON][0] == 1 and answer.numbers[MON][-1] == 7.0


def test_a_run_date_column_of_another_type_is_not_measured(backend: Backend) -> None:
    backend.create("raw.flights", "d TIMESTAMP, x INT64", [(datetime(2013, 6, 3, 12, tzinfo=UTC), 1)])

    answer = ask(backend, FLIGHTS, Rows(), Nulls("x"))

    assert {unmeasured.fault for unmeasured in answer.unmeasured.values()} == {Fault.COLUMN}
    assert "DATE" in answer.unmeasured[Rows()].reason


def test_refused_sql_fails_its_own_metric_only(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64, s STRING", [(MON, 1, "a")])
    bad = (Aggregate("AVG(s)"), Aggregate("x"), Violating("COUNT(*) > 1"), NotMatching("s", "("), Aggregate("MIN(s)"))

    answer = ask(backend, FLIGHTS, Rows(), *bad, Nulls("x"))

    assert {metric: unmeasured.fault for metric, unmeasured in answer.unmeasured.items()} == dict.fromkeys(bad, Fault.SQL)
    assert (answer.numbers[MON][0], answer.numbers[MON][-1]) == (1, 0)


def test_types_that_cannot_be_compared_are_reported(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64, s STRING", [(MON, 1, "1")])
    bad = (NotIn("s", (1, 2)), NotIn("x", ("1",)), OutOfRange("s", 0, 1), OutOfRange("x", "0", "1"), Newest("s"))

    assert set(ask(backend, FLIGHTS, Rows(), *bad).unmeasured) == set(bad)


def test_a_comparison_with_a_missing_column_fails_alone(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1)])
    backend.create("clean.flights", "day DATE, x INT64", [(MON, 1)])
    bad = Orphans(("x",), ("y",), dated=True)

    answer = ask(backend, CLEAN, Referencing(("x",)), bad)

    assert answer.unmeasured[bad].fault is Fault.COLUMN and set(answer.unmeasured) == {bad}
    assert answer.numbers[MON][0] == 1


def test_a_missing_other_table_fails_the_metrics_that_need_it_only(backend: Backend) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1)])
    orphans, keys = Orphans(("x",), ("x",), dated=True), ExpectedKeys(("x",))

    answer = ask(backend, CLEAN, Referencing(("x",)), orphans, keys)

    assert {metric: unmeasured.fault for metric, unmeasured in answer.unmeasured.items()} == {
        orphans: Fault.TABLE,
        keys: Fault.TABLE,
    }
    assert answer.numbers[MON][0] == 1


@pytest.mark.parametrize(
    "query",
    [
        Query(FLIGHTS, (Rows(), Rows("x >"))),
        Query(FLIGHTS, (Aggregate("SUM(x"),)),
        Query(CustomSource("SELEC d FROM raw.flights WHERE d BETWEEN @from AND @to", "d"), (Rows(),)),
        Query(TableSource("raw.flights; DROP TABLE raw.flights", "d"), (Rows(),)),
    ],
)
def test_wrong_sql_and_names_are_config_errors(backend: Backend, query: Query) -> None:
    backend.create("raw.flights", "d DATE, x INT64", [(MON, 1)])

    with pytest.raises(ConfigError):
        list(backend.warehouse.measure([query], DAYS))
