"""A validation: one date check by check, or a range by month and cause."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from phasegate.cli.output.checks import print_checks
from phasegate.cli.output.terminal import Sign, console, sign
from phasegate.cli.output.text import visible
from phasegate.core.checks.metrics import Cost
from phasegate.core.gates.verdict import DateVerdict, Verdict
from phasegate.gates.backfill import Finding, Validation

_VERDICTS: dict[Verdict, Sign] = {
    Verdict.PASS: ("●", "green"),
    Verdict.ACCEPTABLE: ("◐", "yellow"),
    Verdict.FAIL: ("✗", "bold red"),
    Verdict.UNVERIFIED: ("?", "magenta"),
    Verdict.NOT_DUE: ("…", "dim"),
    Verdict.OFF: ("–", "dim"),
    Verdict.ACCEPTED: ("◇", "cyan"),
}
_RANKS: dict[str, Sign] = {
    "fail": ("✗", "bold red"),
    "unverified": ("?", "magenta"),
    "warn": ("◐", "yellow"),
    "acceptable": ("◐", "yellow"),
}
_MAX_FINDINGS = 20
_MAX_SPANS = 3

_SCORE_COLUMN = 42
"""Column of the months' scores: after "2013-02", two spaces, 31 days and two more spaces."""


def print_validation(validation: Validation, seconds: float) -> None:
    """One date check by check; a range as a picture by month, then what is wrong, grouped by cause."""
    out = console()
    if len(validation.dates) == 1:
        _print_date(out, validation.dates[0])
    else:
        _print_months(out, validation.dates)
        _print_findings(out, validation.findings)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in validation.summary.items() if count)
    out.print(f"{validation.pipeline} {validation.span}: {counts}   [dim]{_cost(validation.cost)}, {seconds:.2f} s[/]")


def _cost(cost: Cost) -> str:
    queries = f"{cost.queries} {'query' if cost.queries == 1 else 'queries'}"
    return f"{queries}, {cost.bytes_billed / 2**20:,.0f} MiB billed (${cost.usd:.4f})" if cost.bytes_billed else queries


def _print_date(out: Console, day: DateVerdict) -> None:
    for phase in day.phases:
        score = "" if phase.score is None else f"  score {phase.score:g}"
        out.print(Text.assemble(sign(_VERDICTS[phase.verdict]), f" {phase.phase} ", (str(phase.verdict), "bold"), score))
        if phase.reason:
            out.print(f"  {escape(visible(phase.reason))}")
        if phase.results:
            print_checks(out, phase.results)


def _print_months(out: Console, dates: Iterable[DateVerdict]) -> None:
    """A line per month, a sign per date, and the month's mean score."""
    months: dict[str, list[DateVerdict]] = {}
    for day in dates:
        months.setdefault(f"{day.run_date:%Y-%m}", []).append(day)
    for month, days in months.items():
        line = Text(f"{month}  ")
        # A range may start in mid-month; the spaces keep each date in the column of its day.
        line.append(" " * (days[0].run_date.day - 1))
        for day in days:
            line.append(*_VERDICTS[day.verdict])
        scores = [day.score for day in days if day.score is not None]
        line.append(" " * (_SCORE_COLUMN - len(line)))
        line.append(f"score {sum(scores) / len(scores):5.1f}" if scores else "", style="dim")
        out.print(line)
    out.print(Text("  ").join(sign(shown) + Text(f" {verdict}", style="dim") for verdict, shown in _VERDICTS.items()))
    out.print()


def _print_findings(out: Console, findings: Sequence[Finding]) -> None:
    """A row per cause, with the first dates and the first message."""
    if not findings:
        return
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("", "check", "dates", "when", "for example"):
        table.add_column(name, justify="right" if name == "dates" else "left", overflow="fold")
    for finding in findings[:_MAX_FINDINGS]:
        example = finding.results[0]
        message = escape(visible(example.message))
        table.add_row(sign(_RANKS[finding.rank]), escape(example.name), str(len(finding.dates)), _when(finding), message)
    out.print(table)
    if len(findings) > _MAX_FINDINGS:
        out.print(f"  +{len(findings) - _MAX_FINDINGS} more causes; --format csv lists all", style="dim")
    out.print()


def _when(finding: Finding) -> str:
    spans = [str(span) for span in finding.spans]
    more = [f"+{len(spans) - _MAX_SPANS} more"] if len(spans) > _MAX_SPANS else []
    return "\n".join((*spans[:_MAX_SPANS], *more))
