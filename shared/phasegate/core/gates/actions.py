"""Manual actions on a gate. An action changes the decisions that the gate stores; whether it opens is still up to the rules."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from phasegate.core.field_syntax import Span
from phasegate.core.gates.decide import WAIVABLE, Case
from phasegate.core.gates.gate import AcceptedGap, Gate, GateState, Hold, Override, end_text, is_live
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ActionRefused


@dataclass(frozen=True, slots=True)
class Waive:
    """Waive named failures, and no others.

    Args:
        checks: Full names of failing checks, or `producer_failed`, `producers_missing`, `ran_before_upstream`.
    """

    undo: ClassVar = "end-override"

    checks: tuple[str, ...]
    why: str
    until: datetime

    def __str__(self) -> str:
        return f"override of {', '.join(self.checks)} until {end_text(self.until)}: {self.why}"


@dataclass(frozen=True, slots=True)
class EndWaiver:
    """End the override of some checks; of all, when none are named."""

    undo: ClassVar = "override"

    checks: tuple[str, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        return _because(f"end of the override of {', '.join(self.checks) or 'everything'}", self.why)


@dataclass(frozen=True, slots=True)
class PutHold:
    """Keep the gate closed, whatever the tables hold; replaces an earlier hold."""

    undo: ClassVar = "release"

    why: str
    until: datetime | None = None

    def __str__(self) -> str:
        return f"hold{f' until {end_text(self.until)}' if self.until else ''}: {self.why}"


@dataclass(frozen=True, slots=True)
class LiftHold:
    """End a hold."""

    undo: ClassVar = "hold"

    why: str = ""

    def __str__(self) -> str:
        return _because("end of the hold", self.why)


@dataclass(frozen=True, slots=True)
class AcceptGap:
    """Accept a gap: followers may start without the data, and no alert goes out; replaces an earlier acceptance.

    Args:
        owner: Who is responsible for the gap; when empty, who accepts it.
    """

    undo: ClassVar = "end-gap"

    why: str
    until: datetime
    owner: str = ""

    def __str__(self) -> str:
        owner = f", owner: {self.owner}" if self.owner else ""
        return f"gap accepted until {end_text(self.until)}{owner}: {self.why}"


@dataclass(frozen=True, slots=True)
class EndGap:
    """Stop accepting a gap."""

    undo: ClassVar = "accept-gap"

    why: str = ""

    def __str__(self) -> str:
        return _because("end of the accepted gap", self.why)


_OPTIONS = {"override": " --check … --reason … --until …", "hold": " --reason …", "accept-gap": " --reason … --until …"}
"""The options that a command needs besides the phase and the dates."""

Action = Waive | EndWaiver | PutHold | LiftHold | AcceptGap | EndGap


def needs_verdict(action: Action) -> bool:
    """True for an action that depends on what the tables hold now."""
    return isinstance(action, Waive)


def apply(action: Action, case: Case, by: str) -> Gate:
    """The gate with an action applied. Its state is still the old one; `decide` gives the new one.

    Args:
        case: With the verdict, where `needs_verdict` asks for it.
        by: Who does it.

    Raises:
        ActionRefused: The action makes no sense on this gate now.
    """
    gate = case.gate
    # Ending something is always allowed, also on a date that has become off.
    if isinstance(action, Waive | PutHold | AcceptGap):
        _check(action, case, by)
    match action:
        case Waive():
            new = Override(_checked_names(action, case), by, action.why, case.now, action.until)
            return replace(gate, overrides=(*_without(action.checks, case), new))
        case EndWaiver():
            if unknown := [name for name in action.checks if name not in case.waived]:
                raise ActionRefused(f"{gate.run}: {', '.join(unknown)} is not waived; {_listed('waived', case.waived)}")
            if not case.waived:
                raise ActionRefused(f"{gate.run}: nothing is waived")
            return replace(gate, overrides=_without(action.checks or case.waived, case))
        case PutHold():
            return replace(gate, hold=Hold(by, action.why, case.now, action.until))
        case LiftHold():
            if gate.hold is None:
                raise ActionRefused(f"{gate.run}: nobody has put it on hold; it is {gate.state}: {gate.detail}")
            return replace(gate, hold=None)
        case AcceptGap():
            if gate.is_open:
                raise ActionRefused(f"{gate.run} is open: there is no gap to accept")
            return replace(gate, gap=AcceptedGap(by, action.why, case.now, action.until, action.owner or by))
        case EndGap():
            if gate.gap is None:
                raise ActionRefused(f"{gate.run}: nobody has accepted a gap; it is {gate.state}: {gate.detail}")
            return replace(gate, gap=None)


def undo_of(kind: type[Action], pipeline: str, phase: str, dates: Span) -> str:
    """The command that undoes an action on the gates of some dates."""
    return f"phasegate {kind.undo} {phase} {dates} --pipeline {pipeline}{_OPTIONS.get(kind.undo, '')}"


def active_decisions(gate: Gate, now: datetime) -> tuple[str, ...]:
    """People's decisions about a gate that are in force now: who, until when, why, and the command that ends each."""
    decisions: list[tuple[type[Action], str]] = []
    for override in gate.overrides:
        if is_live(override, now):
            checks = ", ".join(override.checks)
            decisions.append((Waive, f"{checks} waived by {override.by} until {end_text(override.until)}: {override.why}"))
    if gate.hold is not None and is_live(gate.hold, now):
        until = f" until {end_text(gate.hold.until)}" if gate.hold.until else ""
        decisions.append((PutHold, f"held by {gate.hold.by} since {_moment(gate.hold.at)}{until}: {gate.hold.why}"))
    if gate.gap is not None and is_live(gate.gap, now):
        until = f" until {end_text(gate.gap.until)}" if gate.gap.until else ""
        owner = f", owner: {gate.gap.owner}" if gate.gap.owner else ""
        decisions.append((AcceptGap, f"gap accepted by {gate.gap.by}{until}{owner}: {gate.gap.why}"))
    run, day = gate.run, Span(gate.run.run_date, gate.run.run_date)
    return tuple(f"{text} (to end it: {undo_of(kind, run.pipeline, run.phase, day)})" for kind, text in decisions)


def _check(action: Waive | PutHold | AcceptGap, case: Case, by: str) -> None:
    run = case.gate.run
    if case.gate.state is GateState.OFF or not case.pipeline.runs(run.phase, run.run_date):
        raise ActionRefused(f"{run}: no run is expected on this date")
    if action.until is not None and action.until <= case.now:
        raise ActionRefused(f"{run}: {end_text(action.until)} is in the past; choose a later end")
    if not action.why.strip() or not by.strip():
        raise ActionRefused(f"{run}: a manual action needs a reason and a name")


def _checked_names(action: Waive, case: Case) -> tuple[str, ...]:
    """The names of an override, each once, after checking that each exists and fails now."""
    run, names = case.gate.run, tuple(dict.fromkeys(action.checks))
    known = waivable(case.pipeline, run.phase)
    if not names:
        raise ActionRefused(f"{run}: an override must name what it waives; {_listed('failing now', case.problems)}")
    if unknown := [name for name in names if name not in known]:
        raise ActionRefused(f"{run}: unknown {', '.join(unknown)}; {_listed('known names', known)}")
    if passing := [name for name in names if name not in case.problems]:
        reason = case.verdict.reason if case.verdict else ""
        unmeasured = f"; the tables could not be measured: {reason}" if reason else ""
        failing = _listed("failing now", case.problems)
        raise ActionRefused(f"{run}: {', '.join(passing)} is not failing, so there is nothing to waive; {failing}{unmeasured}")
    return names


def waivable(pipeline: Pipeline, phase: str) -> tuple[str, ...]:
    """Everything that an override of a phase can name."""
    return (*WAIVABLE, *(check.name for checks in pipeline.checks(phase).values() for check in checks))


def _without(names: Iterable[str], case: Case) -> tuple[Override, ...]:
    """The live overrides without some names; ended ones are dropped, the history has them."""
    left = (replace(o, checks=tuple(name for name in o.checks if name not in names)) for o in case.overrides)
    return tuple(override for override in left if override.checks)


def _listed(what: str, names: Iterable[str]) -> str:
    return f"{what}: {', '.join(sorted(names)) or 'nothing'}"


def _because(what: str, why: str) -> str:
    return f"{what}: {why}" if why else what


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
