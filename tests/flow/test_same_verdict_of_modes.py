"""A validation says of every date what the gate does with it: with a quorum, in observe mode, after people's decisions."""

from collections.abc import Callable
from pathlib import Path

import pytest
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import AcceptGap, Waive
from phasegate.core.gates.gate import GateState
from phasegate.core.gates.verdict import Verdict
from phasegate.gates.adoption import adopt
from phasegate.gates.backfill import validate

from tests.flow.fan import DAY, HOUR, World, fan

SPAN = Span(DAY, DAY)
QUORUM = "quorum: {at_least: 1, of: 2}"


def nothing(_: World) -> None:
    """Nobody decides anything."""


def accepts_the_gap(world: World) -> None:
    world.act(AcceptGap("lost at the source", world.clock.now() + 9 * HOUR))


def waives_it(world: World) -> None:
    world.act(Waive(("a.two.row_count",), "known", world.clock.now() + 9 * HOUR))


def waives_it_for_an_hour(world: World) -> None:
    world.act(Waive(("a.two.row_count",), "known", world.clock.now() + HOUR))


@pytest.mark.parametrize(
    ("line", "two", "decides", "verdict", "opens"),
    [
        ("mode: enforce", 10, nothing, Verdict.PASS, True),
        ("mode: enforce", 3, nothing, Verdict.FAIL, False),
        (QUORUM, 10, nothing, Verdict.PASS, True),
        (QUORUM, 3, nothing, Verdict.ACCEPTABLE, True),
        ("quorum: {at_least: 1, of: 2, always: [two]}", 3, nothing, Verdict.FAIL, False),
        ("mode: observe", 3, nothing, Verdict.ACCEPTABLE, True),
        ("mode: enforce", 3, accepts_the_gap, Verdict.ACCEPTED, False),
        ("mode: enforce", 3, waives_it, Verdict.ACCEPTABLE, True),
        ("mode: enforce", 3, waives_it_for_an_hour, Verdict.FAIL, True),
    ],
)
def test_validator_and_gate_agree(
    tmp_path: Path, line: str, two: int, decides: Callable[[World], None], verdict: Verdict, opens: bool
) -> None:
    world = World(fan(tmp_path, raw=line))
    world.loaded("one")
    world.loaded("two", rows=two)
    decides(world)
    world.tick(120)
    known = world.store.load("p", SPAN)
    found = validate(world.pipeline, ["raw"], SPAN, warehouse=world.warehouse, now=world.clock.now(), known=known)
    assert found.dates[0].phases[0].verdict is verdict
    assert world.gate().verdict is verdict
    assert (world.gate().state is GateState.OPEN) is opens
    assert any(finding.rank == "fail" for finding in found.findings) is (verdict is Verdict.FAIL)


@pytest.mark.parametrize(
    ("line", "two", "verdict", "state"),
    [
        ("mode: enforce", 10, Verdict.PASS, GateState.OPEN),
        ("mode: enforce", 3, Verdict.ACCEPTED, GateState.ACCEPTED),
        (QUORUM, 3, Verdict.ACCEPTABLE, GateState.OPEN),
        ("quorum: {at_least: 1, of: 2, always: [two]}", 3, Verdict.ACCEPTED, GateState.ACCEPTED),
        ("mode: observe", 3, Verdict.ACCEPTABLE, GateState.OPEN),
    ],
)
def test_validator_and_adopted_gate_agree(tmp_path: Path, line: str, two: int, verdict: Verdict, state: GateState) -> None:
    world = World(fan(tmp_path, raw=line), listened=False)
    world.fill("a.one")
    world.fill("a.two", rows=two)
    adopt(
        world.pipeline, ["raw"], SPAN, warehouse=world.warehouse, known={}, store=world.store, now=world.clock.now(), by="ann"
    )
    world.tick(120)
    known = world.store.load("p", SPAN)
    found = validate(world.pipeline, ["raw"], SPAN, warehouse=world.warehouse, now=world.clock.now(), known=known)
    assert found.dates[0].phases[0].verdict is world.gate().verdict is verdict
    assert (world.gate().state, world.alerts, world.signals) == (state, [], [])


def test_a_late_run_is_not_due_in_both(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.loaded("one")
    known = world.store.load("p", SPAN)
    found = validate(world.pipeline, ["raw"], SPAN, warehouse=world.warehouse, now=world.clock.now(), known=known)
    assert found.dates[0].verdict is Verdict.NOT_DUE
    assert world.state() is GateState.WAITING
