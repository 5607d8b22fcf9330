"""`phasegate ack`: take on an incident."""

import click

from phasegate.cli.options import located, wired


@click.command(epilog='Example: phasegate ack flights/raw/checks_failed --note "the file is asked for again"')
@click.argument("incident")
@click.option("--by", metavar="WHO", help="Who looks after it: the login name, when left out; never in the cloud.")
@click.option("--note", metavar="TEXT", default="", help="What others should know; stands in the next messages.")
@located("pipelines", "state")
def command(incident: str, by: str | None, note: str, **where: str | None) -> int:
    """Say that you look after INCIDENT, named as in its message: no escalation, and reminders once a day.

    It counts until the incident has recovered, or has become worse.
    """
    wiring = wired(**where)
    taken = wiring.alerts.incidents.acknowledge(incident, by=wiring.actor(by), note=note)
    assert taken.acknowledged is not None, "it was just acknowledged"
    click.echo(f"{taken.key} is acknowledged by {taken.acknowledged.by}")
    return 0
