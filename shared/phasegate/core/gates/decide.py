"""Deciding: the one place where a gate opens or stays closed.

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
    end_text,
    is_live,
    is_released,
    may_start,
    recoveries,
    release_without,
)
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.schedule import deadline, settles_at, still_missing
from phasegate.core.gates.verdict import PhaseVerdict, Verdict, differ
from phasegate.core.pipeline.model import Again, AlertSeverity, GateMode, MessageNeed, Phase, Pipeline, QuorumWhen

REPORTS_MISSING = frozenset({Reason.NOTHING_HEARD, Reason.NO_MESSAGE, Reason.NOT_STARTED, Reason.PRODUCERS_MISSING})
"""Reasons that mean that reports are missing. A change from one to another (first rows or reports arrive) raises no alert."""

WAIVABLE = (Reason.PRODUCER_FAILED, Reason.PRODUCERS_MISSING, Reason.RAN_BEFORE_UPSTREAM)
"""What an override can name besides checks."""

UNVERIFIED_GRACE = timedelta(minutes=10)
"""A gate that cannot be measured for this long raises an alert, even when the failure may go away."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What should happen: the gate as it should be stored, and what should be sent. It does nothing by itself.

    Args:
        rule: The row of the table that decided.
        reason: Why; for an open gate that stays open, what was found.
        verdict: What the tables hold; None when they did not need to be measured.
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
    """Everything that a decision depends on, and the questions that the rules ask about it.

    Args:
        gate: The gate, with any new report already added.
        day: All gates of the run date.
        verdict: What the tables hold; None when they did not need to be measured.
        due: When the phase is due, in UTC; None when it has no due time.
        pause: The live pause of the phase or its pipeline; None when there is none.
        unheard: The run may have been reported before phasegate listened, so its tables count and missing reports do not.
    """

    pipeline: Pipeline
    gate: Gate
    day: GatesByPhase
    verdict: PhaseVerdict | None
    due: datetime | None
    now: datetime
    pause: Pause | None = None
    unheard: bool = False

    @cached_property
    def phase(self) -> Phase:
        """The rules of the gate's phase."""
        return self.pipeline.phase(self.gate.run.phase)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The phases that this one waits for on the date."""
        return self.pipeline.inputs(self.gate.run.phase, self.gate.run.run_date)

    @cached_property
    def reports(self) -> tuple[Report, ...]:
        """Newest reports of needed producers."""
        newest = self.gate.reports
        return tuple(newest[name] for name in self.needed_producers if name in newest)

    @cached_property
    def is_past_due(self) -> bool:
        """True when the phase should have been released by now."""
        return self.due is not None and self.now >= self.due

    @cached_property
    def due_shift(self) -> str:
        """How a late upstream moved the due time, as half a sentence; empty when it did not."""
        due = deadline(self.pipeline, self.gate.run.phase, self.gate.run.run_date, self.day)
        if due is None or not due.late:
            return ""
        opened = self.day[due.late].opened_at or due.at
        at, planned, released = (moment.astimezone(self.pipeline.zone) for moment in (due.at, due.planned, opened))
        shift = f"; due moved from {planned:%m-%d %H:%M} to {at:%m-%d %H:%M}"
        return f"{shift}, because {due.late} was released at {released:%m-%d %H:%M}"

    @cached_property
    def is_paused(self) -> bool:
        """True while the pipeline file or a person pauses the phase."""
        until = self.phase.until
        by_file = self.phase.mode is GateMode.PAUSE and (until is None or self.pipeline.today(self.now) <= until)
        return by_file or self.pause is not None

    @cached_property
    def live_hold(self) -> Hold | None:
        """The manual hold that is in force now; None when there is none."""
        hold = self.gate.hold
        return hold if hold and is_live(hold, self.now) else None

    @cached_property
    def is_stopped(self) -> bool:
        """True while a pause or a hold blocks every release, whatever the tables hold."""
        return self.is_paused or self.live_hold is not None

    @cached_property
    def needed_producers(self) -> tuple[str, ...]:
        """The producers that must report before the gate opens."""
        return self.pipeline.needed_producers(self.gate.run.phase, self.gate.run.run_date)

    @cached_property
    def failed_reports(self) -> tuple[Report, ...]:
        """Newest reports of needed producers whose status is failed; none while that is waived."""
        return () if Reason.PRODUCER_FAILED in self.waived else self._all_failed_reports

    @cached_property
    def _all_failed_reports(self) -> tuple[Report, ...]:
        return tuple(report for report in self.reports if report.status is Status.FAILED)

    @cached_property
    def unreported(self) -> tuple[str, ...]:
        """Needed producers that have not reported; none while that is waived."""
        return () if Reason.PRODUCERS_MISSING in self.waived else self._all_unreported

    @cached_property
    def _all_unreported(self) -> tuple[str, ...]:
        # What may have been reported unheard and has rows is judged by them: nobody knows which reports are missing.
        if self.unheard and self.verdict is not None and any(self.verdict.rows.values()):
            return ()
        return self.silent

    @cached_property
    def silent(self) -> tuple[str, ...]:
        """Needed producers that have not reported, whether that counts or not."""
        return tuple(name for name in self.needed_producers if name not in self.gate.reports)

    @cached_property
    def unreleased_inputs(self) -> tuple[str, ...]:
        """Upstream phases that were not released when a producer started; none while that is waived."""
        return () if Reason.RAN_BEFORE_UPSTREAM in self.waived else self._all_unreleased_inputs

    @cached_property
    def _all_unreleased_inputs(self) -> tuple[str, ...]:
        # The producer that started first counts, because it may have read before the release. Without a report, now counts.
        began = min((report.began for report in self.reports), default=self.now)
        return tuple(name for name in self.inputs if not self._released_by(name, began))

    def _released_by(self, phase: str, moment: datetime) -> bool:
        gate = self.day.get(phase)
        if not is_released(self.pipeline, phase, self.day):
            return False
        return gate is None or not gate.was_released_after(moment)

    @cached_property
    def inputs_settle(self) -> bool:
        """True when only a re-run that has not settled keeps inputs from being released."""
        gates = [self.day.get(name) for name in self.unreleased_inputs]
        return bool(gates) and all(gate is not None and gate.flaw is GateState.SETTLING for gate in gates)

    @cached_property
    def must_run_again(self) -> bool:
        """True when its report waited for an input that was then released again, and there is time to rerun on that."""
        waited = self.gate.reason is Reason.UPSTREAM_SETTLING and self.due is not None and not self.is_past_due
        return waited and bool(self.unreleased_inputs)

    @cached_property
    def outstanding(self) -> tuple[str, ...]:
        """Needed producers of a re-run in progress that have not reported again; none once it has settled."""
        settled = settles_at(self.pipeline, self.gate)
        return still_missing(self.pipeline, self.gate) if settled is not None and self.now < settled else ()

    @cached_property
    def overrides(self) -> tuple[Override, ...]:
        """The overrides that are in force now."""
        return tuple(override for override in self.gate.overrides if is_live(override, self.now))

    @cached_property
    def waived(self) -> frozenset[str]:
        """Checks and reasons that a live override lets pass."""
        return frozenset(name for override in self.overrides for name in override.checks)

    @cached_property
    def problems(self) -> frozenset[str]:
        """What would hold the gate, waived or not, by the names that an override can use."""
        outputs = () if self.verdict is None else self.verdict.outputs
        conditions = zip(WAIVABLE, (self._all_failed_reports, self._all_unreported, self._all_unreleased_inputs), strict=True)
        checks = (result.name for output in outputs for result in (*output.blocking(), *output.unmeasured()))
        return frozenset((*(reason for reason, culprits in conditions if culprits), *checks))

    @cached_property
    def has_accepted_gap(self) -> bool:
        """True while a person's acceptance of the gap is in force."""
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
    def is_measured(self) -> bool:
        """True when the tables could be measured, whether they pass or fail."""
        verdict = self.verdict
        if verdict is None or (verdict.verdict is Verdict.UNVERIFIED and verdict.reason):
            return False
        # A failed check is an answer even when another one could not be measured.
        return bool(self.blocking) or not self.unmeasured

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Outputs that do not pass, and needed producers that have not reported."""
        outputs = () if self.verdict is None else self.verdict.outputs
        bad = tuple(o.table for o in outputs if o.blocking(self.waived) or o.unmeasured(self.waived))
        return (*bad, *self.unreported)

    @cached_property
    def has_quorum(self) -> bool:
        """True when the phase's quorum lets it open although something is missing."""
        quorum, verdict = self.phase.quorum, self.verdict
        if quorum is None or verdict is None or verdict.reason or (quorum.when is QuorumWhen.DUE and not self.is_past_due):
            return False
        bad = [output.table for output in verdict.outputs if output.table in self.missing]
        # `always` may name an output with or without its dataset.
        names = {name for table in bad for name in (table, table.rpartition(".")[2])}
        return len(verdict.outputs) - len(bad) >= quorum.at_least and names.isdisjoint(quorum.always)

    @cached_property
    def is_complete(self) -> bool:
        """True when every needed report is there and every blocking check passes."""
        waives_messages = self.phase.message is MessageNeed.OPTIONAL or self.unheard
        reported = not self.unreported or (self.is_past_due and waives_messages)
        return self.is_measured and reported and not self.blocking and not self.unmeasured

    @cached_property
    def is_observed(self) -> bool:
        """True when the phase is in observe mode: whatever would hold it, it is released."""
        return self.phase.mode is GateMode.OBSERVE

    @cached_property
    def is_over(self) -> bool:
        """True when its run is over: everyone has reported or one has failed, or it is due."""
        return not self.unreported or bool(self.failed_reports) or self.is_past_due

    @cached_property
    def has_news_since_gap(self) -> bool:
        """True when a producer has reported, or a person has waived something, since the gap was accepted."""
        gap = self.gate.gap
        moments = (*(r.received_at for r in self.gate.reports.values()), *(o.at for o in self.overrides))
        return gap is not None and any(moment > gap.at for moment in moments)

    @cached_property
    def lapsed(self) -> tuple[str, ...]:
        """What is still wrong of what an override, on which the current release rests, waived until it ended."""
        if self.gate.reason is not Reason.OVERRIDDEN:
            return ()
        ended = {name for o in self.gate.overrides if not is_live(o, self.now) for name in o.checks}
        return tuple(sorted((ended - self.waived) & self.problems))

    @cached_property
    def is_satisfied(self) -> bool:
        """True when the policy lets the gate open: it is complete, or has a quorum."""
        return self.is_complete or self.has_quorum

    @cached_property
    def has_got_worse(self) -> bool:
        """True when what was released would not be released now; in observe mode, everything would."""
        bad_tables = bool(self.blocking or self.lapsed) and not self.has_quorum
        return not self.is_observed and (bool(self.failed_reports) or bad_tables)

    @cached_property
    def mismatches(self) -> tuple[str, ...]:
        """Where a reported row count differs from the table's; it is compared, never trusted."""
        rows = self.verdict.rows if self.verdict else {}
        declared = self.pipeline.producers(self.gate.run.phase)
        return tuple(
            f"{name} reported {report.rows:,} rows; {declared[name].fills} has {rows[declared[name].fills or '']:,}"
            for name, report in self.gate.reports.items()
            if name in declared and report.rows is not None and rows.get(declared[name].fills or "", report.rows) != report.rows
        )

    @cached_property
    def has_changed(self) -> bool:
        """True when the tables hold other data than what was released."""
        return self.verdict is not None and differ(self.verdict.fingerprint, self.gate.fingerprint)

    @cached_property
    def frees_a_follower(self) -> bool:
        """True when a follower that is not released could not start before this rerun, although it brought the same data.

        Nothing else would tell it: its other inputs were released while this one was stale or settling.
        """
        if self.outstanding:
            return False
        run = self.gate.run
        consumed = {name: self.day[name].generation for name in self.inputs if name in self.day}
        after = {**self.day, run.phase: replace(self.gate, consumed=consumed, flaw=None)}
        return any(
            (name not in self.day or self.day[name].is_unsettled)
            and not may_start(self.pipeline, name, run.run_date, self.day)
            and may_start(self.pipeline, name, run.run_date, after)
            for name in self.pipeline.followers(run.phase, run.run_date)
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table "What happens when".

    Args:
        when: The case in words.
        fits: The same as a predicate.
        then: The state of the gate afterwards, in words.
        published: What is published, in words.
        decide: The decision.
    """

    when: str
    fits: Callable[[Case], bool]
    then: str
    published: str
    decide: Callable[[Case, str], Decision]


def needs_measuring(case: Case) -> bool:
    """True when the tables must be measured before a decision: all needed producers are done, it is due, or it has no run."""
    if not case.pipeline.runs(case.gate.run.phase, case.gate.run.run_date):
        return True
    if case.failed_reports and not (case.is_past_due or case.is_observed):
        return False
    return not case.unreported or case.is_past_due or case.gate.is_open


def decide(case: Case) -> Decision:
    """The decision of the first rule that fits the case."""
    rule = next(rule for rule in RULES if rule.fits(case))
    decision = rule.decide(case, rule.when)
    return replace(decision, gate=_with_flaw(case, decision), verdict=case.verdict)


def _with_flaw(case: Case, decision: Decision) -> Gate:
    """The decided gate with what people must know of it while it is open, and without a re-run that is over."""
    flaws = {Reason.SETTLING: GateState.SETTLING, Reason.LATE_FAILURE: GateState.FAILING}
    flaw = flaws.get(decision.reason)
    if decision.reason is Reason.NOT_MEASURED and case.gate.flaw is GateState.FAILING:
        flaw = GateState.FAILING  # tables that could not be measured have not recovered
    gate = decision.gate
    overrides = gate.overrides
    if gate.is_open and case.is_measured:
        overrides = tuple(o for o in overrides if is_live(o, case.now) or case.problems.intersection(o.checks))
    rerun = gate.rerun if case.outstanding else ()
    return replace(gate, flaw=flaw if gate.is_open else None, rerun=rerun, overrides=overrides, orphaned=False)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a gate is in a state.

    Args:
        about: The checks, producers or phases that are to blame.
        detail: One sentence for people.
    """

    state: GateState
    reason: Reason
    about: tuple[str, ...]
    detail: str


def _stay_open(case: Case, rule: str, reason: Reason, detail: str) -> Decision:
    """Stay open as released, and record what was found."""
    return Decision(replace(case.gate, detail=detail), rule, reason, detail, case.now)


def _stay_closed(case: Case, rule: str, cause: Cause, *, alert: bool) -> Decision:
    """Stay closed, or change to another closed state, with one alert per cause."""
    same = case.gate.state is cause.state and case.gate.reason is cause.reason
    # Unchanged fields keep the gate equal to the stored one, so that a tick which finds the same writes nothing.
    since = case.gate.since if same else case.now
    gate = replace(case.gate, state=cause.state, reason=cause.reason, detail=cause.detail, since=since)
    gate = _with_evidence(gate, case)
    if not alert or (case.gate.alert is not None and _covers(case.gate.alert, cause)):
        return Decision(gate, rule, cause.reason, cause.detail, case.now)
    firing = _alert(case, gate, AlertSeverity.CRITICAL, cause)
    return Decision(replace(gate, alert=firing), rule, cause.reason, cause.detail, case.now, alerts=(firing,))


def _covers(alert: Alert, cause: Cause) -> bool:
    """True when an alert that has fired already reports the cause."""
    if alert.gate is not cause.state:
        return False
    if REPORTS_MISSING.issuperset((alert.cause, cause.reason)):
        return set(cause.about) <= set(alert.about)
    return (alert.cause, alert.about) == (cause.reason, cause.about)


def gate_verdict(case: Case) -> PhaseVerdict | None:
    """The verdict of the tables, and what the gate makes of one that does not pass; a validation says the same."""
    verdict = case.verdict
    if verdict is None or verdict.verdict not in (Verdict.FAIL, Verdict.UNVERIFIED):
        return verdict
    if case.has_accepted_gap:
        return replace(verdict, verdict=Verdict.ACCEPTED, score=None, reason="a person accepted the gap")
    if case.is_observed:
        why = "the phase is in observe mode, so the gate opens whatever fails"
    elif case.is_measured and not case.blocking:
        why = "; ".join(f"waived by {override.by}: {override.why}" for override in case.overrides)
    elif case.has_quorum:
        why = release_without(table for table in case.missing if "." in table)
    else:
        return verdict
    return replace(verdict, verdict=Verdict.ACCEPTABLE, reason=why)


def _with_evidence(gate: Gate, case: Case) -> Gate:
    verdict = gate_verdict(case)
    if verdict is None:
        return gate
    return replace(
        gate, verdict=verdict.verdict, score=verdict.score, results=verdict.results, rows=verdict.rows, unproven=False
    )


def _alert(case: Case, gate: Gate, severity: AlertSeverity, cause: Cause) -> Alert:
    evidence = (*(r.message for r in (*case.blocking, *case.unmeasured)), *case.mismatches) or _warnings(case)
    return Alert(
        # The version that the commit will give: a decision that is made again after a crash sends the same key.
        key=f"{gate.run}/v{case.gate.version + 1}/{cause.reason}",
        run=gate.run,
        severity=severity,
        state=AlertState.FIRING,
        cause=cause.reason,
        about=cause.about,
        check_kinds=_check_kinds(case, cause.about),
        gate=gate.state,
        detail=cause.detail,
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
    if gate.state is GateState.OFF:
        return f"{phase} counts as off: nothing is checked" + (f", and {followers} do not wait for it." if followers else ".")
    if not gate.is_open:
        return f"The gate of {phase} stays closed" + (f": {followers} cannot start." if followers else ".")
    if case.gate.is_open:
        return f"The gate of {phase} stays open: {followers or 'its consumers'} may have used wrong data."
    return f"The gate of {phase} is open" + (f": {followers} can start." if followers else ".")


def _all_followers(pipeline: Pipeline, phase: str, day: date) -> tuple[str, ...]:
    followers: dict[str, None] = {}  # a dictionary is an ordered set
    for follower in pipeline.followers(phase, day):
        followers[follower] = None
        followers.update(dict.fromkeys(_all_followers(pipeline, follower, day)))
    return tuple(followers)


def _not_clean(case: Case) -> tuple[CheckResult, ...]:
    """Results that a release is announced with: warnings, waived failures, amber and unmeasured ones."""
    results = () if case.verdict is None else case.verdict.results
    bad = (Outcome.FAILED, Outcome.ACCEPTABLE)
    return tuple(r for r in results if r.mode is Mode.ENFORCE and (r.outcome in bad or r.unmeasured))


def _warnings(case: Case) -> tuple[str, ...]:
    return tuple(result.message for result in _not_clean(case))


def _recovery(case: Case, state: GateState, detail: str) -> tuple[Alert, ...]:
    return recoveries(case.gate, state, detail, case.now)


def _observe(case: Case, rule: str) -> Decision:
    """Release as the rules below would, or, where they would not, say what would have held the gate."""
    below = RULES[[each.when for each in RULES].index(rule) + 1 :]
    strict = next(each for each in below if each.fits(case)).decide(case, rule)
    if strict.gate.is_open:
        return strict
    why = f"released in observe mode; would have been {strict.gate.state}: {strict.detail}"
    return _release(case, rule, (Reason.OBSERVED, why))


def _release(case: Case, rule: str, why: tuple[Reason, str] | None = None) -> Decision:
    """Open the gate, or release it again for changed data, with one go-signal under the next generation's key.

    Args:
        why: The reason and its sentence; found out when left out.
    """
    gate, verdict = case.gate, case.verdict
    reason, detail = why or _why_open(case)
    missing = case.missing if reason is Reason.QUORUM else ()
    generation = gate.generation + 1
    again = gate.is_open
    opened = replace(
        _with_evidence(gate, case),
        state=GateState.OPEN,
        reason=reason,
        detail=detail,
        since=gate.since if again else case.now,
        generation=generation,
        opened_at=case.now,
        # A later generation of an input makes this gate stale.
        consumed={name: case.day[name].generation for name in case.inputs if name in case.day},
        fingerprint=verdict.fingerprint if verdict else {},
        degraded=bool(missing),
        missing=missing,
        alert=None,
        flaw=None,
    )
    signal = _signal(case, opened)
    alerts = _recovery(case, GateState.OPEN, detail)
    if reason is not Reason.PASSED or case.mismatches or (verdict is not None and verdict.verdict is not Verdict.PASS):
        cause = Cause(GateState.OPEN, reason, tuple(r.name for r in _not_clean(case)) + missing, detail)
        alerts = (*alerts, _alert(case, opened, AlertSeverity.WARNING, cause))
    return Decision(opened, rule, Reason.DATA_CHANGED if again else reason, detail, case.now, signal, alerts)


def _why_open(case: Case) -> tuple[Reason, str]:
    score = case.verdict.score if case.verdict else None
    judged = f", score {score:g}" if score is not None else ""
    if case.is_complete:
        if used := [o for o in case.overrides if case.problems.intersection(o.checks)]:
            return Reason.OVERRIDDEN, f"released by {used[0].by}: {used[0].why}"
        n = len(_warnings(case)) + len(case.mismatches)
        warnings = f"; {n} warning{'s' if n > 1 else ''}" if n else ""
        without = f"; released without a message: {_not_reported(case.silent)}" if case.silent else ""
        return Reason.PASSED, f"all needed checks pass{judged}{without}{warnings}"
    if case.has_quorum:
        return Reason.QUORUM, f"{release_without(case.missing)}{judged}"
    return Reason.OBSERVED, f"released in observe mode; would have been failing: {_failing(case)}"


def _signal(case: Case, opened: Gate) -> GoSignal:
    # This gate is not stored as open yet, but its followers start on the state after the commit.
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
    """Nothing is expected. Rows or a report say otherwise: then the calendar may be wrong, which people are told once."""
    why = case.verdict.reason if case.verdict else ""
    rows = {table: count for table, count in (case.verdict.rows if case.verdict else {}).items() if count}
    ran = [report.producer for report in case.reports if report.status in (Status.DONE, Status.PARTIAL)]
    reported = (f"{', '.join(ran)} reported a run",) if ran else ()
    detail = "; ".join((why, *(f"{table} has {count:,} rows" for table, count in rows.items()), *reported))
    gate = replace(
        case.gate,
        state=GateState.OFF,
        reason=Reason.NOT_EXPECTED,
        detail=detail,
        since=case.gate.since if case.gate.state is GateState.OFF else case.now,
        verdict=Verdict.OFF,
        alert=None,
    )
    if rows or ran:
        unexpected = Cause(GateState.OFF, Reason.UNEXPECTED, (*rows, *ran), detail)
        told = _alert_once(case, rule, replace(gate, alert=case.gate.alert), AlertSeverity.WARNING, unexpected)
        return replace(told, alerts=(*_recovery(case, GateState.OFF, detail), *told.alerts))
    return Decision(gate, rule, Reason.NOT_EXPECTED, detail, case.now, alerts=_recovery(case, GateState.OFF, detail))


def _open_off(case: Case, rule: str) -> Decision:
    """Stay open: nothing is expected on the date, so there is nothing to release again and nothing to alert about."""
    detail = case.verdict.reason if case.verdict else ""
    gate = replace(case.gate, detail=detail, alert=None)
    alerts = _recovery(case, GateState.OPEN, detail)
    return Decision(gate, rule, Reason.NOT_EXPECTED, detail, case.now, alerts=alerts)


def _late_failure(case: Case, rule: str) -> Decision:
    detail = _producer_failure(case) if case.failed_reports else _failing(case) if case.blocking else _lapsed(case)
    about = tuple(r.producer for r in case.failed_reports) or tuple(r.name for r in case.blocking) or case.lapsed
    gate = replace(_with_evidence(case.gate, case), detail=detail)
    return _alert_once(case, rule, gate, AlertSeverity.CRITICAL, Cause(GateState.OPEN, Reason.LATE_FAILURE, about, detail))


def _alert_once(case: Case, rule: str, gate: Gate, severity: AlertSeverity, cause: Cause) -> Decision:
    """Stay open, with an alert unless it has fired already."""
    fired = case.gate.alert
    if fired is not None and (fired.cause, fired.about) == (cause.reason, cause.about):
        return Decision(gate, rule, cause.reason, cause.detail, case.now)
    alert = _alert(case, gate, severity, cause)
    return Decision(replace(gate, alert=alert), rule, cause.reason, cause.detail, case.now, alerts=(alert,))


def _producer_failure(case: Case) -> str:
    return "; ".join(
        f"{report.producer} reported that it failed" + (f": {report.error}" if report.error else "")
        for report in case.failed_reports
    )


def _lapsed(case: Case) -> str:
    if case.unreported:
        return f"an override has ended: {_not_reported(case.unreported)}"
    why = _ran_early(case).detail if case.unreleased_inputs else _unverified_detail(case)
    return f"an override has ended: {why}"


def _failing(case: Case) -> str:
    messages = [result.message for result in case.blocking]
    return messages[0] + (f" (and {len(messages) - 1} more)" if len(messages) > 1 else "") if messages else "checks failed"


def _unchanged(case: Case, rule: str) -> Decision:
    """Stay open: the tables hold what was released, so whatever was wrong in between has recovered."""
    consumed = {name: case.day[name].generation for name in case.inputs if name in case.day}
    missing = _still_missing(case)
    detail = "the tables have not changed since the release"
    if missing:
        detail = f"{release_without(missing)}; {detail}"
    alerts = _recovery(case, GateState.OPEN, "the tables match the release again")
    prints = case.verdict.fingerprint if case.verdict else case.gate.fingerprint
    gate = replace(_with_evidence(case.gate, case), detail=detail, consumed=consumed, fingerprint=prints, alert=None)
    gate = replace(gate, degraded=bool(missing), missing=missing)
    return Decision(gate, rule, Reason.NOTHING_NEW, detail, case.now, alerts=alerts)


def _still_missing(case: Case) -> tuple[str, ...]:
    """What a degraded release still lacks, or one lacks that only a quorum keeps from failing."""
    if case.is_complete:
        return ()
    return case.missing if case.has_quorum else case.gate.missing


def _not_released_again(case: Case, rule: str) -> Decision:
    if case.phase.again is Again.NEVER:
        why = "this phase is released only once (again: never)"
    else:
        why = _stopped(case) if case.is_stopped else _missing(case)
    detail = f"the data changed; {why}"
    # Ticks recheck an unproven gate, so the new data is released as soon as the pause or hold ends.
    postponed = case.is_stopped and case.phase.again is Again.ON_CHANGE
    gate = replace(_with_evidence(case.gate, case), detail=detail, alert=None, unproven=postponed)
    alerts = _recovery(case, GateState.OPEN, detail)
    return Decision(gate, rule, Reason.DATA_CHANGED, detail, case.now, alerts=alerts)


def _missing(case: Case) -> str:
    """Who has not reported, who has, and what the tables hold."""
    reported = [name for name in case.needed_producers if name not in case.unreported]
    others = f"; {', '.join(reported)} {'has' if len(reported) == 1 else 'have'}" if reported else ""
    tables = f"; {case.blocking[0].message}" if case.blocking else "; the tables pass" if case.is_measured else ""
    return _not_reported(case.unreported) + others + tables + case.due_shift


def _not_reported(names: tuple[str, ...]) -> str:
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} not reported"


def _ran_early(case: Case) -> Cause:
    names = ", ".join(case.unreleased_inputs)
    detail = f"ran before its upstream: {names} had not been released when it started, so its input may have been incomplete"
    # An input without a stored gate is one of before phasegate watched; its tables are all that is known of it.
    unproven = [case.day[name] for name in case.unreleased_inputs if name in case.day and not case.day[name].version]
    if len(unproven) == len(case.unreleased_inputs):
        detail = f"its input is not complete; {'; '.join(f'{gate.run.phase}: {gate.detail}' for gate in unproven)}"
    return Cause(GateState.HELD, Reason.RAN_BEFORE_UPSTREAM, case.unreleased_inputs, detail)


def _stay_stale(case: Case, rule: str) -> Decision:
    """Stay open but stale; one alert when the phase has had its usual time since the upstream's release and has not rerun."""
    if not (case.is_past_due and may_start(case.pipeline, case.gate.run.phase, case.gate.run.run_date, case.day)):
        return _stay_open(case, rule, Reason.RAN_BEFORE_UPSTREAM, _ran_early(case).detail)
    inputs = ", ".join(case.unreleased_inputs)
    detail = f"{inputs} was released again, and {case.gate.run.phase} has not rerun since{case.due_shift}"
    cause = Cause(GateState.OPEN, Reason.NOT_RUN_AGAIN, case.unreleased_inputs, detail)
    return _alert_once(case, rule, replace(case.gate, detail=detail), AlertSeverity.WARNING, cause)


def _hold_early(case: Case, rule: str) -> Decision:
    return _stay_closed(case, rule, _ran_early(case), alert=True)


def _hold_paused(case: Case, rule: str) -> Decision:
    return _stay_closed(case, rule, Cause(GateState.HELD, Reason.PAUSED, (), _paused(case)), alert=False)


def _hold_manually(case: Case, rule: str) -> Decision:
    return _stay_closed(case, rule, Cause(GateState.HELD, Reason.HELD_BY_HAND, (), _stopped(case)), alert=False)


def _stopped(case: Case) -> str:
    """Who blocks every release, until when and why."""
    hold = case.live_hold
    if hold is None:
        return _paused(case)
    until = f" until {end_text(hold.until)}" if hold.until else ""
    return f"put on hold by {hold.by}{until}: {hold.why}"


def _paused(case: Case) -> str:
    if case.pause is not None:
        return str(case.pause)
    return f"{case.gate.run.phase} is paused" + (f" until {case.phase.until}" if case.phase.until else "")


def _hold_failed(case: Case, rule: str) -> Decision:
    about = tuple(report.producer for report in case.failed_reports)
    return _stay_closed(case, rule, Cause(GateState.HELD, Reason.PRODUCER_FAILED, about, _producer_failure(case)), alert=True)


def _hold_checks(case: Case, rule: str) -> Decision:
    about = tuple(result.name for result in case.blocking)
    return _stay_closed(case, rule, Cause(GateState.HELD, Reason.CHECKS_FAILED, about, _failing(case)), alert=True)


def _wait(case: Case, rule: str) -> Decision:
    reason = Reason.PRODUCERS_MISSING if case.gate.reports else Reason.NOTHING_HEARD
    detail = _missing(case)
    decision = _stay_closed(case, rule, Cause(GateState.WAITING, reason, case.unreported, detail), alert=False)
    if case.gate.alert is None or case.gate.alert.cause is not Reason.UPSTREAM_SHUT:
        return decision
    # The upstream has been released, so this phase is no longer late: its due time counts from there.
    alerts = _recovery(case, GateState.WAITING, detail)
    return replace(decision, gate=replace(decision.gate, alert=None), alerts=alerts)


def _accept(case: Case, rule: str) -> Decision:
    gap = case.gate.gap
    assert gap is not None
    owner = f" (owner: {gap.owner})" if gap.owner and gap.owner != gap.by else ""
    until = f" until {end_text(gap.until)}" if gap.until else ""
    detail = f"{gap.by} accepted the gap{until}{owner}: {gap.why}"
    decision = _stay_closed(case, rule, Cause(GateState.ACCEPTED, Reason.GAP_ACCEPTED, (), detail), alert=False)
    alerts = _recovery(case, GateState.ACCEPTED, detail)
    return replace(decision, gate=replace(decision.gate, alert=None), alerts=alerts)


def _overdue(case: Case, rule: str) -> Decision:
    cause = Cause(GateState.OVERDUE, _overdue_reason(case), case.unreported, _overdue_detail(case))
    return _stay_closed(case, rule, cause, alert=True)


def _overdue_reason(case: Case) -> Reason:
    """Why reports are missing at the due time, as far as the tables and gates show it."""
    if case.reports:
        return Reason.PRODUCERS_MISSING
    if case.verdict is not None and any(case.verdict.rows.values()):
        return Reason.NO_MESSAGE
    return Reason.NOT_STARTED if case.inputs else Reason.NOTHING_HEARD


def _overdue_detail(case: Case) -> str:
    missing = _missing(case)
    match _overdue_reason(case):
        case Reason.NO_MESSAGE:
            rows = case.verdict.rows if case.verdict else {}
            counts = ", ".join(f"{table} has {count:,}" for table, count in rows.items() if count)
            return f"rows arrived without a message: {counts} rows; {missing}"
        case Reason.NOT_STARTED:
            gates = [case.day[name] for name in case.inputs if name in case.day]
            opened = max((gate for gate in gates if gate.opened_at), key=lambda gate: gate.opened_at or case.now, default=None)
            if opened is None or opened.opened_at is None:
                return missing
            at = opened.opened_at.astimezone(case.pipeline.zone)
            return f"{opened.run.phase} was released at {at:%m-%d %H:%M}, but nothing has happened since: {missing}"
        case _:
            return missing


def _upstream_late(case: Case, rule: str) -> Decision:
    detail = f"waiting for the release of {', '.join(case.unreleased_inputs)}"
    cause = Cause(GateState.OVERDUE, Reason.UPSTREAM_SHUT, case.unreleased_inputs, detail)
    return _stay_closed(case, rule, cause, alert=True)


def _unverified_detail(case: Case) -> str:
    verdict = case.verdict
    if verdict is not None and verdict.reason:
        return f"could not be measured: {verdict.reason}"
    return case.unmeasured[0].message if case.unmeasured else "not measured yet"


def _settle(case: Case, rule: str) -> Decision:
    until = settles_at(case.pipeline, case.gate)
    assert until is not None, "producers are outstanding"
    at = until.astimezone(case.pipeline.zone)
    return _stay_open(
        case, rule, Reason.SETTLING, f"waiting for {', '.join(case.outstanding)} to report again, until {at:%H:%M}"
    )


def _wait_for_input(case: Case, rule: str) -> Decision:
    inputs, name = ", ".join(case.unreleased_inputs), case.gate.run.phase
    why = (
        f"waiting for {inputs} to settle" if case.inputs_settle else f"{inputs} was released again; {name} has not rerun since"
    )
    cause = Cause(GateState.WAITING, Reason.UPSTREAM_SETTLING, case.unreleased_inputs, why)
    return _stay_closed(case, rule, cause, alert=False)


def _open_unmeasured(case: Case, rule: str) -> Decision:
    decision = _stay_open(case, rule, Reason.NOT_MEASURED, _unverified_detail(case))
    return replace(decision, gate=replace(decision.gate, unproven=True))


def _unverified(case: Case, rule: str) -> Decision:
    about = tuple(result.name for result in case.unmeasured)
    # Most outages end within minutes, so a new one alerts only when a retry cannot help or the phase is already late.
    cause = Cause(GateState.UNVERIFIED, Reason.NOT_MEASURED, about, _unverified_detail(case))
    since = case.gate.since if case.gate.state is GateState.UNVERIFIED else None
    is_lasting = since is not None and case.now - since >= UNVERIFIED_GRACE
    may_recover = all(r.unmeasured is None or r.unmeasured.retryable for r in case.unmeasured)
    # Past due, an outage of the warehouse raises no alert when one about the closed gate has fired already.
    is_first = case.is_past_due and case.gate.alert is None
    return _stay_closed(case, rule, cause, alert=is_lasting or is_first or not may_recover)


def _is_open(case: Case) -> bool:
    return case.gate.is_open


# Order matters, and each group relies on the ones before it.
RULES: tuple[Rule, ...] = (
    Rule(
        "no run is expected on the date (calendar, part, or 0 entities expected)",
        lambda c: not c.gate.is_open and c.verdict is not None and c.verdict.verdict is Verdict.OFF,
        "off",
        "alert (warning) when there are rows or reports all the same",
        _off,
    ),
    # Open gates: a release is never taken back, so none of these changes the state.
    Rule(
        "the gate is open, but a run is no longer expected on the date",
        lambda c: c.gate.is_open and c.verdict is not None and c.verdict.verdict is Verdict.OFF,
        "open",
        "recovery, if an alert was raised",
        _open_off,
    ),
    Rule(
        "the gate is open, a rerun is changing its data, and some producers have not reported again yet (for at most `settle`)",
        lambda c: (
            c.gate.is_open
            and bool(c.outstanding)
            and not c.failed_reports
            and (c.gate.flaw is GateState.SETTLING or c.has_changed or bool(c.blocking) or not c.is_measured)
        ),
        "open (shown as settling)",
        "–",
        _settle,
    ),
    Rule(
        "the gate is open, but a producer now reports a failure, the tables no longer pass, or an override has ended",
        lambda c: c.gate.is_open and c.has_got_worse,
        "open (shown as failing)",
        "alert: late failure",
        _late_failure,
    ),
    Rule(
        "the gate is open, but the newest run, if any, started before the latest upstream release",
        lambda c: c.gate.is_open and bool(c.unreleased_inputs),
        "open (shown as stale)",
        "alert (warning) once it should have rerun",
        _stay_stale,
    ),
    Rule(
        "the gate is open, but the tables cannot be measured now",
        lambda c: c.gate.is_open and not c.is_measured,
        "open",
        "–",
        _open_unmeasured,
    ),
    Rule(
        "the gate is open, and the tables pass; their data differs from what was released, or a follower waits for this rerun",
        lambda c: (
            c.gate.is_open
            and (c.has_changed or c.frees_a_follower)
            and (c.is_satisfied or c.is_observed)
            and c.phase.again is Again.ON_CHANGE
            and not c.is_stopped
        ),
        "open, next generation",
        "go-signal; recovery, if an alert was raised",
        _release,
    ),
    Rule(
        "as in the row above, but the phase has `again: never` or is paused, or a person has put the gate on hold",
        lambda c: c.gate.is_open and c.has_changed,
        "open",
        "recovery, if an alert was raised",
        _not_released_again,
    ),
    Rule(
        "the gate is open, and the tables have not changed since the release",
        _is_open,
        "open",
        "recovery, if an alert was raised",
        _unchanged,
    ),
    # People's decisions: a hold blocks everything, and an accepted gap needs no reports or checks.
    Rule("a person has put the gate on hold", lambda c: c.live_hold is not None, "held", "–", _hold_manually),
    Rule(
        "a person accepted the gap, and no later report or override lets the gate open",
        lambda c: c.has_accepted_gap and not (c.has_news_since_gap and c.is_satisfied and not c.unreleased_inputs),
        "accepted",
        "recovery, if an alert was raised",
        _accept,
    ),
    Rule("the phase is paused", lambda c: c.is_paused, "held", "–", _hold_paused),
    # Reports before tables: rows of a run that failed, or read half of its input, may look right.
    Rule(
        "the phase is in observe mode; all have reported, one has failed, or it is past due; no upstream gate is settling",
        lambda c: c.is_observed and c.is_over and not c.inputs_settle,
        "open, next generation",
        "go-signal; alert (warning) for what would have held it",
        _observe,
    ),
    Rule(
        "the newest report of a needed producer has status failed",
        lambda c: bool(c.failed_reports),
        "held",
        "alert: producer failed",
        _hold_failed,
    ),
    Rule(
        "needed producers have not reported, and the phase is not due yet",
        lambda c: bool(c.unreported) and not c.is_past_due,
        "waiting",
        "–",
        _wait,
    ),
    Rule(
        "an upstream gate is settling, or was released again after settling and there is still time to rerun",
        lambda c: c.inputs_settle or c.must_run_again,
        "waiting",
        "–",
        _wait_for_input,
    ),
    Rule(
        "a producer started a second or more before the upstream gates opened",
        lambda c: bool(c.unreleased_inputs) and bool(c.reports),
        "held",
        "alert: ran before its upstream",
        _hold_early,
    ),
    Rule(
        "no report was received by the due time because the upstream gates are closed",
        lambda c: bool(c.unreleased_inputs),
        "overdue",
        "alert: upstream late",
        _upstream_late,
    ),
    # From here on the inputs are released, so the tables decide.
    Rule(
        "needed producers have not reported by the due time, and neither `message: optional` nor a quorum lets the gate open",
        lambda c: bool(c.unreported) and not c.is_satisfied,
        "overdue",
        "alert: which producers are missing, and what the tables contain",
        _overdue,
    ),
    Rule(
        "the policy is satisfied: all checks pass, failed ones are warnings or waived, or a quorum is reached after due",
        lambda c: c.is_satisfied,
        "open, next generation",
        "go-signal; alert (warning) when amber, waived or degraded; recovery",
        _release,
    ),
    Rule(
        "a blocking check could not be measured",
        lambda c: not c.is_measured,
        "unverified",
        "alert after 10 minutes, when the phase is past due, or when retrying cannot help",
        _unverified,
    ),
    Rule("a blocking check fails", lambda _: True, "held", "alert: the failing checks", _hold_checks),
)
"""The table "What happens when"; the first rule that fits decides."""
