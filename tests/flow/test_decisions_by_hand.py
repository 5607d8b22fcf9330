"""What becomes of a gate after a person's decision: gaps that are accepted, overrides that end; and of releases with a flaw."""

from datetime import timedelta
from pathlib import Path

import pytest
from phasegate.core.gates.actions import AcceptGap, EndGap, Waive
from phasegate.core.gates.gate import GateState

from tests.flow.fan import DAY, HOUR, LATER, MINUTE, World, fan

QUORUM = "quorum: {at_least: 1, of: 2}"
UNTIL = LATER + timedelta(days=30)
GAP = AcceptGap("lost at the source", UNTIL)


# -- a gap that is accepted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [QUORUM, "mode: observe", "message: optional", "mode: enforce"])
@pytest.mark.parametrize("filled", [(), ("a.one",), ("a.one", "a.two")])
def test_accepting_a_gap_never_releases(tmp_path: Path, line: str, filled: tuple[str, ...]) -> None:
    world = World(fan(tmp_path, raw=line))
    world.fill(*filled)
    decision = world.act(GAP)
    assert (decision.gate.state, decision.signal, world.signals) == (GateState.ACCEPTED, None, [])
    assert world.may_start().go, "its followers may start"


def test_accepting_the_gap_of_a_gate_whose_tables_were_filled_meanwhile_releases_nothing(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two", rows=3)
    world.fill("a.one", "a.two")
    assert world.act(GAP).gate.state is GateState.ACCEPTED
    assert world.signals == []


def test_when_the_data_comes_after_all_the_gate_opens(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two", rows=3)
    world.act(GAP)
    world.clock.advance(MINUTE)
    world.loaded("one", "two")
    assert world.signals == [f"raw/{DAY}/g1"]


def test_an_override_after_the_acceptance_opens(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one")
    world.loaded("two", rows=3)
    world.act(GAP)
    world.clock.advance(MINUTE)
    world.act(Waive(("a.two.row_count",), "known", UNTIL))
    assert world.gate().state is GateState.OPEN


def test_the_end_of_a_gap_lets_the_tables_decide_again(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two", rows=3)
    world.act(GAP)
    world.fill("a.one", "a.two")
    world.act(EndGap())
    assert world.gate().state is GateState.OPEN


# -- an override that ends ----------------------------------------------------------------------------------------------------


def overridden(folder: Path) -> World:
    world = World(fan(folder))
    world.loaded("one")
    world.loaded("two", rows=3)
    world.act(Waive(("a.two.row_count",), "known", world.clock.now() + HOUR))
    assert world.gate().state is GateState.OPEN
    world.bus.taken.clear()
    return world


def test_what_an_override_let_through_is_a_late_failure_once_it_ends(tmp_path: Path) -> None:
    world = overridden(tmp_path)
    world.tick(59)
    assert world.alerts == []
    world.tick(3)
    assert (world.alerts, world.state()) == ([("late_failure", "firing")], GateState.FAILING)
    world.tick(24 * 60)
    assert world.alerts == [("late_failure", "firing")]


def test_nothing_is_said_when_it_was_repaired_before_the_override_ended(tmp_path: Path) -> None:
    world = overridden(tmp_path)
    world.fill("a.two", rows=3)
    world.warehouse.numbers["a.two", DAY] = 10
    world.tick(120)
    assert world.alerts == []
    queries = len(world.warehouse.queries)
    world.tick(120)
    assert len(world.warehouse.queries) == queries, "an override that is over is not looked at again"


def test_while_it_holds_the_clock_measures_nothing(tmp_path: Path) -> None:
    world = overridden(tmp_path)
    world.warehouse.queries.clear()
    world.tick(30)
    assert world.warehouse.queries == []


@pytest.mark.parametrize(
    ("waived", "said"),
    [("producers_missing", "two has not reported"), ("producer_failed", "two reported that it failed")],
)
def test_a_producer_that_was_waived_is_missed_once_the_override_ends(tmp_path: Path, waived: str, said: str) -> None:
    world = World(fan(tmp_path))
    world.loaded("one")
    world.fill("a.two")
    if waived == "producer_failed":
        world.done("raw", "two", status="failed")
    world.act(Waive((waived,), "known", world.clock.now() + HOUR))
    assert world.gate().state is GateState.OPEN
    world.bus.taken.clear()
    world.tick(24 * 60)
    assert world.alerts == [("late_failure", "firing")]
    assert said in world.gate().detail


# -- releases with a flaw -----------------------------------------------------------------------------------------------------


def test_as_long_as_an_open_gate_fails_no_follower_starts(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two")
    assert world.may_start().go
    world.clock.advance(MINUTE)
    world.loaded("one", "two", rows=3)
    (objection,) = world.may_start().objections
    assert "raw is failing: table a.one has 3 rows" in objection.detail
    assert world.state() is GateState.FAILING
    world.clock.advance(MINUTE)
    world.loaded("one", "two")
    assert world.may_start().go
    assert world.state() is GateState.OPEN


def test_one_of_two_inputs_that_fails_keeps_the_other_from_starting_their_follower(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.loaded("one", "two", rows=3)
    world.fill("a.next")
    world.done("next")
    assert world.gate("next").state is GateState.OPEN, "it began while its input was released"


def test_a_degraded_gate_stays_degraded_until_what_was_missing_is_there(tmp_path: Path) -> None:
    world = World(fan(tmp_path, raw=QUORUM))
    world.loaded("one")
    world.tick(65)
    gate = world.gate()
    assert (gate.degraded, gate.missing) == (True, ("a.two", "two"))
    world.tick(30)
    gate = world.gate()
    assert (gate.degraded, gate.missing) == (True, ("a.two", "two"))
    assert "released without table a.two; two has not reported" in gate.detail
    world.loaded("two")
    world.tick(12)
    assert (world.gate().degraded, world.gate().missing, world.gate().generation) == (False, (), 2)


def test_what_was_missing_only_by_message_ends_with_the_message(tmp_path: Path) -> None:
    world = World(fan(tmp_path, raw="quorum: {at_least: 2, of: 2}"))
    world.fill("a.one", "a.two")
    world.done("raw", "one")
    world.tick(65)
    assert (world.gate().degraded, world.gate().missing) == (True, ("two",))
    world.done("raw", "two")
    assert (world.gate().degraded, world.gate().missing) == (False, ())
