"""Before a phase starts: may it, and if not, what would have to be so that it may."""

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
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, effective_state, is_released
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.verdict import why_off
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import PhasegateError

SHOWN_DATES = 5
"""Dates of a gap that are named."""


class Topic(StrEnum):
    """What is looked at."""

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
    """What is said of it; the last two stand in the way."""

    YES = "yes"
    WARNING = "warning"
    NO = "no"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class PreflightPoint:
    """One thing that was looked at.

    Args:
        detail: What was found, in one sentence without a full stop.
        cure: What would make a *no* a *yes*, in half a sentence; empty where nothing stands in the way.
        next: Commands that help with that, to paste.
    """

    topic: Topic
    outcome: PointOutcome
    detail: str
    cure: str = ""
    next: tuple[str, ...] = ()

    @property
    def stands_in_the_way(self) -> bool:
        """True for what keeps the phase from starting."""
        return self.outcome in (PointOutcome.NO, PointOutcome.UNVERIFIED)


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody's word that they run a phase for a date.

    Args:
        owner: Who; the same one may claim again.
        producer: Which of the phase's jobs; empty for all of them.
        until: When it ends, unless a report ends it before.
    """

    owner: str
    producer: str
    at: datetime
    until: datetime

    def is_over(self, gate: Gate, needed: Iterable[str], now: datetime) -> bool:
        """True once its time is up, or everyone whom it is about has reported since."""
        reports = (gate.reports.get(name) for name in ((self.producer,) if self.producer else needed))
        return now >= self.until or all(report is not None and report.received_at > self.at for report in reports)

    def excludes(self, owner: str, producer: str) -> bool:
        """True when somebody else's run would run beside it."""
        return self.owner != owner and (not self.producer or not producer or self.producer == producer)


@dataclass(frozen=True, slots=True)
class Clearance:
    """The answer: go or no-go, with everything that was looked at.

    Args:
        claim: What was claimed with it; None when nothing was.
    """

    run: RunKey
    at: datetime
    points: tuple[PreflightPoint, ...]
    claim: Claim | None = None

    @property
    def go(self) -> bool:
        """True when nothing stands in the way."""
        return not self.objections

    @property
    def objections(self) -> tuple[PreflightPoint, ...]:
        """What stands in the way."""
        return tuple(point for point in self.points if point.stands_in_the_way)

    @property
    def unknown(self) -> bool:
        """True when it is a no only because something could not be found out."""
        return not self.go and all(point.outcome is PointOutcome.UNVERIFIED for point in self.objections)


@dataclass(frozen=True)
class PreflightCase:
    """A phase that wants to start, and everything that the answer is taken from.

    Args:
        owner: Who asks; empty when nobody says.
        producer: Which of the phase's jobs wants to start; empty for all of them.
        days: The gates of the run date, and of those that the phase looks back on.
        answers: What the tables say of `needs` and of the calendar; the reason, when the warehouse could not be asked.
        claims: What was claimed for this gate, over or not.
        requests_today: Requests to run again that the phase's budget of today has paid for.
        trial: While the breaker of the phase is open, the one run date that is tried.
        pause: The pause that a person has put and that holds now.
        clock: That nobody watches the clock, as a sentence; empty while somebody does.
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
    def needed(self) -> tuple[str, ...]:
        """The producers that are waited for."""
        return tuple(name for name, p in self.pipeline.producers(self.run.phase).items() if not p.optional)

    @cached_property
    def running(self) -> tuple[Claim, ...]:
        """The claims that hold."""
        return tuple(claim for claim in self.claims if not claim.is_over(self.gate, self.needed, self.now))

    def explain(self, phase: str, day: date | None = None) -> str:
        """The command that tells more of a gate."""
        return f"phasegate explain {phase} {day or self.run.run_date} --pipeline {self.pipeline.name}"


def preflight(start: PreflightCase) -> Clearance:
    """May the phase start now? Everything is looked at, so that all that stands in the way is told at once."""
    looks = (_calendar, _gate, _upstream, _look_back, _inputs, _pause, _running, _budget, _clock)
    return Clearance(start.run, start.now, tuple(point for look in looks for point in look(start)))


def _calendar(start: PreflightCase) -> Iterator[PreflightPoint]:
    day, phase = start.run.run_date, start.run.phase
    if not start.pipeline.runs(phase, day):
        off = why_off(start.pipeline, phase, day, Answers(()))
        yield PreflightPoint(
            Topic.CALENDAR, PointOutcome.NO, off or f"{phase} does not run on {day}", "nothing is to be done for this date"
        )
    elif isinstance(start.answers, str):
        if start.pipeline.calendar.expected is not None:
            yield _unmeasured(Topic.CALENDAR, f"whether a run is expected could not be measured: {start.answers}")
    elif isinstance(found := start.answers.expects(day), Unmeasured):
        yield _unmeasured(Topic.CALENDAR, f"whether a run is expected could not be measured: {found.reason}")
    elif not found:
        yield PreflightPoint(
            Topic.CALENDAR, PointOutcome.NO, f"nothing is expected on {day}", "once something is announced for this date"
        )
    else:
        yield PreflightPoint(Topic.CALENDAR, PointOutcome.YES, f"a run is expected on {day}")


def _unmeasured(topic: Topic, detail: str) -> PreflightPoint:
    return PreflightPoint(topic, PointOutcome.UNVERIFIED, detail, "once the warehouse answers")


def _gate(start: PreflightCase) -> Iterator[PreflightPoint]:
    gate, state = start.gate, effective_state(start.gate, start.day, start.pipeline)
    if state is GateState.OPEN:
        detail = f"{start.run.phase} is released already, generation {gate.generation}; other data will make the next one"
        yield PreflightPoint(Topic.GATE, PointOutcome.WARNING, detail, next=(start.explain(start.run.phase),))
    if state is GateState.ACCEPTED:
        yield PreflightPoint(
            Topic.GATE, PointOutcome.WARNING, f"the gap is accepted: {gate.detail}", next=(start.explain(start.run.phase),)
        )


_CURES = {
    GateState.WAITING: "once {phase} has run, and its tables pass",
    GateState.OVERDUE: "once {phase} has run, and its tables pass",
    GateState.HELD: "once the tables of {phase} pass, or a person lets it through",
    GateState.UNVERIFIED: "once the tables of {phase} could be measured, and pass",
    GateState.STALE: "once {phase} has run again on what was released since",
}


def _upstream(start: PreflightCase) -> Iterator[PreflightPoint]:
    for phase in start.pipeline.inputs(start.run.phase, start.run.run_date):
        gate = start.day.get(phase, Gate(RunKey(start.pipeline.name, phase, start.run.run_date)))
        state = effective_state(gate, start.day, start.pipeline)
        if not is_released(start.pipeline, phase, start.day):
            again = "an input was released again since" if state is GateState.STALE else gate.detail
            detail = f"{phase} is {state}: {again or 'nothing was heard of it'}"
            yield PreflightPoint(
                Topic.UPSTREAM, PointOutcome.NO, detail, _CURES[state].format(phase=phase), (start.explain(phase),)
            )
        elif state is GateState.OPEN and gate.degraded:
            detail = f"{phase} is open without {', '.join(gate.missing)}"
            yield PreflightPoint(Topic.UPSTREAM, PointOutcome.WARNING, detail, next=(start.explain(phase),))
        else:
            generation = f", generation {gate.generation}" if state is GateState.OPEN else ""
            yield PreflightPoint(Topic.UPSTREAM, PointOutcome.YES, f"{phase} is {state}{generation}")


def _look_back(start: PreflightCase) -> Iterator[PreflightPoint]:
    """Earlier dates are read, too; a gap there spoils the result, and the gate of this date does not see it."""
    look_back = start.pipeline.phase(start.run.phase).look_back or timedelta()
    first = start.run.run_date - look_back
    for phase in start.pipeline.inputs(start.run.phase, start.run.run_date):
        gaps = [
            day
            for day, gates in sorted(start.days.items())
            if first <= day < start.run.run_date and phase in gates and not is_released(start.pipeline, phase, gates)
        ]
        if gaps:
            named = ", ".join(map(str, gaps[:SHOWN_DATES])) + (f" and {n} more" if (n := len(gaps) - SHOWN_DATES) > 0 else "")
            detail = f"{start.run.phase} looks back on {phase}, which is not released for {named}"
            yield PreflightPoint(Topic.LOOK_BACK, PointOutcome.WARNING, detail, next=(start.explain(phase, gaps[-1]),))


def _inputs(start: PreflightCase) -> Iterator[PreflightPoint]:
    if isinstance(start.answers, str):
        if start.needs:
            yield _unmeasured(Topic.INPUTS, f"{', '.join(start.needs)} could not be measured: {start.answers}")
        return
    for table, checks in start.needs.items():
        results = evaluate(checks, start.answers, start.run.run_date)
        # A table that is missing fails all its checks for one reason, which is told once.
        told = dict.fromkeys(point for result in results if (point := _input(start, table, result)))
        yield from told
        if checks and not told:
            rows = start.answers.rows(checks[0].context.source, start.run.run_date)
            yield PreflightPoint(
                Topic.INPUTS, PointOutcome.YES, f"{table} is as needed" + (f", with {rows:,} rows" if rows is not None else "")
            )


def _input(start: PreflightCase, table: str, result: CheckResult) -> PreflightPoint | None:
    """What a result says against starting; None for a good one, and for what is only observed."""
    unmeasured = result.unmeasured
    if result.mode is Mode.OBSERVE or (result.outcome is not Outcome.FAILED and unmeasured is None):
        return None
    detail = result.message if unmeasured is None else f"{table} could not be measured: {unmeasured.reason}"
    if result.severity is not Severity.BLOCK:
        return PreflightPoint(Topic.INPUTS, PointOutcome.WARNING, detail)
    if unmeasured is None:
        return PreflightPoint(Topic.INPUTS, PointOutcome.NO, detail, f"once {table} is as {start.run.phase} needs it")
    cure = "once the warehouse answers" if unmeasured.retryable else "once it can be measured"
    return PreflightPoint(Topic.INPUTS, PointOutcome.UNVERIFIED, detail, cure)


def _pause(start: PreflightCase) -> Iterator[PreflightPoint]:
    case = Case(start.pipeline, start.gate, start.day, None, None, start.now)
    if case.paused:
        until = case.phase.until
        cure = f"after {until}, or" if until else "once"
        detail = f"{start.run.phase} is paused in the pipeline file" + (f" until {until}" if until else "")
        yield PreflightPoint(Topic.PAUSE, PointOutcome.NO, detail, f"{cure} the pipeline file says mode: enforce")
    if start.pause is not None:
        yield PreflightPoint(Topic.PAUSE, PointOutcome.NO, str(start.pause), "once that is over, or ended", (start.pause.undo,))
    if case.hold is not None:
        ends = f" until {_minute(case.hold.until)}" if case.hold.until else ""
        cure = "once that is over, or the hold is ended" if ends else "once the hold is ended"
        day = Span(start.run.run_date, start.run.run_date)
        release = undo_of(PutHold, start.pipeline.name, start.run.phase, day)
        detail = f"{case.hold.by} holds {start.run}{ends}: {case.hold.why}"
        yield PreflightPoint(Topic.PAUSE, PointOutcome.NO, detail, cure, (release,))


def _running(start: PreflightCase) -> Iterator[PreflightPoint]:
    others = [claim for claim in start.running if claim.excludes(start.owner, start.producer)]
    for claim in others:
        what = f"{claim.producer} of {start.run}" if claim.producer else str(start.run)
        detail = f"{claim.owner} runs {what} since {_minute(claim.at)}"
        cure = f"once it reports, at {_minute(claim.until)} at the latest, or when it is known to be dead"
        dead = f"--pipeline {start.pipeline.name} --unclaim {shlex.quote(claim.owner)}"
        command = f"phasegate preflight {start.run.phase} {start.run.run_date} {dead}"
        yield PreflightPoint(Topic.RUNNING, PointOutcome.NO, detail, cure, (command,))
    if not others:
        yield PreflightPoint(Topic.RUNNING, PointOutcome.YES, "nothing else is known to run for this gate")


def _budget(start: PreflightCase) -> Iterator[PreflightPoint]:
    """Whether a repetition may still be made; the first run of a date is none, and one that was asked for is paid for."""
    policy, gate = start.pipeline.phase(start.run.phase).retry, start.gate
    if policy is None or not gate.reports or not gate.is_unsettled:
        return
    explain = (start.explain(start.run.phase),)
    if gate.retries is not None and gate.retries.given_up:
        times = "once" if gate.retries.asked == 1 else f"{gate.retries.asked} times"
        detail = f"was asked {times} to run again, in vain; without a repair it fails again: {gate.detail}"
        yield PreflightPoint(Topic.BUDGET, PointOutcome.WARNING, detail, next=explain)
        return
    if gate.retries is not None and gate.retries.asked_at is not None and not gate.retries.answered:
        yield PreflightPoint(Topic.BUDGET, PointOutcome.YES, f"was asked to run again, attempt {gate.retries.asked + 1}")
        return
    phase = start.run.phase
    if start.trial is not None and start.trial != start.run.run_date:
        detail = f"{phase} fails date after date, and only {start.trial} is tried"
        yield PreflightPoint(
            Topic.BUDGET,
            PointOutcome.NO,
            detail,
            f"once {phase} of {start.trial} is released",
            (start.explain(phase, start.trial),),
        )
    if start.requests_today >= policy.budget_per_day:
        detail = f"{start.requests_today} of {policy.budget_per_day} repetitions of {phase} of today are used up"
        tomorrow = start.pipeline.today(start.now) + timedelta(days=1)
        yield PreflightPoint(Topic.BUDGET, PointOutcome.NO, detail, f"from {tomorrow} on ({start.pipeline.timezone})", explain)


def _clock(start: PreflightCase) -> Iterator[PreflightPoint]:
    if start.clock:
        yield PreflightPoint(Topic.CLOCK, PointOutcome.WARNING, start.clock)


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class NotNow(PhasegateError):
    """A phase must not start now: something stands in the way, or whether it does could not be found out.

    Args:
        clearance: Everything that was looked at.
    """

    def __init__(self, message: str, clearance: "Clearance") -> None:
        super().__init__(message)
        self.clearance = clearance
