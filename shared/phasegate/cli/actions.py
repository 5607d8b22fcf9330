"""Manual actions: `override`, `hold`, `accept-gap`, `pause`, and the command that undoes each."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from phasegate.cli.options import (
    UNTIL,
    by_option,
    choose_pipeline,
    dry_run_option,
    example,
    location_options,
    parse_until,
    pipeline_option,
    wired,
)
from phasegate.cli.output.text import visible
from phasegate.core.gates.actions import AcceptGap, Action, EndGap, EndWaiver, LiftHold, PutHold, Waive, undo_of
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import GateState
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ActionRefused, ConfigError
from phasegate.gates.backfill import parse_range
from phasegate.gates.monitor import ActionResult

F = TypeVar("F", bound=Callable[..., Any])

MakeAction = Callable[[Pipeline, datetime], Action]
"""Makes the action from the pipeline and the current time."""


def gate_action(function: F) -> F:
    """The arguments and options of every action on gates."""
    # Help lists options from the outermost decorator inwards, so the last one is applied first.
    for option in reversed(
        (
            click.argument("phase"),
            click.argument("dates"),
            pipeline_option,
            by_option,
            click.option("--yes", is_flag=True, help="Act on several dates without asking first."),
            dry_run_option,
            location_options("pipelines", "warehouse", "state"),
        )
    ):
        function = option(function)
    return function


required_reason = click.option("--reason", "why", metavar="TEXT", required=True, help="Why; shown in the history.")
optional_reason = click.option("--reason", "why", metavar="TEXT", default="", help="Why; shown in the history.")
required_until = click.option("--until", metavar="WHEN", required=True, help=f"When it ends: {UNTIL}")


@click.command(
    epilog=example('phasegate override raw 2013-02-05 --check raw.flights.row_count --reason "no night flights" --until 24h')
)
@gate_action
@click.option("--check", "checks", metavar="NAME", multiple=True, required=True, help="What to waive; can be repeated.")
@required_reason
@required_until
def override(checks: tuple[str, ...], why: str, until: str, **where: Any) -> int:
    """Waive named failing checks until a given time.

    NAME is a check of PHASE as `explain` shows it, or producer_failed, producers_missing, ran_before_upstream. Other failures
    still hold the gates of DATES. If there are none, the gates open immediately. A go-signal is never recalled. Undo with:
    phasegate end-override.

    Exits with 1 when a gate does not open, with 3 when its tables could not be measured.
    """
    decisions = _act(lambda pipeline, now: Waive(checks, why, parse_until(until, pipeline, now)), **where)
    closed = [decision.gate.state for decision in decisions if not decision.gate.is_open]
    return 0 if not closed else 3 if GateState.UNVERIFIED in closed else 1


@click.command(epilog=example("phasegate end-override raw 2013-02-05"))
@gate_action
@click.option("--check", "checks", metavar="NAME", multiple=True, help="What to stop waiving; by default everything.")
@optional_reason
def end_override(checks: tuple[str, ...], why: str, **where: Any) -> int:
    """End an override; what it released stays released.

    All waivers of PHASE on DATES end now, or only those of --check.
    """
    _act(lambda *_: EndWaiver(checks, why), **where)
    return 0


@click.command(epilog=example('phasegate hold clean 2013-02-07 --reason "the source is being reloaded" --until 4h'))
@gate_action
@required_reason
@click.option("--until", metavar="WHEN", help=f"When it ends; by default when you release it. {UNTIL}")
def hold(why: str, until: str | None, **where: Any) -> int:
    """Hold a phase: release nothing, whatever its tables contain.

    Reports for PHASE on DATES are still recorded and its tables still measured. A go-signal that was already sent is not
    recalled. Undo with: phasegate release.
    """
    _act(lambda pipeline, now: PutHold(why, parse_until(until, pipeline, now) if until else None), **where)
    return 0


@click.command(epilog=example("phasegate release clean 2013-02-07"))
@gate_action
@optional_reason
def release(why: str, **where: Any) -> int:
    """End a hold; the gates depend on their tables again.

    The gates of PHASE on DATES are checked immediately, and open if their tables pass.
    """
    _act(lambda *_: LiftHold(why), **where)
    return 0


@click.command(
    epilog=example('phasegate accept-gap raw 2013-02-05 --reason "lost at the source" --owner ann --until 2013-03-31')
)
@gate_action
@required_reason
@click.option("--owner", metavar="WHO", help="Who owns the gap; by default the person who accepts it.")
@required_until
def accept_gap(why: str, owner: str | None, until: str, **where: Any) -> int:
    """Accept a gap in the data until a given time.

    The phases after PHASE may start on DATES, and no alert goes out. If the data arrives after all, the gate opens as usual.
    Undo with: phasegate end-gap.
    """
    _act(lambda pipeline, now: AcceptGap(why, parse_until(until, pipeline, now), owner or ""), **where)
    return 0


@click.command(epilog=example("phasegate end-gap raw 2013-02-05"))
@gate_action
@optional_reason
def end_gap(why: str, **where: Any) -> int:
    """End an accepted gap; the gates depend on their tables again.

    The gates of PHASE on DATES are checked immediately; if the gap is still there, alerts go out again.
    """
    _act(lambda *_: EndGap(why), **where)
    return 0


def pipeline_action(function: F) -> F:
    """The arguments and options of `pause` and `resume`."""
    for option in reversed(
        (
            click.argument("phase", required=False),
            pipeline_option,
            by_option,
            dry_run_option,
            location_options("pipelines", "state"),
        )
    ):
        function = option(function)
    return function


@click.command(epilog=example('phasegate pause raw --reason "the warehouse is migrating" --until 4h'))
@pipeline_action
@required_reason
@required_until
def pause(
    phase: str | None, pipeline_name: str | None, by: str | None, dry_run: bool, why: str, until: str, **where: str | None
) -> int:
    """Pause a phase or a whole pipeline until a given time.

    Nothing of PHASE is released, on any date; without PHASE, nothing of the pipeline. Reports are still recorded and tables
    still measured, and no alert goes out when a run is late. Undo with: phasegate resume.
    """
    wiring = wired(**where)
    pipeline, now = choose_pipeline(wiring, pipeline_name), wiring.clock.now()
    ends, who = parse_until(until, pipeline, now), wiring.actor(by)
    put = wiring.pauses.pause(pipeline, phase, by=who, why=why, until=ends, dry_run=dry_run)
    line = str(put).replace(" is paused ", " would be paused ", 1) if dry_run else str(put)
    _print((line,), put.undo, dry_run)
    return 0


@click.command(epilog=example("phasegate resume raw"))
@pipeline_action
@optional_reason
def resume(phase: str | None, pipeline_name: str | None, by: str | None, dry_run: bool, why: str, **where: str | None) -> int:
    """End a pause.

    The next tick processes what has arrived for PHASE; without PHASE, for the whole pipeline.
    """
    wiring = wired(**where)
    ended = wiring.pauses.resume(choose_pipeline(wiring, pipeline_name), phase, by=wiring.actor(by), why=why, dry_run=dry_run)
    # An ended pause cannot be reopened. The way back is a new one, which needs a reason and an end of its own.
    pause_again = ended.undo.replace("phasegate resume", "phasegate pause", 1) + " --reason … --until …"
    resumed = f"{ended.subject} {'would be' if dry_run else 'is'} resumed; it was paused by {ended.by}: {ended.why}"
    _print((resumed,), pause_again, dry_run)
    return 0


def _print(lines: Iterable[str], undo: str, dry_run: bool) -> None:
    """What was done and the command that undoes it; after a dry run, that nothing was done."""
    for line in lines:
        click.echo(line)
    if dry_run:
        click.echo("nothing was changed", err=True)
    else:
        click.echo(f"undo with: {undo}")


def _act(
    make: MakeAction,
    phase: str,
    dates: str,
    pipeline_name: str | None,
    by: str | None,
    yes: bool,
    dry_run: bool,
    **where: str | None,
) -> Sequence[Decision]:
    """Do an action on the gates of some dates, and print their states and the command that undoes it; ask first for several.

    Raises:
        ActionRefused: It makes no sense on any of them.
    """
    wiring = wired(**where)
    pipeline = choose_pipeline(wiring, pipeline_name)
    pipeline.phase(phase)
    now = wiring.clock.now()
    span = parse_range(dates, pipeline, now=now)
    # A range skips dates without a run. A single date is kept, so that the refusal says why.
    days = [day for day in span.days() if span.first == span.last or pipeline.runs(phase, day)]
    action, who, monitor = make(pipeline, now), wiring.actor(by), wiring.monitor
    runs: Sequence[RunKey] = [RunKey(pipeline.name, phase, day) for day in days]
    if len(runs) > 1 and not (yes or dry_run):
        # The answer may take long, so the action is decided again on the gates as they are then.
        runs = _confirm(monitor.act_on(runs, action, who, dry_run=True), action)
    results = monitor.act_on(runs, action, who, dry_run=dry_run)
    _print(_outcome(results, action, dry_run=dry_run), undo_of(type(action), pipeline.name, phase, span), dry_run)
    return [result.decision for result in results if result.decision]


def _confirm(planned: Sequence[ActionResult], action: Action) -> Sequence[RunKey]:
    """The gates to act on, once a person has seen what would become of each and agreed.

    Raises:
        ConfigError: They did not agree, or nobody can be asked.
    """
    for line in _outcome(planned, action, dry_run=True):
        click.echo(line, err=True)
    runs = [result.run for result in planned if result.decision]
    try:
        click.confirm(f"Apply this to {len(runs)} gates ({action})?", abort=True, err=True)
    except click.Abort:
        raise ConfigError("nothing was changed; use --yes to act on several gates without a question") from None
    return runs


def _outcome(results: Sequence[ActionResult], action: Action, *, dry_run: bool) -> Sequence[str]:
    """What becomes of the gates, line by line; refusals go to standard error.

    Raises:
        ActionRefused: All were refused.
    """
    refusals = [result.refused for result in results if result.refused]
    # Only when nothing was done at all is the command a failure.
    if len(refusals) == len(results):
        raise ActionRefused("\n".join(refusals))
    for why in refusals:
        click.echo(f"refused: {why}", err=True)
    lines = []
    for decision in (result.decision for result in results if result.decision):
        gate = decision.gate
        lines.append(f"{gate.run} {'would be' if dry_run else 'is'} {gate.state}: {visible(decision.detail)}")
        if decision.signal:
            followers = ", ".join(decision.signal.start)
            lines.append(f"go-signal {decision.signal.decision_id}" + (f" starts {followers}" if followers else ""))
        if isinstance(action, PutHold) and gate.is_open:
            lines.append(f"go-signal {gate.decision_id} was already sent and is not recalled; the hold stops further releases")
    return lines
