"""When a phase is due, and which gates a tick rechecks."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from phasegate.core.checks.kinds import RowCount
from phasegate.core.field_syntax import Due, Span
from phasegate.core.gates.completion import Report, RunKey, Status
from phasegate.core.gates.gate import AcceptedGap, Alert, AlertState, Gate, GateState, Reason
from phasegate.core.gates.schedule import (
    GATES_PER_TICK,
    LONGEST_OUTAGE,
    Deadline,
    deadline,
    first_watched,
    gates_to_recheck,
    group_nearby_dates,
    is_its_turn,
    needs_recheck,
    window,
)
from phasegate.core.pipeline.model import AlertSeverity, Calendar, Output, Phase, Pipeline

DAY = date(2026, 3, 7)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def output(table: str) -> dict[str, Output]:
    return {table: Output(date="d", checks=(RowCount(at_least=1),))}


def shop(zone: str = "America/New_York", **calendar: Any) -> Pipeline:
    """raw at 06:00; clean without a time; features at 08:00; scores two hours after features."""
    return Pipeline(
        pipeline="shop",
        timezone=zone,
        calendar=Calendar(from_=date(2026, 1, 1), **calendar),
        phases={
            "raw": Phase(due=Due(at=time(6), days=1), outputs=output("raw.a")),
            "clean": Phase(after=("raw",), outputs=output("clean.a")),
            "features": Phase(after=("clean",), due=Due(at=time(8), days=1), outputs=output("features.a")),
            "scores": Phase(after=("features",), due=Due(after="features", after_release=2 * HOUR), outputs=output("scores.a")),
        },
    )


SHOP = shop()


def opened(phase: str, at: datetime, **more: Any) -> Gate:
    return Gate(RunKey("shop", phase, DAY), state=GateState.OPEN, generation=1, opened_at=at, **more)


def at(hour: int, minute: int = 0, day: int = 8) -> datetime:
    """A time on a day in March, in UTC."""
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("run_date", "due"),
    [
        (date(2026, 3, 6), at(11, day=7)),  # 06:00 in winter is 11:00 UTC
        (date(2026, 3, 7), at(10)),  # the clocks went forward at 02:00
        (date(2026, 10, 31), datetime(2026, 11, 1, 11, tzinfo=UTC)),  # and back
    ],
)
def test_a_local_time_keeps_its_hour_when_the_clocks_change(run_date: date, due: datetime) -> None:
    assert deadline(SHOP, "raw", run_date, {}) == Deadline(due, due)


def test_a_local_time_that_is_skipped_or_repeated_is_one_instant() -> None:
    night = {"raw": Phase(due=Due(at=time(2, 30), days=1), outputs=output("raw.a"))}
    pipeline = Pipeline(pipeline="shop", timezone="America/New_York", calendar=Calendar(from_=DAY), phases=night)
    skipped, repeated = (deadline(pipeline, "raw", day, {}) for day in (DAY, date(2026, 10, 31)))
    assert skipped is not None
    assert skipped.at == at(7, 30), "half an hour after the clocks went from 02:00 to 03:00"
    assert repeated is not None
    assert repeated.at == datetime(2026, 11, 1, 7, 30, tzinfo=UTC)


def test_a_relative_due_time_counts_from_the_release() -> None:
    planned = at(14)
    assert deadline(SHOP, "scores", DAY, {}) == Deadline(planned, planned), "while it is not known, from when it is due"
    early, late = at(9), at(13, 5)
    assert deadline(SHOP, "scores", DAY, {"features": opened("features", early)}) == Deadline(at(11), planned)
    assert deadline(SHOP, "scores", DAY, {"features": opened("features", late)}) == Deadline(at(15, 5), planned, "features")


def test_a_due_time_of_day_moves_by_the_lateness_of_the_upstream() -> None:
    """Also through a phase without a due time of its own."""
    raw, clean = opened("raw", at(11, 30)), opened("clean", at(11, 40))
    assert deadline(SHOP, "features", DAY, {"raw": raw, "clean": clean}) == Deadline(at(13, 30), at(12), "clean")
    on_time = {"raw": opened("raw", at(9, 59)), "clean": clean}
    assert deadline(SHOP, "features", DAY, on_time) == Deadline(at(12), at(12))


def test_without_a_due_time_there_is_no_deadline() -> None:
    assert deadline(SHOP, "clean", DAY, {}) is None


ALERT = Alert(
    "k", RunKey("shop", "raw", DAY), AlertSeverity.CRITICAL, AlertState.FIRING, Reason.LATE_FAILURE, (), GateState.OPEN,
    "", (), "", at(9), at(9),
)  # fmt: skip
HEARD = {"raw": Report("raw", Status.DONE, at(1))}
GAP = AcceptedGap("ann", "lost", at(1), at(20))


@pytest.mark.parametrize(
    ("gate", "now", "expected"),
    [
        ({}, at(9, 59), False),
        ({}, at(10), True),
        ({"reports": HEARD}, at(2), True),
        ({"state": GateState.HELD}, at(2), True),
        ({"state": GateState.OPEN}, at(12), False),
        ({"state": GateState.OPEN, "alert": ALERT}, at(12), True),
        ({"state": GateState.OPEN, "unproven": True}, at(12), True),
        ({"state": GateState.OPEN, "missing": ("raw.a",), "degraded": True}, at(12), True),
        ({"state": GateState.OFF}, at(12), False),
        ({"state": GateState.ACCEPTED, "gap": GAP}, at(19, 59), False),
        ({"state": GateState.ACCEPTED, "gap": GAP}, at(20), True),
    ],
)
def test_a_gate_is_rechecked_when_that_may_change_it(gate: dict[str, Any], now: datetime, expected: bool) -> None:
    stored = Gate(RunKey("shop", "raw", DAY), **gate)
    assert needs_recheck(SHOP, stored, {"raw": stored}, now) is expected


def runs(*rechecked: RunKey) -> list[tuple[str, date]]:
    return [(run.phase, run.run_date) for run in rechecked]


def test_the_newest_dates_come_first_and_phases_in_their_order() -> None:
    span = Span(DAY - timedelta(days=1), DAY)
    rechecked = gates_to_recheck(SHOP, {}, span, at(14), since=span.first)
    assert runs(*rechecked) == [(p, d) for d in reversed(span.days()) for p in ("raw", "features", "scores")]


def test_missing_reports_count_from_the_first_watched_date() -> None:
    """A monitor that is installed today raises no alert about yesterday."""
    span = window(SHOP, at(14), None)
    assert gates_to_recheck(SHOP, {}, span, at(14), since=DAY + timedelta(days=1)) == ()
    held = Gate(RunKey("shop", "raw", DAY), state=GateState.HELD)
    assert runs(*gates_to_recheck(SHOP, {DAY: {"raw": held}}, span, at(14), since=DAY + timedelta(days=1))) == [("raw", DAY)]


@pytest.mark.parametrize(("now", "since"), [(at(9, 59), DAY), (at(10), DAY + timedelta(days=1))])
def test_the_first_watched_date_is_the_first_with_nothing_due_yet(now: datetime, since: date) -> None:
    assert first_watched(SHOP, now) == since


def test_dates_without_a_run_are_not_rechecked() -> None:
    pipeline = shop(weekdays=frozenset(range(5)), closed=(Span(date(2026, 3, 5), date(2026, 3, 5)),))
    rechecked = gates_to_recheck(pipeline, {}, Span(date(2026, 3, 4), date(2026, 3, 8)), at(14, day=9), since=date(2026, 1, 1))
    assert {run.run_date for run in rechecked} == {date(2026, 3, 4), date(2026, 3, 6)}


def test_a_window_covers_an_outage_up_to_a_limit() -> None:
    now = at(12, day=20)
    assert window(SHOP, now, now - MINUTE) == Span(date(2026, 3, 12), date(2026, 3, 27))
    assert window(SHOP, now, now - timedelta(days=10)).first == date(2026, 3, 2)
    assert window(SHOP, now, datetime(2020, 1, 1, tzinfo=UTC)).first == date(2026, 3, 12) - LONGEST_OUTAGE
    assert window(SHOP, now, now + timedelta(days=9)) == window(SHOP, now, None), "a clock that jumped back"


def test_old_gates_get_a_turn_once_an_hour_and_never_starve_new_ones() -> None:
    old = [Gate(RunKey("shop", "raw", date(2026, 1, 1) + timedelta(days=n)), state=GateState.HELD) for n in range(50)]
    span = Span(DAY, DAY)
    seen: list[RunKey] = []
    for minute in range(60):
        rechecked = gates_to_recheck(SHOP, {}, span, at(14, minute), since=DAY, older=old)
        assert runs(*rechecked[:3]) == [(phase, DAY) for phase in ("raw", "features", "scores")]
        assert len(rechecked) < 15, "spread over the hour"
        seen += rechecked[3:]
    assert sorted(map(str, seen)) == sorted(str(gate.run) for gate in old)


def test_a_tick_rechecks_a_limited_number_of_gates_and_the_rest_take_turns() -> None:
    first = date(2026, 1, 1)
    span = Span(first, first + timedelta(days=59))
    rechecked = gates_to_recheck(SHOP, {}, span, at(14, day=20), since=first)
    assert (
        runs(*rechecked[:GATES_PER_TICK])
        == runs(*gates_to_recheck(SHOP, {}, Span(date(2026, 1, 10), span.last), at(14, day=20), since=first))[:GATES_PER_TICK]
    )
    assert GATES_PER_TICK <= len(rechecked) < GATES_PER_TICK + 15
    assert all(is_its_turn(run, at(14, day=20)) for run in rechecked[GATES_PER_TICK:])


def test_a_date_without_a_run_is_rechecked_each_hour() -> None:
    """The table with the expected entities may have been loaded late."""
    off = {DAY: {"raw": Gate(RunKey("shop", "raw", DAY), state=GateState.OFF)}}
    looks = [gates_to_recheck(SHOP, off, Span(DAY, DAY), at(3, minute), since=DAY) for minute in range(60)]
    assert [runs(*rechecked) for rechecked in looks if rechecked] == [[("raw", DAY)]]


def test_nearby_dates_are_measured_together() -> None:
    near = [RunKey("shop", phase, DAY - timedelta(days=n)) for n in (0, 2, 9) for phase in ("raw", "features")]
    far = RunKey("shop", "raw", DAY - timedelta(days=17))
    assert group_nearby_dates((far, *near)) == (tuple(near), (far,))
    assert group_nearby_dates(()) == ()


def test_a_relative_due_time_waits_for_the_other_upstreams() -> None:
    """A phase is not overdue while it could not start, even before the other upstream is due."""
    phases = {
        "raw": Phase(due=Due(at=time(6), days=1), outputs=output("raw.a")),
        "feeds": Phase(due=Due(at=time(8), days=1), outputs=output("feeds.a")),
        "join": Phase(after=("raw", "feeds"), due=Due(after="raw", after_release=HOUR), outputs=output("join.a")),
    }
    pipeline = Pipeline(pipeline="shop", timezone="America/New_York", calendar=Calendar(from_=DAY), phases=phases)
    raw, planned = opened("raw", at(8)), at(11)
    assert deadline(pipeline, "join", DAY, {"raw": raw}) == Deadline(planned, planned)
    both = {"raw": raw, "feeds": opened("feeds", at(12))}
    assert deadline(pipeline, "join", DAY, both) == Deadline(at(13), planned, "feeds")
    early = {"raw": raw, "feeds": opened("feeds", at(7))}
    assert deadline(pipeline, "join", DAY, early) == Deadline(at(9), planned)
