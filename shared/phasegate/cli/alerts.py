"""`phasegate alerts`: the incidents that last, what was told of them and to whom, and whether alerts arrive."""

import json
from typing import Any

import click

from phasegate.cli.options import located, wired
from phasegate.core.alerts.delivery import Delivery, DestinationHealth
from phasegate.core.alerts.wording import for_machines


@click.group(invoke_without_command=True, epilog="Example: phasegate alerts --deliveries")
@click.option("--deliveries", is_flag=True, help="Show what each destination was told, too, and how it is doing.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@located("pipelines", "state")
@click.pass_context
def command(context: click.Context, /, deliveries: bool, form: str, **where: str | None) -> int:
    """Show the incidents that last, the newest first, each with what helps."""
    if context.invoked_subcommand is not None:
        return 0
    from phasegate.cli.output.alerts import print_deliveries, print_incidents

    alerts = wired(**where).alerts
    incidents = alerts.incidents.still_open()
    rows, lines = (alerts.ledger.deliveries(), alerts.destinations.health()) if deliveries else ((), ())
    if form == "json":
        body: dict[str, Any] = {"incidents": [for_machines(incident) for incident in incidents]}
        if deliveries:
            body |= {"deliveries": [_row(row) for row in rows], "destinations": [_line(line) for line in lines]}
        click.echo(json.dumps(body, ensure_ascii=False))
        return 0
    print_incidents(incidents)
    if deliveries:
        print_deliveries(rows, lines)
    return 0


def _row(row: Delivery) -> dict[str, Any]:
    return {
        "incident": f"{row.board}/{row.cause}",
        "destination": row.destination,
        "waits": row.is_pending,
        "attempts": row.attempts,
        "error": row.error or None,
        "status": row.status,
        "parked": row.parked,
        "told": [
            {
                "reason": sent.reason,
                "at": sent.at.isoformat(),
                "by": sent.by,
                "attempts": sent.attempts,
                "status": sent.status,
                "message_id": sent.message_id or None,
            }
            for sent in row.log
        ],
    }


def _line(line: DestinationHealth) -> dict[str, Any]:
    return {
        "destination": line.destination,
        "down_since": line.down_since.isoformat() if line.down_since else None,
        "why": line.why or None,
        "failures": line.failures,
        "accepted_at": line.accepted_at.isoformat() if line.accepted_at else None,
    }


@command.command(epilog="Example: phasegate alerts test")
@located("pipelines", "state", "bus")
def test(**where: str | None) -> int:
    """Send a test to every destination, and show whether it was taken; exits with 1 when one was not."""
    found = wired(**where).alerts.destinations.test()
    for each in found:
        status = f" ({each.status})" if each.status else ""
        click.echo(f"✗ {each.destination}{status}: {each.problem}" if each.problem else f"● {each.destination}{status}: taken")
    if not found:
        click.echo("no destinations are declared: nobody is told of anything", err=True)
    return 1 if not found or any(each.problem for each in found) else 0
