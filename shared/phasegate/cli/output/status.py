"""The gates of several dates as a grid, and what needs a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from phasegate.cli.output.gate import SIGNS, UNWATCHED, pause_line, sign_of
from phasegate.cli.output.terminal import Sign, console, sign
from phasegate.cli.output.text import visible
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import active_decisions
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, effective_state
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.reruns import Rerun
from phasegate.core.pipeline.model import Pipeline

_WRONG = (GateState.HELD, GateState.OVERDUE, GateState.UNVERIFIED, GateState.FAILING)
_MAX_RERUNS = 50
_WEEK = 7
_DAY_WIDTH = len("02-08")
_MAX_NAME_WIDTH = 30
"""Longer names of phases are folded."""


@dataclass(frozen=True, slots=True)
class Status:
    """What `phasegate status` shows.

    Args:
        gates: By run date; dates without any are absent.
        pauses: That hold now.
        reruns: In the order in which they can run.
        unsent: Messages that the bus has not taken yet; *parked* are those that are not tried again by themselves.
        unprocessed: Messages that were rejected or could not be delivered.
        scheduler: What is wrong with the scheduler; empty while it ticks.
        watched_since: The first run date that the clock watches; None before the first tick.
        left_alone: Gates that nobody looks at, because their phase was removed or their state cannot be read.
        unadopted: What is not watched of the history, and how to adopt it; empty without any.
    """

    pipeline: Pipeline
    span: Span
    gates: Mapping[date, GatesByPhase]
    pauses: Sequence[Pause]
    reruns: Sequence[Rerun]
    unsent: int
    parked: int
    unprocessed: int
    scheduler: str
    unadopted: str
    left_alone: Sequence[str]
    watched_since: date | None
    now: datetime

    @property
    def days(self) -> Sequence[date]:
        """The dates that are shown: those on which a run is expected, and others that have gates all the same."""
        return [day for day in self.span.days() if self.pipeline.calendar.has_run(day) or day in self.gates]

    def gate(self, phase: str, day: date) -> Gate | None:
        """One gate; None while nothing is recorded of it."""
        return self.gates.get(day, {}).get(phase)

    @property
    def needs_a_person(self) -> bool:
        """True when a gate is in a state that does not end by itself."""
        return any(self.state(phase, day) in _WRONG for day in self.days for phase in self.pipeline.phases)

    def state(self, phase: str, day: date) -> GateState:
        """A gate's state as people see it."""
        gate = self.gate(phase, day)
        return GateState.WAITING if gate is None else effective_state(gate, self.gates[day], self.pipeline)


def print_status(status: Status) -> None:
    """The gates as a grid, why each one that is not open is not, and what else needs a person."""
    out = console()
    _print_grid(out, status)
    for pause in status.pauses:
        out.print(escape(f"\n{visible(pause_line(pause))}"), soft_wrap=True)
    for day in reversed(status.days):
        for phase in status.pipeline.phases:
            _print_reason(out, status, phase, day)
    _print_reruns(out, status.reruns)
    _print_messages(out, status)
    for note in filter(None, (status.scheduler, status.unadopted, *status.left_alone)):
        out.print(escape(f"\n{visible(note)}"), soft_wrap=True)


def _print_grid(out: Console, status: Status) -> None:
    """A row per phase, a column per date, and what the signs mean. A span that is too long for the lines is shown in parts."""
    days = status.days
    for first in range(0, len(days), per_part := _columns(out, status)):
        if first:
            out.print()
        table = Table(box=None, padding=(0, 1), header_style="dim")
        table.add_column(status.pipeline.name, overflow="fold")
        for day in days[first : first + per_part]:
            table.add_column(f"{day:%m-%d}", justify="center", no_wrap=True, min_width=_DAY_WIDTH)
        for phase in status.pipeline.phases:
            table.add_row(phase, *(_cell(status, phase, day) for day in days[first : first + per_part]))
        out.print(table)
    used = {_sign(status, phase, day) for day in status.days for phase in status.pipeline.phases}
    legend = [sign(shown) + Text(f" {word}", style="dim") for shown, word in SIGNS if (shown, word) in used]
    out.print(Text("  ").join(legend))


def _sign(status: Status, phase: str, day: date) -> tuple[Sign, str]:
    if status.watched_since and day < status.watched_since and status.gate(phase, day) is None:
        return UNWATCHED
    return sign_of(status.gate(phase, day), status.state(phase, day))


def _columns(out: Console, status: Status) -> int:
    """How many dates fit: all of them, or whole weeks where at least one does."""
    names = min(max(map(len, (status.pipeline.name, *status.pipeline.phases))), _MAX_NAME_WIDTH)
    fit = max((out.width - names - 2) // (_DAY_WIDTH + 2), 1)
    return fit if fit >= len(status.days) or fit < _WEEK else fit // _WEEK * _WEEK


def _cell(status: Status, phase: str, day: date) -> Text:
    gate = status.gate(phase, day)
    text = sign(_sign(status, phase, day)[0])
    return text + Text(f"{gate.generation}", style="dim") if gate and gate.generation > 1 else text


def _print_reason(out: Console, status: Status, phase: str, day: date) -> None:
    """Why a gate is in its state, where that needs a word, and what people decided about it."""
    gate, state = status.gate(phase, day), status.state(phase, day)
    if gate is None:
        return
    decisions = active_decisions(gate, status.now)
    is_usual = state in (GateState.OPEN, GateState.OFF) and gate.alert is None and not gate.degraded
    if is_usual and not decisions:
        return
    shown = sign(_sign(status, phase, day)[0])
    out.print(Text.assemble("\n", shown, (f" {phase} {day} {state}", "bold"), f": {visible(gate.detail)}"))
    for decision in decisions:
        # Not wrapped: it ends with a command to paste.
        out.print(escape(f"  {visible(decision)}"), soft_wrap=True)


def _print_reruns(out: Console, reruns: Sequence[Rerun]) -> None:
    if not reruns:
        return
    out.print("\nrerun in this order:")
    for rerun in reruns[:_MAX_RERUNS]:
        out.print(escape(f"  {rerun.run.phase} {rerun.run.run_date}: {visible(rerun.why)}"), soft_wrap=True)
    if len(reruns) > _MAX_RERUNS:
        out.print(f"  +{len(reruns) - _MAX_RERUNS} more", style="dim")


def _print_messages(out: Console, status: Status) -> None:
    counts = (
        f"{status.unsent} unsent" if status.unsent else "",
        f"{status.parked} parked" if status.parked else "",
        f"{status.unprocessed} rejected or undelivered (phasegate replay)" if status.unprocessed else "",
    )
    if any(counts):
        out.print(f"\nmessages: {', '.join(filter(None, counts))}")
