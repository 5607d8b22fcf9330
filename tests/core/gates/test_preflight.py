"""May a phase start: each thing that blocks it, alone, with what would help; nothing else does."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from phasegate.core.checks.base import Answers, Severity
from phasegate.core.checks.kinds import Coverage, Fresh, RowCount
from phasegate.core.checks.metrics import Answer, Fault, Newest, Unmeasured
from phasegate.core.field_syntax import Due, Span
from phasegate.core.gates.completion import Report, RunKey, Status
from phasegate.core.gates.gate import AcceptedGap, Gate, GateState, Hold, Retries
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.preflight import Claim, Clearance, PointOutcome, PreflightCase, Topic, preflight
from phasegate.core.gates.verdict import preflight_queries
from phasegate.core.pipeline.model import Calendar, Expected, GateMode, Need, Output, Part, Phase, Pipeline, Producer, Retry
from phasegate.core.pipeline.validate import problems as problems_of
from phasegate.testing import ScriptedWarehouse

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)

SHOP = Pipeline(
    pipeline="shop",
    calendar=Calendar(
        from_=date(2026, 1, 1),
        closed=(Span(date(2026, 2, 1), date(2026, 2, 1)),),
        expected=Expected(table="plan.days", date="d", count="id"),
        parts={"warm_up": (Part(from_=date(2026, 1, 1), days=7),)},
    ),
    phases={
        "raw": Phase(
            producers={"orders": Producer(), "prices": Producer(), "extra": Producer(optional=True)},
            outputs={"raw.orders": Output(date="d")},
        ),
        "stock": Phase(outputs={"stock.levels": Output(date="d")}),
        "report": Phase(
            after=("raw", "stock"),
            look_back=timedelta(days=3),
            skip_in=("warm_up",),
            retry=Retry(budget_per_day=5),
            needs={
                "rates.daily": Need(date="d", checks=(Fresh(column="loaded_at", within=2 * HOUR),)),
                "ads.clicks": Need(date="d", may_be_empty=True, checks=(RowCount(at_most=100, severity=Severity.WARN),)),
            },
            outputs={"report.sales": Output(date="d")},
        ),
    },
)
NUMBERS: dict[Any, Any] = {
    ("plan.days", DAY): 10,
    ("rates.daily", DAY): int(NOW.timestamp()) - 3600,
    ("ads.clicks", DAY): 50,
}


def gate(phase: str, state: GateState = GateState.OPEN, day: date = DAY, **more: Any) -> Gate:
    return Gate(RunKey("shop", phase, day), 1, state, **{"generation": 1 if state is GateState.OPEN else 0, **more})


def gates(*stored: Gate) -> dict[date, dict[str, Gate]]:
    days: dict[date, dict[str, Gate]] = {}
    for each in (gate("raw"), gate("stock"), *stored):
        days.setdefault(each.run.run_date, {})[each.run.phase] = each
    return days


def start(
    *stored: Gate, pipeline: Pipeline = SHOP, day: date = DAY, numbers: Any = None, broken: Sequence[str] = (), **more: Any
) -> PreflightCase:
    """A start of `report` that nothing blocks but what is given."""
    needs = pipeline.needs("report", day, NOW)
    warehouse = ScriptedWarehouse({**NUMBERS, **(numbers or {})}, broken=set(broken))
    answers = Answers(
        list(warehouse.measure(preflight_queries(pipeline, needs), Span(day, day))), pipeline.calendar.expected.counting_query()
    )  # type: ignore[union-attr]
    return PreflightCase(
        pipeline, RunKey("shop", "report", day), NOW, gates(*stored), **{"answers": answers, "needs": needs, **more}
    )


def objections(answer: Clearance) -> list[tuple[Topic, PointOutcome, str]]:
    return [(point.topic, point.outcome, point.detail) for point in answer.objections]


def with_report(**changed: Any) -> Pipeline:
    return replace(SHOP, phases={**SHOP.phases, "report": replace(SHOP.phases["report"], **changed)})


def test_nothing_blocks_the_start() -> None:
    answer = preflight(start())
    assert answer.go
    assert not answer.unknown
    assert {(point.topic, point.outcome, point.detail) for point in answer.points} == {
        (Topic.CALENDAR, PointOutcome.YES, "a run is expected on 2026-03-02"),
        (Topic.UPSTREAM, PointOutcome.YES, "raw is open, generation 1"),
        (Topic.UPSTREAM, PointOutcome.YES, "stock is open, generation 1"),
        (Topic.INPUTS, PointOutcome.YES, "rates.daily passes its checks, with 1,772,514,000 rows"),
        (Topic.INPUTS, PointOutcome.YES, "ads.clicks passes its checks, with 50 rows"),
        (Topic.RUNNING, PointOutcome.YES, "no other run has claimed this gate"),
    }


CLAIM = Claim("other", "", NOW - HOUR, NOW + HOUR)
WANTED = Report("report", Status.FAILED, NOW - HOUR)
HELD = gate("report", GateState.HELD, reports={"report": WANTED})


@pytest.mark.parametrize(
    ("changes", "topic", "outcome", "detail", "cure"),
    [
        # The calendar.
        ({"day": date(2026, 2, 1)}, Topic.CALENDAR, PointOutcome.NO, "the calendar has no run on 2026-02-01", "there is nothing to do"),
        ({"day": date(2026, 1, 3)}, Topic.CALENDAR, PointOutcome.NO, "report does not run in warm_up", "there is nothing to do"),
        ({"day": date(2025, 1, 3)}, Topic.CALENDAR, PointOutcome.NO, "the calendar has no run on 2025-01-03", "there is nothing to do"),
        ({"numbers": {("plan.days", DAY): 0}}, Topic.CALENDAR, PointOutcome.NO, "nothing is expected on 2026-03-02", "once the calendar's table has rows for this date"),
        ({"broken": ["plan.days"]}, Topic.CALENDAR, PointOutcome.UNVERIFIED, "whether a run is expected could not be measured: table plan.days", "once the warehouse answers"),
        # What it waits for.
        ({"stored": [gate("raw", GateState.WAITING, detail="orders has not reported")]}, Topic.UPSTREAM, PointOutcome.NO, "raw is waiting: orders has not reported", "once raw has run"),
        ({"stored": [gate("raw", GateState.OVERDUE)]}, Topic.UPSTREAM, PointOutcome.NO, "raw is overdue", "once raw has run"),
        ({"stored": [gate("raw", GateState.HELD, detail="x")]}, Topic.UPSTREAM, PointOutcome.NO, "raw is held: x", "once the tables of raw pass"),
        ({"stored": [gate("raw", GateState.UNVERIFIED)]}, Topic.UPSTREAM, PointOutcome.NO, "raw is unverified", "can be measured"),
        # What it reads.
        ({"numbers": {("rates.daily", DAY): 0}}, Topic.INPUTS, PointOutcome.NO, "table rates.daily has 0 rows, expected at least 1", "once rates.daily meets the needs of report"),
        ({"numbers": {("rates.daily", DAY): int(NOW.timestamp()) - 3 * 3600}}, Topic.INPUTS, PointOutcome.NO, "the newest rates.daily.loaded_at is 3 h older than now, expected within 2 h before now", "once rates.daily"),
        ({"broken": ["rates.daily"]}, Topic.INPUTS, PointOutcome.UNVERIFIED, "rates.daily could not be measured: table rates.daily does not answer", "once the warehouse answers"),
        # Who keeps it back.
        ({"pipeline": with_report(mode=GateMode.PAUSE, until=date(2026, 3, 9))}, Topic.PAUSE, PointOutcome.NO, "report is paused in the pipeline file until 2026-03-09", "after 2026-03-09, or the pipeline file says mode: enforce"),
        ({"pause": Pause("shop/report", "bob", "migration", NOW, NOW + HOUR)}, Topic.PAUSE, PointOutcome.NO, "shop/report is paused by bob until 2026-03-03 07:00 UTC: migration", "once the pause has ended"),
        ({"stored": [gate("report", GateState.WAITING, hold=Hold("ann", "audit", NOW - HOUR, NOW + HOUR))]}, Topic.PAUSE, PointOutcome.NO, "shop/report/2026-03-02 is held by ann until 2026-03-03 07:00 UTC: audit", "once the hold has ended"),
        ({"stored": [gate("report", hold=Hold("ann", "audit", NOW))], "claims": ()}, Topic.PAUSE, PointOutcome.NO, "shop/report/2026-03-02 is held by ann: audit", "once a person ends the hold"),
        ({"claims": (CLAIM,)}, Topic.RUNNING, PointOutcome.NO, "other has been running shop/report/2026-03-02 since 2026-03-03 05:00 UTC", "once it reports, at 2026-03-03 07:00 UTC at the latest"),
        ({"stored": [HELD], "requests_today": 5}, Topic.BUDGET, PointOutcome.NO, "today's rerun budget of report is used up: 5 of 5", "from 2026-03-04 on (UTC)"),
        ({"stored": [HELD], "trial": date(2026, 3, 1)}, Topic.BUDGET, PointOutcome.NO, "report keeps failing on many dates, so only 2026-03-01 is retried", "once report of 2026-03-01 is released"),
    ],
)  # fmt: skip
def test_each_thing_that_blocks_the_start(
    changes: dict[str, Any], topic: Topic, outcome: PointOutcome, detail: str, cure: str
) -> None:
    """It is the only objection, listed once, with what would fix it."""
    stored = changes.pop("stored", ())
    answer = preflight(start(*stored, **changes))
    assert not answer.go
    points = [point for point in answer.objections if point.topic is topic]
    assert len(points) == 1
    assert points[0].outcome is outcome
    assert points[0].detail.startswith(detail)
    assert cure in points[0].cure
    if "day" not in changes and "broken" not in changes:
        assert len(answer.objections) == 1
    assert answer.unknown is (outcome is PointOutcome.UNVERIFIED)


def test_a_stale_upstream_blocks_the_start() -> None:
    """raw was released again, but stock, which is built on it, was not."""
    chained = replace(SHOP, phases={**SHOP.phases, "stock": replace(SHOP.phases["stock"], after=("raw",))})
    answer = preflight(start(gate("raw", generation=2), gate("stock", consumed={"raw": 1}), pipeline=chained))
    assert objections(answer) == [(Topic.UPSTREAM, PointOutcome.NO, "stock is stale: an input was released again since")]
    assert answer.objections[0].next == ("phasegate explain stock 2026-03-02 --pipeline shop",)


def test_an_upstream_without_a_report_blocks_the_start() -> None:
    case = start()
    answer = preflight(replace(case, days={}))
    assert [point.detail for point in answer.objections] == [
        "raw is waiting: no report received",
        "stock is waiting: no report received",
    ]


def test_a_hold_that_has_ended_blocks_nothing() -> None:
    assert preflight(start(gate("report", GateState.WAITING, hold=Hold("ann", "audit", NOW - HOUR, NOW)))).go


@pytest.mark.parametrize("state", [GateState.OFF, GateState.ACCEPTED])
def test_an_upstream_that_is_off_or_accepted_blocks_nothing(state: GateState) -> None:
    assert preflight(start(gate("raw", state))).go


@pytest.mark.parametrize(
    ("changes", "topic", "detail"),
    [
        ({"stored": [gate("raw", degraded=True, missing=("raw.extra",))]}, Topic.UPSTREAM, "raw was released without table raw.extra"),
        ({"stored": [gate("raw", GateState.HELD, date(2026, 2, 28))]}, Topic.LOOK_BACK, "report reads earlier dates of raw, but these are not released: 2026-02-28"),
        ({"numbers": {("ads.clicks", DAY): 101}}, Topic.INPUTS, "table ads.clicks has 101 rows, expected at most 100"),
        ({"broken": ["ads.clicks"]}, Topic.INPUTS, "ads.clicks could not be measured"),
        ({"stored": [gate("report")]}, Topic.GATE, "report is already released, generation 1"),
        ({"stored": [gate("report", GateState.ACCEPTED, gap=AcceptedGap("ann", "w", NOW, NOW))]}, Topic.GATE, "the gap is accepted"),
        ({"stored": [replace(HELD, retries=Retries(4, NOW, given_up=True))], "requests_today": 5}, Topic.BUDGET, "retries exhausted after 4 rerun requests"),
        ({"clock": "the scheduler has not run"}, Topic.CLOCK, "the scheduler has not run"),
    ],
)  # fmt: skip
def test_warnings_do_not_block_the_start(changes: dict[str, Any], topic: Topic, detail: str) -> None:
    answer = preflight(start(*changes.pop("stored", ()), **changes))
    assert answer.go
    (warning,) = [point for point in answer.points if point.outcome is PointOutcome.WARNING]
    assert warning.topic is topic
    assert warning.detail.startswith(detail)


def test_dates_before_the_look_back_are_ignored() -> None:
    answer = preflight(start(gate("raw", GateState.HELD, date(2026, 2, 26))))
    assert [point for point in answer.points if point.topic is Topic.LOOK_BACK] == []


def test_a_warehouse_that_does_not_answer_is_a_no_go() -> None:
    answer = preflight(start(answers="no route to host"))
    assert objections(answer) == [
        (Topic.CALENDAR, PointOutcome.UNVERIFIED, "whether a run is expected could not be measured: no route to host"),
        (Topic.INPUTS, PointOutcome.UNVERIFIED, "rates.daily, ads.clicks could not be measured: no route to host"),
    ]
    assert answer.unknown


def test_a_known_problem_is_not_reported_as_unknown() -> None:
    answer = preflight(start(gate("raw", GateState.HELD), broken=["rates.daily"]))
    assert {point.outcome for point in answer.objections} == {PointOutcome.NO, PointOutcome.UNVERIFIED}
    assert not answer.unknown


def test_an_unmeasured_number_is_not_zero() -> None:
    needs = SHOP.needs("report", DAY, NOW)
    planned = preflight_queries(SHOP, needs)
    fault = Unmeasured(Fault.COLUMN, "no column loaded_at")
    answers = [
        Answer(query, {DAY: tuple(10 for _ in query.metrics)}, {m: fault for m in query.metrics if isinstance(m, Newest)})
        for query in planned
    ]
    answer = preflight(start(answers=Answers(answers, SHOP.calendar.expected.counting_query())))  # type: ignore[union-attr]
    assert [(point.outcome, point.cure) for point in answer.objections] == [
        (PointOutcome.UNVERIFIED, "once it can be measured")
    ]


@pytest.mark.parametrize(
    ("claim", "owner", "producer", "free"),
    [
        (CLAIM, "", "", False),
        (CLAIM, "me", "", False),
        (CLAIM, "other", "", True),
        (replace(CLAIM, until=NOW), "me", "", True),
        (replace(CLAIM, until=NOW + timedelta(microseconds=1)), "me", "", False),
        (replace(CLAIM, producer="orders"), "me", "prices", True),
        (replace(CLAIM, producer="orders"), "me", "orders", False),
        (replace(CLAIM, producer="orders"), "me", "", False),
        (CLAIM, "me", "orders", False),
    ],
)
def test_a_claim_blocks_other_owners_while_it_is_in_force(claim: Claim, owner: str, producer: str, free: bool) -> None:
    assert preflight(start(claims=(claim,), owner=owner, producer=producer)).go is free


@pytest.mark.parametrize(
    ("producer", "reported", "over"),
    [
        ("", {}, False),
        ("", {"orders": NOW}, False),
        ("", {"orders": NOW, "prices": NOW}, True),
        ("", {"orders": NOW, "prices": CLAIM.at}, False),
        ("", {"orders": NOW, "prices": CLAIM.at - HOUR}, False),
        ("orders", {"prices": NOW}, False),
        ("orders", {"orders": NOW}, True),
        ("extra", {"extra": NOW}, True),
    ],
)
def test_a_claim_ends_when_all_its_producers_have_reported(producer: str, reported: dict[str, datetime], over: bool) -> None:
    reports = {name: Report(name, Status.DONE, at) for name, at in reported.items()}
    assert replace(CLAIM, producer=producer).has_ended(gate("raw", reports=reports), ("orders", "prices"), NOW) is over


def test_the_command_that_releases_a_claim_is_quoted_for_a_shell() -> None:
    answer = preflight(start(claims=(replace(CLAIM, owner="x; rm -rf ~"),)))
    assert answer.objections[0].next == ("phasegate preflight report 2026-03-02 --pipeline shop --unclaim 'x; rm -rf ~'",)


@pytest.mark.parametrize(
    ("stored", "go"),
    [
        ([], True),
        ([HELD], False),
        ([replace(HELD, state=GateState.OPEN)], True),
        ([replace(HELD, reports={})], True),
        ([replace(HELD, retries=Retries(1, NOW - HOUR, answered=False))], True),
        ([replace(HELD, retries=Retries(1, NOW - HOUR, answered=True))], False),
    ],
)
def test_the_budget_limits_only_reruns_that_were_not_requested(stored: list[Gate], go: bool) -> None:
    """Many failures on other dates never block today's first run."""
    assert preflight(start(*stored, requests_today=5, trial=date(2026, 3, 1))).go is go


def test_fresh_is_measured_from_now_until_the_phase_is_due() -> None:
    """Fresh input must not count as old, neither before the due time nor on a past date."""
    due = with_report(due=Due(after=None, at=(NOW + 5 * HOUR).time(), days=1))
    assert preflight(start(pipeline=due)).go
    past = with_report(due=Due(at=(NOW - 5 * HOUR).time(), days=1))
    old = {("rates.daily", DAY): int((NOW - 6 * HOUR).timestamp())}
    assert preflight(start(pipeline=past, numbers=old)).go
    assert not preflight(start(pipeline=due, numbers=old)).go


def test_needs_may_refer_to_each_other() -> None:
    """Their date columns are known to their own checks only."""
    needs = {
        "rates.daily": Need(date="d", checks=(Coverage(of="ads.clicks", key=("id",)),)),
        "ads.clicks": Need(date="day"),
    }
    pipeline = with_report(needs=needs)
    assert list(problems_of(pipeline)) == []
    assert "ads.clicks" not in pipeline.date_columns
    wrong = with_report(needs={"raw.orders": Need(date="day")})
    assert [str(problem) for problem in problems_of(wrong)] == [
        'phases.report.needs["raw.orders"].date: expected d, as elsewhere for this table, got day'
    ]
