"""`phasegate alerts`: open incidents, who was notified of them, and whether alerts arrive."""

import json
from typing import Any

import click

from phasegate.cli.options import example, format_option, location_options, wired, wired_to_read
from phasegate.core.alerts.delivery import Delivery, DestinationHealth
from phasegate.core.alerts.wording import for_machines


@click.group(invoke_without_command=True, epilog=example("phasegate alerts --deliveries"))
@click.option("--deliveries", is_flag=True, help="Also show what each destination was sent, and whether it works.")
@format_option
@location_options("pipelines", "state")
@click.pass_context
def command(context: click.Context, /, deliveries: bool, form: str, **where: str | None) -> int:
    """Show open incidents, and whether alerts arrive.

    Incidents come newest first, each with the command that acknowledges it.
    """
    # click calls a group's function before its subcommand, too.
    if context.invoked_subcommand is not None:
        return 0
    from phasegate.cli.output.alerts import print_deliveries, print_incidents

    alerts = wired_to_read(**where).alerts
    incidents = alerts.incidents.still_open()
    rows, destinations = (alerts.ledger.deliveries(), alerts.destinations.health()) if deliveries else ((), ())
    if form == "json":
        body: dict[str, Any] = {"incidents": [for_machines(incident) for incident in incidents]}
        if deliveries:
            body |= {
                "deliveries": [_row(row) for row in rows],
                "destinations": [_destination(health) for health in destinations],
            }
        click.echo(json.dumps(body, ensure_ascii=False))
        return 0
    print_incidents(incidents)
    if deliveries:
        print_deliveries(rows, destinations)
    return 0


def _row(row: Delivery) -> dict[str, Any]:
    # Scripts read these keys, so they outlive the names in the code.
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


def _destination(health: DestinationHealth) -> dict[str, Any]:
    return {
        "destination": health.destination,
        "down_since": health.down_since.isoformat() if health.down_since else None,
        "why": health.why or None,
        "failures": health.failures,
        "accepted_at": health.accepted_at.isoformat() if health.accepted_at else None,
    }


@command.command(epilog=example("phasegate alerts test"))
@location_options("pipelines", "state", "bus")
def test(**where: str | None) -> int:
    """Send a test message to every destination.

    Shows which destinations accepted it. Exits with 1 when one did not, or when there is none.
    """
    results = wired(**where).alerts.destinations.test()
    for result in results:
        name = f"{result.destination} ({result.status})" if result.status else result.destination
        click.echo(f"✗ {name}: {result.problem}" if result.problem else f"● {name}: accepted")
    if not results:
        click.echo("no destinations are declared, so no alert goes out", err=True)
    return 1 if not results or any(result.problem for result in results) else 0
