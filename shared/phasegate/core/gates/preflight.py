"""The preflight check: may a phase start, and if not, what has to happen first."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import cached_property

from phasegate.core.checks.base import Answers, CheckResult, Mode, Outcome, PlacedCheck, Severity, evaluate
from phasegate.core.checks.metrics import Unmeasured
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import PutHold, undo_of
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.decide import Case
from phasegate.core.gates.gate import (
    Gate,
    GatesByPhase,
    GateState,
    Reason,
    effective_state,
    end_text,
    is_released,
    lets_start,
    release_without,
)
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.verdict import why_off
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import PhasegateError

SHOWN_DATES = 5
"""Dates of a gap that are listed by name."""


class Topic(StrEnum):
    """What the check is about."""

    CALENDAR = "calendar"
    GATE = "gate"
    UPSTREAM = "upstream"
    LOOK_BACK = "look_back"
    INPUTS = "inputs"
    PAUSE = "pause"
    RUNNING = "running"
    BUDGET = "budget"
    CLOCK = "clock"


class PointOutcome(StrEnum):
    """What a check found; the last two block the start."""

    YES = "yes"
    WARNING = "warning"
    NO = "no"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class PreflightPoint:
    """One thing that was checked.

    Args:
        detail: What was found, in one sentence without a full stop.
        cure: What would turn a *no* into a *yes*, in half a sentence; empty when nothing blocks.
        next: Commands that help with that, to paste.
    """

    topic: Topic
    outcome: PointOutcome
    detail: str
    cure: str = ""
    next: tuple[str, ...] = ()

    @property
    def blocks(self) -> bool:
        """True when the phase must not start because of this."""
        return self.outcome in (PointOutcome.NO, PointOutcome.UNVERIFIED)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim by somebody that they are running a phase for a date.

    Args:
        owner: Who; the same owner may claim again.
        producer: Which of the phase's jobs; empty for all of them.
        until: When it ends, unless a report ends it earlier.
    """

    owner: str
    producer: str
    at: datetime
    until: datetime

    def has_ended(self, gate: Gate, needed: Iterable[str], now: datetime) -> bool:
        """True once its time is up, or all producers that it covers have reported since."""
        reports = (gate.reports.get(name) for name in ((self.producer,) if self.producer else needed))
        return now >= self.until or all(report is not None and report.received_at > self.at for report in reports)

    def excludes(self, owner: str, producer: str) -> bool:
        """True when a run of this owner would run at the same time as somebody else's."""
        return self.owner != owner and (not self.producer or not producer or self.producer == producer)


@dataclass(frozen=True, slots=True)
class Clearance:
    """The answer: go or no-go, with everything that was checked.

    Args:
        claim: The claim that was made with it; None when none was.
    """

    run: RunKey
    at: datetime
    points: tuple[PreflightPoint, ...]
    claim: Claim | None = None

    @property
    def go(self) -> bool:
        """True when nothing blocks the start."""
        return not self.objections

    @property
    def objections(self) -> tuple[PreflightPoint, ...]:
        """What blocks the start."""
        return tuple(point for point in self.points if point.blocks)

    @property
    def is_off(self) -> bool:
        """True when there is nothing to do: no run is expected on the date."""
        return any(point.topic is Topic.CALENDAR and point.outcome is PointOutcome.NO for point in self.points)

    @property
    def status(self) -> str:
        """The answer in a word: go, off when there is nothing to do, unknown or no-go."""
        return "go" if self.go else "off" if self.is_off else "unknown" if self.unknown else "no-go"

    @property
    def unknown(self) -> bool:
        """True when it is a no-go only because something could not be measured."""
        return not self.go and all(point.outcome is PointOutcome.UNVERIFIED for point in self.objections)


@dataclass(frozen=True)
class PreflightCase:
    """A phase that wants to start, and everything that the answer depends on.

    Args:
        owner: Who asks; empty when unknown.
        producer: Which of the phase's jobs wants to start; empty for all of them.
        days: The gates of the run date and of the phase's look-back.
        answers: The numbers for `needs` and the calendar, or the reason why the warehouse could not be queried.
        claims: The claims of this gate, ended ones included.
        requests_today: Rerun requests that count against today's budget of the phase.
        trial: While the breaker of the phase is open, the one run date that is tried.
        pause: The live pause of the phase or its pipeline; None when there is none.
        clock: The warning that the scheduler is not running, as a sentence; empty while it is.
    """

    pipeline: Pipeline
    run: RunKey
    now: datetime
    days: Mapping[date, GatesByPhase]
    answers: Answers | str
    needs: Mapping[str, tuple[PlacedCheck, ...]] = field(default_factory=dict)
    owner: str = ""
    producer: str = ""
    claims: tuple[Claim, ...] = ()
    requests_today: int = 0
    trial: date | None = None
    pause: Pause | None = None
    clock: str = ""

    @cached_property
    def day(self) -> GatesByPhase:
        """The gates of the run date."""
        return self.days.get(self.run.run_date, {})

    @cached_property
    def gate(self) -> Gate:
        """The phase's own gate."""
        return self.day.get(self.run.phase, Gate(self.run))

    @cached_property
    def needed_producers(self) -> tuple[str, ...]:
        """The producers that must report before the gate opens."""
        return self.pipeline.needed_producers(self.run.phase, self.run.run_date)

    @cached_property
    def running(self) -> tuple[Claim, ...]:
        """The claims in force."""
        return tuple(claim for claim in self.claims if not claim.has_ended(self.gate, self.needed_producers, self.now))

    def explain(self, phase: str, day: date | None = None) -> str:
        """The command that explains a gate."""
        return f"phasegate explain {phase} {day or self.run.run_date} --pipeline {self.pipeline.name}"


def preflight(start: PreflightCase) -> Clearance:
    """May the phase start now? Everything is checked, so that one answer lists all that blocks it."""
    checks = (_calendar, _gate, _upstream, _look_back, _inputs, _pause, _running, _budget, _clock)
    return Clearance(start.run, start.now, tuple(point for check in checks for point in check(start)))


def _calendar(start: PreflightCase) -> Iterator[PreflightPoint]:
    day, phase = start.run.run_date, start.run.phase
    if not start.pipeline.runs(phase, day):
        off = why_off(start.pipeline, phase, day, Answers(()))
        yield PreflightPoint(
            Topic.CALENDAR, PointOutcome.NO, off or f"{phase} does not run on {day}", "there is nothing to do for this date"
        )
    elif isinstance(start.answers, str):
        if start.pipeline.calendar.expected is not None:
            yield _unmeasured(Topic.CALENDAR, f"whether a run is expected could not be measured: {start.answers}")
    elif isinstance(expected := start.answers.expects(day), Unmeasured):
        yield _unmeasured(Topic.CALENDAR, f"whether a run is expected could not be measured: {expected.reason}")
    elif not expected:
        yield PreflightPoint(
            Topic.CALENDAR, PointOutcome.NO, f"nothing is expected on {day}", "once the calendar's table has rows for this date"
        )
    else:
        yield PreflightPoint(Topic.CALENDAR, PointOutcome.YES, f"a run is expected on {day}")


def _unmeasured(topic: Topic, detail: str) -> PreflightPoint:
    return PreflightPoint(topic, PointOutcome.UNVERIFIED, detail, "once the warehouse answers")


def _gate(start: PreflightCase) -> Iterator[PreflightPoint]:
    gate, state = start.gate, effective_state(start.gate, start.day, start.pipeline)
    if state is GateState.OPEN:
        detail = f"{start.run.phase} is already released, generation {gate.generation}; changed data starts the next generation"
        yield PreflightPoint(Topic.GATE, PointOutcome.WARNING, detail, next=(start.explain(start.run.phase),))
    if state is GateState.ACCEPTED:
        yield PreflightPoint(
            Topic.GATE, PointOutcome.WARNING, f"the gap is accepted: {gate.detail}", next=(start.explain(start.run.phase),)
        )


_CURES = {
    GateState.WAITING: "once {phase} has run, and its tables pass",
    GateState.OVERDUE: "once {phase} has run, and its tables pass",
    GateState.HELD: "once the tables of {phase} pass, or a person overrides the failures",
    GateState.UNVERIFIED: "once the tables of {phase} can be measured, and pass",
    GateState.STALE: "once {phase} has rerun on the newer input",
    GateState.SETTLING: "once the others have reported again, or the wait is over",
    GateState.FAILING: "once the tables of {phase} pass again, or a person overrides the failures",
}


def _upstream(start: PreflightCase) -> Iterator[PreflightPoint]:
    for phase in start.pipeline.inputs(start.run.phase, start.run.run_date):
        gate = start.day.get(phase, Gate(RunKey(start.pipeline.name, phase, start.run.run_date)))
        state = effective_state(gate, start.day, start.pipeline)
        if not lets_start(start.pipeline, phase, start.day):
            why = "an input was released again since" if state is GateState.STALE else gate.detail
            detail = f"{phase} is {state}: {why or 'no report received'}"
            yield PreflightPoint(
                Topic.UPSTREAM, PointOutcome.NO, detail, _CURES[state].format(phase=phase), (start.explain(phase),)
            )
        elif state is GateState.OPEN and gate.degraded:
            detail = f"{phase} was {release_without(gate.missing)}"
            yield PreflightPoint(Topic.UPSTREAM, PointOutcome.WARNING, detail, next=(start.explain(phase),))
        else:
            generation = f", generation {gate.generation}" if state is GateState.OPEN else ""
            how = f" ({gate.detail})" if gate.reason is Reason.ADOPTED else ""
            yield PreflightPoint(Topic.UPSTREAM, PointOutcome.YES, f"{phase} is {state}{generation}{how}")


def _look_back(start: PreflightCase) -> Iterator[PreflightPoint]:
    """Gaps in the dates that the phase looks back on: they affect its result, but not the gates of this date."""
    look_back = start.pipeline.phase(start.run.phase).look_back or timedelta()
    first = start.run.run_date - look_back
    for phase in start.pipeline.inputs(start.run.phase, start.run.run_date):
        gaps = [
            day
            for day, gates in sorted(start.days.items())
            if first <= day < start.run.run_date and phase in gates and not is_released(start.pipeline, phase, gates)
        ]
        if gaps:
            dates = ", ".join(map(str, gaps[:SHOWN_DATES])) + (f" and {n} more" if (n := len(gaps) - SHOWN_DATES) > 0 else "")
            detail = f"{start.run.phase} reads earlier dates of {phase}, but these are not released: {dates}"
            yield PreflightPoint(Topic.LOOK_BACK, PointOutcome.WARNING, detail, next=(start.explain(phase, gaps[-1]),))


def _inputs(start: PreflightCase) -> Iterator[PreflightPoint]:
    if isinstance(start.answers, str):
        if start.needs:
            yield _unmeasured(Topic.INPUTS, f"{', '.join(start.needs)} could not be measured: {start.answers}")
        return
    for table, checks in start.needs.items():
        results = evaluate(checks, start.answers, start.run.run_date)
        # A missing table fails all its checks for the same reason, which is reported once.
        points = dict.fromkeys(point for result in results if (point := _input(start, table, result)))
        yield from points
        if checks and not points:
            rows = start.answers.rows(checks[0].context.source, start.run.run_date)
            yield PreflightPoint(
                Topic.INPUTS,
                PointOutcome.YES,
                f"{table} passes its checks" + (f", with {rows:,} rows" if rows is not None else ""),
            )


def _input(start: PreflightCase, table: str, result: CheckResult) -> PreflightPoint | None:
    """Why a result blocks the start; None for a good result, and for a check in observe mode."""
    unmeasured = result.unmeasured
    if result.mode is Mode.OBSERVE or (result.outcome is not Outcome.FAILED and unmeasured is None):
        return None
    detail = result.message if unmeasured is None else f"{table} could not be measured: {unmeasured.reason}"
    if result.severity is not Severity.BLOCK:
        return PreflightPoint(Topic.INPUTS, PointOutcome.WARNING, detail)
    if unmeasured is None:
        return PreflightPoint(Topic.INPUTS, PointOutcome.NO, detail, f"once {table} meets the needs of {start.run.phase}")
    cure = "once the warehouse answers" if unmeasured.retryable else "once it can be measured"
    return PreflightPoint(Topic.INPUTS, PointOutcome.UNVERIFIED, detail, cure)


def _pause(start: PreflightCase) -> Iterator[PreflightPoint]:
    case = Case(start.pipeline, start.gate, start.day, None, None, start.now)
    if case.is_paused:
        until = case.phase.until
        cure = f"after {until}, or" if until else "once"
        detail = f"{start.run.phase} is paused in the pipeline file" + (f" until {until}" if until else "")
        yield PreflightPoint(Topic.PAUSE, PointOutcome.NO, detail, f"{cure} the pipeline file says mode: enforce")
    if start.pause is not None:
        yield PreflightPoint(Topic.PAUSE, PointOutcome.NO, str(start.pause), "once the pause has ended", (start.pause.undo,))
    if (hold := case.live_hold) is not None:
        end = f" until {end_text(hold.until)}" if hold.until else ""
        cure = "once the hold has ended" if hold.until else "once a person ends the hold"
        day = Span(start.run.run_date, start.run.run_date)
        release = undo_of(PutHold, start.pipeline.name, start.run.phase, day)
        detail = f"{start.run} is held by {hold.by}{end}: {hold.why}"
        yield PreflightPoint(Topic.PAUSE, PointOutcome.NO, detail, cure, (release,))


def _running(start: PreflightCase) -> Iterator[PreflightPoint]:
    others = [claim for claim in start.running if claim.excludes(start.owner, start.producer)]
    for claim in others:
        what = f"{claim.producer} of {start.run}" if claim.producer else str(start.run)
        detail = f"{claim.owner} has been running {what} since {_minute(claim.at)}"
        cure = f"once it reports, at {_minute(claim.until)} at the latest, or once its claim is released"
        unclaim = f"--pipeline {start.pipeline.name} --unclaim {shlex.quote(claim.owner)}"
        command = f"phasegate preflight {start.run.phase} {start.run.run_date} {unclaim}"
        yield PreflightPoint(Topic.RUNNING, PointOutcome.NO, detail, cure, (command,))
    if not others:
        yield PreflightPoint(Topic.RUNNING, PointOutcome.YES, "no other run has claimed this gate")


def _budget(start: PreflightCase) -> Iterator[PreflightPoint]:
    """Whether today's budget allows a rerun. The first run of a date is free, and a requested rerun is already counted."""
    policy, gate = start.pipeline.phase(start.run.phase).retry, start.gate
    if policy is None or not gate.reports or not gate.is_unsettled:
        return
    # After the last request a manual rerun is welcome: it costs no budget, and the cause may have been fixed.
    explain = (start.explain(start.run.phase),)
    if gate.retries is not None and gate.retries.given_up:
        requests = f"{gate.retries.asked} rerun request{'' if gate.retries.asked == 1 else 's'}"
        detail = f"retries exhausted after {requests}; it will fail again unless the cause is fixed: {gate.detail}"
        yield PreflightPoint(Topic.BUDGET, PointOutcome.WARNING, detail, next=explain)
        return
    if gate.retries is not None and gate.retries.asked_at is not None and not gate.retries.answered:
        yield PreflightPoint(Topic.BUDGET, PointOutcome.YES, f"rerun requested, attempt {gate.retries.asked + 1}")
        return
    phase = start.run.phase
    if start.trial is not None and start.trial != start.run.run_date:
        detail = f"{phase} keeps failing on many dates, so only {start.trial} is retried"
        yield PreflightPoint(
            Topic.BUDGET,
            PointOutcome.NO,
            detail,
            f"once {phase} of {start.trial} is released",
            (start.explain(phase, start.trial),),
        )
    if start.requests_today >= policy.budget_per_day:
        detail = f"today's rerun budget of {phase} is used up: {start.requests_today} of {policy.budget_per_day}"
        tomorrow = start.pipeline.today(start.now) + timedelta(days=1)
        yield PreflightPoint(Topic.BUDGET, PointOutcome.NO, detail, f"from {tomorrow} on ({start.pipeline.timezone})", explain)


def _clock(start: PreflightCase) -> Iterator[PreflightPoint]:
    if start.clock:
        yield PreflightPoint(Topic.CLOCK, PointOutcome.WARNING, start.clock)


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class NotNow(PhasegateError):
    """A phase must not start now: something blocks it, or something could not be measured.

    Args:
        clearance: Everything that was checked.
    """

    def __init__(self, message: str, clearance: "Clearance") -> None:
        super().__init__(message)
        self.clearance = clearance
