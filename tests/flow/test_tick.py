"""Ticks through the whole monitor: missing reports, repair, overlapping ticks, ticks that die, a clock that jumps."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.checks.metrics import Cost
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import GateState, Reason
from phasegate.core.gates.schedule import CLOCK_STOPPED_AFTER
from phasegate.errors import StateError
from phasegate.gates.heartbeat import Heartbeats, clock_stopped_message, last_heartbeats
from phasegate.gates.tick import Hook, Tick
from phasegate.testing import Crash, Crashing

from tests.flow.test_monitor import DAY, MINUTE, SHOP, TABLES, World, run_raw
from tests.watching import has_listened

DUE = datetime(2026, 3, 3, 6, tzinfo=UTC)


def ticking(world: World, *hooks: Hook) -> Tick:
    """The tick of a newly started process."""
    store = Crashing(world.store, world.calls)
    heartbeats = Heartbeats(store, store)
    return Tick(world.started(), store=store, records=store, clock=world.clock, heartbeats=heartbeats, hooks=hooks)


@pytest.fixture
def world() -> World:
    new = World()
    ticking(new).run()
    return new


def test_a_missing_report_is_noticed_by_the_tick_at_the_due_time(world: World) -> None:
    """Once; when the data arrives the gate opens and the alert recovers."""
    for table in TABLES:
        del world.warehouse.numbers[table, DAY]
    tick = ticking(world)
    world.clock.set(DUE - MINUTE)
    assert tick.run().decisions == ()
    assert world.warehouse.queries == [], "nothing is measured before anything is due"
    world.clock.set(DUE)
    tick.run()
    tick.run()
    assert world.bus.alerts == [("nothing_heard", "firing")]
    assert world.gate("raw").state is GateState.OVERDUE
    world.clock.advance(MINUTE)
    world.warehouse.numbers |= {(table, DAY): 10 for table in TABLES}
    tick.run()
    assert world.gate("raw").reason is Reason.NO_MESSAGE
    assert len(world.bus.alerts) == 1, "arriving rows raise no new alert"
    run_raw(world)
    assert world.bus.alerts == [("nothing_heard", "firing"), ("nothing_heard", "recovered")]


def test_a_new_installation_raises_no_alert_about_yesterday() -> None:
    world = World(listened=False)
    world.clock.set(datetime(2026, 3, 20, 12, tzinfo=UTC))
    tick = ticking(world)
    assert tick.run().decisions == ()
    world.clock.advance(timedelta(days=1))
    assert {str(d.gate.run.run_date) for d in tick.run().decisions} == {"2026-03-20"}


def test_one_query_per_table_for_all_dates(world: World) -> None:
    world.clock.set(datetime(2026, 3, 8, 12, tzinfo=UTC))
    decisions = ticking(world).run().decisions
    assert len(decisions) == 12, "six dates, two phases that have a due time"
    assert sorted(query.source.table for query in world.warehouse.queries) == ["raw.orders", "raw.prices", "report.sales"]


def test_the_cost_of_a_tick_is_counted_exactly_once(world: World) -> None:
    """In its log line, and in the history, where the first gate carries the cost."""
    world.clock.set(datetime(2026, 3, 8, 12, tzinfo=UTC))
    ticked = ticking(world).run()
    assert ticked.cost == Cost(len(world.warehouse.queries)) == Cost(3)
    assert sum(row.body["queries"] for row in world.bus.rows if "queries" in row.body) == 3
    world.warehouse.queries.clear()
    again = ticking(world).run()
    assert again.cost == Cost(len(world.warehouse.queries)), "a recheck that finds nothing new has its cost, too"


def test_an_old_gap_opens_after_its_repair(world: World) -> None:
    world.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(world)
    world.clock.set(datetime(2026, 5, 1, tzinfo=UTC))
    world.warehouse.numbers["raw.orders", DAY] = 10
    tick = ticking(world)
    for _ in range(60):
        tick.run()
        world.clock.advance(MINUTE)
    assert world.gate("raw").state is GateState.OPEN


def same(world: World) -> object:
    """The result of a tick, without how often it was written and sent."""
    gates = {phase: world.gate(phase) for phase in ("raw", "clean", "report")}
    return [(g.state, g.reason, g.generation, g.alert and g.alert.key) for g in gates.values()], set(world.bus.keys)


def test_a_tick_that_dies_at_any_point_is_completed_by_the_next() -> None:
    point, died, expected = 0, True, None
    while died:
        world = World()
        ticking(world).run()
        world.warehouse.numbers["report.sales", DAY] = 0
        world.clock.set(datetime(2026, 3, 3, 9, tzinfo=UTC))
        world.calls.left = point if expected else None
        try:
            ticking(world).run()
            died = expected is None
        except Crash:
            pass
        world.calls.left = None
        ticking(world).run()
        assert expected is None or same(world) == expected, point
        assert world.pending() == [], point
        point += expected is not None
        expected = expected or same(world)
    assert point > 20
    assert expected is not None


def test_two_overlapping_ticks_do_the_same_as_one() -> None:
    one, two = World(), World()
    for world in (one, two):
        world.store = SQLiteStore(":memory:")
        has_listened(world.store, SHOP, world.clock.now())
        world.monitor = world.started()
        ticking(world).run()
        world.clock.set(datetime(2026, 3, 3, 9, tzinfo=UTC))
    ticking(one).run()
    both, arrivals = threading.Barrier(2), iter(range(2))

    def meet() -> None:
        """Both read gates and tables before either one decides."""
        if next(arrivals, None) is not None:
            both.wait(10)

    two.warehouse.before_answer = meet
    with ThreadPoolExecutor(2) as pool:
        for ticked in [pool.submit(ticking(two).run) for _ in range(2)]:
            ticked.result()
    assert same(two) == same(one)
    assert len(two.store.history(RunKey("shop", "raw", DAY))) == 1


def test_a_clock_that_jumps_an_hour_ends_in_the_same_state() -> None:
    walked, jumped = World(), World()
    for world, steps in ((walked, 61), (jumped, 2)):
        tick = ticking(world)
        tick.run()
        world.warehouse.numbers["raw.orders", DAY] = 3
        world.clock.set(DUE - MINUTE)
        for _ in range(steps):
            tick.run()
            world.clock.advance(MINUTE * (61 if steps == 2 else 1))
        world.warehouse.numbers["raw.orders", DAY] = 10
        run_raw(world)
    assert same(walked) == same(jumped)


def test_a_clock_that_jumps_back_changes_nothing(world: World) -> None:
    world.clock.set(DUE)
    ticking(world).run()
    before = same(world)
    world.clock.advance(-timedelta(hours=1))
    ticking(world).run()
    ticking(world).run()
    world.clock.set(DUE + MINUTE)
    ticking(world).run()
    assert world.gate("raw").state is GateState.OVERDUE
    assert [key for key in world.bus.keys if "no_message" in key] == [key for key in before[1] if "no_message" in key]  # type: ignore[index]


def test_every_step_runs_when_another_one_fails(world: World) -> None:
    """A tick that did not do everything records no heartbeat."""
    world.clock.set(DUE)
    called: list[str] = []

    def fails() -> None:
        called.append("fails")
        raise StateError("the store is away", retryable=True)

    with pytest.raises(StateError):
        ticking(world, fails, lambda: called.append("other")).run()
    assert called == ["fails", "other"]
    assert world.bus.alerts == [("no_message", "firing")]
    assert last_heartbeats(world.store)["watch"] < DUE
    ticking(world).run()
    assert last_heartbeats(world.store)["watch"] == DUE


def test_a_heartbeat_is_written_once_a_minute_and_its_absence_is_reported(world: World) -> None:
    heartbeats = Heartbeats(world.store, world.store)
    start = world.clock.now()
    for seconds in range(0, 180, 10):
        heartbeats.record("phase_monitor", start + timedelta(seconds=seconds))
    record = world.store.find("heartbeat", ["phase_monitor"])["phase_monitor"]
    assert (record.version, record.body) == (4, {"at": (start + timedelta(seconds=150)).isoformat()})
    assert clock_stopped_message(world.store, start + CLOCK_STOPPED_AFTER) == ""
    assert "the scheduler has not run since 2026-03-03 01:00" in clock_stopped_message(
        world.store, start + CLOCK_STOPPED_AFTER + MINUTE
    )
    assert "the scheduler has never run here" in clock_stopped_message(SQLiteStore(":memory:"), start)


def test_a_stored_gate_is_rechecked_before_the_first_watched_date() -> None:
    world = World()
    world.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(world)
    world.warehouse.numbers["raw.orders", DAY] = 10
    world.clock.set(datetime(2026, 3, 9, tzinfo=UTC))
    ticking(world).run()
    assert world.gate("raw").state is GateState.OPEN
