"""Adopting what nobody reported: a history by hand, and single inputs of a run when it needs them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from phasegate.core.field_syntax import Span
from phasegate.core.gates.adopt import PHASEGATE, adopted, unproven_input
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState
from phasegate.core.gates.verdict import Verdict
from phasegate.core.pipeline.model import Pipeline
from phasegate.gates.backfill import Validation, judge_date
from phasegate.gates.measurement import Progress, measure, measure_gates
from phasegate.ports import ADDED_AT_ONCE, Event, StateStore, Warehouse

RULE = "a person adopted the history"
"""The rule in the history of adopted gates; the table "What happens when" is about runs."""


class Adopted(StrEnum):
    """What adopting did with a gate."""

    OPEN = "open"
    GAP = "known gap"
    OFF = "off"
    KNOWN = "known already"
    UNVERIFIED = "could not be measured"
    NOT_DUE = "not due yet"


@dataclass(frozen=True, slots=True)
class Adoption:
    """What adopting a range of dates did, or would do.

    Args:
        validation: What the tables hold, as `validate` shows it.
        outcomes: By gate.
    """

    validation: Validation
    outcomes: Mapping[RunKey, Adopted]

    def count(self, outcome: Adopted) -> int:
        """How many gates have an outcome."""
        return sum(each is outcome for each in self.outcomes.values())

    def of(self, outcome: Adopted) -> Sequence[RunKey]:
        """The gates with an outcome, in the order of dates and phases."""
        return tuple(run for run, each in self.outcomes.items() if each is outcome)


def adopt(
    pipeline: Pipeline,
    phases: Iterable[str],
    span: Span,
    *,
    warehouse: Warehouse,
    known: Mapping[date, GatesByPhase],
    store: StateStore | None,
    now: datetime,
    by: str,
    progress: Progress | None = None,
) -> Adoption:
    """Record the gates of past dates as their tables say: open, off, or a known gap. Gates that exist stay as they are.

    Nothing is sent. Each batch is written whole or not at all, so that an interrupted run is resumed by running it again.

    Args:
        known: The stored gates of the span.
        store: Where to store the new ones; None to store nothing.
        by: Who adopts them; stored in the history.
        progress: Called after each query.

    Raises:
        WarehouseError: The warehouse could not be queried at all.
        StateError: The store did not answer; the batches before are written.
    """
    wanted = set(phases)
    # Phases come in their order, so that a follower knows the inputs that are adopted with it.
    chosen = tuple(phase for phase in pipeline.phases if phase in wanted)
    # One query per table, as for `validate`; the key checksums tell a later re-run with other rows from one with the same.
    answers = measure(warehouse, pipeline, chosen, span, progress, keys=True, now=now)
    outcomes: dict[RunKey, Adopted] = {}
    new: list[tuple[Gate, Event]] = []
    dates = []
    for day in span.days() if chosen else ():
        gates = dict(known.get(day, {}))
        dates.append(judge_date(pipeline, chosen, day, answers, gates, now=now))
        for phase, verdict in zip(chosen, dates[-1].phases, strict=True):
            run = RunKey(pipeline.name, phase, day)
            if phase in gates:
                outcomes[run] = Adopted.KNOWN
                continue
            gate = adopted(pipeline, run, verdict, gates, by=by, now=now)
            outcomes[run] = _outcome(gate, verdict.verdict)
            if gate is not None and pipeline.calendar.has_run(day):
                gates[phase] = gate
                new.append((gate, adoption_event(gate, now, by)))
    if store is not None:
        for start in range(0, len(new), ADDED_AT_ONCE):
            batch = new[start : start + ADDED_AT_ONCE]
            added = set(store.add(batch))
            outcomes |= {gate.run: Adopted.KNOWN for gate, _ in batch if gate.run not in added}
    return Adoption(Validation(pipeline.name, span, tuple(dates), answers.cost), outcomes)


def _outcome(gate: Gate | None, verdict: Verdict) -> Adopted:
    if gate is None:
        return Adopted.UNVERIFIED if verdict is Verdict.UNVERIFIED else Adopted.NOT_DUE
    return {GateState.OPEN: Adopted.OPEN, GateState.OFF: Adopted.OFF}.get(gate.state, Adopted.GAP)


def adoption_event(gate: Gate, now: datetime, by: str) -> Event:
    """The first entry in the history of an adopted gate."""
    trigger = "tick" if by == PHASEGATE else f"by hand: {by}"
    return Event.about(gate, now, RULE, trigger)


def unheard_inputs(
    pipeline: Pipeline, run: RunKey, day: GatesByPhase, *, warehouse: Warehouse, now: datetime
) -> Mapping[str, Gate]:
    """What the tables say of those inputs of a run that have no gate, because nobody listened when they were reported.

    Returns:
        By phase. What is open or off may be stored as adopted; any other gate only tells the run why its input is not proven.
    """
    missing = [RunKey(run.pipeline, name, run.run_date) for name in pipeline.inputs(run.phase, run.run_date) if name not in day]
    measurement = measure_gates(warehouse, pipeline, missing, now=now)
    gates: dict[str, Gate] = {}
    for source in missing:
        verdict = measurement.verdict(source)
        assert verdict is not None, "all of them were measured"
        gate = adopted(pipeline, source, verdict, day, by=PHASEGATE, now=now)
        proven = gate is not None and gate.state is not GateState.ACCEPTED
        gates[source.phase] = gate if gate is not None and proven else unproven_input(source, verdict)
    return gates
