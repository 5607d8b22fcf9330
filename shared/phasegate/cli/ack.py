"""`phasegate ack`: acknowledge an incident."""

import click

from phasegate.cli.options import by_option, example, location_options, wired


@click.command(epilog=example('phasegate ack flights/raw/checks_failed --note "requested the file again"'))
@click.argument("incident")
@by_option
@click.option("--note", metavar="TEXT", default="", help="A note for others; it is shown in later messages.")
@location_options("pipelines", "state")
def command(incident: str, by: str | None, note: str, **where: str | None) -> int:
    """Acknowledge an incident, so that its escalation stops.

    INCIDENT is its name as its alerts show it, like flights/raw/checks_failed. You then own the incident, and reminders come
    only once a day, until it recovers or gets worse.
    """
    wiring = wired(**where)
    acknowledged = wiring.alerts.incidents.acknowledge(incident, by=wiring.actor(by), note=note)
    assert acknowledged.acknowledged is not None, "it was just acknowledged"
    click.echo(f"{acknowledged.key} is acknowledged by {acknowledged.acknowledged.by}")
    return 0
