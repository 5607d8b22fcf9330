"""`phasegate doctor`: look whether everything is as it must be."""

import json
import time
from collections.abc import Sequence
from datetime import timedelta

import click

from phasegate.cli.options import located, wired
from phasegate.core.field_syntax import parse_duration
from phasegate.core.installation.finding import Finding, Health
from phasegate.errors import ConfigError

_PAUSE = 15.0


@click.command(epilog="Example: phasegate doctor --format json")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True, help="How to print."
)
@click.option("--wait", metavar="TIME", help="Look again for so long (10m) while anything is wrong or can't be looked at.")
@located("pipelines", "warehouse", "state", "bus")
def command(
    form: str, wait: str | None, pipelines: str | None, warehouse: str | None, state: str | None, bus: str | None
) -> int:
    """Compare an installation with what its pipeline files and the platform's traps demand.

    Each row is ok, wrong, or could not be looked at, with the command that mends it. Nothing is changed. Exit code 1: something
    is wrong; 3: nothing is, as far as could be looked.
    """
    wiring = wired(pipelines=pipelines, warehouse=warehouse, state=state, bus=bus)
    until = time.monotonic() + _patience(wait).total_seconds()
    found = wiring.doctor.examine()
    while _exit_code(found) and time.monotonic() < until:
        time.sleep(min(_PAUSE, max(until - time.monotonic(), 0)))
        found = wiring.doctor.examine()
    if form == "json":
        click.echo(json.dumps(_as_object(found), ensure_ascii=False))
    else:
        from phasegate.cli.output.installation import print_findings

        print_findings(found)
    return _exit_code(found)


def _patience(wait: str | None) -> timedelta:
    if wait is None:
        return timedelta()
    try:
        return parse_duration(wait)
    except ValueError as exc:
        raise ConfigError(f'--wait: expected {exc}, got "{wait}"') from None


def _exit_code(found: Sequence[Finding]) -> int:
    healths = {finding.health for finding in found}
    return 1 if Health.WRONG in healths else 3 if Health.NOT_CHECKED in healths else 0


def _as_object(found: Sequence[Finding]) -> object:
    return {
        "summary": {health: sum(each.health is health for each in found) for health in Health},
        "findings": [
            {"subject": each.subject, "health": each.health, "said": each.message, "mend": each.fix} for each in found
        ],
    }
