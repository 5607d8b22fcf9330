"""What people do to a gate by hand. An act changes what the gate knows of people's decisions; the rules decide, as always."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from phasegate.core.field_syntax import Span
from phasegate.core.gates.decide import WAIVABLE, Case
from phasegate.core.gates.gate import AcceptedGap, Gate, GateState, Hold, Override, is_live
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ActionRefused


@dataclass(frozen=True, slots=True)
class Waive:
    """Let named failures pass, and no others.

    Args:
        checks: Full names of failing checks, or `producer_failed`, `producers_missing`, `ran_before_upstream`.
    """

    undo: ClassVar = "end-override"

    checks: tuple[str, ...]
    why: str
    until: datetime

    def __str__(self) -> str:
        return f"override of {', '.join(self.checks)} until {_moment(self.until)}: {self.why}"


@dataclass(frozen=True, slots=True)
class EndWaiver:
    """End the override of some checks, of all without names."""

    undo: ClassVar = "override"

    checks: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        return _because(f"end of the override of {', '.join(self.checks) or 'everything'}", self.why)


@dataclass(frozen=True, slots=True)
class PutHold:
    """Let nothing be released, whatever the tables hold; in place of a hold that is there already."""

    undo: ClassVar = "release"

    why: str
    until: datetime | None = None

    def __str__(self) -> str:
        return f"hold{f' until {_moment(self.until)}' if self.until else ''}: {self.why}"


@dataclass(frozen=True, slots=True)
class LiftHold:
    """End a hold."""

    undo: ClassVar = "hold"

    why: str = ""

    def __str__(self) -> str:
        return _because("end of the hold", self.why)


@dataclass(frozen=True, slots=True)
class AcceptGap:
    """Live with a gap: followers may start without it, and nobody is told of it; in place of an earlier acceptance.

    Args:
        owner: Who looks after it; who accepts it, when empty.
    """

    undo: ClassVar = "end-gap"

    why: str
    until: datetime
    owner: str = ""

    def __str__(self) -> str:
        owner = f", {self.owner} looks after it" if self.owner else ""
        return f"gap accepted until {_moment(self.until)}{owner}: {self.why}"


@dataclass(frozen=True, slots=True)
class EndGap:
    """No longer live with a gap."""

    undo: ClassVar = "accept-gap"

    why: str = ""

    def __str__(self) -> str:
        return _because("end of the accepted gap", self.why)


_ASKED = {"override": " --check … --reason … --until …", "hold": " --reason …", "accept-gap": " --reason … --until …"}
"""What else the commands want that begin something."""

Action = Waive | EndWaiver | PutHold | LiftHold | AcceptGap | EndGap


def needs_verdict(act: Action) -> bool:
    """True for an act that makes sense only beside what the tables hold now."""
    return isinstance(act, Waive)


def apply(act: Action, case: Case, by: str) -> Gate:
    """The gate with an act taken in; it still stands where it stood.

    Args:
        case: With the verdict, where `needs_verdict` asks for it.
        by: Who does it.

    Raises:
        Refused: The act makes no sense on this gate now.
    """
    gate = case.gate
    if isinstance(act, Waive | PutHold | AcceptGap):
        _check(act, case, by)
    match act:
        case Waive():
            new = Override(_waivable(act, case), by, act.why, case.now, act.until)
            return replace(gate, overrides=(*_without(act.checks, case), new))
        case EndWaiver():
            if unknown := [name for name in act.checks if name not in case.waived]:
                raise ActionRefused(f"{gate.run}: {', '.join(unknown)} is not waived; {_listed('what is', case.waived)}")
            if not case.waived:
                raise ActionRefused(f"{gate.run}: nothing is waived")
            return replace(gate, overrides=_without(act.checks or case.waived, case))
        case PutHold():
            return replace(gate, hold=Hold(by, act.why, case.now, act.until))
        case LiftHold():
            if gate.hold is None:
                raise ActionRefused(f"{gate.run}: nobody holds it by hand; it is {gate.state}: {gate.detail}")
            return replace(gate, hold=None)
        case AcceptGap():
            if gate.is_open:
                raise ActionRefused(f"{gate.run} is open: there is no gap to accept")
            return replace(gate, gap=AcceptedGap(by, act.why, case.now, act.until, act.owner or by))
        case EndGap():
            if gate.gap is None:
                raise ActionRefused(f"{gate.run}: nobody has accepted a gap; it is {gate.state}: {gate.detail}")
            return replace(gate, gap=None)


def undo_of(kind: type[Action], pipeline: str, phase: str, dates: Span) -> str:
    """The command that ends what an act has done to the gates of some dates."""
    return f"phasegate {kind.undo} {phase} {dates} --pipeline {pipeline}{_ASKED.get(kind.undo, '')}"


def active_decisions(gate: Gate, now: datetime) -> tuple[str, ...]:
    """What people decided about a gate and what holds now: who, until when, why, and the command that ends it."""
    run, said = gate.run, list[tuple[type[Action], str]]()
    for override in gate.overrides:
        if is_live(override, now):
            waived = f"{', '.join(override.checks)} waived by {override.by} until {_moment(override.until)}: {override.why}"
            said.append((Waive, waived))
    if gate.hold is not None and is_live(gate.hold, now):
        until = f" until {_moment(gate.hold.until)}" if gate.hold.until else ""
        said.append((PutHold, f"held by {gate.hold.by} since {_moment(gate.hold.at)}{until}: {gate.hold.why}"))
    if gate.gap is not None and is_live(gate.gap, now):
        owner = f", {gate.gap.owner} looks after it" if gate.gap.owner else ""
        said.append((AcceptGap, f"gap accepted by {gate.gap.by} until {_moment(gate.gap.until)}{owner}: {gate.gap.why}"))
    return tuple(
        f"{text} (ended by: {undo_of(kind, run.pipeline, run.phase, Span(run.run_date, run.run_date))})" for kind, text in said
    )


def _check(act: Waive | PutHold | AcceptGap, case: Case, by: str) -> None:
    run = case.gate.run
    if case.gate.state is GateState.OFF or not case.pipeline.runs(run.phase, run.run_date):
        raise ActionRefused(f"{run}: no run is expected on this date")
    if act.until is not None and act.until <= case.now:
        raise ActionRefused(f"{run}: {_moment(act.until)} is past; it would end before it began")
    if not act.why.strip() or not by.strip():
        raise ActionRefused(f"{run}: an act by hand needs a reason, and who does it")


def _waivable(act: Waive, case: Case) -> tuple[str, ...]:
    """The names of an override, each once, after a look whether each is there and fails now."""
    run, names = case.gate.run, tuple(dict.fromkeys(act.checks))
    known = waivable(case.pipeline, run.phase)
    if not names:
        raise ActionRefused(f"{run}: an override names what it waives; {_listed('what fails now', case.wrongs)}")
    if unknown := [name for name in names if name not in known]:
        raise ActionRefused(f"{run}: unknown {', '.join(unknown)}; {_listed('known names', known)}")
    if passing := [name for name in names if name not in case.wrongs]:
        reason = case.verdict.reason if case.verdict else ""
        unmeasured = f"; the tables could not be measured: {reason}" if reason else ""
        fails = _listed("what fails now", case.wrongs)
        raise ActionRefused(f"{run}: {', '.join(passing)} does not fail, so there is nothing to waive; {fails}{unmeasured}")
    return names


def waivable(pipeline: Pipeline, phase: str) -> tuple[str, ...]:
    """Everything that an override of a phase can name."""
    return (*WAIVABLE, *(check.name for checks in pipeline.checks(phase).values() for check in checks))


def _without(names: Iterable[str], case: Case) -> tuple[Override, ...]:
    """The overrides that hold, without some names; what has ended is in the history."""
    left = (replace(o, checks=tuple(name for name in o.checks if name not in names)) for o in case.overrides)
    return tuple(override for override in left if override.checks)


def _listed(what: str, names: Iterable[str]) -> str:
    return f"{what}: {', '.join(sorted(names)) or 'nothing'}"


def _because(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
