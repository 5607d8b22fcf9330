"""Pauses through monitor and tick: reports are recorded, nothing is released, no alert goes out, and it resumes automatically."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from phasegate.core.gates.actions import PutHold, Waive
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import GateState, Reason
from phasegate.errors import ActionRefused, Conflict, UnknownPhase
from phasegate.gates.pauses import Pauses, pause_history, paused, paused_phases
from phasegate.ports import Change

from tests.flow.test_monitor import DAY, MINUTE, SHOP, World, run_raw
from tests.flow.test_tick import DUE, ticking

HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> World:
    new = World()
    ticking(new).run()
    return new


def pause(world: World, phase: str | None = None, until: datetime = DUE + HOUR) -> None:
    Pauses(world.store, world.clock).pause(SHOP, phase, by="ann", why="the warehouse moves", until=until)


def resume(world: World, phase: str | None = None) -> None:
    Pauses(world.store, world.clock).resume(SHOP, phase, by="bob", why="it has moved")


@pytest.mark.parametrize("phase", [None, "raw"])
def test_reports_during_a_pause_are_recorded_and_released_after_it(world: World, phase: str | None) -> None:
    pause(world, phase)
    run_raw(world)
    gate = world.gate("raw")
    assert (gate.state, gate.reason, sorted(gate.reports)) == (GateState.HELD, Reason.PAUSED, ["orders", "prices"])
    subject = f"shop/{phase}" if phase else "shop"
    assert gate.detail == f"{subject} is paused by ann until 2026-03-03 07:00 UTC: the warehouse moves"
    assert [result.outcome for result in gate.results] == ["passed", "passed"]
    world.warehouse.queries.clear()
    world.clock.set(DUE)
    assert ticking(world).run().decisions == ()
    assert (world.warehouse.queries, world.bus.signals, world.bus.alerts) == ([], [], []), "and nothing is measured needlessly"
    world.clock.set(DUE + HOUR)
    ticking(world).run()
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]
    assert ("checks_failed", "firing") not in world.bus.alerts


def test_lateness_raises_an_alert_when_the_pause_ends(world: World) -> None:
    for table in list(world.warehouse.numbers):
        del world.warehouse.numbers[table]
    pause(world)
    world.clock.set(DUE)
    ticking(world).run()
    assert world.bus.alerts == []
    resume(world)
    ticking(world).run()
    assert world.bus.alerts == [("nothing_heard", "firing")]


def test_a_pause_does_not_affect_another_phase(world: World) -> None:
    pause(world, "report")
    run_raw(world)
    world.clock.advance(MINUTE)
    world.monitor.handle(world.done("clean"))
    world.clock.advance(MINUTE)
    world.monitor.handle(world.done("report"))
    assert world.bus.signals == ["shop/raw/2026-03-02/g1", "shop/clean/2026-03-02/g1"]
    assert world.gate("report").reason is Reason.PAUSED


def test_a_next_generation_waits_until_the_pause_ends(world: World) -> None:
    run_raw(world)
    pause(world)
    world.warehouse.numbers["raw.orders", DAY] = 12
    world.clock.advance(MINUTE)
    run_raw(world)
    ticking(world).run()
    assert world.gate("raw").generation == 1
    resume(world)
    ticking(world).run()
    assert world.gate("raw").generation == 2


def test_neither_an_override_nor_the_end_of_a_hold_bypasses_a_pause(world: World) -> None:
    world.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(world)
    raw = RunKey("shop", "raw", DAY)
    world.monitor.act(raw, PutHold("odd rows", world.clock.now() + HOUR), "ann")
    pause(world, until=world.clock.now() + 2 * HOUR)
    world.monitor.act(raw, Waive(("raw.orders.row_count",), "known", DUE + 9 * HOUR), "ann")
    world.clock.advance(HOUR)
    ticking(world).run()
    assert world.bus.signals == []
    world.clock.advance(HOUR)
    ticking(world).run()
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]


def test_a_gate_without_a_due_time_is_rechecked_too(world: World) -> None:
    """It was only put on hold, and has no report."""
    clean = RunKey("shop", "clean", DAY)
    pause(world)
    world.monitor.act(clean, PutHold("odd rows", world.clock.now() + HOUR), "ann")
    world.clock.set(DUE + HOUR)
    ticking(world).run()
    assert world.gate("clean").state is GateState.WAITING


def test_an_old_gate_is_skipped_during_a_pause(world: World) -> None:
    world.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(world)
    world.clock.set(datetime(2026, 5, 1, tzinfo=UTC))
    world.warehouse.numbers["raw.orders", DAY] = 10
    pause(world, until=datetime(2026, 5, 1, 1, tzinfo=UTC))
    for _ in range(60):
        ticking(world).run()
        world.clock.advance(MINUTE)
    assert world.gate("raw").state is GateState.HELD
    for _ in range(60):
        ticking(world).run()
        world.clock.advance(MINUTE)
    assert world.gate("raw").state is GateState.OPEN


def test_how_often_pauses_are_read_from_the_store() -> None:
    """A tick reads the pauses once for a pipeline; a message reads those of its phase."""
    reads: list[tuple[str, ...]] = []
    world = World()
    find = world.store.find

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        def find(self, kind: str, keys: Any) -> Any:
            if kind == "pause":
                reads.append(tuple(keys))
            return find(kind, keys)

    store = world.store
    world.store = Counting()  # type: ignore[assignment]
    world.monitor = world.started()
    world.clock.set(DUE)
    ticking(world).run()
    assert reads == [("shop", "shop/raw", "shop/clean", "shop/report")]
    reads.clear()
    world.monitor.handle(world.done("clean"))
    assert reads == [("shop", "shop/clean")]


def test_of_two_concurrent_pauses_the_newer_wins_and_both_are_stored(world: World) -> None:
    """A record is written at the version that was read."""

    class Racing:
        def __init__(self) -> None:
            self.raced = False

        def __getattr__(self, name: str) -> Any:
            return getattr(world.store, name)

        def commit(self, change: Change) -> bool:
            if not self.raced:
                self.raced = True
                pause(world, until=DUE + 9 * HOUR)
            return world.store.commit(change)

    Pauses(Racing(), world.clock).pause(SHOP, None, by="bob", why="mine", until=DUE)  # type: ignore[arg-type]
    now = world.clock.now()
    assert [pause.by for pause in pause_history(world.store, "shop", "raw")] == ["ann", "bob"]
    holding = paused(world.store, "shop", "raw", now)
    assert holding is not None
    assert holding.by == "bob"
    assert set(paused_phases(world.store, SHOP, now)) == {"raw", "clean", "report"}


def test_a_permanent_conflict_is_an_error(world: World) -> None:
    class Moving:
        def find(self, *_: Any) -> dict[str, Any]:
            return {}

        def commit(self, _: Change) -> bool:
            raise Conflict("moved")

    pauses = Pauses(Moving(), world.clock)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="its pauses kept changing"):
        pauses.pause(SHOP, None, by="ann", why="why", until=DUE)


def test_a_dry_run_and_a_refused_pause_change_nothing(world: World) -> None:
    pauses = Pauses(world.store, world.clock)
    assert pauses.pause(SHOP, "raw", by="ann", why="why", until=DUE, dry_run=True).until == DUE
    with pytest.raises(ActionRefused):
        pauses.pause(SHOP, "raw", by="ann", why="why", until=world.clock.now())
    with pytest.raises(UnknownPhase):
        pauses.pause(SHOP, "rew", by="ann", why="why", until=DUE)
    with pytest.raises(ActionRefused, match="shop/raw is not paused"):
        pauses.resume(SHOP, "raw", by="ann")
    assert pause_history(world.store, "shop", "raw") == []
