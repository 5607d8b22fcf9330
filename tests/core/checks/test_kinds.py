"""Every kind of check: tables of numbers and the expected results."""

from dataclasses import MISSING, fields, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from inspect import isabstract
from typing import Any, get_args

import pytest
from phasegate.core.checks.base import (
    Answers,
    BaseCheck,
    CheckContext,
    CheckResult,
    Mode,
    Outcome,
    PlacedCheck,
    Severity,
    evaluate,
    plan,
)
from phasegate.core.checks.bounds import Denominator
from phasegate.core.checks.kinds import (
    KINDS,
    AcceptedValues,
    AggregateCheck,
    Check,
    Coverage,
    DistinctCheck,
    Fresh,
    InRange,
    Invariant,
    Key,
    Matches,
    NotNull,
    PerTable,
    References,
    RowCount,
    SchemaCheck,
    Sql,
    Unique,
)
from phasegate.core.checks.metrics import (
    Aggregate,
    Answer,
    AnyMetric,
    BaseMetric,
    Cost,
    CustomSource,
    Distinct,
    ExpectedKeys,
    Fault,
    Newest,
    NotIn,
    NotMatching,
    NullKeys,
    Nulls,
    Number,
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
    Unmeasured,
    Violating,
)
from phasegate.core.checks.sql import SqlKind
from phasegate.core.pipeline.model import applies, check_name

from tests.checks import EXAMPLES, QUERY

DAY = date(2013, 2, 8)
DUE = datetime(2013, 2, 9, 6, tzinfo=UTC)
FLIGHTS = TableSource("raw.flights", "flight_date")
DATES = {"raw.flights": "flight_date", "raw.weather": "weather_date", "raw.schedule": "flight_date"}
SITE = CheckContext(FLIGHTS, DATES, lambda _: DUE)
EXPECTED = Query(TableSource("raw.schedule", "flight_date"), (Distinct("flight_id"),))
DOWN = Unmeasured(Fault.UNAVAILABLE, "the warehouse is down")

every_example = pytest.mark.parametrize("check", EXAMPLES, ids=lambda check: check_name("", check)[:40])

PASSED, ACCEPTABLE, FAILED, NOT = Outcome.PASSED, Outcome.ACCEPTABLE, Outcome.FAILED, Outcome.NOT_EVALUATED

Numbers = dict[Any, Number | None]
"""By metric, or by (table, metric) where two tables have the same metric."""


def answer(query: Query, numbers: Numbers, *, types: Any = None, unmeasured: tuple[AnyMetric, ...] = ()) -> Answer:
    """The answer to a query; a number that is not given is 0."""
    row = tuple(numbers.get((query.source.table, metric), numbers.get(metric, 0)) for metric in query.metrics)
    return Answer(query, {DAY: row}, dict.fromkeys(unmeasured, DOWN), types, Cost(1))


def answers(placed: list[PlacedCheck], numbers: Numbers, **how: Any) -> Answers:
    """All numbers that some checks need, and the number of entities that the calendar expects."""
    queries = [*plan(placed), EXPECTED]
    return Answers([answer(query, numbers, **how) for query in queries], EXPECTED)


def placed(check: Any) -> PlacedCheck:
    """A check of raw.flights under its default name."""
    return PlacedCheck(check_name(FLIGHTS.table, check), check, SITE)


def result(check: Any, numbers: Numbers, **how: Any) -> CheckResult:
    """The result of a check on the date."""
    return placed(check).evaluate(answers([placed(check)], numbers, **how), DAY)


def expects(count: Number) -> Numbers:
    """The calendar expects this many flights."""
    return {Distinct("flight_id"): count}


EXPECTED_SHARE = RowCount(per="expected", between=(0.98, 1.02), acceptable=(0.9, 1.05))
PER_WEATHER = RowCount(per="raw.weather", at_least=0.5)
PER_WINDY = RowCount(per=PerTable("raw.weather", "wind > 3"), at_least=1, where="delay > 0")


@pytest.mark.parametrize(
    ("check", "numbers", "outcome", "measured", "expected", "message"),
    [
        (RowCount(at_least=1), {Rows(): 1}, PASSED, 1, "at least 1", "table raw.flights has 1 row"),
        (RowCount(at_least=1), {Rows(): 0}, FAILED, 0, "at least 1", "table raw.flights has 0 rows, expected at least 1"),
        (
            RowCount(at_least=9_500),
            {Rows(): 9_499},
            FAILED,
            9_499,
            "at least 9,500",
            "table raw.flights has 9,499 rows, expected at least 9,500",
        ),
        (RowCount(at_most=5), {Rows(): 5}, PASSED, 5, "at most 5", "table raw.flights has 5 rows"),
        (RowCount(at_most=5), {Rows(): 6}, FAILED, 6, "at most 5", "table raw.flights has 6 rows, expected at most 5"),
        (RowCount(between=(3, 3)), {Rows(): 3}, PASSED, 3, "3", "table raw.flights has 3 rows"),
        (RowCount(at_least=2, at_most=4), {Rows(): 5}, FAILED, 5, "2 to 4", "table raw.flights has 5 rows, expected 2 to 4"),
        (
            RowCount(between=(10, 20), acceptable=(5, 30)),
            {Rows(): 5},
            ACCEPTABLE,
            5,
            "10 to 20",
            "table raw.flights has 5 rows, expected 10 to 20",
        ),
        (
            RowCount(between=(10, 20), acceptable=(5, 30)),
            {Rows(): 4},
            FAILED,
            4,
            "10 to 20",
            "table raw.flights has 4 rows, expected 10 to 20",
        ),
        (
            RowCount(at_least=1, where="x > 0"),
            {Rows("x > 0"): 0, Rows(): 9},
            FAILED,
            0,
            "at least 1",
            "table raw.flights has 0 rows where x > 0, expected at least 1",
        ),
        (
            EXPECTED_SHARE,
            {Rows(): 98, **expects(100)},
            PASSED,
            0.98,
            "0.98 to 1.02 of 100",
            "table raw.flights has 98 rows, 0.98 × the 100 expected",
        ),
        (
            EXPECTED_SHARE,
            {Rows(): 102, **expects(100)},
            PASSED,
            1.02,
            "0.98 to 1.02 of 100",
            "table raw.flights has 102 rows, 1.02 × the 100 expected",
        ),
        (
            EXPECTED_SHARE,
            {Rows(): 103, **expects(100)},
            ACCEPTABLE,
            1.03,
            "0.98 to 1.02 of 100",
            "table raw.flights has 103 rows, 1.03 × the 100 expected; it must be 0.98 to 1.02 ×",
        ),
        (
            EXPECTED_SHARE,
            {Rows(): 106, **expects(100)},
            FAILED,
            1.06,
            "0.98 to 1.02 of 100",
            "table raw.flights has 106 rows, 1.06 × the 100 expected; it must be 0.98 to 1.02 ×",
        ),
        (
            EXPECTED_SHARE,
            {Rows(): 577, **expects(930)},
            FAILED,
            577 / 930,
            "0.98 to 1.02 of 930",
            "table raw.flights has 577 rows, 0.6204 × the 930 expected; it must be 0.98 to 1.02 ×",
        ),
        (EXPECTED_SHARE, {Rows(): 0, **expects(0)}, NOT, None, "", "nothing to judge"),
        (
            EXPECTED_SHARE,
            {Rows(): 5, **expects(0)},
            FAILED,
            None,
            "0.98 to 1.02 of 0",
            "table raw.flights has 5 rows, compared with the 0 expected",
        ),
        (
            PER_WEATHER,
            {("raw.flights", Rows()): 12, ("raw.weather", Rows()): 24},
            PASSED,
            0.5,
            "at least 0.5 of 24",
            "table raw.flights has 12 rows, 0.5 × the 24 rows of raw.weather",
        ),
        (PER_WEATHER, {("raw.flights", Rows()): 0, ("raw.weather", Rows()): 0}, NOT, None, "", "nothing to judge"),
        (
            PER_WEATHER,
            {("raw.flights", Rows()): 12, ("raw.weather", Rows()): 0},
            FAILED,
            None,
            "at least 0.5 of 0",
            "table raw.flights has 12 rows, compared with the 0 rows of raw.weather",
        ),
        (
            PER_WINDY,
            {("raw.flights", Rows("delay > 0")): 2, ("raw.weather", Rows("wind > 3")): 3},
            FAILED,
            2 / 3,
            "at least 1 of 3",
            "table raw.flights has 2 rows where delay > 0, 0.6667 × the 3 rows of raw.weather; it must be at least 1 ×",
        ),
    ],
)
def test_row_count(check, numbers, outcome, measured, expected, message):
    judged = result(check, numbers)
    assert (judged.outcome, judged.measured, judged.expected, judged.message) == (outcome, measured, expected, message)


@pytest.mark.parametrize(
    ("check", "numbers", "outcome", "measured", "expected", "message"),
    [
        (
            Unique(columns=("id",)),
            {Surplus(("id",)): 0},
            PASSED,
            0,
            "no duplicate rows",
            "table raw.flights has no duplicate rows for (id)",
        ),
        (
            Unique(columns=("id", "leg"), where="x"),
            {Surplus(("id", "leg"), "x"): 2},
            FAILED,
            2,
            "no duplicate rows",
            "table raw.flights has 2 duplicate rows for (id, leg) where x, expected no duplicate rows",
        ),
        (
            Unique(columns=("id",), acceptable=2),
            {Surplus(("id",)): 2},
            ACCEPTABLE,
            2,
            "no duplicate rows",
            "table raw.flights has 2 duplicate rows for (id), expected no duplicate rows",
        ),
        (
            Unique(columns=("id",), acceptable=2),
            {Surplus(("id",)): 3},
            FAILED,
            3,
            "no duplicate rows",
            "table raw.flights has 3 duplicate rows for (id), expected no duplicate rows",
        ),
        (
            Key(columns=("id",)),
            {Surplus(("id",)): 0, NullKeys(("id",)): 0},
            PASSED,
            0,
            "no duplicate rows and no nulls",
            "table raw.flights has no duplicate rows for (id) and no nulls in it",
        ),
        (
            Key(columns=("id",)),
            {Surplus(("id",)): 0, NullKeys(("id",)): 1},
            FAILED,
            1,
            "no duplicate rows and no nulls",
            "table raw.flights has 1 row with a null in (id), expected no duplicate rows and no nulls",
        ),
        (
            Key(columns=("id",)),
            {Surplus(("id",)): 1, NullKeys(("id",)): 1_200},
            FAILED,
            1_201,
            "no duplicate rows and no nulls",
            "table raw.flights has 1 duplicate row for (id) and 1,200 rows with a null in (id), expected no duplicate rows and no nulls",
        ),
    ],
)
def test_unique_and_key_count_duplicate_rows(check, numbers, outcome, measured, expected, message):
    judged = result(check, numbers)
    assert (judged.outcome, judged.measured, judged.expected, judged.message) == (outcome, measured, expected, message)


def test_a_null_is_a_violation_only_in_the_key():
    """`unique` does not even request the count of nulls."""
    assert Unique(columns=("id",)).metrics(SITE) == ((FLIGHTS, Surplus(("id",))),)
    assert Key(columns=("id",)).metrics(SITE) == ((FLIGHTS, Surplus(("id",))), (FLIGHTS, NullKeys(("id",))))


def share_cases(bad: int, of: int, at_most: float, acceptable: float | None = None) -> Outcome:
    """The outcome of *bad* nulls in *of* rows."""
    check = NotNull(columns=("a",), at_most=at_most, acceptable=acceptable)
    return result(check, {Rows(): of, Nulls("a"): bad}).outcome


@pytest.mark.parametrize(
    ("bad", "of", "at_most", "acceptable", "outcome"),
    [
        (0, 1, 0.0, None, PASSED),
        (1, 10**9, 0.0, None, FAILED),
        (28, 30, 0.9333333333333333, None, FAILED),
        (28, 30, Decimal("0.93333333333333334"), None, PASSED),
        (1, 3, Decimal("0.33333333333333333333"), None, FAILED),
        (28, 30, 0.9333, None, FAILED),
        (1, 10, 0.1, None, PASSED),
        (3, 30, 0.1, None, PASSED),
        (100_001, 1_000_000, 0.1, None, FAILED),
        (2, 10, 0.1, 0.2, ACCEPTABLE),
        (3, 10, 0.1, 0.2, FAILED),
        (10, 10, 1.0, None, PASSED),
        (0, 0, 0.0, None, NOT),
    ],
)
def test_shares_are_exact_and_bounds_inclusive(bad, of, at_most, acceptable, outcome):
    assert share_cases(bad, of, at_most, acceptable) is outcome


@pytest.mark.parametrize(("per_mille", "of"), [(n, of) for n in range(0, 1001, 7) for of in (1_000, 10_000, 3_000_000)])
def test_a_share_equal_to_its_bound_as_written_passes(per_mille, of):
    """7 of 1,000 does not exceed 0.007, whatever the last bit of the floats; one row more does."""
    bound = float(f"{per_mille / 1000:.3f}")
    bad = per_mille * of // 1000
    assert share_cases(bad, of, bound) is PASSED
    assert per_mille == 1000 or share_cases(bad + 1, of, bound) is FAILED
    low = RowCount(per="expected", at_least=bound)
    assert result(low, {Rows(): bad, **expects(of)}).outcome is PASSED


@pytest.mark.parametrize(
    ("check", "numbers", "outcome", "measured", "expected", "message"),
    [
        (
            NotNull(columns=("a",)),
            {Rows(): 4, Nulls("a"): 0},
            PASSED,
            0.0,
            "none",
            "all 4 rows of raw.flights have a value in a",
        ),
        (
            NotNull(columns=("a", "b", "c")),
            {Rows(): 4, Nulls("a"): 1, Nulls("b"): 3},
            FAILED,
            0.75,
            "none",
            "raw.flights.b is null in 3 of 4 rows (75%), expected none; null too often: a (1), b (3)",
        ),
        (
            NotNull(columns=("a",), at_most=0.1, where="x"),
            {Rows("x"): 8, Nulls("a", "x"): 1, Rows(): 999},
            FAILED,
            0.125,
            "at most 10%",
            "raw.flights.a is null in 1 of 8 rows where x (12.5%), expected at most 10%",
        ),
        (
            AcceptedValues(column="origin", values=("EWR", "JFK")),
            {Rows(): 4, NotIn("origin", ("EWR", "JFK")): 1},
            FAILED,
            0.25,
            "none",
            "raw.flights.origin is not EWR or JFK in 1 of 4 rows (25%), expected none",
        ),
        (
            AcceptedValues(column="n", values=(1, 2, 3, 4, 5, 6, 7)),
            {Rows(): 4},
            PASSED,
            0.0,
            "none",
            "all 4 rows of raw.flights have n in 1, 2, 3, 4, 5, 6 …",
        ),
        (
            InRange(column="km", min=0, max=6000),
            {Rows(): 2, OutOfRange("km", 0, 6000): 1},
            FAILED,
            0.5,
            "none",
            "raw.flights.km is outside 0 to 6,000 in 1 of 2 rows (50%), expected none",
        ),
        (
            InRange(column="km", min=0),
            {Rows(): 2, OutOfRange("km", 0, None): 1},
            FAILED,
            0.5,
            "none",
            "raw.flights.km is not at least 0 in 1 of 2 rows (50%), expected none",
        ),
        (
            InRange(column="km", above=0),
            {Rows(): 2, OutOfRange("km", None, None, above=0): 1},
            FAILED,
            0.5,
            "none",
            "raw.flights.km is not above 0 in 1 of 2 rows (50%), expected none",
        ),
        (
            InRange(column="p", above=0, max=1),
            {Rows(): 2, OutOfRange("p", None, 1, above=0): 1},
            FAILED,
            0.5,
            "none",
            "raw.flights.p is not above 0 and at most 1 in 1 of 2 rows (50%), expected none",
        ),
        (
            InRange(column="km", min=0, below=6000),
            {Rows(): 2, OutOfRange("km", 0, None, below=6000): 0},
            PASSED,
            0.0,
            "none",
            "all 2 rows of raw.flights have km of at least 0 and below 6,000",
        ),
        (
            InRange(column="d", max="2013-12-31", at_most=0.5),
            {Rows(): 2, OutOfRange("d", None, "2013-12-31"): 1},
            PASSED,
            0.5,
            "at most 50%",
            "raw.flights.d is not at most 2013-12-31 in 1 of 2 rows (50%); up to 50% is allowed",
        ),
        (
            Matches(column="tail", pattern="^N"),
            {Rows(): 3, NotMatching("tail", "^N"): 3},
            FAILED,
            1.0,
            "none",
            "raw.flights.tail does not match ^N in 3 of 3 rows (100%), expected none",
        ),
        (
            Invariant(that="arr >= dep", acceptable=0.5),
            {Rows(): 2, Violating("arr >= dep"): 1},
            ACCEPTABLE,
            0.5,
            "none",
            "raw.flights violates arr >= dep in 1 of 2 rows (50%), expected none",
        ),
        (
            References(columns=("carrier",), table="raw.airlines", to=("code",)),
            {Referencing(("carrier",)): 9, Orphans(("carrier",), ("code",), False): 1},
            FAILED,
            1 / 9,
            "none",
            "raw.flights.carrier has no match in raw.airlines in 1 of 9 rows (11.11%), expected none",
        ),
        (
            References(columns=("hour", "origin"), table="raw.weather"),
            {Referencing(("hour", "origin")): 9, Orphans(("hour", "origin"), ("hour", "origin"), True): 0},
            PASSED,
            0.0,
            "none",
            "all 9 rows of raw.flights have a match in raw.weather for (hour, origin)",
        ),
    ],
)
def test_checks_of_a_share_of_rows(check, numbers, outcome, measured, expected, message):
    judged = result(check, numbers)
    assert (judged.outcome, judged.measured, judged.expected, judged.message) == (outcome, measured, expected, message)


@pytest.mark.parametrize(
    "check",
    [
        NotNull(columns=("a",)),
        AcceptedValues(column="a", values=(1,)),
        InRange(column="a", min=0),
        Matches(column="a", pattern="x"),
        Invariant(that="a > b"),
        References(columns=("a",), table="raw.weather"),
        Coverage(of="raw.weather", key=("a",)),
        RowCount(per="raw.weather", at_least=1),
        RowCount(per="expected", at_least=1),
        AggregateCheck(sql="SUM(a)", at_least=1, null_ok=True),
    ],
)
def test_a_share_of_nothing_is_not_judged(check):
    """Not evaluated, and not because of a fault."""
    numbers: Numbers = {Aggregate("SUM(a)"): None}
    judged = result(check, numbers)
    assert (judged.outcome, judged.unmeasured, judged.message) == (NOT, None, "nothing to judge")


COVERAGE = Coverage(of="raw.schedule", key=("id",), columns=("flight_id",), of_where="live", at_least=0.95, acceptable=0.9)


@pytest.mark.parametrize(
    ("present", "keys", "outcome", "message"),
    [
        (100, 100, PASSED, "table raw.flights has 100 of 100 keys (id) of raw.schedule"),
        (95, 100, PASSED, "table raw.flights has 95 of 100 keys (id) of raw.schedule (95%), 5 missing"),
        (
            90,
            100,
            ACCEPTABLE,
            "table raw.flights has 90 of 100 keys (id) of raw.schedule (90%), 10 missing, expected at least 95%",
        ),
        (89, 100, FAILED, "table raw.flights has 89 of 100 keys (id) of raw.schedule (89%), 11 missing, expected at least 95%"),
        (0, 5, FAILED, "table raw.flights has 0 of 5 keys (id) of raw.schedule (0%), 5 missing, expected at least 95%"),
        (0, 0, NOT, "nothing to judge"),
    ],
)
def test_coverage(present, keys, outcome, message):
    numbers: Numbers = {ExpectedKeys(("id",), "live"): keys, PresentKeys(("id",), ("flight_id",), "live"): present}
    judged = result(COVERAGE, numbers)
    assert (judged.outcome, judged.message) == (outcome, message)
    assert judged.measured == (present / keys if keys else None)


FRESH = Fresh(column="loaded_at", within=timedelta(hours=26), acceptable=timedelta(hours=30))


@pytest.mark.parametrize(
    ("age", "outcome", "measured", "message"),
    [
        (timedelta(0), PASSED, 0.0, "the newest raw.flights.loaded_at is 0 s older than the due time"),
        (timedelta(hours=26), PASSED, 26.0, "the newest raw.flights.loaded_at is 26 h older than the due time"),
        (timedelta(hours=-2), PASSED, -2.0, "the newest raw.flights.loaded_at is 2 h newer than the due time"),
        (
            timedelta(hours=26, seconds=60),
            ACCEPTABLE,
            26.0167,
            "the newest raw.flights.loaded_at is 26 h 1 min older than the due time, expected within 26 h before the due time",
        ),
        (
            timedelta(hours=30),
            ACCEPTABLE,
            30.0,
            "the newest raw.flights.loaded_at is 30 h older than the due time, expected within 26 h before the due time",
        ),
        (
            timedelta(hours=30, seconds=1),
            FAILED,
            30.0003,
            "the newest raw.flights.loaded_at is 30 h 1 s older than the due time, expected within 26 h before the due time",
        ),
    ],
)
def test_fresh_counts_back_from_due(age, outcome, measured, message):
    judged = result(FRESH, {Newest("loaded_at"): int((DUE - age).timestamp())})
    assert (judged.outcome, judged.measured, judged.message) == (outcome, measured, message)
    assert judged.expected == "within 26 h before the due time"


def test_fresh_fails_without_any_value():
    judged = result(FRESH, {Rows(): 5, Newest("loaded_at"): None})
    assert (judged.outcome, judged.measured) == (FAILED, None)
    assert judged.message == "raw.flights.loaded_at has no value, expected within 26 h before the due time"


@pytest.mark.parametrize(
    ("number", "null_ok", "outcome", "message"),
    [
        (120, False, PASSED, "AVG(delay) of raw.flights is 120"),
        (-10.0, False, PASSED, "AVG(delay) of raw.flights is -10"),
        (120.5, False, ACCEPTABLE, "AVG(delay) of raw.flights is 120.5, expected -10 to 120"),
        (200.1, False, FAILED, "AVG(delay) of raw.flights is 200.1, expected -10 to 120"),
        (float("inf"), False, FAILED, "AVG(delay) of raw.flights is infinity, expected -10 to 120"),
        (None, False, FAILED, "AVG(delay) of raw.flights is null, expected -10 to 120"),
        (None, True, NOT, "nothing to judge"),
        (500, True, FAILED, "AVG(delay) of raw.flights is 500, expected -10 to 120"),
    ],
)
def test_aggregate(number, null_ok, outcome, message):
    check = AggregateCheck(sql="AVG(delay)", between=(-10, 120), acceptable=(-20, 200), null_ok=null_ok)
    judged = result(check, {Aggregate("AVG(delay)"): number, Rows(): 5})
    measured = "infinity" if number == float("inf") else number
    assert (judged.outcome, judged.measured, judged.message) == (outcome, None if outcome is NOT else measured, message)


@pytest.mark.parametrize(
    ("number", "outcome", "message"),
    [
        (2, PASSED, "raw.flights.origin has 2 distinct values"),
        (1, FAILED, "raw.flights.origin has 1 distinct value, expected at least 2"),
    ],
)
def test_distinct_catches_a_constant_column(number, outcome, message):
    judged = result(DistinctCheck(column="origin", at_least=2), {Distinct("origin"): number})
    assert (judged.outcome, judged.measured, judged.message) == (outcome, number, message)


@pytest.mark.parametrize(
    ("check", "numbers", "outcome", "message"),
    [
        (
            DistinctCheck(column="origin", per=Denominator.EXPECTED, between=(1, 1)),
            {Distinct("origin"): 99, **expects(100)},
            FAILED,
            "raw.flights.origin has 99 distinct values, 0.99 × the 100 expected, expected 1 of 100",
        ),
        (
            AggregateCheck(sql="COUNT(x)", per=Denominator.EXPECTED, at_least=0.98),
            {Aggregate("COUNT(x)"): 98, **expects(100)},
            PASSED,
            "COUNT(x) of raw.flights is 98, 0.98 × the 100 expected",
        ),
        (
            AggregateCheck(sql="SUM(x)", per=Denominator.EXPECTED, at_least=0),
            {Aggregate("SUM(x)"): float("inf"), **expects(100)},
            FAILED,
            "SUM(x) of raw.flights is infinity, compared with the 100 expected, expected at least 0 of 100",
        ),
    ],
)
def test_a_number_may_be_a_share_of_what_is_expected(check, numbers, outcome, message):
    judged = result(check, {Rows(): 5, **numbers})
    assert (judged.outcome, judged.message) == (outcome, message)


SCHEMA = SchemaCheck(columns={"Flight_Date": "date", "carrier": "STRING"})


@pytest.mark.parametrize(
    ("types", "outcome", "measured", "message"),
    [
        (
            {"flight_date": "DATE", "carrier": "STRING"},
            PASSED,
            0,
            "table raw.flights: all declared columns exist with their types",
        ),
        ({"flight_date": "DATE"}, FAILED, 1, "table raw.flights: carrier is missing"),
        (
            {"flight_date": "STRING", "more": "INT64"},
            FAILED,
            2,
            "table raw.flights: Flight_Date is STRING instead of DATE; carrier is missing",
        ),
    ],
)
def test_schema(types, outcome, measured, message):
    judged = result(SCHEMA, {}, types=types)
    assert (judged.outcome, judged.measured, judged.message) == (outcome, measured, message)
    assert judged.expected == "2 declared columns with their types"


def test_a_schema_that_could_not_be_read_is_not_evaluated():
    judged = result(SCHEMA, {}, types=DOWN)
    assert (judged.outcome, judged.unmeasured) == (NOT, DOWN)


@pytest.mark.parametrize(
    ("rows", "acceptable", "outcome", "message"),
    [
        (0, None, PASSED, "the query on raw.flights returns 0 rows"),
        (1, None, FAILED, "the query on raw.flights returns 1 row, expected no rows"),
        (1, 1, ACCEPTABLE, "the query on raw.flights returns 1 row, expected no rows"),
        (2, 1, FAILED, "the query on raw.flights returns 2 rows, expected no rows"),
    ],
)
def test_sql_returns_no_rows(rows, acceptable, outcome, message):
    check = Sql(query=QUERY, acceptable=acceptable)
    source = CustomSource(QUERY, "flight_date", table="raw.flights")
    one = Answers([Answer(Query(source, (Rows(),)), {DAY: (rows,)}, {})])
    judged = placed(check).evaluate(one, DAY)
    assert (judged.outcome, judged.measured, judged.message) == (outcome, rows, message)


@every_example
def test_a_check_never_passes_when_a_number_could_not_be_measured(check):
    """Whichever of its numbers is missing, the check is not evaluated and gives the reason."""
    for missing in {metric for _, metric in check.metrics(SITE)}:
        numbers: Numbers = {metric: 5 for _, metric in check.metrics(SITE)} | expects(5)
        judged = result(check, numbers, unmeasured=(missing,))
        assert (judged.outcome, judged.measured, judged.unmeasured) == (NOT, None, DOWN)
        assert judged.message == "could not be measured: the warehouse is down"


def test_a_share_of_expected_is_not_evaluated_when_the_calendar_could_not_count():
    judged = result(EXPECTED_SHARE, {Rows(): 5}, unmeasured=(Distinct("flight_id"),))
    assert (judged.outcome, judged.unmeasured) == (NOT, DOWN)


@every_example
def test_an_empty_partition_fails_the_presence_check_only(check):
    """Whatever other checks there are, missing rows are one failure."""
    both = [placed(RowCount(at_least=1)), placed(check)]
    empty = [Answer(query, {}, {}, {}) for query in plan(both)]
    presence, other = evaluate(both, Answers(empty), DAY)
    assert presence.outcome is FAILED
    assert (other.outcome, other.unmeasured) == (NOT, None)
    assert other.message == "not judged: the table has no rows for this date"


def test_nothing_is_reported_as_absent_when_presence_could_not_be_measured():
    both = [placed(RowCount(at_least=1)), placed(NotNull(columns=("a",)))]
    judged = evaluate(both, answers(both, {}, unmeasured=(Rows(),)), DAY)
    assert [r.unmeasured for r in judged] == [DOWN, DOWN]


def test_every_check_judges_existing_rows():
    both = [placed(RowCount(at_least=1)), placed(NotNull(columns=("a",)))]
    judged = evaluate(both, answers(both, {Rows(): 3, Nulls("a"): 1}), DAY)
    assert [r.outcome for r in judged] == [PASSED, FAILED]
    assert evaluate([], answers([], {}), DAY) == ()


def test_a_result_has_the_name_severity_mode_and_weight_of_its_check():
    check = NotNull(columns=("a",), severity=Severity.WARN, mode=Mode.OBSERVE, weight=0.5, name="mine")
    judged = result(check, {Rows(): 1})
    stated = (judged.name, judged.kind, judged.table, judged.severity, judged.mode, judged.weight)
    assert stated == ("mine", "not_null", "raw.flights", Severity.WARN, Mode.OBSERVE, 0.5)


@pytest.mark.parametrize(
    ("check", "proves"),
    [
        (RowCount(at_least=1), True),
        (RowCount(between=(0.98, 1.02), per="expected"), True),
        (RowCount(at_least=1, at_most=5), True),
        (RowCount(at_least=10, acceptable=(1, 20)), True),
        (RowCount(at_least=10, acceptable=(0, 20)), False),
        (RowCount(at_least=0), False),
        (RowCount(at_most=5), False),
        (RowCount(at_least=1, where="x"), False),
        (RowCount(at_least=1, severity=Severity.WARN), False),
        (RowCount(at_least=1, mode=Mode.OBSERVE), False),
        (RowCount(at_least=1, skip_in=("warm_up",)), False),
        (RowCount(at_least=1, only_in=("warm_up",)), False),
        (RowCount(at_least=1, per="raw.weather"), False),
        (NotNull(columns=("a",)), False),
        (Coverage(of="raw.weather", key=("a",)), False),
    ],
)
def test_only_a_check_that_always_fails_without_rows_proves_presence(check, proves):
    assert check.proves_presence is proves


def test_all_metrics_of_a_table_are_in_one_query():
    checks = [
        RowCount(at_least=1),
        NotNull(columns=("a", "b")),
        NotNull(columns=("b",)),
        RowCount(per="raw.weather", at_least=1),
        DistinctCheck(column="a", at_least=1, where="x"),
        References(columns=("a",), table="raw.weather"),
        References(columns=("b",), table="raw.weather"),
        Coverage(of="raw.weather", key=("a",)),
        References(columns=("a",), table="raw.weather", same_date=False),
        References(columns=("a",), table="raw.airlines"),
        Sql(query=QUERY),
        Sql(query=QUERY, name="again"),
        Sql(query=f"{QUERY} AND x"),
    ]
    metrics = {query.source: query.metrics for query in plan(placed(check) for check in checks)}
    weather = PairSource("raw.flights", "flight_date", "raw.weather", "weather_date")
    assert metrics == {
        FLIGHTS: (Rows(), Nulls("a"), Nulls("b"), Distinct("a", "x")),
        TableSource("raw.weather", "weather_date"): (Rows(),),
        weather: (
            Referencing(("a",)),
            Orphans(("a",), ("a",), True),
            Referencing(("b",)),
            Orphans(("b",), ("b",), True),
            ExpectedKeys(("a",)),
            PresentKeys(("a",), ("a",)),
        ),
        PairSource("raw.flights", "flight_date", "raw.weather", None): (Referencing(("a",)), Orphans(("a",), ("a",), False)),
        PairSource("raw.flights", "flight_date", "raw.airlines", None): (Referencing(("a",)), Orphans(("a",), ("a",), False)),
        CustomSource(QUERY, "flight_date", table="raw.flights"): (Rows(),),
        CustomSource(f"{QUERY} AND x", "flight_date", table="raw.flights"): (Rows(),),
    }


def test_rows_are_counted_with_every_check():
    """Otherwise an empty partition looks like one in which nothing is wrong."""
    checks = [placed(NotNull(columns=("a",), where="x")), placed(Coverage(of="raw.weather", key=("a",)))]
    metrics = {query.source: query.metrics for query in plan(checks)}
    assert metrics[FLIGHTS] == (Rows(), Rows("x"), Nulls("a", "x"))


def test_types_are_requested_only_when_a_check_needs_them():
    assert [query.types for query in plan([placed(RowCount(at_least=1))])] == [False]
    assert [query.types for query in plan([placed(RowCount(at_least=1)), placed(SCHEMA)])] == [True]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: RowCount(), "one of between, at_least, at_most, above, below"),
        (lambda: RowCount(between=(1, 2), at_least=1), "either between, or at_least and at_most, not both"),
        (lambda: RowCount(between=(2, 1)), "bounds with the smaller number first"),
        (lambda: RowCount(at_least=2, at_most=1), "bounds with the smaller number first"),
        (lambda: RowCount(at_least=2, acceptable=(9, 1)), "bounds with the smaller number first"),
        (lambda: RowCount(at_least=2, acceptable=(3, 9)), "an acceptable band that includes the passing one"),
        (lambda: RowCount(between=(2, 8), acceptable=(1, 7)), "an acceptable band that includes the passing one"),
        (lambda: AggregateCheck(sql="SUM(a)"), "one of between, at_least, at_most, above, below"),
        (lambda: DistinctCheck(column="a"), "one of between, at_least, at_most, above, below"),
        (lambda: Unique(columns=()), "at least one column"),
        (lambda: Key(columns=()), "at least one column"),
        (lambda: NotNull(columns=()), "at least one column"),
        (lambda: AcceptedValues(column="a", values=()), "at least one value"),
        (lambda: AcceptedValues(column="a", values=("x", 1)), "values of one type"),
        (lambda: AcceptedValues(column="a", values=(True, 1)), "values of one type"),
        (lambda: InRange(column="a"), "min, max or both, or above or below in their place"),
        (lambda: InRange(column="a", min=0, above=0), "either min or above, and either max or below"),
        (lambda: InRange(column="a", max=1, below=1, min=0), "either min or above, and either max or below"),
        (lambda: InRange(column="a", above=1, below=1), "bounds of one type, with values between them"),
        (lambda: InRange(column="a", above=1, max=1.0), "bounds of one type, with values between them"),
        (lambda: InRange(column="a", min="2013-01-02", below="2013-01-02"), "bounds of one type, with values between them"),
        (lambda: InRange(column="a", above="2013-01-01", below=1), "bounds of one type, with values between them"),
        (lambda: InRange(column="a", min=2, max=1), "min and max of one type, with min ≤ max"),
        (lambda: InRange(column="a", min="2013-01-01", max=1), "min and max of one type, with min ≤ max"),
        (lambda: InRange(column="a", min="2013-01-02", max="2013-01-01"), "min and max of one type, with min ≤ max"),
        (lambda: References(columns=(), table="t.t"), "at least one column"),
        (lambda: References(columns=("a",), table="t.t", to=("b", "c")), "as many columns in to as in columns"),
        (lambda: Coverage(of="t.t", key=()), "at least one column"),
        (lambda: Coverage(of="t.t", key=("a",), columns=("b", "c")), "as many columns as key has"),
        (lambda: Coverage(of="t.t", key=("a",), where="x"), "of_where instead of where: the condition is on the other table"),
        (lambda: SchemaCheck(columns={}), "at least one column"),
        (lambda: Sql(query="SELECT d FROM t"), "a query that filters on @from and @to"),
        (lambda: Sql(query=QUERY, where="x"), "the condition inside the query instead of where"),
    ],
)
def test_a_check_that_makes_no_sense_is_refused(make, problem):
    with pytest.raises(ValueError, match=f"^{problem}$"):
        make()


@pytest.mark.parametrize(
    ("check", "name"),
    [
        (RowCount(at_least=1), "raw.flights.row_count"),
        (RowCount(at_least=1, per="expected"), "raw.flights.row_count"),
        (PER_WEATHER, "raw.flights.row_count.per_raw_weather"),
        (Unique(columns=("a", "b")), "raw.flights.unique.a_b"),
        (NotNull(columns=("a", "b")), "raw.flights.not_null.a_b"),
        (InRange(column="km", min=0), "raw.flights.in_range.km"),
        (Invariant(that="arr_time >= dep_time"), "raw.flights.invariant.arr_time_dep_time"),
        (Coverage(of="raw.weather", key=("a",)), "raw.flights.coverage.raw_weather"),
        (AggregateCheck(sql="AVG(dep_delay)", at_least=1), "raw.flights.aggregate.AVG_dep_delay"),
        (SCHEMA, "raw.flights.schema"),
        (Sql(query=QUERY), "raw.flights.sql.SELECT_flight_date_FROM_raw_flights_WHER"),
        (NotNull(columns=("a",), name="mine"), "mine"),
    ],
)
def test_a_check_has_a_name_by_default(check, name):
    assert check_name("raw.flights", check) == name


@pytest.mark.parametrize(
    ("only_in", "skip_in", "parts", "judged"),
    [
        ((), (), set(), True),
        ((), (), {"warm_up"}, True),
        (("warm_up",), (), {"warm_up", "holidays"}, True),
        (("warm_up",), (), {"holidays"}, False),
        (("warm_up",), (), set(), False),
        ((), ("warm_up",), {"warm_up"}, False),
        ((), ("warm_up",), set(), True),
        (("holidays",), ("warm_up",), {"warm_up", "holidays"}, False),
    ],
)
def test_a_check_applies_in_some_parts_of_the_calendar(only_in, skip_in, parts, judged):
    assert applies(RowCount(at_least=1, only_in=only_in, skip_in=skip_in), frozenset(parts)) is judged


def test_every_kind_is_in_the_registry():
    """A class that is not in `Check` can't be written in a pipeline file; two classes of one name would hide each other."""
    names = [kind.kind for kind in get_args(Check)]
    assert len(names) == len(set(names)), f"two kinds have the same name: {names}"
    missing = {kind.__name__ for kind in concrete(BaseCheck)} - {kind.__name__ for kind in (*get_args(Check), Key)}
    assert not missing, f"add {missing} to `Check` in core/checks/kinds.py"


def test_every_metric_is_in_the_registry():
    missing = {metric.__name__ for metric in concrete(BaseMetric)} - {metric.__name__ for metric in get_args(AnyMetric)}
    assert not missing, f"add {missing} to `Metric` or `Comparison` in core/checks/metrics.py"
    undecided = {metric.__name__ for metric in get_args(AnyMetric) if not hasattr(metric, "is_count")}
    assert not undecided, f"derive {undecided} from CountMetric, ValueMetric or PairMetric"


def concrete(base):
    """All subclasses that can be instantiated."""
    below = {each for each in base.__subclasses__() if each.__module__.startswith("phasegate.")}
    return {each for each in below if not isabstract(each)} | {each for child in below for each in concrete(child)}


def test_every_kind_has_an_example():
    missing = set(KINDS) - {check.kind for check in EXAMPLES}
    assert not missing, f"add an example of {missing} to tests/checks.py"


@pytest.mark.parametrize("kind", KINDS)
def test_every_key_of_a_kind_is_set_in_an_example(kind):
    """Otherwise the tests below do not cover the key."""
    common = {field.name for field in fields(BaseCheck)}
    own = {field.name: field.default for field in fields(KINDS[kind]) if field.name not in common}
    examples = [check for check in EXAMPLES if check.kind == kind]
    unset = {name for name, default in own.items() if all(getattr(check, name) == default for check in examples)}
    assert not unset, f"set {unset} in an example of {kind} in tests/checks.py"


@every_example
def test_checks_of_different_columns_have_different_names(check):
    """Otherwise a file could not have two checks of the kind on a table, unless one of them is given a name."""
    for key in fields(check):
        if key.name in ("column", "columns") and key.default is MISSING and isinstance(getattr(check, key.name), str | tuple):
            other = replace(check, **{key.name: "z" if key.name == "column" else ("z",)})
            assert other.subject != check.subject, f"{type(check).__name__}.subject does not depend on {key.name}"


def other_table(source, metric):
    """The other table that a check reads with a metric; None when it reads its own only."""
    if isinstance(source, PairSource):
        return source.other if isinstance(metric, PairMetric) and metric.other_columns else None
    return None if source.table == FLIGHTS.table else source.table


@every_example
def test_a_check_lists_the_other_tables_that_it_reads(check):
    """Terraform grants access to them, and the file must declare the run date columns of some."""
    read = {table for source, metric in check.metrics(SITE) if (table := other_table(source, metric))}
    listed = {other.table for other in check.other_tables()}
    assert read == listed, f"{type(check).__name__}.other_tables() gives {listed}, its metrics read {read}"


@every_example
def test_a_check_says_which_other_tables_must_have_a_run_date(check):
    """Without the run date columns of other tables, only a check that needs none can be measured."""
    bare = replace(SITE, date_columns={})
    try:
        needs_date = any(
            isinstance(source, PairSource) and source.other_date is None and metric.needs_other_date
            for source, metric in check.metrics(bare)
        )
    except KeyError:
        needs_date = True
    declared = any(other.needs_date for other in check.other_tables())
    assert declared is needs_date, f"{type(check).__name__}.other_tables(): expected needs_date={needs_date}"


@every_example
def test_a_check_lists_all_of_its_sql(check):
    """`config check` parses it before anything is measured."""
    measured = {(text, kind) for source, metric in check.metrics(SITE) for text, kind in sql_in(source, metric)}
    listed = {(sql.text, sql.kind) for sql in check.sql_texts()}
    assert listed == measured, f"{type(check).__name__}.own_sql() gives {listed}, its metrics contain {measured}"
    for sql in check.sql_texts():
        held = check
        for key in sql.key:
            held = getattr(held, key)
        assert held == sql.text, f"{type(check).__name__}.own_sql(): there is another text at {sql.key}"


def sql_in(source, metric):
    return (*metric.sql, *([(source.text, SqlKind.QUERY)] if isinstance(source, CustomSource) else []))


@every_example
def test_a_condition_applies_to_every_number_of_the_table(check):
    """Otherwise the check would compare rows that match *where* with all rows."""
    try:
        filtered = replace(check, where="w > 0")
    except ValueError:
        return  # it takes none
    for source, metric in filtered.metrics(SITE):
        if source.table == FLIGHTS.table:
            assert metric.where == "w > 0", f"{type(check).__name__}.metrics() does not pass where on to {metric}"


@every_example
def test_a_check_says_when_it_needs_a_due_time_or_the_expected_count(check):
    """Otherwise a file without them would be valid, and judging would fail."""
    alone = PlacedCheck("alone", check, replace(SITE, due=lambda _: None))
    types = {"flight_date": "DATE", "carrier": "STRING"}
    measured = [answer(query, dict.fromkeys(query.metrics, 5), types=types) for query in plan([alone])]
    try:
        alone.evaluate(Answers(measured), DAY)
        needs = False
    except AssertionError:
        needs = True
    declared = check.needs_due or check.counts_expected
    assert declared is needs, f"{type(check).__name__}: expected needs_due or counts_expected to be {needs}"


def test_the_cost_is_the_sum_of_all_queries():
    both = [placed(RowCount(at_least=1)), placed(PER_WEATHER)]
    assert answers(both, {}).cost == Cost(3)
