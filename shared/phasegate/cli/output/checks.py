"""The results of a phase's checks."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from phasegate.cli.output.terminal import Sign, sign
from phasegate.cli.output.text import visible
from phasegate.core.checks.base import CheckResult, Mode, Outcome, Severity
from phasegate.core.gates.verdict import points_lost

# In the order in which they are shown.
_OUTCOMES: dict[Outcome, Sign] = {
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.ACCEPTABLE: ("◐", "yellow"),
    Outcome.NOT_EVALUATED: ("–", "dim"),
    Outcome.PASSED: ("●", "green"),
}
_UNMEASURED: Sign = ("?", "magenta")


def print_checks(out: Console, results: Sequence[CheckResult]) -> None:
    """The results of a phase, failed ones first, each with the points of the score that it costs."""
    order, lost = list(_OUTCOMES), points_lost(results)
    table = Table(box=None, padding=(0, 1), show_header=False)
    for _ in range(5):
        table.add_column(overflow="fold")  # names that differ at their ends must not look the same
    for result in sorted(results, key=lambda result: order.index(result.outcome)):
        notes = [f"−{lost[result.name]:.1f} points"] if result.name in lost else []
        if result.severity is Severity.WARN and result.outcome is Outcome.FAILED:
            notes.append("warning only")
        if result.mode is Mode.OBSERVE:
            notes.append("observed only")
        shown = sign(_UNMEASURED if result.unmeasured else _OUTCOMES[result.outcome])
        table.add_row(" ", shown, escape(result.name), escape(visible(result.message)), f"[dim]{', '.join(notes)}[/]")
    out.print(table)
