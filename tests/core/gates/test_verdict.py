"""Results taken together: the verdict of a phase and of a date, and a score that adds up."""

from dataclasses import replace
from datetime import UTC, date, datetime, time
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phasegate.core.checks.base import Answers, CheckResult, Mode, Outcome, Severity
from phasegate.core.checks.kinds import AggregateCheck, Coverage, Fresh, NotNull, RowCount
from phasegate.core.checks.metrics import (
    Aggregate,
    Answer,
    AnyMetric,
    Checksum,
    Distinct,
    Fault,
    Newest,
    Nulls,
    Number,
    Query,
    Rows,
    TableSource,
    Unmeasured,
)
from phasegate.core.field_syntax import Due, Span, parse_duration
from phasegate.core.gates.verdict import (
    Fingerprint,
    Verdict,
    differ,
    judge,
    judge_phase,
    points_lost,
    queries,
    score,
    summarise,
    worst,
)
from phasegate.core.pipeline.model import Calendar, Expected, Output, Part, Phase, Pipeline
from phasegate.gates.backfill import judge_date

DAY = date(2013, 2, 8)
DOWN = Unmeasured(Fault.UNAVAILABLE, "the warehouse is down")
PASSED, ACCEPTABLE, FAILED, NOT = Outcome.PASSED, Outcome.ACCEPTABLE, Outcome.FAILED, Outcome.NOT_EVALUATED
NAMES = count()


def result(
    outcome: Outcome, *, warn: bool = False, observe: bool = False, weight: float = 1.0, down: bool = False
) -> CheckResult:
    """A result with a unique name."""
    severity = Severity.WARN if warn else Severity.BLOCK
    mode = Mode.OBSERVE if observe else Mode.ENFORCE
    fault = DOWN if down else None
    return CheckResult(f"c{next(NAMES)}", "kind", "raw.a", severity, mode, weight, outcome, None, "", "", fault)


GOOD, AMBER, BAD, NOTHING = result(PASSED), result(ACCEPTABLE), result(FAILED), result(NOT)
BLIND = result(NOT, down=True)


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([], Verdict.PASS),
        ([GOOD, NOTHING], Verdict.PASS),
        ([GOOD, AMBER], Verdict.ACCEPTABLE),
        ([AMBER, BAD], Verdict.FAIL),
        ([GOOD, BLIND], Verdict.UNVERIFIED),
        ([BLIND, BAD], Verdict.FAIL),
        ([GOOD, result(FAILED, warn=True)], Verdict.ACCEPTABLE),
        ([GOOD, result(NOT, warn=True, down=True)], Verdict.ACCEPTABLE),
        ([GOOD, result(FAILED, observe=True)], Verdict.PASS),
        ([result(NOT, observe=True, down=True)], Verdict.PASS),
    ],
)
def test_the_verdict_is_the_worst_result_that_counts(results, verdict):
    assert judge(results) is verdict
    assert judge(reversed(results)) is verdict


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], Verdict.OFF),
        ([Verdict.OFF, Verdict.OFF], Verdict.OFF),
        ([Verdict.OFF, Verdict.PASS], Verdict.PASS),
        ([Verdict.PASS, Verdict.ACCEPTED], Verdict.ACCEPTED),
        ([Verdict.ACCEPTABLE, Verdict.NOT_DUE], Verdict.NOT_DUE),
        ([Verdict.UNVERIFIED, Verdict.NOT_DUE], Verdict.UNVERIFIED),
        ([Verdict.FAIL, Verdict.UNVERIFIED], Verdict.FAIL),
    ],
)
def test_the_worst_verdict_wins(verdicts, expected):
    assert worst(verdicts) is expected
    assert worst(reversed(verdicts)) is expected


@pytest.mark.parametrize(
    ("results", "points"),
    [
        ([], None),
        ([NOTHING, BLIND], None),
        ([result(FAILED, observe=True)], None),
        ([result(FAILED, weight=0)], None),
        ([GOOD], 100.0),
        ([BAD], 0.0),
        ([GOOD, GOOD, BAD], 66.7),
        ([GOOD, AMBER], 75.0),
        ([GOOD, BAD, NOTHING, BLIND, result(FAILED, observe=True)], 50.0),
        ([GOOD, result(FAILED, weight=3)], 25.0),
        ([GOOD, result(FAILED, warn=True)], 50.0),
    ],
)
def test_the_score_is_the_weighted_share_of_passed_checks(results, points):
    assert score(results) == points


RESULTS = st.lists(
    st.builds(
        result,
        st.sampled_from(Outcome),
        warn=st.booleans(),
        observe=st.booleans(),
        weight=st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]),
    )
)


@given(RESULTS)
def test_the_points_lost_add_up(results):
    """To 100 minus the score, except for rounding."""
    points, lost = score(results), points_lost(results)
    if points is None:
        assert lost == {}
    else:
        assert 0 <= points <= 100
        assert sum(lost.values()) == pytest.approx(100 - points, abs=0.0501)
        assert all(value > 0 for value in lost.values())


def test_points_of_checks_with_the_same_name_add_up():
    """When two phases fill a table, its checks have the same name in both."""
    twice = replace(BAD, name="t.row_count")
    assert points_lost([twice, twice, GOOD, GOOD]) == {"t.row_count": 50.0}


# -- phases and dates ---------------------------------------------------------------------------------------------------------

EXPECTED = Expected(table="raw.schedule", date="d", count="flight_id")
RAW = Phase(
    due=Due(at=time(6), days=1),
    outputs={
        "raw.flights": Output(
            date="d",
            checks=(
                RowCount(per="expected", at_least=0.9, acceptable=(0.5, 2)),
                NotNull(columns=("a",)),
                NotNull(columns=("b",), severity=Severity.WARN, skip_in=("warm_up",)),
            ),
        ),
        "raw.weather": Output(date="d", may_be_empty=True),
    },
)
FEATURES = Phase(after=("raw",), skip_in=("warm_up",), outputs={"an.features": Output(date="d")})
PIPELINE = Pipeline(
    pipeline="flights",
    calendar=Calendar(
        from_=date(2013, 1, 1), closed=(Span(date(2013, 12, 25), date(2013, 12, 25)),), expected=EXPECTED,
        parts={"warm_up": (Part(from_=date(2013, 1, 1), days=14),)},
    ),
    phases={"raw": RAW, "features": FEATURES},
)  # fmt: skip

Numbers = dict[tuple[str, AnyMetric], Number | None]
COUNTED = Distinct("flight_id")


def answers(
    numbers: Numbers,
    *,
    pipeline: Pipeline = PIPELINE,
    day: date = DAY,
    down: tuple[tuple[str, AnyMetric], ...] = (),
    keys: bool = False,
) -> Answers:
    """The numbers of one date, by table and metric; other tables have no rows."""
    collected = []
    for query in queries(pipeline, pipeline.phases, keys=keys):
        table = query.source.table
        rows = {day: tuple(numbers.get((table, metric), 0) for metric in query.metrics)}
        has_rows = any(name == table for name, _ in numbers)
        collected.append(Answer(query, rows if has_rows else {}, {m: DOWN for m in query.metrics if (table, m) in down}))
    return Answers(collected, pipeline.calendar.expected.counting_query() if pipeline.calendar.expected else None)


def good(**changes: Number) -> Numbers:
    """A good day of 100 flights, with some numbers changed."""
    rows, nulls, other, expected = (changes.get(name, n) for name, n in [("rows", 100), ("a", 0), ("b", 0), ("expected", 100)])
    return {
        ("raw.flights", Rows()): rows,
        ("raw.flights", Nulls("a")): nulls,
        ("raw.flights", Nulls("b")): other,
        ("raw.schedule", COUNTED): expected,
        ("raw.weather", Rows()): 24,
        ("an.features", Rows()): 100,
    }


@pytest.mark.parametrize(
    ("numbers", "verdict", "points"),
    [
        (good(), Verdict.PASS, 100.0),
        (good(rows=90), Verdict.PASS, 100.0),
        (good(rows=60), Verdict.ACCEPTABLE, 83.3),
        (good(rows=40), Verdict.FAIL, 66.7),
        (good(b=3), Verdict.ACCEPTABLE, 66.7),
        (good(a=3), Verdict.FAIL, 66.7),
        ({("raw.schedule", COUNTED): 100}, Verdict.FAIL, 0.0),
    ],
)
def test_a_phase_is_judged_by_its_outputs(numbers, verdict, points):
    judged = judge_phase(PIPELINE, "raw", DAY, answers(numbers))
    assert (judged.verdict, judged.score, judged.reason) == (verdict, points, "")


def test_a_verdict_has_the_row_counts_of_the_outputs():
    """Of outputs without checks, too; an output that could not be counted is left out."""
    assert judge_phase(PIPELINE, "raw", DAY, answers(good())).rows == {"raw.flights": 100, "raw.weather": 24}
    blind = answers(good(), down=(("raw.flights", Rows()),))
    assert judge_phase(PIPELINE, "raw", DAY, blind).rows == {"raw.weather": 24}


@pytest.mark.parametrize(
    ("phase", "day", "numbers", "reason"),
    [
        ("raw", date(2012, 12, 31), good(), "the calendar has no run on 2012-12-31"),
        ("raw", date(2013, 12, 25), good(), "the calendar has no run on 2013-12-25"),
        ("features", date(2013, 1, 14), good(), "features does not run in warm_up"),
        ("raw", DAY, good(expected=0), "nothing is expected on 2013-02-08"),
        ("raw", DAY, {}, "nothing is expected on 2013-02-08"),
    ],
)
def test_a_phase_is_off(phase, day, numbers, reason):
    """By calendar, by part, or because 0 entities are expected; nothing is judged then."""
    judged = judge_phase(PIPELINE, phase, day, answers(numbers, day=day))
    assert (judged.verdict, judged.reason, judged.score, judged.results) == (Verdict.OFF, reason, None, ())


def test_a_phase_limited_to_a_part_is_off_elsewhere():
    only = replace(PIPELINE, phases={"raw": replace(RAW, only_in=("warm_up",))})
    judged = judge_phase(only, "raw", DAY, answers(good(), pipeline=only))
    assert (judged.verdict, judged.reason) == (Verdict.OFF, "raw does not run in this part of the calendar")


def test_a_check_that_is_skipped_in_a_part_is_not_judged_there():
    day = date(2013, 1, 14)
    judged = judge_phase(PIPELINE, "raw", day, answers(good(b=9), day=day))
    assert judged.verdict is Verdict.PASS
    assert [r.name for r in judged.results] == ["raw.flights.row_count", "raw.flights.not_null.a"]


@pytest.mark.parametrize("numbers", [good(), good(a=3), good(rows=0), {}])
def test_an_unmeasured_expectation_is_unverified(numbers):
    """It is not 0, so the date is not off; and nothing counts as failed that may be off."""
    judged = judge_phase(PIPELINE, "raw", DAY, answers(numbers, down=(("raw.schedule", COUNTED),)))
    assert judged.verdict is Verdict.UNVERIFIED
    assert judged.reason == "whether a run is expected could not be measured: the warehouse is down"


@pytest.mark.parametrize(
    ("down", "numbers", "verdict"),
    [
        (Nulls("a"), good(), Verdict.UNVERIFIED),
        (Nulls("a"), good(rows=0), Verdict.FAIL),
        (Nulls("b"), good(), Verdict.ACCEPTABLE),
        (Rows(), good(), Verdict.UNVERIFIED),
    ],
)
def test_a_failed_measurement_is_never_a_pass(down, numbers, verdict):
    judged = judge_phase(PIPELINE, "raw", DAY, answers(numbers, down=(("raw.flights", down),)))
    assert (judged.verdict, judged.reason) == (verdict, "")


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [(good(), Verdict.PASS), (good(b=1), Verdict.ACCEPTABLE), (good(a=1), Verdict.NOT_DUE), (good(rows=0), Verdict.NOT_DUE)],
)
def test_nothing_fails_before_it_is_due(numbers, verdict):
    judged = judge_phase(PIPELINE, "raw", DAY, answers(numbers), not_due=True)
    assert judged.verdict is verdict
    assert (judged.score is None, judged.reason) == ((True, "not due yet") if verdict is Verdict.NOT_DUE else (False, ""))


def test_nothing_is_unverified_before_it_is_due():
    judged = judge_phase(PIPELINE, "raw", DAY, answers(good(), down=(("raw.flights", Rows()),)), not_due=True)
    assert judged.verdict is Verdict.NOT_DUE


@pytest.mark.parametrize(("hour", "verdict"), [(5, Verdict.NOT_DUE), (6, Verdict.FAIL), (7, Verdict.FAIL)])
def test_a_date_is_judged_by_the_time(hour, verdict):
    """A phase is due from its due time on; without one it is always due."""
    judged = judge_date(PIPELINE, ["raw"], DAY, answers(good(rows=3)), {}, now=datetime(2013, 2, 9, hour, tzinfo=UTC))
    assert judged.verdict is verdict
    bare = judge_date(PIPELINE, ["features"], DAY, answers(good()), {}, now=datetime(2013, 1, 1, tzinfo=UTC))
    assert bare.verdict is Verdict.PASS


def test_a_date_is_as_bad_as_its_worst_phase_and_scored_over_all_checks():
    now = datetime(2013, 2, 10, tzinfo=UTC)
    judged = judge_date(PIPELINE, ["raw", "features"], DAY, answers(good(a=1)), {}, now=now)
    assert (judged.run_date, judged.verdict, judged.score) == (DAY, Verdict.FAIL, 75.0)
    assert [phase.verdict for phase in judged.phases] == [Verdict.FAIL, Verdict.PASS]


def test_phases_that_are_not_due_are_not_counted():
    now = datetime(2013, 2, 8, tzinfo=UTC)
    judged = judge_date(PIPELINE, ["raw", "features"], DAY, answers(good(a=1)), {}, now=now)
    assert (judged.verdict, judged.score) == (Verdict.NOT_DUE, 100.0)


def test_a_date_without_phases_is_off():
    judged = summarise(DAY, [])
    assert (judged.verdict, judged.score) == (Verdict.OFF, None)


# -- what is asked --------------------------------------------------------------------------------------------------------------


def test_the_calendar_shares_the_query_of_an_output():
    """The table with the expected entities may be one that the pipeline fills, or compares with."""
    phase = Phase(outputs={"raw.schedule": Output(date="d"), "raw.flights": RAW.outputs["raw.flights"]})
    own = replace(PIPELINE, phases={"raw": phase})
    metrics = {query.source: query.metrics for query in queries(own, ["raw"])}
    assert len(metrics) == len(queries(own, ["raw"]))
    assert metrics[TableSource("raw.schedule", "d")] == (Rows(), COUNTED)
    judged = judge_phase(own, "raw", DAY, answers({**good(), ("raw.schedule", Rows()): 120}, pipeline=own))
    assert (judged.verdict, judged.rows) == (Verdict.PASS, {"raw.schedule": 120, "raw.flights": 100})


def test_an_output_without_checks_is_counted_too():
    assert Query(TableSource("raw.weather", "d"), (Rows(),)) in queries(PIPELINE, ["raw"])


def test_only_judged_numbers_are_queried():
    assert [query.source.table for query in queries(PIPELINE, ["features"])] == ["an.features", "raw.schedule"]


# -- fingerprints -----------------------------------------------------------------------------------------------------------------

LOADED = Pipeline(
    pipeline="flights",
    calendar=Calendar(from_=date(2013, 1, 1)),
    phases={
        "raw": Phase(
            due=Due(at=time(6), days=1),
            outputs={
                "raw.flights": Output(
                    date="d",
                    key=("id",),
                    checks=(
                        Fresh(column="loaded_at", within=parse_duration("26h")),
                        AggregateCheck(sql="AVG(x)", at_least=0),
                        Coverage(of="raw.schedule", key=("id",)),
                    ),
                ),
                "raw.schedule": Output(date="d"),
            },
        )
    },
)
BASE: Numbers = {
    ("raw.flights", Rows()): 100,
    ("raw.flights", Newest("loaded_at")): 1360000000,
    ("raw.flights", Aggregate("AVG(x)")): 0.1 + 0.2,
    ("raw.flights", Checksum(("id",))): 77,
    ("raw.schedule", Rows()): 100,
}


def fingerprint(changes: Numbers) -> Any:
    """The fingerprint of a day's numbers, some of them changed."""
    return judge_phase(LOADED, "raw", DAY, answers({**BASE, **changes}, pipeline=LOADED, keys=True)).fingerprint


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({("raw.flights", Newest("loaded_at")): 1360009999}, True),
        ({("raw.flights", Aggregate("AVG(x)")): 0.3}, True),
        ({("raw.flights", Aggregate("AVG(x)")): 0.301}, False),
        ({("raw.flights", Aggregate("AVG(x)")): None}, False),
        ({("raw.flights", Rows()): 101}, False),
        ({("raw.flights", Checksum(("id",))): 78}, False),
        ({("raw.schedule", Rows()): 99}, False),
    ],
)
def test_equal_data_has_an_equal_fingerprint(changes, same):
    """Loading the same rows again changes nothing; neither does the order in which floats are summed."""
    assert differ(fingerprint(changes), fingerprint({})) is not same


def one_output(output: Output) -> Pipeline:
    """A pipeline with only this output."""
    phases = {"raw": Phase(due=Due(at=time(6), days=1), outputs={"raw.flights": output})}
    return Pipeline(pipeline="flights", calendar=Calendar(from_=date(2013, 1, 1)), phases=phases)


def test_other_checks_on_the_same_rows_do_not_change_the_fingerprint():
    """Other keys do, whatever is checked."""
    numbers = {key: number for key, number in BASE.items() if key[0] == "raw.flights"}
    fewer, more = (
        one_output(Output(date="d", key=("id",), checks=checks)) for checks in ((), (AggregateCheck(sql="AVG(x)", at_least=0),))
    )

    def fingerprint_of(pipeline: Pipeline, keys: int = 77) -> Any:
        changed = {**numbers, ("raw.flights", Checksum(("id",))): keys}
        return judge_phase(pipeline, "raw", DAY, answers(changed, pipeline=pipeline, keys=True)).fingerprint

    assert fingerprint_of(fewer) != fingerprint_of(more)
    assert not differ(fingerprint_of(more), fingerprint_of(fewer))
    assert not differ(fingerprint_of(fewer), fingerprint_of(more))
    assert differ(fingerprint_of(more, 78), fingerprint_of(fewer))


def test_an_output_that_was_not_released_counts_as_changed():
    one = Fingerprint(1, 2, "a", "b")
    assert differ({"raw.a": one, "raw.b": one}, {"raw.a": one})
    assert not differ({"raw.a": one}, {"raw.a": one, "raw.b": one}), "one that is no longer declared is not missed"
    assert differ({"raw.a": one}, {}), "a release without a measurement counts as different"


@pytest.mark.parametrize(("one", "other"), [(None, 2), (2, None), (None, None)])
def test_an_unmeasured_key_checksum_is_not_compared(one, other):
    assert not Fingerprint(1, one, "a", "b").differs(Fingerprint(1, other, "a", "b"))


def test_key_checksums_are_queried_for_gates_only_in_the_query_of_the_table():
    assert not any(isinstance(m, Checksum) for query in queries(LOADED, ["raw"]) for m in query.metrics)
    (flights,) = (q for q in queries(LOADED, ["raw"], keys=True) if q.source == TableSource("raw.flights", "d"))
    assert Checksum(("id",)) in flights.metrics
    assert len(queries(LOADED, ["raw"], keys=True)) == len(queries(LOADED, ["raw"]))


def test_a_fingerprint_covers_only_the_phases_own_tables():
    """The expected number may change while the released data stays the same."""
    one, other = (judge_phase(PIPELINE, "raw", DAY, answers(good(expected=n))).fingerprint for n in (100, 101))
    assert one == other
    assert judge_phase(PIPELINE, "raw", DAY, answers(good(rows=101))).fingerprint != one
