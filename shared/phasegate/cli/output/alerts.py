"""Open incidents, and what each destination got of them."""

import shlex
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from phasegate.cli.output.terminal import console, sign
from phasegate.core.alerts.delivery import Delivery, DestinationHealth
from phasegate.core.alerts.incident import RANK, Incident
from phasegate.core.alerts.notice import clean
from phasegate.core.alerts.wording import newest_first
from phasegate.core.pipeline.model import AlertSeverity

_SEVERITIES = {AlertSeverity.CRITICAL: "bold red", AlertSeverity.WARNING: "yellow", AlertSeverity.INFO: "cyan"}


def print_incidents(incidents: Sequence[Incident]) -> None:
    """Each open incident: how bad, since when, on which run dates, who owns it, and what is wrong."""
    out = console()
    if not incidents:
        out.print("no incidents")
    for incident in incidents:
        _print_incident(out, incident)


def _print_incident(out: Console, incident: Incident) -> None:
    severity = (f"{incident.severity} ", _SEVERITIES[incident.severity])
    since = (f"  since {incident.since:%Y-%m-%d %H:%M} UTC", "dim")
    out.print(Text.assemble(severity, (incident.key, "bold"), _dates(incident), since))
    worst = max(newest_first(incident, incident.open_members), key=lambda member: RANK[member.severity])
    # Details quote messages and tables: without `clean`, a terminal would obey control characters in them.
    out.print(escape(f"  {clean(worst.detail)}"), soft_wrap=True)
    if incident.speaks_for:
        out.print(escape(f"  also late: {', '.join(incident.speaks_for)}"))
    if ack := incident.acknowledged:
        note = f": {ack.note}" if ack.note else ""
        out.print(escape(f"  {clean(f'acknowledged by {ack.by} at {ack.at:%Y-%m-%d %H:%M} UTC{note}')}"), soft_wrap=True)
    else:
        out.print(escape(f"  phasegate ack {shlex.quote(incident.key)}"), style="dim", soft_wrap=True)


def _dates(incident: Incident) -> str:
    """The run dates of an incident; empty for one that is of no phase."""
    names = [member.name for member in incident.open_members if member.name] if incident.phase else []
    if not names:
        return ""
    return f"  {names[0]}" if len(names) == 1 else f"  {len(names)} dates, {names[0]} to {names[-1]}"


def print_deliveries(deliveries: Sequence[Delivery], destinations: Sequence[DestinationHealth]) -> None:
    """What each destination was sent last and what is pending; then whether each destination works."""
    out = console()
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("incident", "destination", "notified", "at (UTC)", "by", "pending"):
        table.add_column(name, overflow="fold")
    for row in deliveries:
        table.add_row(
            *(escape(text) for text in (f"{row.board}/{row.cause}", row.destination, *_last_sent(row), _pending(row)))
        )
    out.print()
    out.print(table if deliveries else "no deliveries")
    out.print()
    for destination in destinations:
        state = ("✗", "bold red") if destination.is_down else ("●", "green")
        accepted = destination.accepted_at
        last = f"last accepted a message at {accepted:%Y-%m-%d %H:%M} UTC" if accepted else "has accepted nothing yet"
        why = f"; {clean(destination.why)}" if destination.why else ""
        out.print(Text.assemble(sign(state), f" {destination.destination} {last}{why}"), soft_wrap=True)


def _last_sent(row: Delivery) -> tuple[str, str, str]:
    """Why and when a destination got its last message, and which fallback took it instead."""
    if not row.log:
        return "–", "", ""
    last = row.log[-1]
    return last.reason, f"{last.at:%Y-%m-%d %H:%M}", "" if last.by == row.destination else last.by


def _pending(row: Delivery) -> str:
    """What keeps the next message from a destination; empty when none is due."""
    if not row.is_pending:
        return ""
    failed = f", {row.attempts} failed: {clean(row.error)}" if row.attempts else ""
    return f"{'parked' if row.parked else 'retrying' if row.attempts else 'sending'}{failed}"
