"""One gate, with all that led to its state."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from phasegate.cli.output.checks import print_checks
from phasegate.cli.output.terminal import Sign, console, sign
from phasegate.cli.output.text import visible
from phasegate.core.gates.actions import active_decisions
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, Reason, effective_state, end_text, release_without
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.verdict import PhaseVerdict
from phasegate.core.pipeline.model import Pipeline
from phasegate.ports import Event

STATES: dict[GateState, Sign] = {
    GateState.WAITING: ("…", "dim"),
    GateState.OVERDUE: ("!", "bold red"),
    GateState.HELD: ("✗", "bold red"),
    GateState.UNVERIFIED: ("?", "magenta"),
    GateState.OPEN: ("●", "green"),
    GateState.STALE: ("↻", "yellow"),
    GateState.SETTLING: ("◌", "yellow"),
    GateState.FAILING: ("▲", "bold red"),
    GateState.ACCEPTED: ("◇", "cyan"),
    GateState.OFF: ("–", "dim"),
}
DEGRADED = (("◐", "yellow"), "degraded")
"""An open gate that was released without some of its outputs or reports."""
ADOPTED = (("○", "green"), "adopted")
"""A gate that was open when phasegate took over the history, and has not been released since."""
UNWATCHED = (("·", "dim"), "not watched")
"""No gate, on a date from before the clock watched: nobody has reported a run, and nobody waits for one."""
SIGNS: Sequence[tuple[Sign, str]] = (*((sign, str(state)) for state, sign in STATES.items()), DEGRADED, ADOPTED, UNWATCHED)
"""Every sign of a gate and what it means, in the order of legends."""


def sign_of(gate: Gate | None, state: GateState) -> tuple[Sign, str]:
    """The sign of a gate in a state as people see it, and the word for it."""
    if gate is not None and state is GateState.OPEN:
        if gate.degraded:
            return DEGRADED
        if gate.reason is Reason.ADOPTED:
            return ADOPTED
    return STATES[state], str(state)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `phasegate explain` shows.

    Args:
        day: All gates of the run date.
        events: The gate's history, oldest first.
        pauses: Of its phase or pipeline, ended ones too, oldest first.
        measured: What the tables hold now; None when they were not asked.
    """

    pipeline: Pipeline
    gate: Gate
    day: GatesByPhase
    events: Sequence[Event]
    pauses: Sequence[Pause]
    measured: PhaseVerdict | None
    now: datetime


def print_gate(explained: Explanation) -> None:
    """Why a gate is in its state: what people decided, producers, inputs, checks, history."""
    out = console()
    gate, pipeline, now = explained.gate, explained.pipeline, explained.now
    state = effective_state(gate, explained.day, pipeline)
    generation = f", generation {gate.generation}" if gate.generation else ""
    out.print(Text.assemble(sign(sign_of(gate, state)[0]), (f" {gate.run} is {state}{generation}", "bold")))
    out.print(escape(f"  {visible(gate.detail)}"), soft_wrap=True)
    if gate.degraded and (lacking := release_without(gate.missing)) not in gate.detail:
        out.print(escape(f"  {lacking}"), soft_wrap=True)
    for decision in (*active_decisions(gate, now), *(pause_line(pause) for pause in explained.pauses if pause.is_live(now))):
        out.print(escape(f"  {visible(decision)}"), soft_wrap=True)
    _print_producers(out, pipeline, gate)
    _print_inputs(out, pipeline, gate, explained.day)
    if results := explained.measured.results if explained.measured else gate.results:
        out.print(f"\n  checks{', measured now' if explained.measured else ''}:", style="dim")
        print_checks(out, results)
    if history := sorted(_history(explained.events, explained.pauses), key=lambda line: line[0]):
        out.print("\n  history (UTC):", style="dim")
        for at, line in history:
            out.print(escape(f"    {at:%Y-%m-%d %H:%M:%S}  {visible(line)}"), soft_wrap=True)


def _print_producers(out: Console, pipeline: Pipeline, gate: Gate) -> None:
    for name, declared in pipeline.producers(gate.run.phase).items():
        report = gate.reports.get(name)
        if report is None:
            state = "has not reported" + (" (optional)" if declared.optional else "")
        else:
            rows = "" if report.rows is None else f", {report.rows:,} rows"
            counted = gate.rows.get(declared.fills or "")
            if rows and counted is not None and counted != report.rows:
                rows += f" ({declared.fills} has {counted:,})"
            when = report.finished_at or report.received_at
            error = f": {report.error}" if report.error else ""
            state = f"{report.status} at {when:%Y-%m-%d %H:%M:%S}{rows}{error}"
        out.print(escape(f"  producer {name}: {visible(state)}"))


def _print_inputs(out: Console, pipeline: Pipeline, gate: Gate, day: GatesByPhase) -> None:
    """The upstream gates, and which generation of each the gate's own release was built on."""
    for upstream in pipeline.inputs(gate.run.phase, gate.run.run_date):
        source = day.get(upstream)
        state = f"{effective_state(source, day, pipeline)}, generation {source.generation}" if source else "no gate yet"
        used = f" (used generation {gate.consumed[upstream]})" if upstream in gate.consumed else ""
        out.print(f"  upstream {upstream}: {state}{used}")


def _history(events: Sequence[Event], pauses: Sequence[Pause]) -> Iterator[tuple[datetime, str]]:
    """What happened to a gate, and the pauses that held meanwhile."""
    for event in events:
        if event.act:
            yield event.at, f"{event.trigger}: {event.act}"
        yield event.at, f"{event.state:<10} {event.reason:<20} {event.detail}"
    for pause in pauses if events else ():
        # A pause that ended before the gate had a history has no part in it.
        if (pause.ended_at or pause.until) < events[0].at:
            continue
        until = end_text(pause.until)
        yield pause.at, f"by hand: {pause.by}: pause of {pause.subject} until {until}: {pause.why}"
        if pause.ended_at:
            why = f": {pause.ended_why}" if pause.ended_why else ""
            yield pause.ended_at, f"by hand: {pause.ended_by}: end of the pause of {pause.subject}{why}"


def pause_line(pause: Pause) -> str:
    """A pause that holds, and the command that ends it."""
    return f"{pause} (to end it: {pause.undo})"
