"""A claim on a run, on every backend: one of several gets it, and only if the gates it was based on are unchanged."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GateState
from phasegate.core.gates.preflight import Topic
from phasegate.gates.pauses import Pauses
from phasegate.gates.preflight import PreflightChecks, PreflightRequest
from phasegate.ports import Change, Store
from phasegate.testing import ManualClock

from tests.flow.test_monitor import DAY, MINUTE, MORNING, SHOP, SPAN, World
from tests.watching import has_listened

CLEAN = RunKey("shop", "clean", DAY)
RAW = replace(CLEAN, phase="raw")


def desk(found: Any, world: World) -> PreflightChecks:
    return PreflightChecks([SHOP], warehouse=world.warehouse, store=found, clock=world.clock)


def released(found: Store, run: RunKey = RAW) -> None:
    has_listened(found, SHOP, MORNING)
    gate = found.load("shop", SPAN).get(DAY, {}).get(run.phase, Gate(run))
    found.commit(Change(replace(gate, state=GateState.OPEN, generation=gate.generation + 1, opened_at=MORNING)))


def together(count: int, work: Any) -> list[Any]:
    start = threading.Barrier(count)

    def one(n: int) -> Any:
        start.wait()
        return work(n)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_of_several_concurrent_requests_one_may_start(store: Store) -> None:
    released(store)
    world = World()
    asked = desk(store, world)
    answers = together(8, lambda n: asked.ask(PreflightRequest(CLEAN, owner=f"job-{n}")))
    (winner,) = [answer for answer in answers if answer.go]
    assert winner.claim is not None
    for answer in answers:
        if answer is not winner:
            assert [point.topic for point in answer.objections] == [Topic.RUNNING]
            assert winner.claim.owner in answer.objections[0].detail


def test_a_claim_ends_with_a_report_its_lease_or_manually(store: Store) -> None:
    released(store)
    world = World(store=store)
    asked = desk(store, world)
    assert asked.ask(PreflightRequest(CLEAN, owner="a")).go
    assert not asked.ask(PreflightRequest(CLEAN, owner="b")).go
    assert asked.ask(PreflightRequest(CLEAN, owner="a")).go, "the same one may ask again"
    world.clock.advance(MINUTE)
    world.monitor.handle(world.done("clean", status="failed"))
    assert asked.ask(PreflightRequest(CLEAN, owner="b", lease=timedelta(minutes=30))).go, "a has reported"
    world.clock.advance(timedelta(minutes=29))
    assert not asked.ask(PreflightRequest(CLEAN, owner="c")).go
    world.clock.advance(MINUTE)
    assert asked.ask(PreflightRequest(CLEAN, owner="c")).go, "b's time is up"
    assert asked.release_claim(PreflightRequest(CLEAN, owner="c"))
    assert not asked.release_claim(PreflightRequest(CLEAN, owner="c")), "twice is harmless"
    assert asked.ask(PreflightRequest(CLEAN, owner="d")).go


def test_the_producers_of_a_phase_are_claimed_one_by_one(store: Store) -> None:
    asked = desk(store, World())
    assert asked.ask(PreflightRequest(RAW, "orders", "a")).go
    assert asked.ask(PreflightRequest(RAW, "prices", "b")).go
    assert not asked.ask(PreflightRequest(RAW, "orders", "c")).go
    assert not asked.ask(PreflightRequest(RAW, owner="c")).go


def test_without_an_owner_nothing_is_written(store: Store) -> None:
    released(store)
    world = World()
    asked = desk(store, world)
    assert asked.ask(PreflightRequest(CLEAN)).go
    assert not asked.ask(PreflightRequest(replace(CLEAN, phase="report"), owner="a")).go
    assert store.find("claim", [str(CLEAN), "shop/report/2026-03-02"]) == {}


def test_a_pause_blocks_the_start_until_it_is_resumed(store: Store) -> None:
    """Also a pause of the whole pipeline; the no-go names the command that ends it."""
    released(store)
    world = World()
    asked, pauses = desk(store, world), Pauses(store, world.clock)
    for phase, command in ((None, "phasegate resume --pipeline shop"), ("clean", "phasegate resume clean --pipeline shop")):
        pauses.pause(SHOP, phase, by="ann", why="migration", until=MORNING + timedelta(hours=9))
        answer = asked.ask(PreflightRequest(CLEAN, owner="a"))
        assert [(point.topic, point.next) for point in answer.objections] == [(Topic.PAUSE, (command,))]
        assert answer.claim is None
        pauses.resume(SHOP, phase, by="ann")
        assert asked.ask(PreflightRequest(CLEAN)).go


class Moving:
    """A store in which something happens before the first commit."""

    def __init__(self, found: Store, happens: Any) -> None:
        self._store = found
        self._happens = happens

    def __getattr__(self, name: str) -> Any:
        if name == "commit" and self._happens:
            happens, self._happens = self._happens, None
            happens()
        return getattr(self._store, name)


def test_an_upstream_that_changes_meanwhile_is_read_again(store: Store) -> None:
    """It was open when it was read, and is closed when the run is claimed: nothing is claimed."""
    released(store)

    def taken_away() -> None:
        gate = store.load("shop", SPAN)[DAY]["raw"]
        store.commit(Change(replace(gate, state=GateState.HELD)))

    answer = desk(Moving(store, taken_away), World()).ask(PreflightRequest(CLEAN, owner="a"))
    assert [point.topic for point in answer.objections] == [Topic.UPSTREAM]
    assert answer.claim is None
    assert store.find("claim", [str(CLEAN)]) == {}


def test_a_claim_starts_at_the_time_of_the_answer() -> None:
    clock = ManualClock(MORNING)
    world = World()
    world.clock = clock
    released(world.store)
    answer = desk(world.store, world).ask(PreflightRequest(CLEAN, owner="a", lease=timedelta(hours=1)))
    assert answer.claim is not None
    assert (answer.claim.at, answer.claim.until) == (MORNING, MORNING + timedelta(hours=1))


def test_a_warehouse_that_is_down_gives_a_no_go() -> None:
    """Needs are measured in the tables; without them the answer is not known."""
    needy = replace(SHOP, phases={**SHOP.phases, "clean": replace(SHOP.phases["clean"], needs=_needs())})
    world = World()
    released(world.store)
    asked = PreflightChecks([needy], warehouse=world.warehouse, store=world.store, clock=world.clock)
    world.warehouse.down = "no route to host"
    answer = asked.ask(PreflightRequest(CLEAN, owner="a"))
    assert (answer.go, answer.unknown, answer.claim) == (False, True, None)
    world.warehouse.down = ""
    assert not asked.ask(PreflightRequest(CLEAN)).go, "rates.daily is empty"
    world.warehouse.numbers["rates.daily", DAY] = 3
    assert asked.ask(PreflightRequest(CLEAN)).go


def _needs() -> Any:
    from phasegate.core.pipeline.model import Need

    return {"rates.daily": Need(date="d")}
