"""What must run again after a repair: every gate that was released on data which has changed since, look-back included."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase, Reason
from phasegate.core.pipeline.model import Pipeline


@dataclass(frozen=True, slots=True)
class Rerun:
    """A phase that must run again for a run date, and why, as a sentence without a full stop."""

    run: RunKey
    why: str


def total_look_back(pipeline: Pipeline) -> timedelta:
    """How far before a run date a change can lie that makes it run again: each look-back may rest on another one."""
    return sum((phase.look_back for phase in pipeline.phases.values() if phase.look_back), timedelta())


def needed_reruns(pipeline: Pipeline, days: Mapping[date, GatesByPhase]) -> tuple[Rerun, ...]:
    """What must run again, in an order in which it can run: each after everything that it reads.

    A follower of what runs again is in the list too: it need not run when its input turns out to be the same as before.

    Args:
        days: All gates of a stretch of dates; of what lies before it nothing is known, see `total_look_back`.
    """
    found: dict[RunKey, str] = {}
    order = sorted(pipeline.phases, key=lambda phase: _depth(pipeline, phase))
    for day in sorted(days):
        for phase in order:
            gate = days[day].get(phase)
            if gate is not None and pipeline.runs(phase, day) and (why := _why(pipeline, gate, days, found)):
                found[gate.run] = why
    return tuple(Rerun(run, why) for run, why in found.items())


def _depth(pipeline: Pipeline, phase: str) -> int:
    return 1 + max((_depth(pipeline, name) for name in pipeline.phase(phase).after), default=0)


def _why(pipeline: Pipeline, gate: Gate, days: Mapping[date, GatesByPhase], found: Mapping[RunKey, str]) -> str:
    """Why a gate's phase must run again, given what must before it; empty when it need not."""
    run, early = gate.run, not gate.is_open and gate.reason is Reason.RAN_BEFORE_UPSTREAM
    if early:
        return gate.detail
    if not gate.is_open:
        return ""
    for name in pipeline.inputs(run.phase, run.run_date):
        source = days[run.run_date].get(name)
        if source is not None and source.generation > gate.consumed.get(name, source.generation):
            return f"{name} was released again since it ran"
        if source is not None and source.run in found:
            return f"{name}, its input, runs again"
    look_back = pipeline.phase(run.phase).look_back or timedelta()
    for day in (run.run_date - timedelta(days=n) for n in range(1, look_back.days + 1)):
        for name in pipeline.inputs(run.phase, day):
            source = days.get(day, {}).get(name)
            if source is not None and source.run in found:
                return f"{name} of {day}, which it looks back on, runs again"
            if source is not None and source.was_released_after(_began(pipeline, gate)):
                return f"{name} of {day}, which it looks back on, was released since it ran"
    return ""


def _began(pipeline: Pipeline, gate: Gate) -> datetime:
    """When what was released can have begun to read; by the report that is oldest."""
    needed = [name for name, producer in pipeline.producers(gate.run.phase).items() if not producer.optional]
    assert gate.opened_at is not None, "it is open"
    return min((gate.reports[name].began for name in needed if name in gate.reports), default=gate.opened_at)
