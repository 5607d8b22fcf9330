"""`phasegate preflight`: check whether a phase may start."""

import json

import click

from phasegate.cli.options import example, location_options, pipeline_option, text_format_option, wired
from phasegate.cli.output.text import visible
from phasegate.core.gates.preflight import Clearance, PointOutcome
from phasegate.gates.preflight import clearance_body, read_request

_SIGNS = {PointOutcome.YES: "●", PointOutcome.WARNING: "◐", PointOutcome.NO: "✗", PointOutcome.UNVERIFIED: "?"}


_CODES = {"go": 0, "no-go": 1, "unknown": 3, "off": 5}
"""The exit code of each answer."""


@click.command(epilog=example("phasegate preflight features 2013-02-09"))
@click.argument("phase")
@click.argument("date")
@pipeline_option
@click.option("--producer", metavar="NAME", help="Which of the phase's jobs wants to start; by default all.")
@click.option(
    "--claim", metavar="OWNER", help="If the answer is go, claim the run: other owners get a no-go until it has reported."
)
@click.option("--lease", metavar="TIME", help="How long the claim lasts if no report ends it, like 90m; by default 2h.")
@click.option("--unclaim", metavar="OWNER", help="Check nothing; only end the claim of OWNER, whose run has died.")
@text_format_option
@location_options("pipelines", "warehouse", "state")
def command(
    phase: str,
    date: str,
    pipeline_name: str | None,
    producer: str | None,
    claim: str | None,
    lease: str | None,
    unclaim: str | None,
    form: str,
    **where: str | None,
) -> int:
    """Check whether a phase may start, and print what blocks it.

    Each reason why PHASE must not start for DATE is printed with its fix. Exits with 0 for go, with 1 for no-go, with 3 when it
    is a no-go only because something could not be checked, and with 5 when there is nothing to do: no run is expected on DATE.
    """
    if claim and unclaim:
        raise click.UsageError("expected either --claim or --unclaim, got both")
    wiring = wired(**where)
    fields = {
        "phase": phase,
        "date": date,
        "pipeline": pipeline_name,
        "producer": producer,
        "claim": unclaim or claim,
        "lease": lease,
    }
    request = read_request(fields, wiring.pipelines, wiring.clock.now())
    if unclaim:
        ended = wiring.preflight_checks.release_claim(request)
        click.echo(f"{request.run}: {f'the claim of {unclaim} has ended' if ended else f'{unclaim} has no claim'}")
        return 0
    clearance = wiring.preflight_checks.ask(request)
    if form == "json":
        click.echo(json.dumps(clearance_body(clearance), indent=2))
    else:
        _print(clearance)
    return _CODES[clearance.status]


def _print(clearance: Clearance) -> None:
    """What blocks the phase first, each with its fix."""
    order = (PointOutcome.NO, PointOutcome.UNVERIFIED, PointOutcome.WARNING, PointOutcome.YES)
    click.echo(f"{'no-go' if clearance.status == 'unknown' else clearance.status}: {clearance.run}")
    for point in sorted(clearance.points, key=lambda point: order.index(point.outcome)):
        sign = _SIGNS[point.outcome]
        click.echo(f"  {sign} {point.topic:<9}  {visible(point.detail)}")
        if point.cure:
            click.echo(f"               {point.cure}")
        for line in point.next:
            click.echo(f"               {line}")
    if clearance.claim:
        click.echo(f"  claimed by {clearance.claim.owner} until {clearance.claim.until:%Y-%m-%d %H:%M} UTC")
