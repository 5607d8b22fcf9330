"""What the doctor found."""

from collections.abc import Sequence

from rich.text import Text

from phasegate.cli.output.terminal import Sign, console, sign
from phasegate.core.installation.finding import Finding, Health

# In the order in which they are shown.
_HEALTHS: dict[Health, Sign] = {
    Health.WRONG: ("✗", "bold red"),
    Health.NOT_CHECKED: ("?", "magenta"),
    Health.OK: ("●", "green"),
}
_MAX_SUBJECT_WIDTH = 60


def print_findings(findings: Sequence[Finding]) -> None:
    """A row for each thing that was checked, the worst first; its fix follows on a line of its own, to paste."""
    out = console()
    order = list(_HEALTHS)
    width = min(max((len(finding.subject) for finding in findings), default=0), _MAX_SUBJECT_WIDTH)
    for finding in sorted(findings, key=lambda finding: order.index(finding.health)):
        subject = (f"{finding.subject:<{width}}", "bold")
        row = Text.assemble(sign(_HEALTHS[finding.health]), f" {finding.health:<14} ", subject, "  ", finding.message)
        # Never wrapped: a command that is broken over two lines can't be pasted.
        out.print(row, soft_wrap=True)
        if finding.fix:
            out.print(Text("    " + finding.fix, style="cyan"), soft_wrap=True)
    counts = {health: sum(finding.health is health for finding in findings) for health in _HEALTHS}
    out.print(", ".join(f"{count} {health}" for health, count in counts.items() if count))
