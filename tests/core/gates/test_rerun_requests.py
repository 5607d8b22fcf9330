"""Rerun requests: to whom, when, how often, and when a rerun cannot help."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from phasegate.core.checks.base import CheckResult, Mode, Outcome, Severity
from phasegate.core.checks.kinds import RowCount
from phasegate.core.gates.completion import Report, RunKey, Status
from phasegate.core.gates.gate import Gate, GateState, Reason, Retries
from phasegate.core.gates.rerun_requests import RetryStep, delay, next_retry_step, producers_to_rerun, retries_exhausted, streak
from phasegate.core.gates.verdict import Verdict
from phasegate.core.pipeline.model import Calendar, Output, Phase, Pipeline, Producer, Retry

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 3, 6, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Retry(attempts=4, first=2 * MINUTE, at_most=30 * MINUTE)
OUTPUTS = {table: Output(date="d", checks=(RowCount(at_least=1),)) for table in ("raw.a", "raw.b")}
PRODUCERS = {"a": Producer(fills="raw.a"), "b": Producer(fills="raw.b"), "extra": Producer(optional=True)}
SHOP = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=DAY),
    phases={
        "raw": Phase(producers=PRODUCERS, retry=POLICY, outputs=OUTPUTS),
        "clean": Phase(after=("raw",), retry=POLICY, outputs={"clean.a": OUTPUTS["raw.a"]}),
        "plain": Phase(outputs={"plain.a": OUTPUTS["raw.a"]}),
    },
)


def report(producer: str, status: Status = Status.FAILED, at: datetime = NOW) -> Report:
    return Report(producer, status, at)


def gate(reason: Reason, *reports: Report, state: GateState = GateState.HELD, phase: str = "raw", **more: Any) -> Gate:
    by_producer = {each.producer: each for each in reports}
    return Gate(RunKey("shop", phase, DAY), state=state, reason=reason, reports=by_producer, **more)


def result(kind: str, table: str, **more: Any) -> CheckResult:
    return replace(
        CheckResult(f"{table}.{kind}", kind, table, Severity.BLOCK, Mode.ENFORCE, 1.0, Outcome.FAILED, 0, "1", "few"), **more
    )


FAILED = gate(Reason.PRODUCER_FAILED, report("a"))
OVERDUE = GateState.OVERDUE
BOTH = (report("a", Status.DONE), report("b", Status.DONE))
OPEN_RAW = {"raw": Gate(RunKey("shop", "raw", DAY), state=GateState.OPEN, generation=1)}


@pytest.mark.parametrize(
    ("failing", "day", "requested"),
    [
        (FAILED, {}, ("a",)),
        (gate(Reason.NOTHING_HEARD, state=OVERDUE), {}, ("a", "b")),
        (gate(Reason.PRODUCERS_MISSING, report("a", Status.DONE), state=OVERDUE), {}, ("b",)),
        (gate(Reason.NOT_STARTED, state=OVERDUE, phase="clean"), OPEN_RAW, ("clean",)),
        (gate(Reason.NO_MESSAGE, state=OVERDUE, verdict=Verdict.FAIL), {}, ("a", "b")),
        (gate(Reason.NO_MESSAGE, state=OVERDUE, verdict=Verdict.PASS), {}, ()),
        (gate(Reason.CHECKS_FAILED, *BOTH, results=(result("row_count", "raw.b"),)), {}, ("b",)),
        (gate(Reason.CHECKS_FAILED, *BOTH, results=(result("in_range", "raw.b"),)), {}, ()),
        (gate(Reason.CHECKS_FAILED, *BOTH, results=(result("row_count", "raw.b"), result("schema", "raw.a"))), {}, ()),
        (gate(Reason.CHECKS_FAILED, *BOTH, results=(result("fresh", "raw.a"), result("schema", "raw.a", severity=Severity.WARN))), {}, ("a",)),
        (gate(Reason.RAN_BEFORE_UPSTREAM, report("clean"), phase="clean"), {}, ()),
        (gate(Reason.RAN_BEFORE_UPSTREAM, report("clean"), phase="clean"), OPEN_RAW, ("clean",)),
        (gate(Reason.UPSTREAM_SHUT, state=OVERDUE, phase="clean"), {}, ()),
        (gate(Reason.PAUSED), {}, ()),
        (gate(Reason.NOT_MEASURED, *BOTH, state=GateState.UNVERIFIED), {}, ()),
        (gate(Reason.PRODUCERS_MISSING, report("a"), state=GateState.WAITING), {}, ()),
        (gate(Reason.PASSED, *BOTH, state=GateState.OPEN), {}, ()),
    ],
)  # fmt: skip
def test_a_rerun_is_requested_from_producers_that_may_fix_the_failure(
    failing: Gate, day: dict[str, Gate], requested: tuple[str, ...]
) -> None:
    assert producers_to_rerun(SHOP, failing, day) == requested


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_within_a_bound_that_doubles_up_to_a_maximum(requested: int, chance: float) -> None:
    bound = [2, 4, 8, 16][requested] if requested < 4 else 30
    assert timedelta() <= delay(POLICY, requested, lambda: chance) <= bound * MINUTE
    assert delay(POLICY, requested, lambda: 0.5) == bound * MINUTE / 2


def played(answer: timedelta | None, minutes: int = 400) -> tuple[list[float], list[float]]:
    """The minutes of the requests to a failing producer, and of giving up; it answers each request with another failure."""
    failing, requested, given_up, failing_at = FAILED, [], [], None
    for second in range(0, minutes * 60, 15):
        now = NOW + timedelta(seconds=second)
        if failing_at is not None and now >= failing_at:
            failing, failing_at = replace(failing, reports={"a": report("a", at=now)}), None
        done = next_retry_step(SHOP, failing, {}, now, lambda: 0.5)
        failing = replace(failing, retries=done.retries)
        if done.ask:
            requested.append(second / 60)
            failing_at = now + answer if answer else None
        if done.given_up:
            given_up.append(second / 60)
    return requested, given_up


def test_requests_follow_the_policy_and_then_stop() -> None:
    """With this chance, half of the bound after each failure: 1, 2, 4 and 8 minutes; each run takes 5."""
    assert played(5 * MINUTE) == ([1, 8, 17, 30], [35])


def test_a_request_without_an_answer_fails_after_the_longest_wait() -> None:
    assert played(None) == ([1, 33, 67, 105], [135])


def test_a_phase_without_a_policy_gets_no_requests() -> None:
    assert next_retry_step(SHOP, gate(Reason.NOTHING_HEARD, state=OVERDUE, phase="plain"), {}, NOW, lambda: 0.5) == RetryStep(
        None
    )


def test_exhausted_retries_stay_exhausted_and_alert_once() -> None:
    spent = replace(FAILED, retries=Retries(4, NOW - MINUTE, None, given_up=True))
    assert next_retry_step(SHOP, spent, {}, NOW, lambda: 0.5) == RetryStep(spent.retries)
    assert retries_exhausted(spent, NOW) is None, "no alert about a gate that has raised none"


def test_a_problem_that_goes_away_stops_requests_and_keeps_the_count() -> None:
    planned = gate(Reason.UPSTREAM_SHUT, state=OVERDUE, retries=Retries(2, NOW, NOW + MINUTE))
    assert next_retry_step(SHOP, planned, {}, NOW, lambda: 0.5).retries == Retries(2, NOW, None)


def dated(states: str) -> list[Gate]:
    """Gates of successive dates, newest last: f failed, o open, u waiting for its upstream, w waiting, - off."""
    made = {
        "f": {"state": GateState.HELD, "reason": Reason.CHECKS_FAILED},
        "o": {"state": GateState.OPEN, "reason": Reason.PASSED},
        "u": {"state": OVERDUE, "reason": Reason.UPSTREAM_SHUT},
        "w": {"state": GateState.WAITING},
        "-": {"state": GateState.OFF},
    }
    return [Gate(RunKey("shop", "raw", DAY + timedelta(days=n)), **made[s]) for n, s in enumerate(states)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "length"), [("", 0), ("offf", 3), ("fffo", 0), ("ff-uf", 3), ("fofw", 1), ("fffw", 3), ("uuu", 0)]
)
def test_a_streak_covers_the_newest_dates_with_a_result(states: str, length: int) -> None:
    assert len(streak(reversed(dated(states)))) == length
