"""Manual actions: an action changes the decisions that a gate stores, the rules decide, and invalid actions are refused."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from phasegate.core.checks.base import CheckResult, Mode, Outcome, Severity
from phasegate.core.checks.kinds import RowCount
from phasegate.core.field_syntax import Due
from phasegate.core.gates.actions import AcceptGap, Action, EndGap, EndWaiver, LiftHold, PutHold, Waive, apply
from phasegate.core.gates.completion import Report, RunKey, Status
from phasegate.core.gates.decide import Case, Decision, decide
from phasegate.core.gates.gate import AcceptedGap, Gate, GateState, Hold, Override, Reason
from phasegate.core.gates.verdict import Fingerprint, OutputVerdict, PhaseVerdict, Verdict, judge
from phasegate.core.pipeline.model import Calendar, Output, Phase, Pipeline, Producer
from phasegate.errors import ActionRefused

DAY = date(2026, 3, 2)
NOW = datetime(2026, 3, 3, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)
CHECKS = (RowCount(at_least=10),)
TABLES = ("raw.orders", "raw.prices")
SHOP = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=DAY),
    phases={
        "raw": Phase(
            producers={"orders": Producer(), "prices": Producer()},
            due=Due(at=time(6), days=1),
            outputs={table: Output(date="d", checks=CHECKS) for table in TABLES},
        ),
    },
)
ORDERS, PRICES = (f"{table}.row_count" for table in TABLES)


def tables(*bad: str, fingerprint: str = "same") -> PhaseVerdict:
    """The verdict of the tables: all checks pass but these."""
    prints = {table: Fingerprint(3, None, "", fingerprint) for table in TABLES}
    outputs = []
    for table in TABLES:
        outcome = Outcome.FAILED if table in bad else Outcome.PASSED
        name = f"{table}.row_count"
        row = CheckResult(
            name, "row_count", table, Severity.BLOCK, Mode.ENFORCE, 1.0, outcome, 3, "at least 10", f"{table} message"
        )
        outputs.append(OutputVerdict(table, (row,), 3))
    return PhaseVerdict("raw", judge(o.results[0] for o in outputs), 50.0, tuple(outputs), prints)


def gate(**fields: Any) -> Gate:
    """A gate on which both producers have reported."""
    done = {name: Report(name, Status.DONE, NOW - HOUR) for name in ("orders", "prices")}
    return Gate(RunKey("shop", "raw", DAY), reports=fields.pop("reports", done), **fields)


def case(gate: Gate, verdict: PhaseVerdict | None = None, now: datetime = NOW) -> Case:
    return Case(SHOP, gate, {}, verdict, NOW - HOUR, now)


def decided(gate: Gate, verdict: PhaseVerdict, now: datetime = NOW) -> Decision:
    return decide(case(gate, verdict, now))


def waive(*checks: str, until: datetime = NOW + HOUR) -> Waive:
    return Waive(checks, "half the fleet stood", until)


def test_an_override_does_not_cover_a_second_failure() -> None:
    """It waives only what it names, until it ends. A go-signal that was sent because of it is never taken back."""
    one = apply(waive(ORDERS), case(gate(), tables("raw.orders")), "ann")
    both = decided(one, tables("raw.orders", "raw.prices"))
    assert (both.gate.state, both.gate.reason, both.signal) == (GateState.HELD, Reason.CHECKS_FAILED, None)
    assert both.alerts[0].about == (PRICES,)
    passed = decided(one, tables("raw.orders"))
    assert (passed.gate.state, passed.reason, passed.detail) == ("open", "overridden", "released by ann: half the fleet stood")
    late = decided(one, tables("raw.orders"), now=NOW + HOUR)
    assert (late.gate.state, late.signal) == (GateState.HELD, None), "its end is not included"
    other = decided(passed.gate, tables("raw.orders", fingerprint="other"), now=NOW + HOUR)
    assert (other.gate.state, other.gate.generation, other.reason, other.signal) == ("open", 1, "late_failure", None)


def test_an_override_stores_who_why_and_until_when() -> None:
    after = apply(waive(ORDERS, ORDERS), case(gate(), tables("raw.orders")), "ann")
    assert after.overrides == (Override((ORDERS,), "ann", "half the fleet stood", NOW, NOW + HOUR),)
    assert str(waive(ORDERS)) == f"override of {ORDERS} until 2026-03-03 08:00 UTC: half the fleet stood"


def test_an_override_replaces_an_earlier_one_of_the_same_check() -> None:
    bad = tables(*TABLES)
    both = apply(waive(ORDERS, PRICES), case(gate(), bad), "ann")
    longer = apply(waive(ORDERS, until=NOW + 2 * HOUR), case(both, bad), "bob")
    assert [(o.checks, o.by) for o in longer.overrides] == [((PRICES,), "ann"), ((ORDERS,), "bob")]
    ended = apply(EndWaiver((PRICES,)), case(longer, bad), "ann")
    assert [o.checks for o in ended.overrides] == [(ORDERS,)]
    assert apply(EndWaiver(), case(longer, bad), "ann").overrides == ()
    old = apply(waive(ORDERS), case(both, bad, NOW + HOUR / 2), "ann")
    assert len(apply(waive(ORDERS, until=NOW + 9 * HOUR), case(old, bad, NOW + 5 * HOUR), "ann").overrides) == 1, "no old ones"


@pytest.mark.parametrize(
    ("reports", "name"),
    [
        ({"orders": Report("orders", Status.DONE, NOW - HOUR)}, Reason.PRODUCERS_MISSING),
        (
            {
                "orders": Report("orders", Status.DONE, NOW - HOUR),
                "prices": Report("prices", Status.FAILED, NOW - HOUR),
            },
            Reason.PRODUCER_FAILED,
        ),
    ],
)
def test_a_condition_other_than_a_check_is_waived_by_its_reason(reports: dict[str, Report], name: Reason) -> None:
    """The tables must pass all the same."""
    before = gate(reports=reports)
    after = apply(waive(name), case(before, tables()), "ann")
    assert decided(after, tables()).reason is Reason.OVERRIDDEN
    assert decided(after, tables("raw.orders")).gate.state is GateState.HELD


def test_a_hold_blocks_a_passing_phase_until_it_ends() -> None:
    held = apply(PutHold("the source is being reloaded", NOW + HOUR), case(gate()), "ann")
    assert held.hold == Hold("ann", "the source is being reloaded", NOW, NOW + HOUR)
    decision = decided(held, tables())
    assert (decision.gate.state, decision.gate.reason, decision.signal, decision.alerts) == ("held", "held_by_hand", None, ())
    assert decision.detail == "put on hold by ann until 2026-03-03 08:00 UTC: the source is being reloaded"
    assert decision.gate.verdict is Verdict.PASS, "what the tables hold is recorded meanwhile"
    assert decided(decision.gate, tables(), NOW + HOUR).signal is not None
    lifted = apply(LiftHold(), case(decision.gate), "bob")
    assert decided(lifted, tables()).signal is not None
    assert decided(lifted, tables("raw.orders")).gate.reason is Reason.CHECKS_FAILED, "lifting opens nothing by itself"


def test_a_hold_on_an_open_gate_blocks_only_further_releases() -> None:
    opened = decided(gate(), tables()).gate
    held = apply(PutHold("the rows look odd"), case(opened), "ann")
    again = decided(held, tables(fingerprint="other"))
    assert (again.gate.state, again.gate.generation, again.signal) == (GateState.OPEN, 1, None)
    assert again.detail == "the data changed; put on hold by ann: the rows look odd"
    assert again.gate.unproven, "the clock looks again"
    after = decided(apply(LiftHold(), case(again.gate), "ann"), tables(fingerprint="other"))
    assert (after.gate.generation, after.gate.unproven) == (2, False)


def test_a_hold_beats_an_override_and_an_accepted_gap() -> None:
    """A hold means that no follower may start."""
    bad = tables("raw.orders")
    gap = apply(AcceptGap("lost", NOW + HOUR), case(apply(PutHold("wait"), case(gate()), "ann")), "bob")
    assert decided(gap, bad).gate.reason is Reason.HELD_BY_HAND
    both = apply(waive(ORDERS), case(apply(PutHold("wait"), case(gate()), "ann"), bad), "bob")
    assert decided(both, bad).gate.reason is Reason.HELD_BY_HAND


def test_an_accepted_gap_has_an_owner_and_an_end() -> None:
    bad = tables("raw.orders")
    held = decided(gate(), bad).gate
    for owner, shown in (("", ""), ("bob", " (owner: bob)")):
        accepted = apply(AcceptGap("lost", NOW + 24 * HOUR, owner), case(held), "ann")
        assert accepted.gap == AcceptedGap("ann", "lost", NOW, NOW + 24 * HOUR, owner or "ann")
        decision = decided(accepted, bad)
        assert (decision.gate.state, decision.detail) == (
            "accepted",
            f"ann accepted the gap until 2026-03-04 07:00 UTC{shown}: lost",
        )
    assert decided(decision.gate, tables()).gate.state is GateState.ACCEPTED, "nothing has come since"
    orders = replace(decision.gate.reports["orders"], received_at=NOW + HOUR)
    late = replace(decision.gate, reports={**decision.gate.reports, "orders": orders})
    assert decided(late, tables()).gate.state is GateState.OPEN, "the data came after all"
    assert decided(decision.gate, bad, NOW + 24 * HOUR).gate.state is GateState.HELD
    assert decided(apply(EndGap(), case(decision.gate), "ann"), bad).gate.state is GateState.HELD


OPEN = gate(state=GateState.OPEN, generation=1)
WAIVED = gate(overrides=(Override((ORDERS,), "ann", "why", NOW - HOUR, NOW + HOUR),))
BLIND = PhaseVerdict("raw", Verdict.UNVERIFIED, reason="the warehouse is down")
BEFORE = replace(gate(), run=RunKey("shop", "raw", DAY - timedelta(days=1)))


@pytest.mark.parametrize(
    ("act", "gate", "verdict", "message"),
    [
        (waive(), gate(), tables("raw.orders"), f"an override must name what it waives; failing now: {ORDERS}"),
        (waive("raw.orders.rowcount"), gate(), tables("raw.orders"), "unknown raw.orders.rowcount; known names: producer_failed,"),
        (waive(ORDERS, PRICES), gate(), tables("raw.orders"), f"{PRICES} is not failing, so there is nothing to waive; failing now: {ORDERS}"),
        (waive(ORDERS), gate(), tables(), f"{ORDERS} is not failing, so there is nothing to waive; failing now: nothing"),
        (waive(ORDERS), gate(), BLIND, "failing now: nothing; the tables could not be measured: the warehouse is down"),
        (waive(ORDERS, until=NOW), gate(), tables("raw.orders"), "2026-03-03 07:00 UTC is in the past"),
        (Waive((ORDERS,), " ", NOW + HOUR), gate(), tables("raw.orders"), "needs a reason"),
        (EndWaiver(), gate(), None, "nothing is waived"),
        (EndWaiver((PRICES,)), WAIVED, None, f"{PRICES} is not waived; waived: {ORDERS}"),
        (PutHold("why", NOW - HOUR), gate(), None, "is in the past"),
        (PutHold(""), gate(), None, "needs a reason"),
        (PutHold("why"), BEFORE, None, "no run is expected on this date"),
        (AcceptGap("why", NOW + HOUR), gate(state=GateState.OFF), None, "no run is expected on this date"),
        (LiftHold(), gate(), None, "nobody has put it on hold"),
        (AcceptGap("why", NOW + HOUR), OPEN, None, "is open: there is no gap to accept"),
        (AcceptGap("why", NOW), gate(), None, "is in the past"),
        (EndGap(), gate(), None, "nobody has accepted a gap"),
    ],
)  # fmt: skip
def test_an_invalid_action_is_refused(act: Action, gate: Gate, verdict: PhaseVerdict | None, message: str) -> None:
    with pytest.raises(ActionRefused) as refused:
        apply(act, case(gate, verdict), "ann")
    assert str(refused.value).startswith(str(gate.run))
    assert message in str(refused.value)


def test_an_action_without_a_name_is_refused() -> None:
    with pytest.raises(ActionRefused, match="a manual action needs a reason and a name"):
        apply(PutHold("why"), case(gate()), " ")
