"""A run that comes after its due time has a due time of its own: nobody waits for it, and no quorum waives anything, before that."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from phasegate.core.gates.gate import GateState

from tests.flow.fan import HOUR, MINUTE, World, fan

DUE = datetime(2026, 11, 6, 6, tzinfo=UTC)
QUORUM = "quorum: {at_least: 1, of: 2}"


def test_a_backfill_of_past_dates_alarms_nobody(tmp_path: Path) -> None:
    """Both producers of each of ten dates report three minutes apart, then the phase behind them."""
    world = World(fan(tmp_path))
    days = [date(2026, 11, day) for day in range(2, 12)]
    for day in days:
        world.loaded("one", day=day)
        world.tick(3)
        world.loaded("two", day=day)
        world.tick(5)
        world.fill("a.next", day=day)
        world.done("next", day=day)
    world.tick(90)
    assert world.alerts == []
    assert world.signals == [f"{phase}/{day}/g1" for day in days for phase in ("raw", "next")]


def test_what_stays_away_is_missed_once_an_hour_after_the_first_report(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one")
    world.tick(60)
    assert (world.state(), world.alerts) == (GateState.WAITING, [])
    world.tick(30)
    assert (world.state(), world.alerts) == (GateState.OVERDUE, [("producers_missing", "firing")])
    world.loaded("two")
    assert world.alerts[1:] == [("producers_missing", "recovered")]


def test_late_by_says_how_long_a_late_run_may_take(tmp_path: Path) -> None:
    world = World(fan(tmp_path, raw="late_by: 10m"))
    world.loaded("one")
    world.tick(10)
    assert world.alerts == []
    world.tick(2)
    assert world.alerts == [("producers_missing", "firing")]


def test_a_quorum_waives_what_is_missing_by_the_due_time_of_the_late_run(tmp_path: Path) -> None:
    world = World(fan(tmp_path, raw=QUORUM))
    world.loaded("one")
    world.tick(59)
    assert (world.signals, world.alerts) == ([], [])
    world.tick(2)
    assert (world.gate().state, world.gate().missing) == (GateState.OPEN, ("a.two", "two"))
    assert world.signals == ["raw/2026-11-05/g1"]


def test_a_late_run_that_is_whole_needs_no_quorum(tmp_path: Path) -> None:
    world = World(fan(tmp_path, raw=QUORUM))
    world.loaded("one")
    world.tick(3)
    world.loaded("two")
    assert (world.gate().state, world.gate().degraded, world.alerts) == (GateState.OPEN, False, [])


def test_rows_without_a_message_are_released_by_the_due_time_of_the_late_run(tmp_path: Path) -> None:
    world = World(fan(tmp_path, raw="message: optional"))
    world.fill("a.one", "a.two")
    world.done("raw", "one")
    world.tick(59)
    assert world.signals == []
    world.tick(2)
    assert world.signals == ["raw/2026-11-05/g1"]


def test_a_late_run_that_fails_its_checks_is_told_when_everyone_has_reported(tmp_path: Path) -> None:
    """That is the end of it: nothing more is waited for."""
    world = World(fan(tmp_path))
    world.loaded("one")
    assert world.alerts == []
    world.loaded("two", rows=3)
    assert world.alerts == [("checks_failed", "firing")]


def test_a_run_that_is_heard_of_in_time_keeps_the_planned_time(tmp_path: Path) -> None:
    world = World(fan(tmp_path), now=DUE - 5 * MINUTE)
    world.loaded("one")
    world.tick(6)
    assert world.alerts == [("producers_missing", "firing")]


def test_an_overdue_gate_that_hears_its_first_report_is_told_of_once(tmp_path: Path) -> None:
    """It keeps its incident while it waits for the others, and is over when it opens."""
    world = World(fan(tmp_path), now=DUE - HOUR)
    world.tick(62)
    assert world.alerts == [("nothing_heard", "firing")]
    world.loaded("one")
    world.tick(30)
    assert world.state() is GateState.WAITING
    assert len(world.alerts) == 1
    world.loaded("two")
    assert world.alerts == [("nothing_heard", "firing"), ("nothing_heard", "recovered")]


def test_an_overdue_gate_whose_others_stay_away_is_not_told_of_again(tmp_path: Path) -> None:
    """People know that one of them is missing."""
    world = World(fan(tmp_path), now=DUE - HOUR)
    world.tick(62)
    world.loaded("one")
    world.tick(90)
    assert world.state() is GateState.OVERDUE
    assert world.alerts == [("nothing_heard", "firing")]


def test_a_follower_of_a_late_run_has_its_time_after_the_release(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two")
    world.tick(110)
    assert world.alerts == []
    world.done("next")
    assert world.alerts == [("checks_failed", "firing")]


@pytest.mark.parametrize("status", ["failed", "partial", "nothing"])
def test_any_first_word_makes_a_run_late(tmp_path: Path, status: str) -> None:
    """And a failure that is reported is told at once; nobody has to wait for it."""
    world = World(fan(tmp_path))
    world.fill("a.one")
    world.done("raw", "one", status=status)
    world.tick(5)
    assert world.alerts == ([("producer_failed", "firing")] if status == "failed" else [])


def test_the_time_counts_from_the_first_report_and_no_later_one(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    for _ in range(3):
        world.loaded("one")
        world.tick(20)
    world.tick(60)
    assert world.alerts == [("producers_missing", "firing")]
    first = world.gate().first_report_at
    assert first is not None
    assert world.clock.now() - first > 2 * HOUR
