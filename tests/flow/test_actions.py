"""Manual actions through the whole monitor: the same path as a message, stored under the person's name, ended by the tick."""

from datetime import UTC, datetime, timedelta

import pytest
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import AcceptGap, Action, EndGap, EndWaiver, LiftHold, PutHold, Waive
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GateState, Reason
from phasegate.errors import ActionRefused, StateError, UnknownPhase
from phasegate.gates.pauses import Pauses
from phasegate.testing import Crash

from tests.flow.test_monitor import DAY, MINUTE, SHOP, SILENT, World, run_raw

RAW = RunKey("shop", "raw", DAY)
ORDERS, PRICES = "raw.orders.row_count", "raw.prices.row_count"
DUE = datetime(2026, 3, 3, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> World:
    """raw is held: orders has too few rows."""
    new = World()
    new.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(new)
    return new


def waive(world: World, *checks: str) -> Waive:
    return Waive(checks, "half the fleet stood", world.clock.now() + HOUR)


def triggers(world: World) -> list[tuple[str, str]]:
    return [(event.trigger, event.act) for event in world.store.history(RAW)]


def test_an_override_opens_the_gate_immediately(world: World) -> None:
    """On the same path as a message: measured, decided, committed with its signal and its history row."""
    world.warehouse.queries.clear()
    decision = world.monitor.act(RAW, waive(world, ORDERS), "ann")
    assert (decision.gate.state, decision.reason) == (GateState.OPEN, Reason.OVERRIDDEN)
    assert len(world.warehouse.queries) == 2, "one query for each of its tables"
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]
    described = f"override of {ORDERS} until 2026-03-03 02:00 UTC: half the fleet stood"
    assert triggers(world)[-1] == ("by hand: ann", described)
    row = world.bus.rows[-1].body
    assert (row["trigger"], row["act"], row["decision_id"]) == ("by hand: ann", described, "shop/raw/2026-03-02/g1")
    assert world.bus.alerts == [("checks_failed", "firing"), ("checks_failed", "recovered"), ("overridden", "firing")]


def test_an_override_of_one_check_does_not_cover_another(world: World) -> None:
    """Nor does it cover anything after its end."""
    world.warehouse.numbers["raw.prices", DAY] = 3
    world.recheck()
    world.monitor.act(RAW, waive(world, ORDERS), "ann")
    world.recheck()
    assert (world.gate("raw").state, world.bus.signals) == (GateState.HELD, [])
    world.clock.advance(HOUR)
    world.warehouse.numbers["raw.prices", DAY] = 10
    world.recheck()
    assert (world.gate("raw").state, world.bus.signals) == (GateState.HELD, []), "it has expired"
    world.monitor.act(RAW, waive(world, ORDERS), "ann")
    assert world.gate("raw").state is GateState.OPEN


def test_an_override_that_ends_takes_no_signal_back(world: World) -> None:
    world.monitor.act(RAW, waive(world, ORDERS), "ann")
    world.monitor.act(RAW, EndWaiver(), "bob")
    assert (world.gate("raw").state, world.gate("raw").generation) == (GateState.OPEN, 1)
    assert world.bus.alerts[-1] == ("late_failure", "firing"), "what was waived is wrong again, and people hear of it"
    assert triggers(world)[-1] == ("by hand: bob", "end of the override of everything")


def test_a_tick_releases_what_an_expired_hold_blocked(world: World) -> None:
    """Meanwhile nothing is measured needlessly, and a report is recorded."""
    world.monitor.act(RAW, PutHold("a reload", world.clock.now() + HOUR), "ann")
    world.warehouse.numbers["raw.orders", DAY] = 10
    world.warehouse.queries.clear()
    assert world.recheck() == ()
    assert world.warehouse.queries == []
    world.clock.advance(30 * MINUTE)
    world.monitor.handle(world.done("raw", "orders", attempt=2))
    gate = world.gate("raw")
    assert (gate.state, gate.reason, gate.reports["orders"].attempt) == (GateState.HELD, Reason.HELD_BY_HAND, 2)
    assert [r.outcome for r in gate.results] == ["passed", "passed"]
    world.clock.advance(30 * MINUTE)
    world.recheck()
    assert world.gate("raw").state is GateState.OPEN


def test_a_gate_without_a_report_is_rechecked_when_its_hold_ends() -> None:
    """Whether or not it is due, and whether or not it has a due time."""
    world = World()
    clean = RunKey("shop", "clean", DAY)
    world.monitor.act(clean, PutHold("a reload", world.clock.now() + HOUR), "ann")
    world.monitor.act(RAW, PutHold("a reload", world.clock.now() + HOUR), "ann")
    world.clock.advance(HOUR)
    world.recheck()
    assert [(world.gate(phase).state, world.bus.alerts) for phase in ("raw", "clean")] == [(GateState.WAITING, [])] * 2
    world.clock.set(DUE)
    world.recheck()
    assert world.gate("raw").state is GateState.OVERDUE


def test_a_gate_on_hold_is_not_overdue() -> None:
    """The hold raises no alert; when it ends, the lateness does."""
    late = World()
    late.monitor.act(RAW, PutHold("a reload", DUE + HOUR), "ann")
    late.clock.set(DUE)
    late.recheck()
    assert late.bus.alerts == []
    late.clock.set(DUE + HOUR)
    late.recheck()
    assert late.bus.alerts == [("no_message", "firing")]


def test_new_data_blocked_by_a_hold_is_released_when_it_ends(world: World) -> None:
    world.warehouse.numbers["raw.orders", DAY] = 10
    world.recheck()
    world.monitor.act(RAW, PutHold("odd rows", world.clock.now() + HOUR), "ann")
    world.warehouse.numbers["raw.orders", DAY] = 12
    world.clock.advance(MINUTE)
    world.monitor.handle(world.done("raw", "orders"))
    assert world.recheck() == ()
    assert world.gate("raw").generation == 1
    world.clock.advance(HOUR)
    world.recheck()
    assert world.bus.signals == ["shop/raw/2026-03-02/g1", "shop/raw/2026-03-02/g2"]


def test_an_accepted_gap_lets_followers_start_and_can_be_ended_or_expire(world: World) -> None:
    world.clock.set(DUE)
    accept = AcceptGap("lost at the source", DUE + HOUR, "bob")
    world.monitor.act(RAW, accept, "ann")
    assert world.gate("raw").state is GateState.ACCEPTED
    assert world.bus.alerts[-1] == ("checks_failed", "recovered")
    world.clock.advance(MINUTE)
    world.monitor.handle(world.done("clean"))
    assert world.gate("clean").state is GateState.OPEN
    world.monitor.act(RAW, EndGap("found it"), "bob")
    assert (world.gate("raw").state, world.bus.alerts[-1]) == (GateState.HELD, ("checks_failed", "firing"))
    world.monitor.act(RAW, accept, "ann")
    world.clock.set(DUE + HOUR)
    world.recheck()
    assert (world.gate("raw").state, world.bus.alerts[-1]) == (GateState.HELD, ("checks_failed", "firing"))


@pytest.mark.parametrize("act", [PutHold("why"), AcceptGap("why", DUE)])
def test_a_dry_run_gives_the_decision_and_changes_nothing(world: World, act: Action) -> None:
    before, sent = world.gate("raw"), list(world.bus.taken)
    decision = world.monitor.act(RAW, act, "ann", dry_run=True)
    assert decision.gate.state in (GateState.HELD, GateState.ACCEPTED)
    assert (world.gate("raw"), world.bus.taken, len(triggers(world))) == (before, sent, 2)


def test_a_dry_run_of_an_override_shows_its_signal_and_sends_none(world: World) -> None:
    decision = world.monitor.act(RAW, waive(world, ORDERS), "ann", dry_run=True)
    assert decision.signal is not None
    assert (world.bus.signals, world.gate("raw").overrides) == ([], ())


def test_a_refused_action_changes_nothing(world: World) -> None:
    before = world.gate("raw")
    with pytest.raises(ActionRefused, match=f"{PRICES} is not failing"):
        world.monitor.act(RAW, waive(world, PRICES), "ann")
    world.warehouse.down = "the warehouse is down"
    with pytest.raises(ActionRefused, match="could not be measured: the warehouse is down"):
        world.monitor.act(RAW, waive(world, ORDERS), "ann")
    with pytest.raises(UnknownPhase):
        world.monitor.act(RunKey("shop", "rew", DAY), PutHold("why"), "ann")
    assert world.gate("raw") == before


def test_an_action_is_decided_again_when_the_gate_changed_meanwhile(world: World) -> None:
    """It is decided on the new state: the report that came in between is not lost, nor is a second action."""
    other = world.started()

    def meanwhile() -> None:
        world.warehouse.before_answer = None
        world.warehouse.numbers["raw.orders", DAY] = 10
        other.handle(world.done("raw", "orders", attempt=2))

    world.warehouse.before_answer = meanwhile
    with pytest.raises(ActionRefused, match=f"{ORDERS} is not failing"):
        world.monitor.act(RAW, waive(world, ORDERS), "ann")
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]
    assert world.gate("raw").reason is Reason.PASSED


def acted(point: int, act: Action) -> tuple[World, bool]:
    """The process dies at a point of an action; the person repeats it, and a tick follows."""
    world = World()
    world.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(world)
    world.calls.left = point
    try:
        world.monitor.act(RAW, act, "ann")
        died = False
    except Crash:
        died = True
    world.calls.left = None
    world.monitor = world.started()
    if died:
        world.monitor.act(RAW, act, "ann")
    world.clock.advance(MINUTE)
    world.recheck()
    return world, died


@pytest.mark.parametrize("act", [Waive((ORDERS,), "why", DUE), PutHold("why", DUE), AcceptGap("why", DUE)])
def test_a_crash_at_any_point_of_an_action_loses_and_doubles_nothing(act: Action) -> None:
    point, died = 0, True
    while died:
        world, died = acted(point, act)
        gate: Gate = world.gate("raw")
        assert gate.generation == (1 if isinstance(act, Waive) else 0), point
        assert len(gate.overrides) == (1 if isinstance(act, Waive) else 0), point
        assert len(set(world.bus.signals)) == gate.generation, point
        assert world.pending() == [], point
        point += 1
    assert point > 8


def test_an_unavailable_bus_does_not_stop_an_action(world: World) -> None:
    world.bus.refuses = SILENT
    world.monitor.act(RAW, waive(world, ORDERS), "ann")
    assert world.gate("raw").state is GateState.OPEN
    world.bus.refuses = None
    world.clock.advance(HOUR)
    world.monitor.relay()
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]


def test_an_unavailable_store_is_an_error() -> None:
    class Away:
        def load(self, *_: object) -> None:
            raise StateError("the store is away", retryable=True)

    world = World(store=Away(), listened=False)
    with pytest.raises(StateError):
        world.monitor.act(RAW, LiftHold(), "ann")


# -- several dates --------------------------------------------------------------------------------------------------------------

WEEK = tuple(RunKey("shop", "raw", DAY + timedelta(days=n)) for n in range(5))


@pytest.fixture
def week() -> World:
    """Five dates of raw are overdue: two have too few rows, and none was reported."""
    new = World()
    new.clock.set(datetime(2026, 3, 8, tzinfo=UTC))
    for n, run in enumerate(WEEK):
        new.warehouse.numbers |= {("raw.orders", run.run_date): 3 if n < 2 else 10, ("raw.prices", run.run_date): 10}
    new.recheck(Span(DAY, WEEK[-1].run_date))
    new.warehouse.queries.clear()
    return new


def test_an_action_on_several_dates_takes_one_query_per_table(week: World) -> None:
    """A refusal on one date does not stop the others."""
    done = week.monitor.act_on(WEEK, waive(week, ORDERS, "producers_missing"), "ann")
    assert [each.run for each in done] == list(WEEK)
    assert [each.decision and each.decision.gate.state for each in done] == ["open", "open", None, None, None]
    assert f"{ORDERS} is not failing" in done[2].refused
    assert len(week.warehouse.queries) == 2
    assert len(week.bus.signals) == 2


def test_a_dry_run_on_several_dates_changes_nothing(week: World) -> None:
    before = week.store.load("shop", Span(DAY, WEEK[-1].run_date))
    done = week.monitor.act_on(WEEK, AcceptGap("lost", week.clock.now() + HOUR), "ann", dry_run=True)
    assert {each.decision and each.decision.gate.state for each in done} == {GateState.ACCEPTED}
    assert week.store.load("shop", Span(DAY, WEEK[-1].run_date)) == before


def test_an_action_on_several_dates_does_not_bypass_a_pause(week: World) -> None:
    Pauses(week.store, week.clock).pause(SHOP, "raw", by="ann", why="why", until=week.clock.now() + HOUR)
    done = week.monitor.act_on(WEEK[:2], waive(week, ORDERS, "producers_missing"), "ann")
    assert [each.decision and each.decision.gate.reason for each in done] == ["paused", "paused"]


def test_of_several_dates_one_that_changed_meanwhile_is_loaded_again(week: World) -> None:
    other = week.started()

    def meanwhile() -> None:
        week.warehouse.before_answer = None
        other.act(WEEK[1], PutHold("odd rows"), "bob")

    week.warehouse.before_answer = meanwhile
    done = week.monitor.act_on(WEEK[:2], waive(week, ORDERS, "producers_missing"), "ann")
    assert [each.decision and each.decision.gate.reason for each in done] == ["overridden", "held_by_hand"]
