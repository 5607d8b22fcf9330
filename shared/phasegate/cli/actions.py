"""What people do by hand: `override`, `hold`, `accept-gap`, `pause`, and the command that undoes each."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from phasegate.cli.options import by_option, chosen, end, located, pipeline_option, wired
from phasegate.core.gates.actions import AcceptGap, Action, EndGap, EndWaiver, LiftHold, PutHold, Waive, undo_of
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import GateState
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ActionRefused, ConfigError
from phasegate.gates.backfill import parse_range
from phasegate.gates.monitor import ActionResult

F = TypeVar("F", bound=Callable[..., Any])

Made = Callable[[Pipeline, datetime], Action]
"""Makes the act, for a pipeline and from now on."""


dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be, and change nothing.")


def by_hand(function: F) -> F:
    """The arguments and options of every act on a gate."""
    for option in reversed(
        (
            click.argument("phase"),
            click.argument("dates"),
            pipeline_option,
            by_option,
            click.option("--yes", is_flag=True, help="Do it on several dates without a question."),
            dry_run_option,
            located("pipelines", "warehouse", "state"),
        )
    ):
        function = option(function)
    return function


reason = click.option("--reason", "why", metavar="TEXT", required=True, help="Why; stands in the history.")
why_not = click.option("--reason", "why", metavar="TEXT", default="", help="Why; stands in the history.")
until = click.option(
    "--until", metavar="WHEN", required=True, help="24h, the last day like 2013-02-09, or a time like 2013-02-09T12:00."
)


@click.command(
    epilog='Example: phasegate override raw 2013-02-05 --check raw.flights.row_count --reason "no night flights" --until 24h'
)
@by_hand
@click.option("--check", "checks", metavar="NAME", multiple=True, required=True, help="What to waive; may be given again.")
@reason
@until
def override(checks: tuple[str, ...], why: str, until: str, **where: Any) -> int:
    """Let named failing checks of PHASE on DATES pass until a time; another failure is not covered.

    NAME is a check as `explain` names it, or producer_failed, producers_missing, ran_before_upstream. When everything else
    is well, the gate opens at once; a go-signal is never taken back. Undone by end-override. Exits with 1 when the gate does
    not open, with 3 when it could not be measured.
    """
    decisions = _do(lambda pipeline, now: Waive(checks, why, end(until, pipeline, now)), **where)
    shut = [decision.gate.state for decision in decisions if not decision.gate.is_open]
    return 0 if not shut else 3 if GateState.UNVERIFIED in shut else 1


@click.command(epilog="Example: phasegate end-override raw 2013-02-05")
@by_hand
@click.option("--check", "checks", metavar="NAME", multiple=True, help="What not to waive any more; everything, when left out.")
@why_not
def end_override(checks: tuple[str, ...], why: str, **where: Any) -> int:
    """End the override of PHASE on DATES now; what it has let through stays released."""
    _do(lambda *_: EndWaiver(checks, why), **where)
    return 0


@click.command(epilog='Example: phasegate hold clean 2013-02-07 --reason "the source is being reloaded" --until 4h')
@by_hand
@reason
@click.option("--until", metavar="WHEN", help="As of override; until `release`, when left out.")
def hold(why: str, until: str | None, **where: Any) -> int:
    """Let PHASE on DATES release nothing, whatever its tables hold. Undone by release.

    Reports and what the tables hold are recorded meanwhile. A go-signal that was sent is not taken back.
    """
    _do(lambda pipeline, now: PutHold(why, end(until, pipeline, now) if until else None), **where)
    return 0


@click.command(epilog="Example: phasegate release clean 2013-02-07")
@by_hand
@why_not
def release(why: str, **where: Any) -> int:
    """End the hold on PHASE on DATES; the tables decide again. This opens nothing that they do not open."""
    _do(lambda *_: LiftHold(why), **where)
    return 0


@click.command(
    epilog='Example: phasegate accept-gap raw 2013-02-05 --reason "lost at the source" --owner ann --until 2013-03-31'
)
@by_hand
@reason
@click.option("--owner", metavar="WHO", help="Who looks after it; who accepts it, when left out.")
@until
def accept_gap(why: str, owner: str | None, until: str, **where: Any) -> int:
    """Live with the gap in PHASE on DATES until a time: its followers may start, and nobody is told of it. Undone by end-gap.

    When the data comes after all, the gate opens as ever.
    """
    _do(lambda pipeline, now: AcceptGap(why, end(until, pipeline, now), owner or ""), **where)
    return 0


@click.command(epilog="Example: phasegate end-gap raw 2013-02-05")
@by_hand
@why_not
def end_gap(why: str, **where: Any) -> int:
    """No longer live with the gap in PHASE on DATES; the tables decide again."""
    _do(lambda *_: EndGap(why), **where)
    return 0


def of_a_pipeline(function: F) -> F:
    """The arguments and options of `pause` and `resume`."""
    for option in reversed(
        (click.argument("phase", required=False), pipeline_option, by_option, dry_run_option, located("pipelines", "state"))
    ):
        function = option(function)
    return function


@click.command(epilog='Example: phasegate pause raw --reason "the warehouse moves" --until 4h')
@of_a_pipeline
@reason
@until
def pause(
    phase: str | None, pipeline_name: str | None, by: str | None, dry_run: bool, why: str, until: str, **where: str | None
) -> int:
    """Let PHASE, or the whole pipeline without one, release nothing until a time, whatever the run date. Undone by resume.

    Reports and what the tables hold are recorded meanwhile, and nobody is told of lateness. When it ends, the next tick goes
    on.
    """
    wiring = wired(**where)
    pipeline, now = chosen(wiring, pipeline_name), wiring.clock.now()
    ends, who = end(until, pipeline, now), wiring.actor(by)
    put = wiring.pauses.pause(pipeline, phase, by=who, why=why, until=ends, dry_run=dry_run)
    _tell((str(put),), put.undo, dry_run)
    return 0


@click.command(epilog="Example: phasegate resume raw")
@of_a_pipeline
@why_not
def resume(phase: str | None, pipeline_name: str | None, by: str | None, dry_run: bool, why: str, **where: str | None) -> int:
    """End the pause of PHASE, or of the whole pipeline without one; the next tick goes on with what has come meanwhile."""
    wiring = wired(**where)
    ended = wiring.pauses.resume(chosen(wiring, pipeline_name), phase, by=wiring.actor(by), why=why, dry_run=dry_run)
    again = ended.undo.replace("phasegate resume", "phasegate pause", 1) + " --reason … --until …"
    _tell((f"{ended.subject} goes on; it was paused by {ended.by}: {ended.why}",), again, dry_run)
    return 0


def _tell(what: Iterable[str], undo: str, dry_run: bool) -> None:
    """Say what was done and how it is undone; of a dry run, that nothing was."""
    for line in what:
        click.echo(line)
    if dry_run:
        click.echo("nothing was changed", err=True)
    else:
        click.echo(f"undone by: {undo}")


def _do(
    make: Made,
    phase: str,
    dates: str,
    pipeline_name: str | None,
    by: str | None,
    yes: bool,
    dry_run: bool,
    **where: str | None,
) -> Sequence[Decision]:
    """Do an act on the gates of some dates, and say what became of them and how it is undone; ask first when it is several.

    Raises:
        Refused: It makes no sense on any of them.
    """
    wiring = wired(**where)
    pipeline = chosen(wiring, pipeline_name)
    pipeline.phase(phase)
    now = wiring.clock.now()
    span = parse_range(dates, pipeline, now=now)
    days = [day for day in span.days() if span.first == span.last or pipeline.runs(phase, day)]
    act, who, monitor = make(pipeline, now), wiring.actor(by), wiring.monitor
    runs: Sequence[RunKey] = [RunKey(pipeline.name, phase, day) for day in days]
    if len(runs) > 1 and not (yes or dry_run):
        runs = _asked(monitor.act_on(runs, act, who, dry_run=True), act)
    acted = monitor.act_on(runs, act, who, dry_run=dry_run)
    said = _said(acted, act, dry_run=dry_run)
    _tell(said, undo_of(type(act), pipeline.name, phase, span), dry_run)
    return [each.decision for each in acted if each.decision]


def _asked(planned: Sequence[ActionResult], act: Action) -> Sequence[RunKey]:
    """The gates on which a person who sees what would become of them wants an act to be done."""
    for line in _said(planned, act, dry_run=True):
        click.echo(line, err=True)
    runs = [each.run for each in planned if each.decision]
    try:
        click.confirm(f"Do this on {len(runs)} gates ({act})?", abort=True, err=True)
    except click.Abort:
        raise ConfigError("nothing was done; with --yes it is done on several gates without a question") from None
    return runs


def _said(acted: Sequence[ActionResult], act: Action, *, dry_run: bool) -> Sequence[str]:
    """What becomes of gates, line by line; what was refused goes to standard error.

    Raises:
        Refused: All of it was.
    """
    refused = [each.refused for each in acted if each.refused]
    if len(refused) == len(acted):
        raise ActionRefused("\n".join(refused))
    for why in refused:
        click.echo(f"refused: {why}", err=True)
    said = []
    for decision in (each.decision for each in acted if each.decision):
        gate = decision.gate
        said.append(f"{gate.run} {'would be' if dry_run else 'is'} {gate.state}: {decision.detail}")
        if decision.signal:
            start = ", ".join(decision.signal.start)
            said.append(f"go-signal {decision.signal.decision_id}" + (f" starts {start}" if start else ""))
        if isinstance(act, PutHold) and gate.is_open:
            said.append(f"{gate.decision_id} was sent and is not taken back; nothing more is released while it is held")
    return said
