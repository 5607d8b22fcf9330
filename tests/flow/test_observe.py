"""Observe mode never holds: on every path the gate opens, and says once what would have held it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from phasegate.core.gates.gate import GateState

from tests.flow.fan import DAY, HOUR, MINUTE, World, fan
from tests.flow.test_late_runs import DUE

OBSERVE = "mode: observe"


def ran_before_its_upstream(world: World) -> None:
    world.fill("a.next")
    world.done("next")


def upstream_never_came(world: World) -> None:
    world.tick(181)


def failed_checks(world: World) -> None:
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.done("next")


def a_failed_producer(world: World) -> None:
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.done("next", status="failed")


def tables_that_do_not_answer(world: World) -> None:
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.warehouse.down = "the warehouse is down"
    world.done("next")


def silence_until_due(world: World) -> None:
    world.loaded("one", "two")
    world.tick(181)


@pytest.mark.parametrize(
    ("goes_wrong", "said"),
    [
        (ran_before_its_upstream, "would have been held: ran before its upstream"),
        (upstream_never_came, "would have been overdue: "),
        (failed_checks, "would have been held: table a.next has 0 rows"),
        (a_failed_producer, "would have been held: next reported that it failed"),
        (tables_that_do_not_answer, "would have been unverified: could not be measured"),
        (silence_until_due, "would have been overdue: "),
    ],
)
def test_whatever_goes_wrong_it_opens_and_says_what_would_have_held_it(
    tmp_path: Path, goes_wrong: Callable[[World], None], said: str
) -> None:
    world = World(fan(tmp_path, next_=OBSERVE), now=DUE - HOUR)
    goes_wrong(world)
    world.tick(30)
    assert world.gate("next").state is GateState.OPEN
    assert world.signals[-1] == f"next/{DAY}/g1"
    (told,) = [m.body for m in world.bus.taken if m.topic == "alerts" and m.body["phase"] == "next"]
    assert (told["cause"], told["severity"]) == ("observed", "warning")
    assert said in told["detail"]


def test_one_that_passes_says_nothing(tmp_path: Path) -> None:
    world = World(fan(tmp_path, next_=OBSERVE))
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.fill("a.next")
    world.done("next")
    world.tick(30)
    assert (world.gate("next").state, world.alerts) == (GateState.OPEN, [])


def test_it_waits_for_its_producers_as_ever(tmp_path: Path) -> None:
    world = World(fan(tmp_path, raw=OBSERVE))
    world.loaded("one", rows=3)
    assert world.signals == []
    world.loaded("two", rows=3)
    assert world.signals == [f"raw/{DAY}/g1"]


def test_a_person_who_holds_it_still_does(tmp_path: Path) -> None:
    from phasegate.core.gates.actions import PutHold

    world = World(fan(tmp_path, raw=OBSERVE))
    world.act(PutHold("the source is reloaded"))
    world.loaded("one", "two")
    assert world.gate().state is GateState.HELD
