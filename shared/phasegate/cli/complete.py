"""`phasegate complete`: report a completion manually."""

import json
import uuid

import click

from phasegate.cli.options import choose_pipeline, example, location_options, parse_time, pipeline_option, wired
from phasegate.cli.output.text import visible
from phasegate.core.field_syntax import parse_day
from phasegate.core.gates.completion import Envelope, Report, Status, encode_completion
from phasegate.core.gates.gate import GateState, Reason
from phasegate.errors import ConfigError
from phasegate.messaging.inbox import Handled


@click.command(epilog=example("phasegate complete raw 2013-02-06 --producer flights_loader --rows 901"))
@click.argument("phase")
@click.argument("date")
@pipeline_option
@click.option("--producer", metavar="NAME", help="Which producer reports; optional when the phase has only one.")
@click.option(
    "--status",
    type=click.Choice([str(status) for status in Status]),
    default="done",
    show_default=True,
    help="How the run ended.",
)
@click.option("--rows", type=click.IntRange(0), help="How many rows the producer wrote, by its own count.")
@click.option("--run-id", metavar="ID", help="The producer's id of the run.")
@click.option("--started", metavar="TIME", help="When the run started, like 2013-02-07T05:20:00Z; by default now.")
@click.option("--finished", metavar="TIME", help="When the run ended; by default now.")
@click.option("--error", metavar="TEXT", help="What went wrong; for --status failed.")
@location_options("pipelines", "warehouse", "state")
def command(
    phase: str,
    date: str,
    pipeline_name: str | None,
    producer: str | None,
    status: str,
    rows: int | None,
    run_id: str | None,
    started: str | None,
    finished: str | None,
    error: str | None,
    pipelines: str | None,
    warehouse: str | None,
    state: str | None,
) -> int:
    """Report a phase as done, or failed, and check its tables.

    It has the same effect as a report for DATE from a producer of PHASE. Exits with 1 when the gate does not open, with 3 when
    its tables could not be measured.
    """
    wiring = wired(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = choose_pipeline(wiring, pipeline_name)
    declared = pipeline.producers(phase)
    if producer is None and len(declared) > 1:
        raise ConfigError(f"phase {phase} has several producers; choose one with --producer ({', '.join(declared)})")
    now = wiring.clock.now()
    try:
        day = parse_day(date)
    except ValueError as error_in_date:
        raise ConfigError(f'expected {error_in_date}, got "{date}"') from None
    local = now.astimezone(pipeline.zone)
    start, end = parse_time(started, "--started", local), parse_time(finished, "--finished", local)
    name = producer or next(iter(declared))
    report = Report(name, Status(status), now, run_id, None, start, end, rows, None, error)
    # As a message, through the parser of producers' reports: what it refuses from them is refused here, too. The id is new each
    # time, because a person who reports twice means it; a gate recognises a report that brings nothing new by its times.
    body = json.dumps(encode_completion(pipeline, phase, day, report)).encode()
    outcome = wiring.monitor.handle(Envelope(f"by-hand-{uuid.uuid4()}", body, {}))
    wiring.monitor.relay()
    if outcome.handled is Handled.REJECTED:
        raise ConfigError(outcome.problem)
    if outcome.decision is None:
        click.echo(f"{pipeline.name}/{phase}/{day}: nothing new; a newer run of {name} has already been reported")
        return 0
    gate = outcome.decision.gate
    click.echo(f"{gate.run} is {gate.flaw or gate.state}: {visible(outcome.decision.detail)}")
    if signal := outcome.decision.signal:
        followers = ", ".join(signal.start)
        click.echo(f"go-signal {signal.decision_id}" + (f" starts {followers}" if followers else ""))
    if gate.state is GateState.UNVERIFIED:
        return 3
    if outcome.decision.reason is Reason.UNEXPECTED:
        return 1
    return 0 if gate.flaw is None and gate.state in (GateState.OPEN, GateState.OFF, GateState.ACCEPTED) else 1
