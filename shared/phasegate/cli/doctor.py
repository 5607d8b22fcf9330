"""`phasegate doctor`: check the installation and print fixes."""

import json
import time
from collections.abc import Sequence
from datetime import timedelta

import click

from phasegate.cli.options import example, format_option, location_options, wired_to_read
from phasegate.core.field_syntax import parse_duration
from phasegate.core.installation.finding import Finding, Health
from phasegate.errors import ConfigError

_RECHECK_SECONDS = 15.0


@click.command(epilog=example("phasegate doctor --format json"))
@format_option
@click.option("--wait", metavar="TIME", help="Check again for up to this long, like 10m, until everything is ok.")
@location_options("pipelines", "warehouse", "state", "bus")
def command(
    form: str, wait: str | None, pipelines: str | None, warehouse: str | None, state: str | None, bus: str | None
) -> int:
    """Check the installation and print fixes.

    Compares what is deployed with what the pipeline files need, and checks for known pitfalls of the platform. Each row is ok,
    wrong, or could not be checked, and comes with the fix. Nothing is changed.

    Exits with 1 when something is wrong, with 3 when nothing is wrong but something could not be checked.
    """
    wiring = wired_to_read(pipelines=pipelines, warehouse=warehouse, state=state, bus=bus)
    until = time.monotonic() + _parse_wait(wait).total_seconds()
    findings = wiring.doctor.examine()
    # Right after a deployment, grants and subscriptions can take minutes to take effect.
    while _exit_code(findings) and time.monotonic() < until:
        time.sleep(min(_RECHECK_SECONDS, max(until - time.monotonic(), 0)))
        findings = wiring.doctor.examine()
    if form == "json":
        click.echo(json.dumps(_as_object(findings), ensure_ascii=False))
    else:
        from phasegate.cli.output.installation import print_findings

        print_findings(findings)
    return _exit_code(findings)


def _parse_wait(wait: str | None) -> timedelta:
    if wait is None:
        return timedelta()
    try:
        return parse_duration(wait)
    except ValueError as exc:
        raise ConfigError(f'--wait: expected {exc}, got "{wait}"') from None


def _exit_code(findings: Sequence[Finding]) -> int:
    healths = {finding.health for finding in findings}
    return 1 if Health.WRONG in healths else 3 if Health.NOT_CHECKED in healths else 0


def _as_object(findings: Sequence[Finding]) -> object:
    # Scripts read these keys, so they outlive the names in the code.
    return {
        "summary": {health: sum(finding.health is health for finding in findings) for health in Health},
        "findings": [
            {"subject": finding.subject, "health": finding.health, "said": finding.message, "mend": finding.fix}
            for finding in findings
        ],
    }
