"""Reruns after a repair: every phase that was released on data that has changed since, look-back included."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase, Reason
from phasegate.core.pipeline.model import Pipeline


@dataclass(frozen=True, slots=True)
class Rerun:
    """A phase that must rerun for a run date, and why, as a sentence without a full stop."""

    run: RunKey
    why: str


def total_look_back(pipeline: Pipeline) -> timedelta:
    """How far before a run date a change can still affect it: one look-back may build on another."""
    return sum((phase.look_back for phase in pipeline.phases.values() if phase.look_back), timedelta())


def needed_reruns(pipeline: Pipeline, days: Mapping[date, GatesByPhase]) -> tuple[Rerun, ...]:
    """What must rerun, in an order in which it can run: each phase after everything that it reads.

    Followers of a rerun are listed, too; they need not rerun when their input turns out to be the same as before.

    Args:
        days: All gates of a range of dates. Earlier changes are not seen, see `total_look_back`.
    """
    reruns: dict[RunKey, str] = {}
    order = sorted(pipeline.phases, key=lambda phase: _depth(pipeline, phase))
    # Dates before phases: a look-back reads earlier dates, so their reruns must be known first.
    for day in sorted(days):
        for phase in order:
            gate = days[day].get(phase)
            if gate is not None and pipeline.runs(phase, day) and (why := _why(pipeline, gate, days, reruns)):
                reruns[gate.run] = why
    return tuple(Rerun(run, why) for run, why in reruns.items())


def _depth(pipeline: Pipeline, phase: str) -> int:
    return 1 + max((_depth(pipeline, name) for name in pipeline.phase(phase).after), default=0)


def _why(pipeline: Pipeline, gate: Gate, days: Mapping[date, GatesByPhase], reruns: Mapping[RunKey, str]) -> str:
    """Why a gate's phase must rerun, given the reruns before it; empty when it need not."""
    run = gate.run
    if not gate.is_open and gate.reason is Reason.RAN_BEFORE_UPSTREAM:
        return gate.detail
    if not gate.is_open:
        return ""
    for name in pipeline.inputs(run.phase, run.run_date):
        source = days[run.run_date].get(name)
        if source is not None and source.generation > gate.consumed.get(name, source.generation):
            return f"{name} was released again since it ran"
        if source is not None and source.run in reruns:
            return f"its input {name} must rerun first"
    look_back = pipeline.phase(run.phase).look_back or timedelta()
    for day in (run.run_date - timedelta(days=n) for n in range(1, look_back.days + 1)):
        for name in pipeline.inputs(run.phase, day):
            source = days.get(day, {}).get(name)
            if source is not None and source.run in reruns:
                return f"{name} of {day}, in its look-back, must rerun first"
            if source is not None and source.was_released_after(_began(pipeline, gate)):
                return f"{name} of {day}, in its look-back, was released since it ran"
    return ""


def _began(pipeline: Pipeline, gate: Gate) -> datetime:
    """The earliest time at which the released run can have started to read: the start in the oldest report."""
    needed = pipeline.needed_producers(gate.run.phase, gate.run.run_date)
    # Nobody knows when an adopted date was released, only since when it is known.
    opened = gate.opened_at or gate.since
    assert opened is not None, "it is open"
    return min((gate.reports[name].began for name in needed if name in gate.reports), default=opened)
