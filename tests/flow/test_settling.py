"""A re-run settles: its next generation goes out when every needed producer has reported again, or none has for a while."""

from datetime import timedelta
from pathlib import Path

import pytest
from phasegate.app.pipeline_file import load
from phasegate.core.gates.gate import GateState

from tests.flow.fan import DAY, MINUTE, World, fan

G1, G2, G3 = (f"raw/{DAY}/g{n}" for n in (1, 2, 3))


def released(folder: Path, **lines: str) -> World:
    """A world whose raw and next are open, and one of whose producers has loaded other rows."""
    world = World(fan(folder, **lines))
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.fill("a.next")
    world.done("next")
    world.clock.advance(MINUTE)
    return world


def test_a_rerun_of_both_is_one_release(tmp_path: Path) -> None:
    world = released(tmp_path)
    world.loaded("one", rows=20)
    assert (world.state(), world.gate().detail) == (GateState.SETTLING, "waiting for two to report again, until 10:13")
    world.tick(3)
    world.loaded("two", rows=20)
    assert [key for key in world.signals if key.startswith("raw")] == [G1, G2]
    assert world.state() is GateState.OPEN
    world.tick(30)
    assert [key for key in world.signals if key.startswith("raw")] == [G1, G2]


def test_a_lone_late_file_gets_through(tmp_path: Path) -> None:
    """When nothing has come for ten minutes, also for a date long past."""
    world = released(tmp_path)
    world.loaded("two", rows=20)
    world.tick(10)
    assert G2 not in world.signals
    world.tick(2)
    assert G2 in world.signals
    queries = len(world.warehouse.queries)
    world.tick(60)
    assert len(world.warehouse.queries) == queries, "what is settled is not measured again"


@pytest.mark.parametrize("again", [("one", "two"), ("two",)])
def test_the_release_after_it_has_settled_starts_the_followers(tmp_path: Path, again: tuple[str, ...]) -> None:
    world = released(tmp_path)
    world.loaded(*again, rows=20)
    world.tick(12)
    (signal,) = [message.body for message in world.bus.taken if message.key == f"p/{G2}"]
    assert signal["start"] == ["next"]


def test_a_producer_that_reports_again_begins_the_wait_anew(tmp_path: Path) -> None:
    world = released(tmp_path)
    for rows in (20, 21):
        world.loaded("one", rows=rows)
        world.tick(8)
    assert G2 not in world.signals
    world.tick(4)
    assert G2 in world.signals


def test_settle_says_how_long_nothing_must_come(tmp_path: Path) -> None:
    world = released(tmp_path, raw="settle: 2m")
    world.loaded("one", rows=20)
    world.tick(2)
    assert G2 not in world.signals
    world.tick(2)
    assert G2 in world.signals


def test_no_follower_starts_on_input_that_settles(tmp_path: Path) -> None:
    world = released(tmp_path)
    assert world.may_start().go
    world.loaded("one", rows=20)
    asked = world.may_start()
    assert not asked.go
    assert "settling: waiting for two to report again, until 10:13" in asked.objections[0].detail
    world.loaded("two", rows=20)
    assert world.may_start().go


def test_a_follower_that_reports_meanwhile_waits_silently(tmp_path: Path) -> None:
    """It is judged after the next release of its upstream; what ran on that opens it."""
    world = World(fan(tmp_path))
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.loaded("one", rows=20)
    world.fill("a.next")
    world.done("next")
    world.tick(5)
    assert (world.state("next"), world.alerts) == (GateState.WAITING, [])
    world.loaded("two", rows=20)
    world.tick(5)
    assert (world.state("next"), world.alerts) == (GateState.WAITING, [])
    world.done("next")
    assert (world.state("next"), world.alerts) == (GateState.OPEN, [])


def test_a_follower_that_did_not_run_again_after_the_release_is_told_when_it_is_due(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.loaded("one", rows=20)
    world.fill("a.next")
    world.done("next")
    world.loaded("two", rows=20)
    world.tick(110)
    assert world.alerts == []
    world.tick(90)
    assert world.alerts == [("ran_before_upstream", "firing")]


def test_a_rerun_that_fails_half_way_is_no_failure_yet(tmp_path: Path) -> None:
    """The other table is still being written."""
    world = released(tmp_path)
    world.loaded("one", rows=3)
    assert world.alerts == []
    world.loaded("one", "two", rows=20)
    assert world.alerts == []
    assert G2 in world.signals


def test_a_rerun_that_has_settled_and_fails_is_told_once(tmp_path: Path) -> None:
    world = released(tmp_path)
    world.loaded("one", rows=3)
    world.tick(30)
    assert world.alerts == [("late_failure", "firing")]


def test_a_rerun_with_the_same_rows_keeps_nobody_waiting(tmp_path: Path) -> None:
    world = released(tmp_path)
    world.loaded("one")
    assert (world.state(), world.may_start().go) == (GateState.OPEN, True)
    world.loaded("two", rows=20)
    assert G2 in world.signals


def test_a_rerun_that_is_over_does_not_count_for_the_next_one(tmp_path: Path) -> None:
    """Today's report of one never pairs with yesterday's of the other."""
    world = released(tmp_path)
    world.loaded("one")
    world.tick(120)
    world.loaded("two", rows=20)
    assert world.state() is GateState.SETTLING
    world.loaded("one", rows=20)
    assert [key for key in world.signals if key.startswith("raw")] == [G1, G2]


@pytest.mark.parametrize("phase", ["next"])
def test_where_one_producer_is_needed_nothing_settles(tmp_path: Path, phase: str) -> None:
    world = released(tmp_path)
    world.fill("a.next", rows=20)
    world.done(phase)
    assert world.signals[-1] == f"{phase}/{DAY}/g2"


def test_a_held_gate_opens_at_once_and_what_comes_afterwards_settles(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two", rows=3)
    assert world.state() is GateState.HELD
    world.fill("a.two")
    world.loaded("one")
    assert world.signals == [G1]
    world.loaded("two", rows=20)
    assert (world.signals, world.state()) == ([G1], GateState.SETTLING)
    world.tick(12)
    assert world.signals == [G1, G2]


def test_a_failure_that_is_reported_ends_the_wait(tmp_path: Path) -> None:
    world = released(tmp_path)
    world.loaded("one", rows=20)
    world.clock.advance(timedelta(seconds=1))
    world.done("raw", "two", status="failed")
    assert world.alerts == [("late_failure", "firing")]
    assert world.state() is GateState.FAILING


def test_a_hand_that_looks_again_does_not_release_what_settles(tmp_path: Path) -> None:
    """No look of the clock, nor a decision about something else, ends the wait."""
    world = released(tmp_path)
    world.loaded("one", rows=20)
    world.tick(5)
    assert world.signals.count(G2) == 0
    assert world.state() is GateState.SETTLING


FAN_IN = """\
pipeline: p
calendar: {from: 2026-11-01}
phases:
  raw:
    due: 06:00 +1d
    producers: {one: {fills: a.one}, two: {fills: a.two}}
    outputs: {a.one: {date: d, checks: [row_count: {at_least: 10}]}, a.two: {date: d, checks: [row_count: {at_least: 10}]}}
  other: {due: 06:00 +1d, outputs: {a.other: {date: d}}}
  next: {after: [raw, other], due: 08:00 +1d, outputs: {a.next: {date: d}}}
"""


def starts(world: World) -> list[list[str]]:
    return [message.body["start"] for message in world.bus.taken if message.topic.endswith("-go")]


def test_a_rerun_with_the_same_data_tells_a_follower_whose_other_input_opened_meanwhile(tmp_path: Path) -> None:
    """Nobody else would: while raw settled, the other input could not say that next may start."""
    (tmp_path / "fan.yaml").write_text(FAN_IN)
    world = World(load(tmp_path / "fan.yaml"))
    world.loaded("one", "two")
    world.loaded("one", rows=20)  # the first half of a rerun
    world.fill("a.other")
    world.done("other")
    assert starts(world) == [[], []]
    world.loaded("one", "two")  # the whole rerun, with the rows that were released
    world.tick(15)
    assert starts(world) == [[], [], ["next"]]
    world.tick(15)
    world.loaded("one", "two")
    assert len(starts(world)) == 4 or starts(world)[-1] == ["next"], "and only as long as it has not run"


def test_a_rerun_with_the_same_data_tells_nobody_who_could_start_before(tmp_path: Path) -> None:
    world = released(tmp_path)
    world.loaded("one", "two")
    world.tick(15)
    assert [key for key in world.signals if key.startswith("raw")] == [G1]
