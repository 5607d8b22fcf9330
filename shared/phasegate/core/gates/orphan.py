"""Gates of phases that are no longer in the pipeline file, and stored gates that cannot be read: left alone, and named."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from phasegate.core.gates.gate import Alert, AlertState, Gate, GatesByPhase
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
    if gate.alert is None:
        return replace(gate, orphaned=True), ()
    key = f"{gate.alert.run}/v{gate.version + 1}/recovered"
    ended = replace(
        gate.alert, key=key, state=AlertState.RECOVERED, gate=gate.state, detail=RULE, evidence=(), effect="", at=now
    )
    return replace(gate, orphaned=True, alert=None), (ended,)


def left_alone(pipeline: Pipeline, days: Iterable[GatesByPhase]) -> tuple[str, ...]:
    """What of some gates is left alone and why, in sentences without a full stop, newest date first."""
    gates = sorted((gate for day in days for gate in day.values()), key=lambda gate: gate.run.run_date, reverse=True)
    removed: dict[str, list[Gate]] = {}
    for gate in gates:
        if gate.run.phase not in pipeline.phases and (gate.orphaned or gate.awaits_clock):
            removed.setdefault(gate.run.phase, []).append(gate)
    unreadable = [str(gate.run) for gate in gates if gate.unreadable]
    lines = [
        f"{phase} is not in the pipeline file any more; {len(of_it)} of its gates were not settled, the newest of "
        f"{of_it[0].run.run_date}"
        for phase, of_it in removed.items()
    ]
    if unreadable:
        more = f" and {len(unreadable) - 3} more" if len(unreadable) > 3 else ""
        lines.append(f"the stored state of {', '.join(unreadable[:3])}{more} cannot be read by this version of phasegate")
    return tuple(lines)
