"""The table "What happens when", row by row."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from phasegate.core.checks.base import CheckResult, Mode, Outcome, Severity
from phasegate.core.checks.metrics import Fault, Unmeasured
from phasegate.core.field_syntax import Due
from phasegate.core.gates.completion import Report, RunKey, Status
from phasegate.core.gates.decide import RULES, UNVERIFIED_GRACE, Case, Decision, decide, needs_measuring
from phasegate.core.gates.gate import (
    AcceptedGap,
    Alert,
    AlertState,
    Gate,
    GateState,
    Hold,
    Override,
    Reason,
    effective_state,
    is_released,
    may_start,
)
from phasegate.core.gates.verdict import Fingerprint, Fingerprints, OutputVerdict, PhaseVerdict, Verdict, judge
from phasegate.core.pipeline.model import (
    Again,
    AlertSeverity,
    Calendar,
    GateMode,
    MessageNeed,
    Output,
    Part,
    Phase,
    Pipeline,
    Producer,
    Quorum,
    QuorumWhen,
)

DAY = date(2026, 3, 2)
DUE = datetime(2026, 3, 3, 6, tzinfo=UTC)
NOW = DUE - timedelta(hours=1)
LATE = DUE + timedelta(hours=1)
MINUTE = timedelta(minutes=1)

RAW = Phase(
    producers={"orders": Producer(fills="raw.orders"), "prices": Producer(), "extras": Producer(optional=True)},
    due=Due(at=time(6), days=1),
    outputs={"raw.orders": Output(date="d"), "raw.prices": Output(date="d")},
)
CLEAN = Phase(after=("raw",), outputs={"clean.orders": Output(date="d")})
STOCK = Phase(after=("raw",), outputs={"stock.levels": Output(date="d")})
REPORT = Phase(
    after=("clean", "stock"),
    due=Due(at=time(6), days=1),
    outputs={"report.sales": Output(date="d"), "report.extra": Output(date="d"), "report.more": Output(date="d")},
)


def shop(**phases: Phase) -> Pipeline:
    """raw, then clean and stock, then report; some of them changed."""
    declared = {"raw": RAW, "clean": CLEAN, "stock": STOCK, "report": REPORT, **phases}
    calendar = Calendar(from_=date(2026, 1, 1), parts={"warm_up": (Part(from_=DAY, days=1),)})
    return Pipeline(pipeline="shop", calendar=calendar, phases=declared)


SHOP = shop()


def run(phase: str) -> RunKey:
    """The gate of a phase on the date."""
    return RunKey("shop", phase, DAY)


def report(producer: str, status: Status = Status.DONE, *, began: datetime = NOW - 9 * MINUTE, **fields: Any) -> Report:
    """A producer's report."""
    return Report(producer, status, NOW, started_at=began, finished_at=began + 3 * MINUTE, **fields)


def gate(phase: str = "raw", *reports: Report, **fields: Any) -> Gate:
    """A gate with these reports; by default raw has all that it needs."""
    if "reports" in fields:
        return Gate(run(phase), version=3, **fields)
    given_reports = reports or ((report("orders"), report("prices")) if phase == "raw" else (report(phase),))
    return Gate(run(phase), version=3, reports={r.producer: r for r in given_reports}, **fields)


def silent(phase: str = "raw", **fields: Any) -> Gate:
    """A gate without reports."""
    return Gate(run(phase), **fields)


def opened(phase: str = "raw", generation: int = 1, at: datetime = NOW - 20 * MINUTE, **fields: Any) -> Gate:
    """A gate that is open."""
    return gate(
        phase, state=GateState.OPEN, reason=Reason.PASSED, generation=generation, opened_at=at,
        **{"since": at, "fingerprint": prints("same"), **fields},
    )  # fmt: skip


def days(*gates: Gate) -> dict[str, Gate]:
    """The gates of the date."""
    return {gate.run.phase: gate for gate in gates}


def tables(phase: str = "raw", pipeline: Pipeline = SHOP, fingerprint: str = "same", **outcomes: Any) -> PhaseVerdict:
    """The verdict of a phase's tables: all pass but those given, by last name, as an outcome, a result, or why not measured."""
    outputs = []
    for table in pipeline.phase(phase).outputs:
        outcome = outcomes.pop(table.rpartition(".")[2], Outcome.PASSED)
        outputs.append(OutputVerdict(table, (result(table, outcome),), 100))
    assert not outcomes
    verdict = judge(r for output in outputs for r in output.results)
    return PhaseVerdict(phase, verdict, 90.0, tuple(outputs), prints(fingerprint))


def prints(numbers: str) -> Fingerprints:
    return {"table": Fingerprint(1, None, "", numbers)}


def result(table: str, outcome: Outcome | Unmeasured, **fields: Any) -> CheckResult:
    """A result of the row count of a table."""
    base = CheckResult(
        f"{table}.row_count",
        "row_count",
        table,
        Severity.BLOCK,
        Mode.ENFORCE,
        1.0,
        Outcome.PASSED,
        3,
        "at least 10",
        f"{table} message",
    )
    if isinstance(outcome, Unmeasured):
        return replace(
            base,
            outcome=Outcome.NOT_EVALUATED,
            unmeasured=outcome,
            message=f"could not be measured: {outcome.reason}",
            **fields,
        )
    return replace(base, outcome=outcome, **fields)


BAD = Outcome.FAILED
DOWN = Unmeasured(Fault.UNAVAILABLE, "the warehouse is down")
GONE = Unmeasured(Fault.TABLE, "there is no such table")
OFF = PhaseVerdict("raw", Verdict.OFF, reason="nothing is expected")
BLIND = PhaseVerdict("raw", Verdict.UNVERIFIED, reason="the warehouse is down")


def warned(verdict: PhaseVerdict, **fields: Any) -> PhaseVerdict:
    """The same verdict with changes to the result of its first output."""
    first, *others = verdict.outputs
    outputs = (replace(first, results=(replace(first.results[0], **fields),)), *others)
    return replace(verdict, outputs=outputs, verdict=judge(r for o in outputs for r in o.results))


def empty(verdict: PhaseVerdict) -> PhaseVerdict:
    """The same verdict of tables without rows."""
    return replace(verdict, outputs=tuple(replace(output, rows=0) for output in verdict.outputs))


SEEN: set[str] = set()


def decided(
    gate: Gate,
    verdict: PhaseVerdict | None = None,
    *,
    pipeline: Pipeline = SHOP,
    day: Mapping[str, Gate] | None = None,
    now: datetime = NOW,
) -> Decision:
    """The decision on a gate; *day* adds other gates of the date."""
    phase = gate.run.phase
    gates = {phase: gate, **(day or {})}
    decision = decide(Case(pipeline, gate, gates, verdict, pipeline.due(phase, DAY), now))
    SEEN.add(decision.rule)
    return decision


def rule(start: str) -> str:
    """The row of the table that begins like this."""
    (row,) = [rule.when for rule in RULES if rule.when.startswith(start)]
    return row


def override(*checks: str, until: datetime = LATE + timedelta(days=1), at: datetime = NOW - MINUTE) -> Override:
    """A person's override of some checks."""
    return Override(checks, "ann", "known gap at the source", at, until)


def observing(phase: Phase) -> Pipeline:
    """The shop with raw in observe mode."""
    return shop(raw=replace(phase, mode=GateMode.OBSERVE))


def paused(until: date) -> Pipeline:
    """The shop with raw paused."""
    return shop(raw=replace(RAW, mode=GateMode.PAUSE, until=until))


def quorum(when: QuorumWhen = QuorumWhen.DUE, always: tuple[str, ...] = ("sales",)) -> Pipeline:
    """The shop, where two of three outputs of report are enough."""
    return shop(report=replace(REPORT, quorum=Quorum(at_least=2, of=3, always=always, when=when)))


UP = days(opened("raw"), opened("clean"), opened("stock"))
NEVER = shop(raw=replace(RAW, again=Again.NEVER))
OPTIONAL = shop(raw=replace(RAW, message=MessageNeed.OPTIONAL))
GAP = AcceptedGap("ann", "lost at the source", NOW, LATE + timedelta(days=1))
HOLD = Hold("ann", "the source is being reloaded", NOW, LATE + timedelta(days=1))
FAILED = report("prices", Status.FAILED, error="disk full")

ROWS: list[Any] = [
    # gate, verdict, how, rule, state, reason, signal, alerts as (cause, state)
    (gate(), OFF, {}, "no run is expected", "off", "unexpected", None, [("unexpected", "firing")]),
    (silent(), OFF, {"now": LATE}, "no run is expected", "off", "not_expected", None, []),
    (opened(), OFF, {}, "the gate is open, but a run is no longer", "open", "not_expected", None, []),
    (gate(), tables(), {}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate(generation=2), tables(), {}, "the policy is satisfied", "open", "passed", "g3", []),
    (gate(), tables(orders=Outcome.ACCEPTABLE), {}, "the policy is satisfied", "open", "passed", "g1", [("passed", "firing")]),
    (gate(), warned(tables(orders=BAD), severity=Severity.WARN), {}, "the policy is satisfied", "open", "passed", "g1", [("passed", "firing")]),
    (gate(), warned(tables(orders=BAD), mode=Mode.OBSERVE), {}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate("raw", report("orders")), None, {}, "needed producers have not reported, and the phase is not due", "waiting", "producers_missing", None, []),
    (silent(), None, {}, "needed producers have not reported, and the phase is not due", "waiting", "nothing_heard", None, []),
    (silent(), tables(), {"now": LATE}, "needed producers have not reported by", "overdue", "no_message", None, [("no_message", "firing")]),
    (silent(), empty(tables(orders=BAD, prices=BAD)), {"now": LATE}, "needed producers have not reported by", "overdue", "nothing_heard", None, [("nothing_heard", "firing")]),
    (silent("report"), empty(tables("report", sales=BAD)), {"now": LATE, "day": days(opened("raw"), opened("clean"), opened("stock"))}, "needed producers have not reported by", "overdue", "not_started", None, [("not_started", "firing")]),
    (gate("raw", report("orders")), tables(), {"now": DUE}, "needed producers have not reported by", "overdue", "producers_missing", None, [("producers_missing", "firing")]),
    (silent(), tables(), {"now": LATE, "pipeline": OPTIONAL}, "the policy is satisfied", "open", "passed", "g1", []),
    (silent(), tables(orders=BAD), {"now": LATE, "pipeline": OPTIONAL}, "needed producers have not reported by", "overdue", "no_message", None, [("no_message", "firing")]),
    (gate("raw", report("orders"), FAILED), None, {}, "the newest report", "held", "producer_failed", None, [("producer_failed", "firing")]),
    (gate("raw", report("orders"), report("prices", Status.PARTIAL), report("extras", Status.FAILED)), tables(), {}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate("raw", report("orders"), report("prices", Status.NOTHING)), tables(), {}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate(), tables(orders=BAD), {}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate(), tables(orders=BAD, prices=DOWN), {}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate(), tables(orders=DOWN), {}, "a blocking check could not", "unverified", "not_measured", None, []),
    (gate(), BLIND, {}, "a blocking check could not", "unverified", "not_measured", None, []),
    (gate(), tables(orders=GONE), {}, "a blocking check could not", "unverified", "not_measured", None, [("not_measured", "firing")]),
    (gate(), BLIND, {"now": LATE}, "a blocking check could not", "unverified", "not_measured", None, [("not_measured", "firing")]),
    (gate("clean"), tables("clean"), {}, "a producer started", "held", "ran_before_upstream", None, [("ran_before_upstream", "firing")]),
    (gate("clean"), tables("clean"), {"day": days(opened("raw", at=NOW - 8 * MINUTE))}, "a producer started", "held", "ran_before_upstream", None, [("ran_before_upstream", "firing")]),
    (gate("clean"), tables("clean"), {"day": days(opened("raw", at=NOW - 9 * MINUTE))}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate("clean"), tables("clean"), {"day": days(silent("raw", state=GateState.OFF))}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate("clean"), tables("clean"), {"day": days(silent("raw", state=GateState.ACCEPTED))}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate("clean"), tables("clean"), {"day": days(gate("raw", state=GateState.HELD))}, "a producer started", "held", "ran_before_upstream", None, [("ran_before_upstream", "firing")]),
    (silent("report"), tables("report"), {"now": LATE}, "no report was received", "overdue", "upstream_shut", None, [("upstream_shut", "firing")]),
    (gate(), tables(), {"pipeline": paused(date(2026, 3, 3))}, "the phase is paused", "held", "paused", None, []),
    (gate(hold=HOLD), tables(), {}, "a person has put the gate on hold", "held", "held_by_hand", None, []),
    (gate(hold=HOLD), tables(orders=BAD), {"now": LATE}, "a person has put the gate on hold", "held", "held_by_hand", None, []),
    (gate(hold=HOLD), tables(), {"now": LATE + timedelta(days=1)}, "the policy is satisfied", "open", "passed", "g1", []),
    (opened(hold=HOLD), tables(fingerprint="other"), {}, "as in the row above, but the phase", "open", "data_changed", None, []),
    (gate(), tables(), {"pipeline": paused(date(2026, 3, 2))}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate(), tables(orders=BAD), {"pipeline": observing(RAW)}, "the phase is in observe", "open", "observed", "g1", [("observed", "firing")]),
    (gate(), BLIND, {"pipeline": observing(RAW)}, "the phase is in observe", "open", "observed", "g1", [("observed", "firing")]),
    (gate(), tables(), {"pipeline": observing(RAW)}, "the phase is in observe", "open", "passed", "g1", []),
    (gate(gap=GAP), tables(orders=BAD), {}, "a person accepted", "accepted", "gap_accepted", None, []),
    (silent(gap=GAP), tables(), {"now": LATE}, "a person accepted", "accepted", "gap_accepted", None, []),
    (gate(gap=GAP), tables(), {}, "a person accepted", "accepted", "gap_accepted", None, []),
    (gate(gap=replace(GAP, at=NOW - MINUTE)), tables(), {}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate(gap=replace(GAP, until=NOW)), tables(orders=BAD), {}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate(overrides=(override("raw.orders.row_count"),)), tables(orders=BAD), {}, "the policy is satisfied", "open", "overridden", "g1", [("overridden", "firing")]),
    (gate(overrides=(override("raw.orders.row_count"),)), tables(orders=DOWN), {}, "the policy is satisfied", "open", "overridden", "g1", [("overridden", "firing")]),
    (gate(overrides=(override("raw.orders.row_count"),)), tables(orders=BAD, prices=BAD), {}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate(overrides=(override("raw.orders.row_count", until=NOW),)), tables(orders=BAD), {}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate(overrides=(override("raw.orders.row_count"),)), tables(), {}, "the policy is satisfied", "open", "passed", "g1", []),
    (gate("raw", report("orders"), FAILED, overrides=(override("producer_failed"),)), tables(), {}, "the policy is satisfied", "open", "overridden", "g1", [("overridden", "firing")]),
    (gate("raw", report("orders"), overrides=(override("producers_missing"),)), tables(), {}, "the policy is satisfied", "open", "overridden", "g1", [("overridden", "firing")]),
    (gate("clean", overrides=(override("ran_before_upstream"),)), tables("clean"), {}, "the policy is satisfied", "open", "overridden", "g1", [("overridden", "firing")]),
    (gate("report"), tables("report", extra=BAD), {"day": UP, "pipeline": quorum()}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate("report"), tables("report", extra=BAD), {"day": UP, "pipeline": quorum(), "now": DUE}, "the policy is satisfied", "open", "quorum", "g1", [("quorum", "firing")]),
    (gate("report"), tables("report", extra=DOWN), {"day": UP, "pipeline": quorum(), "now": DUE}, "the policy is satisfied", "open", "quorum", "g1", [("quorum", "firing")]),
    (gate("report"), tables("report", extra=BAD), {"day": UP, "pipeline": quorum(QuorumWhen.ALWAYS)}, "the policy is satisfied", "open", "quorum", "g1", [("quorum", "firing")]),
    (gate("report"), tables("report", sales=BAD), {"day": UP, "pipeline": quorum(), "now": LATE}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate("report"), tables("report", extra=BAD, more=BAD), {"day": UP, "pipeline": quorum(), "now": LATE}, "a blocking check fails", "held", "checks_failed", None, [("checks_failed", "firing")]),
    (gate("report"), replace(tables("report"), verdict=Verdict.UNVERIFIED, reason="x"), {"day": UP, "pipeline": quorum(), "now": LATE}, "a blocking check could not", "unverified", "not_measured", None, [("not_measured", "firing")]),
    (silent("report"), tables("report", extra=BAD), {"day": UP, "pipeline": quorum(), "now": LATE}, "the policy is satisfied", "open", "quorum", "g1", [("quorum", "firing")]),
    (opened(), tables(), {}, "the gate is open, and the tables have not changed", "open", "nothing_new", None, []),
    (opened(), tables(fingerprint="other"), {}, "the gate is open, and the tables pass", "open", "data_changed", "g2", []),
    (opened(rerun=("orders",)), tables(fingerprint="other"), {}, "the gate is open, a rerun is changing", "open", "settling", None, []),
    (opened(rerun=("orders",)), tables(orders=BAD), {}, "the gate is open, a rerun is changing", "open", "settling", None, []),
    (opened(rerun=("orders",)), BLIND, {}, "the gate is open, a rerun is changing", "open", "settling", None, []),
    (opened(rerun=("orders",)), tables(), {}, "the gate is open, and the tables have not", "open", "nothing_new", None, []),
    (opened(rerun=("orders",)), tables(fingerprint="other"), {"now": NOW + 10 * MINUTE}, "the gate is open, and the tables pass", "open", "data_changed", "g2", []),
    (opened(rerun=("orders", "prices")), tables(fingerprint="other"), {}, "the gate is open, and the tables pass", "open", "data_changed", "g2", []),
    (gate("clean"), tables("clean"), {"day": days(opened("raw", flaw=GateState.SETTLING))}, "an upstream gate is settling", "waiting", "upstream_settling", None, []),
    (gate("clean"), tables("clean"), {"day": days(opened("raw", flaw=GateState.FAILING))}, "the policy", "open", "passed", "g1", []),
    (opened(), tables(fingerprint="other"), {"pipeline": NEVER}, "as in the row above, but", "open", "data_changed", None, []),
    (opened(), tables(fingerprint="other"), {"pipeline": paused(date(2026, 3, 9))}, "as in the row above, but", "open", "data_changed", None, []),
    (opened(), tables(orders=BAD, fingerprint="other"), {}, "the gate is open, but a producer", "open", "late_failure", None, [("late_failure", "firing")]),
    (opened(reports={"orders": report("orders"), "prices": FAILED}), None, {}, "the gate is open, but a producer", "open", "late_failure", None, [("late_failure", "firing")]),
    (opened(), tables(orders=DOWN), {}, "the gate is open, but the tables cannot", "open", "not_measured", None, []),
    (opened(), BLIND, {}, "the gate is open, but the tables cannot", "open", "not_measured", None, []),
    (opened("clean"), tables("clean", fingerprint="other"), {"day": days(opened("raw", 2, at=NOW))}, "the gate is open, but the newest run", "open", "ran_before_upstream", None, []),
    (opened(), tables(orders=BAD), {"pipeline": observing(RAW)}, "the gate is open, and the tables have not changed", "open", "nothing_new", None, []),
    (opened(), tables(orders=BAD, fingerprint="other"), {"pipeline": observing(RAW)}, "the gate is open, and the tables pass", "open", "data_changed", "g2", [("observed", "firing")]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "verdict", "how", "when", "state", "reason", "signal", "alerts"), ROWS)
def test_what_happens_when(before, verdict, how, when, state, reason, signal, alerts):
    decision = decided(before, verdict, **how)
    assert decision.rule == rule(when)
    assert (decision.gate.state, decision.reason) == (state, reason)
    assert (decision.signal.decision_id if decision.signal else None) == (f"{before.run}/{signal}" if signal else None)
    assert [(alert.cause, alert.state) for alert in decision.alerts] == alerts
    assert decision.gate.version == before.version, "the store counts versions"
    assert decision.detail


def test_every_rule_is_covered_by_a_case():
    for before, verdict, how, *_ in ROWS:
        decided(before, verdict, **how)
    assert [r.when for r in RULES if r.when not in SEEN] == []


@pytest.mark.parametrize(
    ("before", "now", "looks"),
    [
        (gate(), NOW, True),
        (gate("raw", report("orders")), NOW, False),
        (gate("raw", report("orders")), DUE, True),
        (gate("raw", report("orders"), FAILED), NOW, False),
        (gate("raw", report("orders"), FAILED), DUE, True),
        (silent(), DUE - MINUTE, False),
        (silent(), DUE, True),
        (silent("clean"), LATE, False),
    ],
)
def test_the_tables_are_measured_once_all_have_reported_or_the_phase_is_due(before, now, looks):
    case = Case(SHOP, before, {}, None, SHOP.due(before.run.phase, DAY), now)
    assert needs_measuring(case) is looks


# -- releases -------------------------------------------------------------------------------------------------------------------


def test_a_release_stores_what_it_was_based_on():
    before = gate("clean", report("clean", correlation_id="c7"), state=GateState.HELD, since=NOW - MINUTE)
    decision = decided(before, tables("clean"), day=days(opened("raw", 2)))
    after, signal = decision.gate, decision.signal
    assert (after.opened_at, after.since, after.generation, after.fingerprint) == (NOW, NOW, 1, prints("same"))
    assert (after.consumed, after.verdict, after.score, after.rows) == ({"raw": 2}, Verdict.PASS, 90.0, {"clean.orders": 100})
    assert signal is not None
    assert (signal.upstream, signal.correlation_id, signal.score) == (("shop/raw/2026-03-02/g2",), "c7", 90.0)
    assert (signal.degraded, signal.missing, signal.at) == (False, (), NOW)


def test_a_second_release_keeps_since_and_raises_the_generation():
    decision = decided(opened(since=NOW - timedelta(hours=3)), tables(fingerprint="other"))
    assert (decision.gate.generation, decision.gate.since, decision.gate.opened_at) == (2, NOW - timedelta(hours=3), NOW)
    assert decision.gate.fingerprint == prints("other")


def test_a_signal_without_a_correlation_id_uses_its_decision_id():
    signal = decided(gate(), tables()).signal
    assert signal is not None
    assert signal.correlation_id == signal.decision_id == "shop/raw/2026-03-02/g1"


def test_a_signal_carries_fixed_and_copied_fields():
    declared = {"version": "2", "day": "$run_date", "score": "$score", "none": "$no_such"}
    signal = decided(gate(), tables(), pipeline=shop(raw=replace(RAW, signal=declared))).signal
    assert signal is not None
    assert signal.extra == {"version": "2", "day": "2026-03-02", "score": 90.0, "none": None}


def test_a_degraded_signal_lists_what_is_missing():
    decision = decided(silent("report"), tables("report", extra=BAD), day=UP, pipeline=quorum(), now=LATE)
    assert decision.signal is not None
    assert (decision.signal.degraded, decision.signal.missing) == (True, ("report.extra", "report"))
    assert (decision.gate.degraded, decision.gate.missing) == (True, ("report.extra", "report"))
    assert decision.alerts[0].severity is AlertSeverity.WARNING
    assert decision.detail == "released without table report.extra; report has not reported, score 90"


def test_a_complete_release_after_a_degraded_one_is_not_degraded():
    before = opened("report", degraded=True, missing=("report.extra",))
    decision = decided(before, tables("report", fingerprint="other"), day=UP, pipeline=quorum(), now=LATE)
    assert (decision.gate.generation, decision.gate.degraded, decision.gate.missing) == (2, False, ())


def test_an_output_in_always_is_needed_in_every_dataset():
    """`sales` means every output with that last name; one of them does not stand for the others."""
    outputs = {name: Output(date="d") for name in ("eu.sales", "us.sales", "report.extra")}
    two = shop(report=Phase(due=REPORT.due, outputs=outputs, quorum=Quorum(at_least=2, of=3, always=("sales",))))
    good = tables("report", two)
    bad = replace(good, outputs=tuple(
        replace(o, results=(result(o.table, BAD),)) if o.table == "us.sales" else o for o in good.outputs
    ), verdict=Verdict.FAIL)  # fmt: skip
    assert decided(gate("report"), bad, pipeline=two, now=LATE).gate.state is GateState.HELD


def test_the_last_of_two_upstreams_starts_the_follower():
    """In a diamond, the first signal starts nothing and the second starts the last phase."""
    first = decided(gate("clean"), tables("clean"), day=days(opened("raw")))
    assert first.signal is not None
    assert first.signal.start == ()
    second = decided(gate("stock"), tables("stock"), day=days(opened("raw"), first.gate))
    assert second.signal is not None
    assert second.signal.start == ("report",)
    top = decided(gate(), tables())
    assert top.signal is not None
    assert top.signal.start == ("clean", "stock")


def test_a_stale_upstream_starts_no_follower():
    stale = opened("clean", consumed={"raw": 1})
    decision = decided(gate("stock"), tables("stock"), day=days(opened("raw", 2), stale))
    assert decision.signal is not None
    assert decision.signal.start == ()


def test_a_reported_row_count_is_compared_with_the_table():
    """A difference is reported, but decides nothing."""
    reports = (report("orders", rows=99), report("prices", rows=5))
    decision = decided(gate("raw", *reports), tables())
    assert (decision.gate.state, decision.gate.reason) == (GateState.OPEN, Reason.PASSED)
    (alert,) = decision.alerts
    assert (alert.severity, alert.evidence) == (
        AlertSeverity.WARNING,
        ("orders reported 99 rows; raw.orders has 100",),
    )
    assert decided(gate("raw", report("orders", rows=100), report("prices")), tables()).alerts == ()


# -- alerts ---------------------------------------------------------------------------------------------------------------------


def test_an_alert_names_its_checks_and_effect():
    (alert,) = decided(gate(), tables(orders=BAD)).alerts
    assert alert == Alert(
        key="shop/raw/2026-03-02/v4/checks_failed",
        run=run("raw"),
        severity=AlertSeverity.CRITICAL,
        state=AlertState.FIRING,
        cause=Reason.CHECKS_FAILED,
        about=("raw.orders.row_count",),
        check_kinds=("row_count",),
        gate=GateState.HELD,
        detail="raw.orders message",
        evidence=("raw.orders message",),
        effect="The gate of raw stays closed: clean, report, stock cannot start.",
        since=NOW,
        at=NOW,
    )


def alerts_of(
    *steps: tuple[PhaseVerdict | None, datetime], start: Gate | None = None, pipeline: Pipeline = SHOP
) -> list[tuple[str, str]]:
    """All alerts while a gate is decided with these verdicts, one after the other."""
    sent, current = [], start or gate()
    for verdict, now in steps:
        decision = decided(current, verdict, pipeline=pipeline, now=now)
        sent += [(alert.cause.value, alert.state.value) for alert in decision.alerts]
        current = replace(decision.gate, version=current.version + 1)
    return sent


def times(*verdicts: PhaseVerdict | None, first: datetime = NOW) -> list[tuple[PhaseVerdict | None, datetime]]:
    """One verdict a minute."""
    return [(verdict, first + n * MINUTE) for n, verdict in enumerate(verdicts)]


HELD = tables(orders=BAD)


@pytest.mark.parametrize(
    ("steps", "alerts"),
    [
        (times(*[HELD] * 5), [("checks_failed", "firing")]),
        (times(HELD, HELD, tables()), [("checks_failed", "firing"), ("checks_failed", "recovered")]),
        (times(HELD, tables(orders=BAD, prices=BAD)), [("checks_failed", "firing"), ("checks_failed", "firing")]),
        (times(HELD, tables(), tables()), [("checks_failed", "firing"), ("checks_failed", "recovered")]),
        (times(HELD, OFF, OFF), [("checks_failed", "firing"), ("checks_failed", "recovered"), ("unexpected", "firing")]),
        (times(HELD, BLIND, HELD), [("checks_failed", "firing")]),
        (times(HELD, BLIND, HELD, BLIND, HELD, first=LATE), [("checks_failed", "firing")]),
        (times(*[BLIND] * 3, first=LATE), [("not_measured", "firing")]),
        (times(BLIND, tables()), []),
        (times(*[BLIND] * 12), [("not_measured", "firing")]),
        (times(*[BLIND] * 12, tables()), [("not_measured", "firing"), ("not_measured", "recovered")]),
    ],
)
def test_there_is_one_alert_per_cause_and_one_recovery(steps, alerts):
    assert alerts_of(*steps) == alerts


WORSE = tables(orders=BAD, fingerprint="worse")


@pytest.mark.parametrize(
    ("verdicts", "pipeline", "alerts"),
    [
        ([WORSE, WORSE], SHOP, [("late_failure", "firing")]),
        ([WORSE, tables()], SHOP, [("late_failure", "firing"), ("late_failure", "recovered")]),
        ([WORSE, tables(fingerprint="better")], SHOP, [("late_failure", "firing"), ("late_failure", "recovered")]),
        ([WORSE, tables(fingerprint="better")], NEVER, [("late_failure", "firing"), ("late_failure", "recovered")]),
        ([WORSE, BLIND, WORSE], SHOP, [("late_failure", "firing")]),
        ([WORSE, OFF], SHOP, [("late_failure", "firing"), ("late_failure", "recovered")]),
    ],
)
def test_a_late_failure_raises_one_alert_and_one_recovery(verdicts, pipeline, alerts):
    assert alerts_of(*times(*verdicts), start=opened(), pipeline=pipeline) == alerts


def test_a_recovery_states_when_the_problem_began():
    held = decided(gate(), HELD).gate
    decision = decided(replace(held, version=4), tables(), now=NOW + 90 * MINUTE)
    (alert,) = decision.alerts
    assert (alert.state, alert.since, alert.at, alert.gate) == (AlertState.RECOVERED, NOW, NOW + 90 * MINUTE, GateState.OPEN)
    assert alert.key == "shop/raw/2026-03-02/v5/recovered"
    assert decision.gate.alert is None


def test_an_accepted_gap_ends_its_alert_and_expires():
    held = decided(gate(), HELD).gate
    accepted = decided(replace(held, gap=GAP), HELD, now=NOW + MINUTE)
    assert [(alert.cause, alert.state) for alert in accepted.alerts] == [("checks_failed", "recovered")]
    again = decided(accepted.gate, HELD, now=NOW + 2 * MINUTE)
    assert (again.alerts, again.gate.since) == ((), NOW + MINUTE)
    expired = decided(accepted.gate, HELD, now=GAP.until)
    assert (expired.gate.state, [alert.cause for alert in expired.alerts]) == (GateState.HELD, ["checks_failed"])


def test_an_unverified_gate_alerts_after_ten_minutes_and_not_before():
    first = decided(gate(), BLIND)
    almost = decided(first.gate, BLIND, now=NOW + UNVERIFIED_GRACE - timedelta(seconds=1))
    assert almost.alerts == ()
    assert [alert.cause for alert in decided(almost.gate, BLIND, now=NOW + UNVERIFIED_GRACE).alerts] == ["not_measured"]


def test_deciding_again_changes_nothing():
    """A second decision on the same data gives the gate as it is stored, so that nothing is written."""
    for before, verdict, how, *_ in ROWS:
        how = {**how, "now": how.get("now", NOW)}
        once = decided(before, verdict, **how)
        if once.gate.is_open:
            continue
        later = {**how, "now": how["now"] + timedelta(seconds=1)}
        assert decided(once.gate, verdict, **later).gate == once.gate, once.rule


def test_an_open_gate_shows_the_latest_finding():
    late = decided(opened(), WORSE)
    assert late.gate.detail == "raw.orders message"
    assert decided(late.gate, tables()).gate.detail == "the tables have not changed since the release"


@pytest.mark.parametrize(
    ("before", "how", "detail"),
    [
        (opened(), {"pipeline": NEVER}, "the data changed; this phase is released only once (again: never)"),
        (opened(), {"pipeline": paused(date(2026, 3, 9))}, "the data changed; raw is paused until 2026-03-09"),
        (
            opened(reports={"orders": report("orders")}),
            {},
            "the data changed; prices has not reported; orders has; the tables pass",
        ),
    ],
)
def test_changed_data_that_is_not_released_again_states_why(before, how, detail):
    assert decided(before, tables(fingerprint="other"), **how).detail == detail


def test_an_overdue_gate_lists_missing_reports_and_what_the_tables_hold():
    half = gate("raw", report("orders"))
    assert decided(half, tables(), now=LATE).detail == "prices has not reported; orders has; the tables pass"
    assert decided(half, HELD, now=LATE).detail == "prices has not reported; orders has; raw.orders message"
    assert decided(silent(), BLIND, now=LATE).detail == "orders, prices have not reported"
    (alert,) = decided(half, tables(), now=LATE).alerts
    assert alert.about == ("prices",)


def test_a_failure_names_the_producer_and_its_error():
    assert decided(gate("raw", report("orders"), FAILED)).detail == "prices reported that it failed: disk full"


# -- ran before its upstream ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("newest", "state"),
    [
        (Report("clean", Status.DONE, NOW), "open"),
        (Report("clean", Status.DONE, NOW, finished_at=NOW - 10 * MINUTE), "open"),
        (Report("clean", Status.DONE, NOW, finished_at=NOW - 11 * MINUTE), "held"),
        (Report("clean", Status.DONE, NOW, started_at=NOW - 11 * MINUTE, finished_at=NOW), "held"),
    ],
)
def test_a_missing_start_time_counts_as_the_latest_possible(newest, state):
    """raw was released ten minutes ago; equal times do not prove an early start."""
    decision = decided(gate("clean", newest), tables("clean"), day=days(opened("raw", at=NOW - 10 * MINUTE)))
    assert decision.gate.state == state


def test_a_run_started_in_the_second_of_the_release_is_not_early():
    """`date -u +%FT%TZ` gives 06:40:00 during the whole second in which raw was released and its follower started."""
    released = NOW - 10 * MINUTE + timedelta(microseconds=600_000)
    for start, state in ((released.replace(microsecond=0), "open"), (released - timedelta(seconds=1), "held")):
        started = gate("clean", Report("clean", Status.DONE, NOW, started_at=start))
        assert decided(started, tables("clean"), day=days(opened("raw", at=released))).gate.state == state


def test_the_earliest_start_of_the_producers_counts():
    two = shop(clean=replace(CLEAN, producers={"a": Producer(), "b": Producer()}))
    reported = gate("clean", report("a", began=NOW), report("b", began=NOW - 30 * MINUTE))
    decision = decided(reported, tables("clean"), pipeline=two, day=days(opened("raw")))
    assert (decision.gate.reason, decision.alerts[0].about) == (Reason.RAN_BEFORE_UPSTREAM, ("raw",))


def test_an_upstream_that_does_not_run_on_the_date_blocks_nothing():
    skipping = shop(raw=replace(RAW, skip_in=("warm_up",)))
    assert decided(gate("clean"), tables("clean"), pipeline=skipping).gate.state is GateState.OPEN
    assert may_start(skipping, "clean", DAY, {})
    assert not may_start(skipping, "clean", DAY + timedelta(days=1), {})


def test_followers_of_a_phase_that_does_not_run_wait_for_its_inputs():
    """A go-signal skips a phase that is off, and starts the phases behind it instead."""
    skipping = shop(
        clean=replace(SHOP.phases["clean"], skip_in=("warm_up",)), stock=replace(SHOP.phases["stock"], skip_in=("warm_up",))
    )
    decision = decided(gate("raw"), tables("raw"), pipeline=skipping)
    assert decision.signal is not None
    assert decision.signal.start == ("report",)
    early = decided(gate("report"), tables("report"), pipeline=skipping)
    assert early.reason is Reason.RAN_BEFORE_UPSTREAM


def test_an_old_report_of_an_optional_producer_does_not_make_a_run_early():
    before = report("extras", began=NOW - timedelta(hours=9))
    optional = replace(SHOP.phases["clean"], producers={"clean": Producer(), "extras": Producer(optional=True)})
    reported = gate("clean")
    reported = replace(reported, reports={**reported.reports, "extras": before})
    assert (
        decided(reported, tables("clean"), day=days(opened("raw")), pipeline=shop(clean=optional)).gate.state is GateState.OPEN
    )


# -- standing -------------------------------------------------------------------------------------------------------------------


def test_an_open_gate_is_stale_when_an_input_was_released_again():
    """Derived from the inputs, through any number of phases; never stored."""
    raw, clean, stock = opened("raw", 2), opened("clean", consumed={"raw": 1}), opened("stock", consumed={"raw": 2})
    report_gate = opened("report", consumed={"clean": 1, "stock": 1})
    day = days(raw, clean, stock, report_gate)
    states = {phase: effective_state(day[phase], day, SHOP) for phase in day}
    assert states == {"raw": "open", "clean": "stale", "stock": "open", "report": "stale"}
    assert not is_released(SHOP, "clean", day)
    assert not may_start(SHOP, "report", DAY, day)
    assert all(gate.state is GateState.OPEN for gate in day.values())


def test_a_gate_is_no_longer_stale_after_a_rerun():
    """Even when the rerun gave the same data."""
    again = opened("clean", reports={"clean": report("clean", began=NOW)}, consumed={"raw": 1})
    decision = decided(again, tables("clean"), day=days(opened("raw", 2, at=NOW - MINUTE)))
    assert (decision.reason, decision.gate.consumed) == (Reason.NOTHING_NEW, {"raw": 2})
    assert effective_state(decision.gate, days(opened("raw", 2)), SHOP) is GateState.OPEN


@pytest.mark.parametrize("state", [GateState.WAITING, GateState.HELD, GateState.OVERDUE, GateState.UNVERIFIED])
def test_a_closed_gate_is_never_stale(state):
    day = days(opened("raw", 2), silent("clean", state=state))
    assert effective_state(day["clean"], day, SHOP) is state
    assert not is_released(SHOP, "clean", day)


# -- hearing --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "incoming", "added"),
    [
        (report("orders"), report("orders"), False),
        (report("orders"), report("orders", began=NOW - 8 * MINUTE), True),
        (report("orders"), report("orders", began=NOW - 10 * MINUTE), False),
        (report("orders"), report("orders", attempt=2), True),
        (report("orders", attempt=2), report("orders"), False),
        (report("orders"), report("orders", Status.FAILED), True),
        (report("orders", Status.FAILED), report("orders"), False),
        (report("orders"), report("prices"), True),
    ],
)
def test_only_a_newer_report_is_added(stored, incoming, added):
    """A duplicate or an older attempt is not. Of two that ended at the same time the same one always wins, in any order."""
    before = gate("raw", stored)
    after = before.with_report(incoming)
    assert (after is not None) is added
    if after is not None:
        assert after.reports[incoming.producer] == incoming
