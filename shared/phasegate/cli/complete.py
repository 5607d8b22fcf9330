"""`phasegate complete`: report a completion by hand."""

import json
import uuid

import click

from phasegate.cli.options import chosen, located, moment, pipeline_option, wired
from phasegate.core.field_syntax import parse_day
from phasegate.core.gates.completion import Envelope, Report, Status, encode_completion
from phasegate.core.gates.gate import GateState
from phasegate.errors import ConfigError
from phasegate.messaging.inbox import Handled


@click.command(epilog="Example: phasegate complete raw 2013-02-06 --producer flights_loader --rows 901")
@click.argument("phase")
@click.argument("date")
@pipeline_option
@click.option("--producer", metavar="NAME", help="Who reports; not needed when the phase has one producer.")
@click.option("--status", "word", type=click.Choice([str(status) for status in Status]), default="done", show_default=True)
@click.option("--rows", type=click.IntRange(0), help="How many rows the producer says it wrote.")
@click.option("--run-id", metavar="ID", help="The producer's id of the run.")
@click.option("--started", metavar="TIME", help="When the run began, like 2013-02-07T05:20:00Z; now, when left out.")
@click.option("--finished", metavar="TIME", help="When it ended; now, when left out.")
@click.option("--error", metavar="TEXT", help="What went wrong, with --status failed.")
@located("pipelines", "warehouse", "state")
def command(
    phase: str,
    date: str,
    pipeline_name: str | None,
    producer: str | None,
    word: str,
    rows: int | None,
    run_id: str | None,
    started: str | None,
    finished: str | None,
    error: str | None,
    pipelines: str | None,
    warehouse: str | None,
    state: str | None,
) -> int:
    """Report that PHASE is done (or failed) for DATE; the tables are judged at once.

    Exits with 1 when the gate does not open, with 3 when it could not be measured.
    """
    wiring = wired(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = chosen(wiring, pipeline_name)
    declared = pipeline.producers(phase)
    if producer is None and len(declared) > 1:
        raise ConfigError(f"phase {phase} has several producers; say which with --producer ({', '.join(declared)})")
    now = wiring.clock.now()
    try:
        day = parse_day(date)
    except ValueError as wrong:
        raise ConfigError(f'expected {wrong}, got "{date}"') from None
    begun, ended = moment(started, "--started", now), moment(finished, "--finished", now)
    name = producer or next(iter(declared))
    report = Report(name, Status(word), now, run_id, None, begun, ended, rows, None, error)
    body = json.dumps(encode_completion(pipeline, phase, day, report)).encode()
    outcome = wiring.monitor.handle(Envelope(f"by-hand-{uuid.uuid4()}", body, {}))
    wiring.monitor.relay()
    if outcome.handled is Handled.REJECTED:
        raise ConfigError(outcome.problem)
    if outcome.decision is None:
        click.echo(f"{pipeline.name}/{phase}/{day}: nothing new; a newer run of {name} was reported before")
        return 0
    gate = outcome.decision.gate
    click.echo(f"{gate.run} is {gate.state}: {outcome.decision.detail}")
    if outcome.decision.signal:
        start = ", ".join(outcome.decision.signal.start)
        click.echo(f"go-signal {outcome.decision.signal.decision_id}" + (f" starts {start}" if start else ""))
    if gate.state is GateState.UNVERIFIED:
        return 3
    return 0 if gate.state in (GateState.OPEN, GateState.OFF, GateState.ACCEPTED) else 1
