"""Deciding: the one place where a gate opens or stays shut.

`RULES` is the table "What happens when" of the README: the first rule that fits a case is the decision.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property

from phasegate.core.checks.base import CheckResult, Mode, Outcome
from phasegate.core.gates.completion import Report, Status
from phasegate.core.gates.gate import (
    Alert,
    AlertState,
    Gate,
    GatesByPhase,
    GateState,
    GoSignal,
    Hold,
    Override,
    Reason,
    decision_id,
    is_live,
    is_released,
    may_start,
)
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.schedule import deadline
from phasegate.core.gates.verdict import PhaseVerdict, Verdict, differ
from phasegate.core.pipeline.model import Again, AlertSeverity, GateMode, MessageNeed, Phase, Pipeline, QuorumWhen

SILENCE = frozenset({Reason.NOTHING_HEARD, Reason.NO_MESSAGE, Reason.NOT_STARTED, Reason.PRODUCERS_MISSING})
"""Somebody has not reported. People who know that are not told again when the first rows or reports come in."""

WAIVABLE = (Reason.PRODUCER_FAILED, Reason.PRODUCERS_MISSING, Reason.RAN_BEFORE_UPSTREAM)
"""What an override can name beside checks."""

UNVERIFIED_GRACE = timedelta(minutes=10)
"""A gate that can't be measured for so long is told about, even when it may heal by itself."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What should happen: the gate as it should be stored, and what should be said. It does nothing by itself.

    Args:
        rule: The row of the table that decided.
        reason: Why; for an open gate that stays open, what was found.
        verdict: What the tables said; None when there was no need to look.
    """

    gate: Gate
    rule: str
    reason: Reason
    detail: str
    at: datetime
    signal: GoSignal | None = None
    alerts: tuple[Alert, ...] = ()
    verdict: PhaseVerdict | None = None


@dataclass(frozen=True)
class Case:
    """Everything a decision is taken from, and the questions the rules ask of it.

    Args:
        gate: The gate, with any new report already taken in.
        day: All gates of the run date.
        verdict: What the tables say; None when there was no need to look.
        due: When the phase is due, in UTC; None when it has no due time.
        pause: The pause that a person has put and that holds now.
    """

    pipeline: Pipeline
    gate: Gate
    day: GatesByPhase
    verdict: PhaseVerdict | None
    due: datetime | None
    now: datetime
    pause: Pause | None = None

    @cached_property
    def phase(self) -> Phase:
        """The rules of the gate's phase."""
        return self.pipeline.phase(self.gate.run.phase)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The phases that this one waits for on the date."""
        return self.pipeline.inputs(self.gate.run.phase, self.gate.run.run_date)

    @cached_property
    def heard(self) -> tuple[Report, ...]:
        """Newest reports of needed producers."""
        reports = self.gate.reports
        return tuple(reports[name] for name in self.needed if name in reports)

    @cached_property
    def past_due(self) -> bool:
        """True when the phase should have been released by now."""
        return self.due is not None and self.now >= self.due

    @cached_property
    def moved(self) -> str:
        """That a late upstream moved the due time, as half a sentence; empty when it did not."""
        found = deadline(self.pipeline, self.gate.run.phase, self.gate.run.run_date, self.day)
        if found is None or not found.late:
            return ""
        opened = self.day[found.late].opened_at or found.at
        at, planned, released = (moment.astimezone(self.pipeline.zone) for moment in (found.at, found.planned, opened))
        moved = f"; due moved from {planned:%m-%d %H:%M} to {at:%m-%d %H:%M}"
        return f"{moved}, because {found.late} was released at {released:%m-%d %H:%M}"

    @cached_property
    def paused(self) -> bool:
        """True while the phase releases nothing."""
        until = self.phase.until
        by_file = self.phase.mode is GateMode.PAUSE and (until is None or self.pipeline.today(self.now) <= until)
        return by_file or self.pause is not None

    @cached_property
    def hold(self) -> Hold | None:
        """The person's decision that keeps it from releasing anything now."""
        hold = self.gate.hold
        return hold if hold and is_live(hold, self.now) else None

    @cached_property
    def is_stopped(self) -> bool:
        """True while nothing is released, whatever the tables hold."""
        return self.paused or self.hold is not None

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The producers that are waited for."""
        return tuple(name for name, p in self.pipeline.producers(self.gate.run.phase).items() if not p.optional)

    @cached_property
    def failed(self) -> tuple[Report, ...]:
        """Newest reports of needed producers that say failed; none while that is waived."""
        return () if Reason.PRODUCER_FAILED in self.waived else self._failed

    @cached_property
    def _failed(self) -> tuple[Report, ...]:
        return tuple(report for report in self.heard if report.status is Status.FAILED)

    @cached_property
    def unheard(self) -> tuple[str, ...]:
        """Needed producers that have said nothing; none while that is waived."""
        return () if Reason.PRODUCERS_MISSING in self.waived else self._unheard

    @cached_property
    def _unheard(self) -> tuple[str, ...]:
        return tuple(name for name in self.needed if name not in self.gate.reports)

    @cached_property
    def early(self) -> tuple[str, ...]:
        """Upstream phases that were not released when a producer began; none while that is waived."""
        return () if Reason.RAN_BEFORE_UPSTREAM in self.waived else self._early

    @cached_property
    def _early(self) -> tuple[str, ...]:
        began = min((report.began for report in self.heard), default=self.now)
        return tuple(name for name in self.inputs if not self._released_by(name, began))

    def _released_by(self, phase: str, moment: datetime) -> bool:
        gate = self.day.get(phase)
        if not is_released(self.pipeline, phase, self.day):
            return False
        return gate is None or not gate.was_released_after(moment)

    @cached_property
    def overrides(self) -> tuple[Override, ...]:
        """The overrides that hold now."""
        return tuple(override for override in self.gate.overrides if is_live(override, self.now))

    @cached_property
    def waived(self) -> frozenset[str]:
        """Checks that a live override lets pass."""
        return frozenset(name for override in self.overrides for name in override.checks)

    @cached_property
    def wrongs(self) -> frozenset[str]:
        """What would hold the gate, waived or not, by the names that an override gives."""
        outputs = () if self.verdict is None else self.verdict.outputs
        conditions = zip(WAIVABLE, (self._failed, self._unheard, self._early), strict=True)
        checks = (result.name for output in outputs for result in (*output.blocking(), *output.unmeasured()))
        return frozenset((*(reason for reason, found in conditions if found), *checks))

    @cached_property
    def gap_accepted(self) -> bool:
        """True while a person's acceptance of the gap holds."""
        return self.gate.gap is not None and is_live(self.gate.gap, self.now)

    @cached_property
    def blocking(self) -> tuple[CheckResult, ...]:
        """Failed checks that hold the gate and are not waived."""
        return () if self.verdict is None else tuple(r for o in self.verdict.outputs for r in o.blocking(self.waived))

    @cached_property
    def unmeasured(self) -> tuple[CheckResult, ...]:
        """Checks that could not be measured, hold the gate and are not waived."""
        return () if self.verdict is None else tuple(r for o in self.verdict.outputs for r in o.unmeasured(self.waived))

    @cached_property
    def measured(self) -> bool:
        """True when the tables gave an answer, pass or fail."""
        verdict = self.verdict
        if verdict is None or (verdict.verdict is Verdict.UNVERIFIED and verdict.reason):
            return False
        return bool(self.blocking) or not self.unmeasured

    @cached_property
    def lacking(self) -> tuple[str, ...]:
        """Outputs that do not pass, and producers that have said nothing."""
        outputs = () if self.verdict is None else self.verdict.outputs
        bad = tuple(o.table for o in outputs if o.blocking(self.waived) or o.unmeasured(self.waived))
        return (*bad, *self.unheard)

    @cached_property
    def has_quorum(self) -> bool:
        """True when the phase's quorum lets it open although something is lacking."""
        quorum, verdict = self.phase.quorum, self.verdict
        if quorum is None or verdict is None or verdict.reason or (quorum.when is QuorumWhen.DUE and not self.past_due):
            return False
        bad = [output.table for output in verdict.outputs if output.table in self.lacking]
        names = {name for table in bad for name in (table, table.rpartition(".")[2])}
        return len(verdict.outputs) - len(bad) >= quorum.at_least and names.isdisjoint(quorum.always)

    @cached_property
    def complete(self) -> bool:
        """True when everything that the policy asks for is there."""
        heard = not self.unheard or (self.past_due and self.phase.message is MessageNeed.OPTIONAL)
        return self.measured and heard and not self.blocking and not self.unmeasured

    @cached_property
    def observed(self) -> bool:
        """True when the phase is only observed, and everyone has reported: whatever the tables say, it is released."""
        return self.phase.mode is GateMode.OBSERVE and not self.unheard

    @cached_property
    def satisfied(self) -> bool:
        """True when the policy lets the gate open: complete, or a quorum."""
        return self.complete or self.has_quorum

    @cached_property
    def mismatches(self) -> tuple[str, ...]:
        """Where a producer counted other rows than the table holds; its count is compared, never trusted."""
        rows = self.verdict.rows if self.verdict else {}
        declared = self.pipeline.producers(self.gate.run.phase)
        return tuple(
            f"{name} reported {report.rows:,} rows; {declared[name].fills} has {rows[declared[name].fills or '']:,}"
            for name, report in self.gate.reports.items()
            if name in declared and report.rows is not None and rows.get(declared[name].fills or "", report.rows) != report.rows
        )

    @cached_property
    def changed(self) -> bool:
        """True when the tables hold something else than what was released."""
        return self.verdict is not None and differ(self.verdict.fingerprint, self.gate.fingerprint)


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table "What happens when".

    Args:
        when: The case in words.
        fits: The same as a question.
        then: What becomes of the gate, in words.
        said: What is published, in words.
        decide: The decision.
    """

    when: str
    fits: Callable[[Case], bool]
    then: str
    published: str
    decide: Callable[[Case, str], Decision]


def needs_measuring(case: Case) -> bool:
    """True when the tables must be looked at before a decision: all needed producers are done, or the phase is due."""
    if case.failed and not case.past_due:
        return False
    return not case.unheard or case.past_due or case.gate.is_open


def decide(case: Case) -> Decision:
    """What the first rule that fits makes of a case."""
    for rule in RULES:
        if rule.fits(case):
            return replace(rule.decide(case, rule.when), verdict=case.verdict)
    raise AssertionError("the last rule fits every case")


@dataclass(frozen=True, slots=True)
class Cause:
    """What a case amounts to: the state it asks for, the reason, what it is about, and one sentence."""

    state: GateState
    reason: Reason
    about: tuple[str, ...]
    detail: str


def _keep(case: Case, rule: str, reason: Reason, detail: str) -> Decision:
    """Stay open as released, and tell what was found."""
    return Decision(replace(case.gate, detail=detail), rule, reason, detail, case.now)


def _shut(case: Case, rule: str, found: Cause, *, alert: bool) -> Decision:
    """Stay shut, or go into another shut state; people are told once per cause."""
    same = case.gate.state is found.state and case.gate.reason is found.reason
    since = case.gate.since if same else case.now
    gate = replace(case.gate, state=found.state, reason=found.reason, detail=found.detail, since=since)
    gate = _with_evidence(gate, case.verdict)
    if not alert or (case.gate.alert is not None and _is_told(case.gate.alert, found)):
        return Decision(gate, rule, found.reason, found.detail, case.now)
    firing = _alert(case, gate, AlertSeverity.CRITICAL, found)
    return Decision(replace(gate, alert=firing), rule, found.reason, found.detail, case.now, alerts=(firing,))


def _is_told(alert: Alert, found: Cause) -> bool:
    """True when an alert that has fired says it already."""
    if alert.gate is not found.state:
        return False
    if SILENCE.issuperset((alert.cause, found.reason)):
        return set(found.about) <= set(alert.about)
    return (alert.cause, alert.about) == (found.reason, found.about)


def _with_evidence(gate: Gate, verdict: PhaseVerdict | None) -> Gate:
    if verdict is None:
        return gate
    return replace(
        gate, verdict=verdict.verdict, score=verdict.score, results=verdict.results, rows=verdict.rows, unproven=False
    )


def _alert(case: Case, gate: Gate, severity: AlertSeverity, found: Cause) -> Alert:
    evidence = (*(r.message for r in (*case.blocking, *case.unmeasured)), *case.mismatches) or _warnings(case)
    return Alert(
        key=f"{gate.run}/v{case.gate.version + 1}/{found.reason}",
        run=gate.run,
        severity=severity,
        state=AlertState.FIRING,
        cause=found.reason,
        about=found.about,
        check_kinds=_check_kinds(case, found.about),
        gate=gate.state,
        detail=found.detail,
        evidence=evidence,
        effect=_effect(case, gate),
        since=case.now,
        at=case.now,
    )


def _check_kinds(case: Case, names: tuple[str, ...]) -> tuple[str, ...]:
    results = case.verdict.results if case.verdict else ()
    return tuple(dict.fromkeys(result.kind for result in results if result.name in names))


def _effect(case: Case, gate: Gate) -> str:
    phase = gate.run.phase
    followers = ", ".join(_all_followers(case.pipeline, phase, gate.run.run_date))
    if not gate.is_open:
        return f"The gate of {phase} stays shut" + (f": {followers} cannot start." if followers else ".")
    if case.gate.is_open:
        return f"The gate of {phase} stays open: {followers or 'its consumers'} may have used what is wrong."
    return f"The gate of {phase} is open" + (f": {followers} go on." if followers else ".")


def _all_followers(pipeline: Pipeline, phase: str, day: date) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for follower in pipeline.followers(phase, day):
        found[follower] = None
        found.update(dict.fromkeys(_all_followers(pipeline, follower, day)))
    return tuple(found)


def _worrying(case: Case) -> tuple[CheckResult, ...]:
    results = () if case.verdict is None else case.verdict.results
    bad = (Outcome.FAILED, Outcome.ACCEPTABLE)
    return tuple(r for r in results if r.mode is Mode.ENFORCE and (r.outcome in bad or r.unmeasured))


def _warnings(case: Case) -> tuple[str, ...]:
    return tuple(result.message for result in _worrying(case))


def _recovery(case: Case, state: GateState, detail: str) -> tuple[Alert, ...]:
    fired, retries = case.gate.alert, case.gate.retries
    if fired is None:
        return ()
    key = f"{fired.run}/v{case.gate.version + 1}/recovered"
    alert = replace(fired, key=key, state=AlertState.RECOVERED, gate=state, detail=detail, evidence=(), effect="", at=case.now)
    if retries is None or not retries.given_up or case.gate.is_open:
        return (alert,)
    return (alert, replace(alert, key=f"{fired.run}/v{case.gate.version + 1}/retries_recovered", cause=Reason.RETRIES_SPENT))


def _release(case: Case, rule: str) -> Decision:
    """Open the gate, or open it again for changed data, with one go-signal under the next generation's key."""
    gate, verdict = case.gate, case.verdict
    reason, detail = _why_open(case)
    missing = case.lacking if reason is Reason.QUORUM else ()
    generation = gate.generation + 1
    again = gate.is_open
    opened = replace(
        _with_evidence(gate, verdict),
        state=GateState.OPEN,
        reason=reason,
        detail=detail,
        since=gate.since if again else case.now,
        generation=generation,
        opened_at=case.now,
        consumed={name: case.day[name].generation for name in case.inputs if name in case.day},
        fingerprint=verdict.fingerprint if verdict else {},
        degraded=bool(missing),
        missing=missing,
        alert=None,
    )
    signal = _signal(case, opened)
    alerts = _recovery(case, GateState.OPEN, detail)
    if reason is not Reason.PASSED or case.mismatches or (verdict is not None and verdict.verdict is not Verdict.PASS):
        found = Cause(GateState.OPEN, reason, tuple(r.name for r in _worrying(case)) + missing, detail)
        alerts = (*alerts, _alert(case, opened, AlertSeverity.WARNING, found))
    published = Reason.DATA_CHANGED if again else reason
    return Decision(opened, rule, published, detail, case.now, signal, alerts)


def _why_open(case: Case) -> tuple[Reason, str]:
    score = case.verdict.score if case.verdict else None
    judged = f", score {score:g}" if score is not None else ""
    if case.complete:
        if used := [o for o in case.overrides if case.wrongs.intersection(o.checks)]:
            return Reason.OVERRIDDEN, f"released by {used[0].by}: {used[0].why}"
        warned = (*_warnings(case), *case.mismatches)
        silent = f"; released without a message: {_unheard(case)}" if case.unheard else ""
        return Reason.PASSED, f"all needed checks pass{judged}{silent}" + (f"; {len(warned)} to look at" if warned else "")
    if case.has_quorum:
        return Reason.QUORUM, f"released without {', '.join(case.lacking)}{judged}"
    return Reason.OBSERVED, f"released unjudged, the phase is in observe mode{judged}"


def _signal(case: Case, opened: Gate) -> GoSignal:
    after = {**case.day, opened.run.phase: opened}
    followers = case.pipeline.followers(opened.run.phase, opened.run.run_date)
    start = tuple(name for name in followers if may_start(case.pipeline, name, opened.run.run_date, after))
    upstream = tuple(decision_id(after[name].run, n) for name, n in opened.consumed.items())
    newest = max(opened.reports.values(), key=lambda report: report.order, default=None)
    signal = GoSignal(
        opened.decision_id,
        opened.run,
        opened.generation,
        start,
        case.now,
        opened.degraded,
        opened.missing,
        upstream,
        opened.score,
        newest.correlation_id if newest and newest.correlation_id else opened.decision_id,
        traceparent=newest.traceparent if newest else None,
    )
    own = signal.fields
    extra = {name: own.get(text[1:]) if text.startswith("$") else text for name, text in case.phase.signal.items()}
    return replace(signal, extra=extra)


def _off(case: Case, rule: str) -> Decision:
    reason = case.verdict.reason if case.verdict else ""
    gate = replace(
        case.gate,
        state=GateState.OFF,
        reason=Reason.NOT_EXPECTED,
        detail=reason,
        since=case.gate.since if case.gate.state is GateState.OFF else case.now,
        verdict=Verdict.OFF,
        alert=None,
    )
    return Decision(gate, rule, Reason.NOT_EXPECTED, reason, case.now, alerts=_recovery(case, GateState.OFF, reason))


def _open_off(case: Case, rule: str) -> Decision:
    """Nothing is measured on a date without a run, so there is nothing to release again and nothing to complain about."""
    detail = case.verdict.reason if case.verdict else ""
    gate = replace(case.gate, detail=detail, alert=None)
    alerts = _recovery(case, GateState.OPEN, detail)
    return Decision(gate, rule, Reason.NOT_EXPECTED, detail, case.now, alerts=alerts)


def _late_failure(case: Case, rule: str) -> Decision:
    detail = _producer_failure(case) if case.failed else _failing(case)
    about = tuple(r.producer for r in case.failed) or tuple(r.name for r in case.blocking)
    found = Cause(GateState.OPEN, Reason.LATE_FAILURE, about, detail)
    gate = replace(_with_evidence(case.gate, case.verdict), detail=detail)
    fired = case.gate.alert
    if fired is not None and (fired.cause, fired.about) == (found.reason, found.about):
        return Decision(gate, rule, found.reason, detail, case.now)
    alert = _alert(case, gate, AlertSeverity.CRITICAL, found)
    return Decision(replace(gate, alert=alert), rule, found.reason, detail, case.now, alerts=(alert,))


def _producer_failure(case: Case) -> str:
    return "; ".join(
        f"{report.producer} reported that it failed" + (f": {report.error}" if report.error else "") for report in case.failed
    )


def _failing(case: Case) -> str:
    messages = [result.message for result in case.blocking]
    return messages[0] + (f" (and {len(messages) - 1} more)" if len(messages) > 1 else "") if messages else "checks failed"


def _found_same(case: Case, rule: str) -> Decision:
    """Open, and the tables hold what was released: whatever was wrong in between is over."""
    consumed = {name: case.day[name].generation for name in case.inputs if name in case.day}
    detail = "the tables hold what was released"
    alerts = _recovery(case, GateState.OPEN, "the tables hold again what was released")
    prints = case.verdict.fingerprint if case.verdict else case.gate.fingerprint
    gate = replace(_with_evidence(case.gate, case.verdict), detail=detail, consumed=consumed, fingerprint=prints, alert=None)
    return Decision(gate, rule, Reason.NOTHING_NEW, detail, case.now, alerts=alerts)


def _changed_never(case: Case, rule: str) -> Decision:
    if case.phase.again is Again.NEVER:
        why = "this phase is released once only (again: never)"
    else:
        why = _stopped(case) if case.is_stopped else _missing(case)
    detail = f"the data changed; {why}"
    # The clock looks again, so that what was kept back is released when the stop ends.
    kept_back = case.is_stopped and case.phase.again is Again.ON_CHANGE
    gate = replace(_with_evidence(case.gate, case.verdict), detail=detail, alert=None, unproven=kept_back)
    alerts = _recovery(case, GateState.OPEN, detail)
    return Decision(gate, rule, Reason.DATA_CHANGED, detail, case.now, alerts=alerts)


def _missing(case: Case) -> str:
    heard = [name for name in case.needed if name not in case.unheard]
    published = _unheard(case)
    told = f"; {', '.join(heard)} {'has' if len(heard) == 1 else 'have'}" if heard else ""
    tables = f"; {case.blocking[0].message}" if case.blocking else "; the tables pass" if case.measured else ""
    return published + told + tables + case.moved


def _unheard(case: Case) -> str:
    return f"{', '.join(case.unheard)} {'has' if len(case.unheard) == 1 else 'have'} not reported"


def _early_found(case: Case) -> Cause:
    names = ", ".join(case.early)
    detail = f"ran before its upstream: {names} had not been released when it began; its rows may rest on half of their input"
    return Cause(GateState.HELD, Reason.RAN_BEFORE_UPSTREAM, case.early, detail)


def _early_again(case: Case, rule: str) -> Decision:
    """Stale; told once it could have run again for as long as it has after its upstream."""
    if not (case.past_due and may_start(case.pipeline, case.gate.run.phase, case.gate.run.run_date, case.day)):
        return _keep(case, rule, Reason.RAN_BEFORE_UPSTREAM, _early_found(case).detail)
    detail = f"{', '.join(case.early)} was released again, and {case.gate.run.phase} has not run since{case.moved}"
    found = Cause(GateState.OPEN, Reason.NOT_RUN_AGAIN, case.early, detail)
    gate = replace(case.gate, detail=detail)
    if gate.alert is not None and (gate.alert.cause, gate.alert.about) == (found.reason, found.about):
        return Decision(gate, rule, found.reason, detail, case.now)
    alert = _alert(case, gate, AlertSeverity.WARNING, found)
    return Decision(replace(gate, alert=alert), rule, found.reason, detail, case.now, alerts=(alert,))


def _hold_early(case: Case, rule: str) -> Decision:
    return _shut(case, rule, _early_found(case), alert=True)


def _hold_paused(case: Case, rule: str) -> Decision:
    return _shut(case, rule, Cause(GateState.HELD, Reason.PAUSED, (), _paused(case)), alert=False)


def _hold_by_hand(case: Case, rule: str) -> Decision:
    return _shut(case, rule, Cause(GateState.HELD, Reason.HELD_BY_HAND, (), _stopped(case)), alert=False)


def _stopped(case: Case) -> str:
    """Who keeps it from releasing anything, until when and why."""
    if case.hold is None:
        return _paused(case)
    until = f" until {case.hold.until:%Y-%m-%d %H:%M} UTC" if case.hold.until else ""
    return f"{case.hold.by} holds it{until}: {case.hold.why}"


def _paused(case: Case) -> str:
    if case.pause is not None:
        return str(case.pause)
    return f"{case.gate.run.phase} is paused" + (f" until {case.phase.until}" if case.phase.until else "")


def _hold_failed(case: Case, rule: str) -> Decision:
    about = tuple(report.producer for report in case.failed)
    return _shut(case, rule, Cause(GateState.HELD, Reason.PRODUCER_FAILED, about, _producer_failure(case)), alert=True)


def _hold_checks(case: Case, rule: str) -> Decision:
    about = tuple(result.name for result in case.blocking)
    return _shut(case, rule, Cause(GateState.HELD, Reason.CHECKS_FAILED, about, _failing(case)), alert=True)


def _wait(case: Case, rule: str) -> Decision:
    reason = Reason.PRODUCERS_MISSING if case.gate.reports else Reason.NOTHING_HEARD
    detail = _missing(case)
    decision = _shut(case, rule, Cause(GateState.WAITING, reason, case.unheard, detail), alert=False)
    if case.gate.alert is None or case.gate.alert.cause is not Reason.UPSTREAM_SHUT:
        return decision
    # The upstream is released now, and this phase has its time from there.
    alerts = _recovery(case, GateState.WAITING, detail)
    return replace(decision, gate=replace(decision.gate, alert=None), alerts=alerts)


def _accept(case: Case, rule: str) -> Decision:
    gap = case.gate.gap
    assert gap is not None
    owner = f" ({gap.owner} looks after it)" if gap.owner and gap.owner != gap.by else ""
    detail = f"{gap.by} accepted the gap until {gap.until:%Y-%m-%d %H:%M} UTC{owner}: {gap.why}"
    decision = _shut(case, rule, Cause(GateState.ACCEPTED, Reason.GAP_ACCEPTED, (), detail), alert=False)
    alerts = _recovery(case, GateState.ACCEPTED, detail)
    return replace(decision, gate=replace(decision.gate, alert=None), alerts=alerts)


def _overdue(case: Case, rule: str) -> Decision:
    return _shut(case, rule, Cause(GateState.OVERDUE, _silence(case), case.unheard, _silent(case)), alert=True)


def _silence(case: Case) -> Reason:
    """Why nobody, or not everybody, has reported by the due time, as far as can be told."""
    if case.heard:
        return Reason.PRODUCERS_MISSING
    if case.verdict is not None and any(case.verdict.rows.values()):
        return Reason.NO_MESSAGE
    return Reason.NOT_STARTED if case.inputs else Reason.NOTHING_HEARD


def _silent(case: Case) -> str:
    missing = _missing(case)
    match _silence(case):
        case Reason.NO_MESSAGE:
            rows = case.verdict.rows if case.verdict else {}
            there = ", ".join(f"{table} has {count:,}" for table, count in rows.items() if count)
            return f"rows are there and no message: {there} rows; {missing}"
        case Reason.NOT_STARTED:
            gates = [case.day[name] for name in case.inputs if name in case.day]
            opened = max((gate for gate in gates if gate.opened_at), key=lambda gate: gate.opened_at or case.now, default=None)
            if opened is None or opened.opened_at is None:
                return missing
            at = opened.opened_at.astimezone(case.pipeline.zone)
            return f"{opened.run.phase} was released at {at:%m-%d %H:%M}, and nothing has come of it: {missing}"
        case _:
            return missing


def _upstream_late(case: Case, rule: str) -> Decision:
    detail = f"waits for {', '.join(case.early)}, not released yet"
    return _shut(case, rule, Cause(GateState.OVERDUE, Reason.UPSTREAM_SHUT, case.early, detail), alert=True)


def _unverified_detail(case: Case) -> str:
    verdict = case.verdict
    if verdict is not None and verdict.reason:
        return f"could not be measured: {verdict.reason}"
    return case.unmeasured[0].message if case.unmeasured else "not measured yet"


def _open_unmeasured(case: Case, rule: str) -> Decision:
    decision = _keep(case, rule, Reason.NOT_MEASURED, _unverified_detail(case))
    return replace(decision, gate=replace(decision.gate, unproven=True))


def _unverified(case: Case, rule: str) -> Decision:
    about = tuple(result.name for result in case.unmeasured)
    found = Cause(GateState.UNVERIFIED, Reason.NOT_MEASURED, about, _unverified_detail(case))
    since = case.gate.since if case.gate.state is GateState.UNVERIFIED else None
    lasts = since is not None and case.now - since >= UNVERIFIED_GRACE
    heals = all(r.unmeasured is None or r.unmeasured.retryable for r in case.unmeasured)
    unknown = case.gate.alert is None  # people who know that it is shut are not told of every outage beside that
    return _shut(case, rule, found, alert=lasts or (case.past_due and unknown) or not heals)


def _is_open(case: Case) -> bool:
    return case.gate.is_open


RULES: tuple[Rule, ...] = (
    Rule(
        "no run is expected on the date (calendar, part, or 0 entities expected)",
        lambda c: not c.gate.is_open and c.verdict is not None and c.verdict.verdict is Verdict.OFF,
        "off",
        "–",
        _off,
    ),
    Rule(
        "it is open, and no run is expected on the date any more",
        lambda c: c.gate.is_open and c.verdict is not None and c.verdict.verdict is Verdict.OFF,
        "open",
        "–; recovery, if an alert was raised",
        _open_off,
    ),
    Rule(
        "it is open, and a producer now reports failure or the tables no longer pass",
        lambda c: c.gate.is_open and (bool(c.failed) or (bool(c.blocking) and not (c.has_quorum or c.observed))),
        "open",
        "alert: late failure",
        _late_failure,
    ),
    Rule(
        "it is open, and a run that began before the newest upstream release reports, or none does",
        lambda c: c.gate.is_open and bool(c.early),
        "open (shown as stale)",
        "alert (warning) when it should have run again",
        _early_again,
    ),
    Rule(
        "it is open, and the tables can't be measured now",
        lambda c: c.gate.is_open and not c.measured,
        "open",
        "–",
        _open_unmeasured,
    ),
    Rule(
        "it is open, and the tables pass with other data than released",
        lambda c: (
            c.gate.is_open
            and c.changed
            and (c.satisfied or c.observed)
            and c.phase.again is Again.ON_CHANGE
            and not c.is_stopped
        ),
        "open, next generation",
        "go-signal; recovery, if an alert was raised",
        _release,
    ),
    Rule(
        "the same, but the phase says `again: never`, is paused, or a person holds it",
        lambda c: c.gate.is_open and c.changed,
        "open",
        "–; recovery, if an alert was raised",
        _changed_never,
    ),
    Rule(
        "it is open, and the tables hold what was released",
        _is_open,
        "open",
        "–; recovery, if an alert was raised",
        _found_same,
    ),
    Rule("a person holds it", lambda c: c.hold is not None, "held", "–", _hold_by_hand),
    Rule(
        "a person accepted the gap, and it still is one",
        lambda c: c.gap_accepted and not (c.satisfied and not c.early),
        "accepted",
        "recovery, if an alert was raised",
        _accept,
    ),
    Rule("the phase is paused", lambda c: c.paused, "held", "–", _hold_paused),
    Rule(
        "the newest report of a needed producer says failed",
        lambda c: bool(c.failed),
        "held",
        "alert: producer failed",
        _hold_failed,
    ),
    Rule(
        "needed producers have not reported, and it is not due yet",
        lambda c: bool(c.unheard) and not c.past_due,
        "waiting",
        "–",
        _wait,
    ),
    Rule(
        "a producer began a second or more before the upstream gates were open",
        lambda c: bool(c.early) and bool(c.heard),
        "held",
        "alert: ran before its upstream",
        _hold_early,
    ),
    Rule(
        "nothing was heard by the due time because the upstream gates are shut",
        lambda c: bool(c.early),
        "overdue",
        "alert: upstream late",
        _upstream_late,
    ),
    Rule(
        "the phase is in observe mode",
        lambda c: c.observed,
        "open, next generation",
        "go-signal; alert (warning) for what would have held it",
        _release,
    ),
    Rule(
        "needed producers have not reported by the due time, and neither `message: optional` nor a quorum lets it open",
        lambda c: bool(c.unheard) and not c.satisfied,
        "overdue",
        "alert: who is missing, and what the tables hold",
        _overdue,
    ),
    Rule(
        "everything the policy asks for is there: all checks pass, failing ones are warnings or waived, or a quorum after due",
        lambda c: c.satisfied,
        "open, next generation",
        "go-signal; alert (warning) when amber, waived or degraded; recovery",
        _release,
    ),
    Rule(
        "a blocking check could not be measured",
        lambda c: not c.measured,
        "unverified",
        "alert once it lasts 10 minutes, is past due, or can't heal by itself",
        _unverified,
    ),
    Rule("a blocking check fails", lambda _: True, "held", "alert: the failing checks", _hold_checks),
)
"""The table "What happens when"; the first rule that fits decides."""
