"""What people read on a terminal: validations, gates, and why."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from phasegate.core.alerts.delivery import Delivery, DestinationHealth
from phasegate.core.alerts.incident import RANK, Incident
from phasegate.core.alerts.notice import clean
from phasegate.core.checks.base import CheckResult, Mode, Outcome
from phasegate.core.checks.metrics import Cost
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import active_decisions
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState, effective_state
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.reruns import Rerun
from phasegate.core.gates.verdict import DateVerdict, PhaseVerdict, Verdict, points_lost
from phasegate.core.installation.finding import Finding as Symptom
from phasegate.core.installation.finding import Health
from phasegate.core.pipeline.model import AlertSeverity, Pipeline
from phasegate.gates.backfill import Finding, Validation
from phasegate.ports import Event

# A sign beside the colour: some people don't see the one, some terminals don't show the other.
_VERDICTS = {
    Verdict.PASS: ("●", "green"),
    Verdict.ACCEPTABLE: ("◐", "yellow"),
    Verdict.FAIL: ("✗", "bold red"),
    Verdict.UNVERIFIED: ("?", "magenta"),
    Verdict.NOT_DUE: ("…", "dim"),
    Verdict.OFF: ("–", "dim"),
    Verdict.ACCEPTED: ("◇", "cyan"),
}
_STATES = {
    GateState.WAITING: ("…", "dim"),
    GateState.OVERDUE: ("!", "bold red"),
    GateState.HELD: ("✗", "bold red"),
    GateState.UNVERIFIED: ("?", "magenta"),
    GateState.OPEN: ("●", "green"),
    GateState.STALE: ("↻", "yellow"),
    GateState.ACCEPTED: ("◇", "cyan"),
    GateState.OFF: ("–", "dim"),
}
_RANKS = {"fail": ("✗", "bold red"), "unverified": ("?", "magenta"), "warn": ("◐", "yellow"), "acceptable": ("◐", "yellow")}
_OUTCOMES = {
    Outcome.PASSED: ("●", "green"),
    Outcome.ACCEPTABLE: ("◐", "yellow"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.NOT_EVALUATED: ("–", "dim"),
}
_MOST_FINDINGS = 20
_MOST_RERUNS = 50


def console() -> Console:
    """Standard output; wide enough for a sentence where it is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=140)


def print_validation(found: Validation, seconds: float) -> None:
    """One date check by check; a range as a picture by month, then what was found, grouped by cause."""
    out = console()
    if len(found.dates) == 1:
        _print_date(out, found.dates[0])
    else:
        _print_months(out, found.dates)
        _print_findings(out, found.findings)
    counts = [f"{count} {verdict}" for verdict, count in found.summary.items() if count]
    out.print(f"{found.pipeline} {found.span}: {', '.join(counts)}   [dim]{_cost(found.cost)}, {seconds:.2f} s[/]")


def _cost(cost: Cost) -> str:
    queries = f"{cost.queries} {'query' if cost.queries == 1 else 'queries'}"
    return f"{queries}, {cost.bytes_billed / 2**20:,.0f} MiB billed (${cost.usd:.4f})" if cost.bytes_billed else queries


def _print_date(out: Console, day: DateVerdict) -> None:
    for phase in day.phases:
        score = "" if phase.score is None else f"  score {phase.score:g}"
        out.print(Text.assemble(_sign(*_VERDICTS[phase.verdict]), f" {phase.phase} ", (str(phase.verdict), "bold"), score))
        if phase.reason:
            out.print(f"  {escape(phase.reason)}")
        if phase.results:
            print_checks(out, phase.results)


def print_checks(out: Console, results: Sequence[CheckResult]) -> None:
    """The results of a phase, failed ones first."""
    order = [Outcome.FAILED, Outcome.ACCEPTABLE, Outcome.NOT_EVALUATED, Outcome.PASSED]
    lost = points_lost(results)
    table = Table(box=None, padding=(0, 1), show_header=False)
    for result in sorted(results, key=lambda result: order.index(result.outcome)):
        sign = ("?", "magenta") if result.unmeasured else _OUTCOMES[result.outcome]
        notes = [f"−{lost[result.name]:.1f} points"] if result.name in lost else []
        notes += ["warning only"] if result.severity == "warn" and result.outcome is Outcome.FAILED else []
        notes += ["observed only"] if result.mode is Mode.OBSERVE else []
        table.add_row(" ", _sign(*sign), escape(result.name), escape(result.message), f"[dim]{', '.join(notes)}[/]")
    out.print(table)


def _sign(sign: str, style: str) -> Text:
    return Text(sign, style=style)


def _print_months(out: Console, dates: Iterable[DateVerdict]) -> None:
    """A line per month, a sign per date, and the month's mean score."""
    months: dict[str, list[DateVerdict]] = {}
    for day in dates:
        months.setdefault(f"{day.run_date:%Y-%m}", []).append(day)
    for month, days in months.items():
        line = Text(f"{month}  ")
        line.append(" " * (days[0].run_date.day - 1))
        for day in days:
            line.append(*_VERDICTS[day.verdict])
        scores = [day.score for day in days if day.score is not None]
        line.append(" " * (42 - len(line)))
        line.append(f"score {sum(scores) / len(scores):5.1f}" if scores else "", style="dim")
        out.print(line)
    out.print(Text("  ").join(_sign(*shown) + Text(f" {verdict}", style="dim") for verdict, shown in _VERDICTS.items()))
    out.print()


def _print_findings(out: Console, findings: Sequence[Finding]) -> None:
    if not findings:
        return
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("", "check", "dates", "when", "for example"):
        table.add_column(name, justify="right" if name == "dates" else "left", overflow="fold")
    for finding in findings[:_MOST_FINDINGS]:
        spans = [str(span) for span in finding.spans]
        when = "\n".join(spans[:3]) + (f"\n+{len(spans) - 3} more" if len(spans) > 3 else "")
        table.add_row(
            _sign(*_RANKS[finding.rank]),
            escape(finding.results[0].name),
            str(len(finding.dates)),
            when,
            escape(finding.results[0].message),
        )
    out.print(table)
    if len(findings) > _MOST_FINDINGS:
        out.print(f"  +{len(findings) - _MOST_FINDINGS} more causes; --format csv lists all", style="dim")
    out.print()


def print_status(
    pipeline: Pipeline,
    days: Mapping[date, GatesByPhase],
    span: Span,
    again: Sequence[Rerun],
    unsent: int,
    parked: int,
    kept: int,
    clock: str,
    pauses: Iterable[Pause],
    now: datetime,
) -> None:
    """The gates of some dates as a grid, then why each one that is not open is not, and what is wrong with *clock*.

    Args:
        again: What must run again.
    """
    out = console()
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column(pipeline.name)
    shown = [day for day in span.days() if pipeline.calendar.has_run(day) or day in days]
    for day in shown:
        table.add_column(f"{day:%m-%d}", justify="center")
    for phase in pipeline.phases:
        table.add_row(phase, *(_cell(days.get(day, {}), phase, pipeline) for day in shown))
    out.print(table)
    used = {_state(days.get(day, {}), phase, pipeline) for day in shown for phase in pipeline.phases}
    out.print(Text("  ").join(_sign(*_STATES[s]) + Text(f" {s}", style="dim") for s in GateState if s in used))
    for pause in dict.fromkeys(pauses):
        out.print(escape(f"\n{_held_up(pause)}"), soft_wrap=True)
    for day in reversed(shown):
        for phase in pipeline.phases:
            gate = days.get(day, {}).get(phase)
            state = _state(days.get(day, {}), phase, pipeline)
            if gate is None:
                continue
            acts = active_decisions(gate, now)
            if state not in (GateState.OPEN, GateState.OFF) or gate.alert is not None or gate.degraded or acts:
                out.print(Text.assemble("\n", _sign(*_STATES[state]), (f" {phase} {day} {state}", "bold"), f": {gate.detail}"))
                for act in acts:
                    out.print(escape(f"  {act}"), soft_wrap=True)
    if again:
        out.print("\nmust run again, in this order:")
        for rerun in again[:_MOST_RERUNS]:
            out.print(escape(f"  {rerun.run.phase} {rerun.run.run_date}: {rerun.why}"), soft_wrap=True)
        if len(again) > _MOST_RERUNS:
            out.print(f"  +{len(again) - _MOST_RERUNS} more", style="dim")
    notes = [
        f"{unsent} unsent" if unsent else "",
        f"{parked} parked" if parked else "",
        f"{kept} without effect (phasegate replay)" if kept else "",
    ]
    if any(notes):
        out.print(f"\nmessages: {', '.join(note for note in notes if note)}")
    if clock:
        out.print(f"\n{clock}", soft_wrap=True)


def _state(day: GatesByPhase, phase: str, pipeline: Pipeline) -> GateState:
    return effective_state(day[phase], day, pipeline) if phase in day else GateState.WAITING


def _cell(day: GatesByPhase, phase: str, pipeline: Pipeline) -> Text:
    text = _sign(*_STATES[_state(day, phase, pipeline)])
    generation = day[phase].generation if phase in day else 0
    return text + Text(f"{generation}", style="dim") if generation > 1 else text


def _held_up(pause: Pause) -> str:
    return f"{pause} (ended by: {pause.undo})"


def print_gate(
    pipeline: Pipeline,
    gate: Gate,
    day: GatesByPhase,
    events: Sequence[Event],
    pauses: Sequence[Pause],
    judged: PhaseVerdict | None,
    now: datetime,
) -> None:
    """Why a gate stands where it stands: state, what people decided, producers, inputs, checks, history."""
    out = console()
    state = effective_state(gate, day, pipeline)
    generation = f", generation {gate.generation}" if gate.generation else ""
    out.print(Text.assemble(_sign(*_STATES[state]), (f" {gate.run} is {state}{generation}", "bold")))
    out.print(escape(f"  {gate.detail}"), soft_wrap=True)
    if gate.degraded:
        out.print(escape(f"  released without {', '.join(gate.missing)}"))
    for act in (*active_decisions(gate, now), *(_held_up(pause) for pause in pauses if pause.is_live(now))):
        out.print(escape(f"  {act}"), soft_wrap=True)
    _print_producers(out, pipeline, gate)
    for upstream in pipeline.inputs(gate.run.phase, gate.run.run_date):
        source = day.get(upstream)
        found = f"{effective_state(source, day, pipeline)}, generation {source.generation}" if source else "nothing known"
        used = f" (used generation {gate.consumed[upstream]})" if upstream in gate.consumed else ""
        out.print(f"  after {upstream}: {found}{used}")
    results = judged.results if judged else gate.results
    if results:
        out.print(f"\n  checks{'' if judged is None else ', measured now'}:", style="dim")
        print_checks(out, results)
    if history := _history(events, pauses):
        out.print("\n  history (UTC):", style="dim")
        for at, line in history:
            out.print(escape(f"    {at:%Y-%m-%d %H:%M:%S}  {line}"), soft_wrap=True)


def _history(events: Sequence[Event], pauses: Sequence[Pause]) -> Sequence[tuple[datetime, str]]:
    """What happened to a gate, oldest first, and the pauses that lasted meanwhile."""
    lines = []
    for event in events:
        if event.act:
            lines.append((event.at, f"{event.trigger}: {event.act}"))
        lines.append((event.at, f"{event.state:<10} {event.reason:<20} {event.detail}"))
    for pause in pauses if events else ():
        if (pause.ended_at or pause.until) >= events[0].at:
            lines.append(
                (pause.at, f"by hand: {pause.by}: pause of {pause.subject} until {pause.until:%Y-%m-%d %H:%M} UTC: {pause.why}")
            )
            if pause.ended_at:
                why = f": {pause.ended_why}" if pause.ended_why else ""
                lines.append((pause.ended_at, f"by hand: {pause.ended_by}: end of the pause of {pause.subject}{why}"))
    return sorted(lines, key=lambda line: line[0])


def _print_producers(out: Console, pipeline: Pipeline, gate: Gate) -> None:
    for name, declared in pipeline.producers(gate.run.phase).items():
        report = gate.reports.get(name)
        if report is None:
            said = "has not reported" + (" (optional)" if declared.optional else "")
        else:
            rows = "" if report.rows is None else f", {report.rows:,} rows"
            held = gate.rows.get(declared.fills or "")
            rows += f" ({declared.fills} has {held:,})" if rows and held is not None and held != report.rows else ""
            when = report.finished_at or report.received_at
            error = f": {report.error}" if report.error else ""
            said = f"{report.status} at {when:%Y-%m-%d %H:%M:%S}{rows}{error}"
        out.print(escape(f"  producer {name}: {said}"))


_HEALTHS = {Health.WRONG: ("✗", "bold red"), Health.NOT_CHECKED: ("?", "magenta"), Health.OK: ("●", "green")}


def print_symptoms(found: Sequence[Symptom]) -> None:
    """A row for each thing that was looked at, the worst first; what mends it stands below, on one line, to paste."""
    out = console()
    order = list(_HEALTHS)
    wide = min(max((len(each.subject) for each in found), default=0), 60)
    for each in sorted(found, key=lambda each: order.index(each.health)):
        row = Text.assemble(
            _sign(*_HEALTHS[each.health]), f" {each.health:<14} ", (f"{each.subject:<{wide}}", "bold"), f"  {each.message}"
        )
        out.print(row, soft_wrap=True)
        if each.fix:
            out.print(Text(f"    {each.fix}", style="cyan"), soft_wrap=True)
    counts = {health: sum(each.health is health for each in found) for health in _HEALTHS}
    out.print(", ".join(f"{count} {health}" for health, count in counts.items() if count))


_SEVERITIES = {AlertSeverity.CRITICAL: "bold red", AlertSeverity.WARNING: "yellow", AlertSeverity.INFO: "cyan"}


def print_incidents(incidents: Sequence[Incident]) -> None:
    """Each incident that lasts: how bad, since when, on which run dates, who looks after it, and what is wrong."""
    out = console()
    if not incidents:
        out.print("no incidents")
    for incident in incidents:
        names = [member.name for member in incident.open_members if member.name] if incident.phase else []
        which = "" if not names else f"  {names[0]}" if len(names) == 1 else f"  {len(names)} dates, {names[0]} to {names[-1]}"
        head = (f"{incident.severity} ", _SEVERITIES[incident.severity]), (incident.key, "bold"), which
        out.print(Text.assemble(*head, (f"  since {incident.since:%Y-%m-%d %H:%M} UTC", "dim")))
        out.print(
            escape(f"  {clean(max(incident.open_members, key=lambda member: RANK[member.severity]).detail)}"), soft_wrap=True
        )
        if incident.speaks_for:
            out.print(escape(f"  also late: {', '.join(incident.speaks_for)}"))
        if word := incident.acknowledged:
            out.print(escape(clean(f"  acknowledged by {word.by}, {word.at:%Y-%m-%d %H:%M} UTC {word.note}")))
        else:
            out.print(escape(f"  phasegate ack {shlex.quote(incident.key)}"), style="dim", soft_wrap=True)


def print_deliveries(rows: Sequence[Delivery], lines: Sequence[DestinationHealth]) -> None:
    """What each destination was told last and what waits for it; then how each is doing."""
    out = console()
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("incident", "destination", "told", "at (UTC)", "by", "waits"):
        table.add_column(name, overflow="fold")
    for row in rows:
        last = row.log[-1] if row.log else None
        told = (
            (last.reason, f"{last.at:%Y-%m-%d %H:%M}", "" if last.by == row.destination else last.by) if last else ("–", "", "")
        )
        is_pending = f"{'parked' if row.parked else 'yes'}, {row.attempts} failed: {clean(row.error)}" if row.is_pending else ""
        table.add_row(*(escape(text) for text in (f"{row.board}/{row.cause}", row.destination, *told, is_pending)))
    out.print()
    out.print(table if rows else "no deliveries")
    out.print()
    for line in lines:
        sign = ("✗", "bold red") if line.is_down else ("●", "green")
        took = f"took something {line.accepted_at:%Y-%m-%d %H:%M} UTC" if line.accepted_at else "has taken nothing yet"
        why = f"; {clean(line.why)}" if line.why else ""
        out.print(Text.assemble(_sign(*sign), f" {line.destination} {took}{why}"), soft_wrap=True)
