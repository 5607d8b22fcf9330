"""The schedule is an input that can fail: a date that is off although it ran is told, and a schedule that ends early is found."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from phasegate.app.pipeline_file import load
from phasegate.core.checks.metrics import Distinct, Newest
from phasegate.core.gates.gate import GateState
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError
from phasegate.gates.schedule_check import schedule_faults
from phasegate.testing import ScriptedWarehouse

from tests.flow.fan import DAY, World

FILE = """\
pipeline: p
calendar:
  from: 2026-09-01
  weekdays: mon-sat
  closed: [2026-11-06]
  expected: {table: a.games, date: d, count: game EXTRA}
phases:
  raw:
    due: 06:00 +1d
    outputs: {a.one: {date: d}, a.two: {date: d}}
  next: {after: [raw], due: 08:00 +1d, outputs: {a.next: {date: d}}}
"""
NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


def pipeline(folder: Path, extra: str = "") -> Pipeline:
    (folder / "p.yaml").write_text(FILE.replace(" EXTRA", extra))
    return load(folder / "p.yaml")


def told(world: World) -> list[tuple[str, str, str]]:
    bodies = (message.body for message in world.bus.taken if message.topic == "alerts")
    return [(body["cause"], body["severity"], body["run_date"]) for body in bodies if body["run_date"] < "2026-11-19"]


def test_a_report_of_a_date_that_is_off_is_told_once(tmp_path: Path) -> None:
    world = World(pipeline(tmp_path))
    world.fill("a.one", "a.two")
    decision = world.done("raw")
    assert (world.state(), decision.detail) == (
        GateState.OFF,
        f"nothing is expected on {DAY}; a.one has 10 rows; a.two has 10 rows; raw reported a run",
    )
    world.clock.advance(timedelta(minutes=1))
    world.done("raw")
    world.tick(120)
    assert told(world) == [("unexpected", "warning", str(DAY))]


def test_so_is_one_of_a_closed_date_even_without_rows(tmp_path: Path) -> None:
    world = World(pipeline(tmp_path))
    closed = date(2026, 11, 6)
    world.done("raw", day=closed)
    assert told(world) == [("unexpected", "warning", str(closed))]
    assert world.state(day=closed) is GateState.OFF


def test_one_producer_of_several_is_enough_on_a_closed_date(tmp_path: Path) -> None:
    """The clock does not look at such a date, so nothing may wait for the others."""
    pipeline(tmp_path)
    text = (
        (tmp_path / "p.yaml")
        .read_text()
        .replace("    outputs: {a.one", "    producers: {one: {}, two: {}}\n    outputs: {a.one")
    )
    (tmp_path / "p.yaml").write_text(text)
    made = load(tmp_path / "p.yaml")
    world, closed = World(made), date(2026, 11, 6)
    world.done("raw", "one", day=closed)
    assert (world.state(day=closed), told(world)) == (GateState.OFF, [("unexpected", "warning", str(closed))])


def test_a_report_that_nothing_was_done_is_what_an_off_date_is(tmp_path: Path) -> None:
    world = World(pipeline(tmp_path))
    world.done("raw", status="nothing")
    assert (world.state(), told(world)) == (GateState.OFF, [])


def test_rows_without_a_report_are_told_at_the_due_time(tmp_path: Path) -> None:
    world = World(pipeline(tmp_path), now=datetime(2026, 11, 6, 3, tzinfo=UTC))
    world.fill("a.two")
    world.tick(4 * 60)
    assert told(world) == [("unexpected", "warning", str(DAY))]


def test_an_off_date_without_rows_and_reports_stays_silent(tmp_path: Path) -> None:
    world = World(pipeline(tmp_path), now=datetime(2026, 11, 6, 3, tzinfo=UTC))
    world.tick(6 * 60)
    assert told(world) == []


def test_a_date_that_is_expected_after_all_opens(tmp_path: Path) -> None:
    """The schedule was loaded late."""
    world = World(pipeline(tmp_path))
    world.fill("a.one", "a.two")
    world.done("raw")
    world.warehouse.numbers["a.games", DAY] = 5
    world.clock.advance(timedelta(minutes=1))
    world.done("raw")
    assert world.state() is GateState.OPEN
    assert told(world) == [("unexpected", "warning", str(DAY))]


# -- the health of the schedule -------------------------------------------------------------------------------------------------


def scheduled(until: date, *, skip: Callable[[date], bool] = lambda _: False) -> ScriptedWarehouse:
    first = date(2026, 9, 1)
    days = [first + timedelta(days=n) for n in range((until - first).days + 1)]
    return ScriptedWarehouse({("a.games", day): 5 for day in days if day.weekday() != 6 and not skip(day)})


@pytest.mark.parametrize(
    ("extra", "until", "fault"),
    [
        ("", date(2026, 11, 20), ""),
        ("", date(2026, 11, 19), ""),  # loaded in the morning of the day
        ("", date(2026, 11, 18), ""),
        ("", date(2026, 11, 16), "a.games expects nothing after 2026-11-16: 3 run dates in a row, at most 0 before"),
        (", ahead: 3d", date(2026, 11, 23), ""),
        (", ahead: 2d", date(2026, 11, 21), ""),  # the 22nd is a Sunday
        (
            ", ahead: 3d",
            date(2026, 11, 22),
            "a.games expects nothing after 2026-11-21, expected it to be known up to 2026-11-23",
        ),
        (
            ", ahead: 3d",
            date(2026, 8, 31),
            "a.games expects nothing from 2026-09-21 on, expected it to be known up to 2026-11-23",
        ),
    ],
)
def test_a_schedule_that_ends_early_is_found(tmp_path: Path, extra: str, until: date, fault: str) -> None:
    faults = schedule_faults(pipeline(tmp_path, extra), scheduled(until), NOW)
    assert list(faults) == [fault] * bool(fault)


def test_a_season_with_long_gaps_is_no_dead_schedule(tmp_path: Path) -> None:
    """Five run dates without games have happened before."""
    gap = scheduled(date(2026, 11, 14), skip=lambda day: date(2026, 10, 5) <= day <= date(2026, 10, 9))
    assert schedule_faults(pipeline(tmp_path), gap, NOW) == ()


def test_a_schedule_that_cannot_be_counted_is_found(tmp_path: Path) -> None:
    broken = ScriptedWarehouse(broken={"a.games"})
    (fault,) = schedule_faults(pipeline(tmp_path), broken, NOW)
    assert fault.startswith("a.games could not be counted: ")
    away = ScriptedWarehouse()
    away.down = "the warehouse is away"
    assert list(schedule_faults(pipeline(tmp_path), away, NOW)) == ["a.games could not be counted: the warehouse is away"]


def test_a_schedule_can_say_how_fresh_it_must_be(tmp_path: Path) -> None:
    fresh = pipeline(tmp_path, ", loaded_at: loaded_at, fresh: 26h")
    warehouse = scheduled(date(2026, 11, 20))
    loaded = (NOW - timedelta(hours=30)).timestamp()
    warehouse.numbers["a.games", date(2026, 11, 20)] = {Distinct("game"): 5, Newest("loaded_at"): int(loaded)}
    assert list(schedule_faults(fresh, warehouse, NOW)) == ["a.games was last loaded 30 h ago, expected within 26 h"]
    assert schedule_faults(fresh, warehouse, NOW - timedelta(hours=5)) == ()


def test_a_pipeline_without_a_schedule_has_no_fault(tmp_path: Path) -> None:
    text = FILE.replace("  expected: {table: a.games, date: d, count: game EXTRA}\n", "")
    (tmp_path / "p.yaml").write_text(text)
    assert schedule_faults(load(tmp_path / "p.yaml"), ScriptedWarehouse(), NOW) == ()


# -- weekly and monthly phases --------------------------------------------------------------------------------------------------

WEEKLY = """\
pipeline: p
calendar: {from: 2026-10-01}
phases:
  raw: {due: 06:00 +1d, outputs: {a.one: {date: d}}}
  weekly: {after: [raw], on: mon, due: 08:00 +1d, outputs: {a.two: {date: d}}}
  next: {after: [weekly], due: 10:00 +1d, outputs: {a.next: {date: d}}}
"""
MONDAY, TUESDAY = date(2026, 11, 2), date(2026, 11, 3)


def test_a_weekly_phase_runs_on_its_day_and_is_looked_through_on_others(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(WEEKLY)
    world = World(load(tmp_path / "p.yaml"))
    for day in (MONDAY, TUESDAY):
        world.fill("a.one", "a.two", "a.next", day=day)
        world.done("raw", day=day)
    world.clock.advance(timedelta(minutes=1))
    assert [m.body["start"] for m in world.bus.taken if m.topic == "p-raw-go"] == [["weekly"], ["next"]]
    assert not world.may_start("next", MONDAY).go
    assert world.may_start("next", TUESDAY).go
    off = world.may_start("weekly", TUESDAY)
    assert (off.status, off.objections[0].detail) == ("off", "weekly runs only on mon")
    world.done("weekly", day=MONDAY)
    world.clock.advance(timedelta(minutes=1))
    for day in (MONDAY, TUESDAY):
        world.done("next", day=day)
        assert world.state("next", day) is GateState.OPEN
    world.tick(300)
    assert told(world) == []


def test_the_clock_waits_for_a_weekly_phase_only_on_its_day(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(WEEKLY)
    world = World(load(tmp_path / "p.yaml"), now=datetime(2026, 11, 3, 5, tzinfo=UTC))
    for day in (MONDAY, TUESDAY):
        world.fill("a.one", "a.next", day=day)
        world.done("raw", day=day)
    world.tick(36 * 60)
    assert {(cause, day) for cause, _, day in told(world) if cause != "upstream_shut"} == {
        ("not_started", str(MONDAY)),
        ("no_message", str(TUESDAY)),
    }


# -- sources that come and go ---------------------------------------------------------------------------------------------------

RETIRING = """\
pipeline: p
calendar: {from: 2026-10-01, parts: {break: {from: 2026-11-08, days: 3}}}
phases:
  raw:
    due: 06:00 +1d
    producers:
      one: {fills: a.one}
      two: {fills: a.two, to: 2026-11-05}
      three: {fills: a.three, from: 2026-11-06, skip_in: [break]}
    outputs:
      a.one: {date: d, may_be_empty: {only_in: [break]}}
      a.two: {date: d, to: 2026-11-05}
      a.three: {date: d, from: 2026-11-06, skip_in: [break]}
"""


@pytest.mark.parametrize(
    ("day", "reporting", "filled"),
    [
        (DAY, ["one", "two"], ["a.one", "a.two"]),
        (date(2026, 11, 6), ["one", "three"], ["a.one", "a.three"]),
        (date(2026, 11, 9), ["one"], []),
    ],
)
def test_a_source_is_waited_for_and_judged_only_while_it_lives(
    tmp_path: Path, day: date, reporting: list[str], filled: list[str]
) -> None:
    (tmp_path / "p.yaml").write_text(RETIRING)
    world = World(load(tmp_path / "p.yaml"))
    world.fill(*filled, day=day)
    for producer in reporting[:-1]:
        world.done("raw", producer, day=day)
        assert world.state(day=day) is GateState.WAITING
    world.done("raw", reporting[-1], day=day)
    gate = world.gate(day=day)
    assert gate.state is GateState.OPEN
    assert gate.detail.startswith("all needed checks pass")
    assert sorted(gate.fingerprint) == sorted({"a.one", *filled})


def test_what_may_be_empty_in_a_part_must_not_be_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(RETIRING)
    world = World(load(tmp_path / "p.yaml"))
    world.fill("a.two")
    for producer in ("one", "two"):
        world.done("raw", producer)
    assert world.gate().detail == "table a.one has 0 rows, expected at least 1"


def test_a_phase_none_of_whose_outputs_is_filled_is_off(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "pipeline: p\ncalendar: {from: 2026-10-01}\nphases:\n  raw: {due: 06:00 +1d, outputs: {a.one: {date: d, from: 2026-12-01}}}\n"
    )
    world = World(load(tmp_path / "p.yaml"))
    assert world.done("raw", status="nothing").gate.detail == f"raw fills none of its outputs on {DAY}"
    assert world.state() is GateState.OFF


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "skip_in: [break]}\n    outputs",
            "skip_in: [brake]}\n    outputs",
            "phases.raw.producers.three.skip_in[0]: expected one of",
        ),
        ("{only_in: [break]}", "{only_in: [brake]}", 'phases.raw.outputs["a.one"].may_be_empty.only_in[0]: expected one of'),
        ("{only_in: [break]}", "{}", 'phases.raw.outputs["a.one"].may_be_empty'),
        (
            "a.two: {date: d, to: 2026-11-05}",
            "a.two: {date: d, from: 2026-11-06, to: 2026-11-05}",
            "expected a last date on or after",
        ),
    ],
)
def test_wrong_limits_are_told_with_their_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in RETIRING
    (tmp_path / "p.yaml").write_text(RETIRING.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "p.yaml")
    assert problem in str(caught.value)
