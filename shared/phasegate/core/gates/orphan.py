"""Gates of phases that are no longer in the pipeline file, and stored gates that cannot be read: left alone, and named."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime

from phasegate.core.gates.gate import Alert, Gate, GatesByPhase, recoveries
from phasegate.core.pipeline.model import Pipeline

RULE = "the phase is no longer in the pipeline file"
"""The rule in the history of a gate whose phase was removed; the table "What happens when" is about phases of the file."""


def orphans(pipeline: Pipeline, gates: Iterable[Gate]) -> Iterator[Gate]:
    """The gates that ticks would still look at, or that have an alert, and whose phase is no longer in the file."""
    for gate in gates:
        if gate.run.phase not in pipeline.phases and not gate.unreadable and (gate.awaits_clock or gate.alert is not None):
            yield gate


def orphaned(gate: Gate, now: datetime) -> tuple[Gate, tuple[Alert, ...]]:
    """A gate that nobody looks at any more, and the end of its alert: nobody could end it later."""
    return replace(gate, orphaned=True, alert=None), recoveries(gate, gate.state, RULE, now)


def left_alone(pipeline: Pipeline, days: Iterable[GatesByPhase]) -> tuple[str, ...]:
    """What of some gates is left alone and why, in sentences without a full stop."""
    gates = [gate for day in days for gate in day.values()]
    return (*removed_phases(pipeline, gates), *unreadable_states(gates))


def removed_phases(pipeline: Pipeline, gates: Iterable[Gate]) -> tuple[str, ...]:
    """A sentence for each phase that is no longer in the file, although its gates were not settled."""
    removed: dict[str, list[date]] = {}
    for gate in _newest_first(gates):
        if gate.run.phase not in pipeline.phases and (gate.orphaned or gate.awaits_clock):
            removed.setdefault(gate.run.phase, []).append(gate.run.run_date)
    return tuple(
        f"{phase} is not in the pipeline file any more; {len(dates)} of its gates were not settled, the newest of {dates[0]}"
        for phase, dates in removed.items()
    )


def unreadable_states(gates: Iterable[Gate]) -> tuple[str, ...]:
    """A sentence about the gates that cannot be read; none when all can."""
    runs = [str(gate.run) for gate in _newest_first(gates) if gate.unreadable]
    more = f" and {len(runs) - 3} more" if len(runs) > 3 else ""
    return (f"the stored state of {', '.join(runs[:3])}{more} cannot be read by this version of phasegate",) if runs else ()


def _newest_first(gates: Iterable[Gate]) -> Iterable[Gate]:
    return sorted(gates, key=lambda gate: gate.run.run_date, reverse=True)
