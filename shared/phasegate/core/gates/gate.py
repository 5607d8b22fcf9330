"""The gate between a phase and the next: its state, people's decisions about it, and the messages that its changes send."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any

from phasegate.core.checks.base import CheckResult
from phasegate.core.gates.completion import Report, RunKey
from phasegate.core.gates.verdict import Fingerprints, Verdict
from phasegate.core.pipeline.model import AlertSeverity, Pipeline


class GateState(StrEnum):
    """The state of a gate."""

    WAITING = "waiting"
    OVERDUE = "overdue"
    HELD = "held"
    UNVERIFIED = "unverified"
    OPEN = "open"
    STALE = "stale"
    """Open, but an input has been released again since. Never stored: `effective_state` derives it from the inputs."""
    SETTLING = "settling"
    """Open, but a re-run has changed its data and some producers have not reported again yet."""
    FAILING = "failing"
    """Open, but the newest look at its tables, or the newest report, fails."""
    ACCEPTED = "accepted"
    OFF = "off"


DERIVED = frozenset({GateState.STALE, GateState.SETTLING, GateState.FAILING})
"""What people see of some open gates; `Gate.state` is open in all of them."""


class Reason(StrEnum):
    """Why a gate is in its state."""

    NOTHING_HEARD = "nothing_heard"
    NO_MESSAGE = "no_message"
    """The tables have rows, but no producer has reported."""
    NOT_STARTED = "not_started"
    """The upstream gates are open, but nothing has been reported or loaded since."""
    NOT_EXPECTED = "not_expected"
    UNEXPECTED = "unexpected"
    """No run is expected, but there are rows or reports."""
    PAUSED = "paused"
    HELD_BY_HAND = "held_by_hand"
    PRODUCER_FAILED = "producer_failed"
    PRODUCERS_MISSING = "producers_missing"
    RAN_BEFORE_UPSTREAM = "ran_before_upstream"
    UPSTREAM_SHUT = "upstream_shut"
    UPSTREAM_SETTLING = "upstream_settling"
    NOT_MEASURED = "not_measured"
    CHECKS_FAILED = "checks_failed"
    GAP_ACCEPTED = "gap_accepted"
    PASSED = "passed"
    QUORUM = "quorum"
    OVERRIDDEN = "overridden"
    OBSERVED = "observed"
    ADOPTED = "adopted"
    """Its tables passed when phasegate took over a date whose run nobody had reported to it."""
    DATA_CHANGED = "data_changed"
    LATE_FAILURE = "late_failure"
    NOT_RUN_AGAIN = "not_run_again"
    """It is stale, and should have rerun by now."""
    RETRIES_SPENT = "retries_spent"
    SETTLING = "settling"
    NOTHING_NEW = "nothing_new"


@dataclass(frozen=True, slots=True)
class Override:
    """A person's decision to let named failing checks pass; a new failure is not covered."""

    checks: tuple[str, ...]
    by: str
    why: str
    at: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class AcceptedGap:
    """A person's decision to live with missing or wrong data for a while.

    Args:
        until: When it ends by itself; None when a person has to end it.
        owner: Who is responsible for it until it ends; empty when that is who accepted it.
    """

    by: str
    why: str
    at: datetime
    until: datetime | None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A person's decision to keep a gate closed.

    Args:
        until: When it ends by itself; None when a person has to end it.
    """

    by: str
    why: str
    at: datetime
    until: datetime | None = None


def end_text(end: datetime) -> str:
    """When a person's decision ends, as it was given: a last day as its date, a time in UTC."""
    if end.time() == time.max:
        return str(end.date())
    return f"{end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def is_live(decision: Override | AcceptedGap | Hold, now: datetime) -> bool:
    """True while a person's decision is in force; its end is not included."""
    return decision.at <= now and (decision.until is None or now < decision.until)


@dataclass(frozen=True, slots=True)
class Retries:
    """The rerun requests of a gate.

    Args:
        asked: How many were made.
        asked_at: When the last one was made.
        next_at: When the next one is due, or the last one counts as failed; None when nothing is planned.
        answered: A producer has reported since the last one.
        given_up: The last attempt has failed; no more requests are made.
    """

    asked: int = 0
    asked_at: datetime | None = None
    next_at: datetime | None = None
    answered: bool = True
    given_up: bool = False


CLOCK_TOLERANCE = timedelta(seconds=1)
"""How far a run's start may lie before its upstream's release: many producers report whole seconds, clocks differ, and data is
measured before it is released."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One gate, as it is stored.

    Args:
        version: Raised by one with every commit; a commit names the version that it has read.
        reports: The newest report of each producer. A set, never a counter.
        first_report_at: When the first report of all came in; None in gates that an older version stored.
        since: When the gate entered its state.
        generation: How often it was released; 0 before the first time.
        opened_at: When the current generation was released.
        consumed: The generation of each upstream gate that the current generation was built on.
        rows: Rows of each output when they were last counted.
        fingerprint: What was measured when the current generation was released, or last found unchanged.
        alert: The alert that was raised for it and has not recovered yet.
        unproven: It is open, and data that may have changed since could not be measured, or not be released, yet.
        rerun: Producers that have reported since the current release; empty again once the re-run is over.
        flaw: What an open gate shows as in place of open: settling or failing; None when nothing is wrong with it.
        unreadable: It stands for a stored gate that this version cannot read; it is never stored.
        orphaned: Its phase is no longer in the pipeline file, and nobody looks at it until it is again.
        retries: Its rerun requests; None when it never needed any.
    """

    run: RunKey
    version: int = 0
    state: GateState = GateState.WAITING
    reason: Reason = Reason.NOTHING_HEARD
    detail: str = ""
    since: datetime | None = None
    reports: Mapping[str, Report] = field(default_factory=dict)
    generation: int = 0
    opened_at: datetime | None = None
    consumed: Mapping[str, int] = field(default_factory=dict)
    fingerprint: Fingerprints = field(default_factory=dict)
    score: float | None = None
    verdict: Verdict | None = None
    results: tuple[CheckResult, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    degraded: bool = False
    missing: tuple[str, ...] = ()
    overrides: tuple[Override, ...] = ()
    gap: AcceptedGap | None = None
    hold: Hold | None = None
    alert: "Alert | None" = None
    unproven: bool = False
    retries: Retries | None = None
    first_report_at: datetime | None = None
    rerun: tuple[str, ...] = ()
    flaw: GateState | None = None
    unreadable: bool = False
    orphaned: bool = False

    @property
    def is_open(self) -> bool:
        """True once it was released; a release is never silently taken back."""
        return self.state is GateState.OPEN

    def was_released_after(self, began: datetime) -> bool:
        """True when a run that started at *began*, by its own clock, cannot have used the current generation's data."""
        return self.opened_at is not None and self.opened_at >= began + CLOCK_TOLERANCE

    @property
    def is_unsettled(self) -> bool:
        """True while it may still open by itself: neither released nor off nor an accepted gap."""
        return self.state in (GateState.WAITING, GateState.OVERDUE, GateState.HELD, GateState.UNVERIFIED)

    @property
    def awaits_clock(self) -> bool:
        """True while ticks must recheck it: unsettled, a gap that ends or has reports, or open with something to verify."""
        doubted = self.alert is not None or self.unproven or bool(self.missing or self.rerun or self.overrides)
        ends = self.state is GateState.ACCEPTED and (self.gap is None or self.gap.until is not None or bool(self.reports))
        return not self.orphaned and (self.is_unsettled or ends or (self.is_open and doubted))

    @property
    def decision_id(self) -> str:
        """The key of the current generation's go-signal."""
        return decision_id(self.run, self.generation)

    def with_report(self, report: Report) -> "Gate | None":
        """The gate with a report added; None when the report is not new (a duplicate, or of an older run)."""
        # Compared by its own order, never by arrival: redelivery in any order gives the same set of reports.
        newest = self.reports.get(report.producer)
        if newest is not None and report.order <= newest.order:
            return None
        first = self.first_report_at if self.reports else report.received_at
        rerun = tuple(dict.fromkeys((*self.rerun, report.producer))) if self.is_open else ()
        return replace(self, reports={**self.reports, report.producer: report}, first_report_at=first, rerun=rerun)


def unreadable(run: RunKey, version: int) -> Gate:
    """What stands for a stored gate that cannot be read: it blocks its followers, and nothing is decided about it."""
    detail = "its stored state cannot be read: a newer version of phasegate wrote it, or it is damaged"
    return Gate(run, version, GateState.UNVERIFIED, Reason.NOT_MEASURED, detail, unreadable=True)


def decision_id(run: RunKey, generation: int) -> str:
    """The key of a release, the same however often it is computed: flights/raw/2013-02-08/g1."""
    return f"{run}/g{generation}"


def release_without(missing: Iterable[str]) -> str:
    """What a degraded release lacks, as half a sentence: the tables, and the producers that have not reported."""
    names = tuple(missing)
    tables = [name for name in names if "." in name]  # no name of a producer has a dot
    silent = [name for name in names if "." not in name]
    unreported = f"{', '.join(silent)} {'has' if len(silent) == 1 else 'have'} not reported"
    if not tables:
        return f"released although {unreported}"
    lacking = f"released without table{'s' if len(tables) > 1 else ''} {', '.join(tables)}"
    return f"{lacking}; {unreported}" if silent else lacking


GatesByPhase = Mapping[str, Gate]
"""All gates of a pipeline on one run date that exist so far, by phase."""


def effective_state(gate: Gate, day: GatesByPhase, pipeline: Pipeline) -> GateState:
    """The gate's state as people see it: an open gate may be settling, stale or failing."""
    if not gate.is_open or gate.flaw is GateState.SETTLING:
        return gate.flaw or gate.state
    return GateState.STALE if _is_stale(gate, day, pipeline) else gate.flaw or gate.state


def _is_stale(gate: Gate, day: GatesByPhase, pipeline: Pipeline) -> bool:
    """True when an input of an open gate was released again, or is stale itself."""
    # Derived on reading, so that a new release need not write the gates of all its followers.
    inputs = (day[name] for name in pipeline.inputs(gate.run.phase, gate.run.run_date) if name in day)
    return any(
        source.generation > gate.consumed.get(source.run.phase, source.generation)
        or (source.is_open and _is_stale(source, day, pipeline))
        for source in inputs
    )


def is_released(pipeline: Pipeline, phase: str, day: GatesByPhase) -> bool:
    """True when a phase blocks no follower that has run: its gate is open, not stale or settling; off; or an accepted gap."""
    gate = day.get(phase)
    if gate is None:
        return False
    released = (GateState.OPEN, GateState.FAILING, GateState.OFF, GateState.ACCEPTED)
    return effective_state(gate, day, pipeline) in released


def lets_start(pipeline: Pipeline, phase: str, day: GatesByPhase) -> bool:
    """True when a preflight lets the followers of a phase start: it is released and does not fail."""
    return is_released(pipeline, phase, day) and day[phase].flaw is None


def may_start(pipeline: Pipeline, phase: str, run_date: date, day: GatesByPhase) -> bool:
    """True when every upstream gate of a phase is released.

    One that fails counts: its repair may bring back what was released, which makes no go-signal. A preflight stops the start.
    """
    return all(is_released(pipeline, upstream, day) for upstream in pipeline.inputs(phase, run_date))


class AlertState(StrEnum):
    """Whether an alert reports a problem or its recovery."""

    FIRING = "firing"
    RECOVERED = "recovered"


@dataclass(frozen=True, slots=True)
class Alert:
    """A notification that a gate entered a state that people should know of, or left it.

    Args:
        key: Identifies this change; the same when the alert is sent again.
        about: The checks, producers or phases that the cause is about; an alert fires again only when cause or these change.
        check_kinds: The kinds of the checks in *about*, each once; they tell the probable cause, whatever a check is called.
        since: When the problem began; for a recovery, when the firing alert began.
    """

    key: str
    run: RunKey
    severity: AlertSeverity
    state: AlertState
    cause: Reason
    about: tuple[str, ...]
    gate: GateState
    detail: str
    evidence: tuple[str, ...]
    effect: str
    since: datetime
    at: datetime
    check_kinds: tuple[str, ...] = ()


def recoveries(gate: Gate, state: GateState, detail: str, now: datetime) -> tuple[Alert, ...]:
    """The recovery of the alert that a gate has fired, and of "retries exhausted" where that fired, too.

    Args:
        state: The gate's state from now on.
    """
    fired, retries = gate.alert, gate.retries
    if fired is None or fired.cause is Reason.UNEXPECTED:  # a remark, which has no end
        return ()
    key = f"{fired.run}/v{gate.version + 1}/recovered"
    alert = replace(fired, key=key, state=AlertState.RECOVERED, gate=state, detail=detail, evidence=(), effect="", at=now)
    if retries is None or not retries.given_up or gate.is_open:
        return (alert,)
    return (alert, replace(alert, key=f"{fired.run}/v{gate.version + 1}/retries_recovered", cause=Reason.RETRIES_SPENT))


@dataclass(frozen=True, slots=True)
class GoSignal:
    """The message that opens the way to the next phases.

    Args:
        decision_id: The key on which consumers de-duplicate.
        start: The phases that may start now: followers whose every upstream gate is open.
        missing: Outputs and producers that a degraded release lacks.
        upstream: The decision ids of the upstream releases it was built on.
        extra: Fields that the pipeline file adds.
        traceparent: The trace of the run that reported last.
    """

    decision_id: str
    run: RunKey
    generation: int
    start: tuple[str, ...]
    at: datetime
    degraded: bool
    missing: tuple[str, ...]
    upstream: tuple[str, ...]
    score: float | None
    correlation_id: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = None

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its own fields, as they appear in the message: what `signal:` in the pipeline file can copy."""
        trace = {} if self.traceparent is None else {"traceparent": self.traceparent}
        return {
            "pipeline": self.run.pipeline,
            "phase": self.run.phase,
            "start": list(self.start),
            "run_date": str(self.run.run_date),
            "generation": self.generation,
            "decision_id": self.decision_id,
            "degraded": self.degraded,
            "missing": list(self.missing),
            "upstream": list(self.upstream),
            "score": self.score,
            "correlation_id": self.correlation_id,
            "at": self.at.isoformat(),
            **trace,
        }
