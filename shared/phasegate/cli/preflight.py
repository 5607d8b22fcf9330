"""`phasegate preflight`: whether a phase may start."""

import json

import click

from phasegate.cli.options import located, pipeline_option, wired
from phasegate.core.gates.preflight import Clearance, PointOutcome
from phasegate.gates.preflight import clearance_body, read_request

_SIGNS = {PointOutcome.YES: "●", PointOutcome.WARNING: "◐", PointOutcome.NO: "✗", PointOutcome.UNVERIFIED: "?"}


@click.command(epilog="Example: phasegate preflight features 2013-02-09")
@click.argument("phase")
@click.argument("date")
@pipeline_option
@click.option("--producer", metavar="NAME", help="Which of the phase's jobs wants to start; all, when left out.")
@click.option("--claim", metavar="OWNER", help="On a go, claim the run: another owner then gets a no until it has reported.")
@click.option("--lease", metavar="TIME", help="How long a claim holds when no report ends it, like 90m; 2h, when left out.")
@click.option("--unclaim", metavar="OWNER", help="Ask nothing; end what OWNER has claimed, because that run is dead.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@located("pipelines", "warehouse", "state")
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
    """Say whether PHASE may start for DATE, and what would have to be so that it may.

    Exits with 0 for go, 1 for no-go, 3 when it is a no only because something could not be found out.
    """
    if claim and unclaim:
        raise click.UsageError("either --claim or --unclaim")
    wiring = wired(**where)
    asked = {
        "phase": phase,
        "date": date,
        "pipeline": pipeline_name,
        "producer": producer,
        "claim": unclaim or claim,
        "lease": lease,
    }
    wish = read_request(asked, wiring.pipelines, wiring.clock.now())
    if unclaim:
        ended = wiring.preflight_checks.release_claim(wish)
        click.echo(f"{wish.run}: {f'what {unclaim} claimed is over' if ended else f'{unclaim} has claimed nothing'}")
        return 0
    clearance = wiring.preflight_checks.ask(wish)
    if form == "json":
        click.echo(json.dumps(clearance_body(clearance), indent=2))
    else:
        _print(clearance)
    return 0 if clearance.go else 3 if clearance.unknown else 1


def _print(clearance: Clearance) -> None:
    """What stands in the way first, each with what would help."""
    order = (PointOutcome.NO, PointOutcome.UNVERIFIED, PointOutcome.WARNING, PointOutcome.YES)
    click.echo(f"{'go' if clearance.go else 'no-go'}: {clearance.run}")
    for point in sorted(clearance.points, key=lambda point: order.index(point.outcome)):
        click.echo(f"  {_SIGNS[point.outcome]} {point.topic:<9}  {point.detail}")
        if point.cure:
            click.echo(f"               {point.cure}")
        for line in point.next:
            click.echo(f"               {line}")
    if clearance.claim:
        click.echo(f"  claimed by {clearance.claim.owner} until {clearance.claim.until:%Y-%m-%d %H:%M} UTC")
