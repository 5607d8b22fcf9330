"""`phasegate explain`: why a gate stands where it stands."""

import click

from phasegate.cli.options import chosen, located, pipeline_option, wired
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate
from phasegate.core.gates.verdict import judge_phase
from phasegate.errors import ConfigError
from phasegate.gates.backfill import parse_range
from phasegate.gates.measurement import measure
from phasegate.gates.pauses import pause_history


@click.command(epilog="Example: phasegate explain raw 2013-02-06")
@click.argument("phase")
@click.argument("date")
@pipeline_option
@click.option("--measure", "again", is_flag=True, help="Look into the tables now, instead of telling what was found last.")
@located("pipelines", "warehouse", "state")
def command(
    phase: str,
    date: str,
    pipeline_name: str | None,
    again: bool,
    pipelines: str | None,
    warehouse: str | None,
    state: str | None,
) -> int:
    """Say why the gate of PHASE on DATE stands where it stands: reports, inputs, checks to the point, history."""
    from phasegate.cli.output.gate import Explanation, print_gate

    wiring = wired(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = chosen(wiring, pipeline_name)
    pipeline.phase(phase)
    span = parse_range(date, pipeline, now=wiring.clock.now())
    if span.first != span.last:
        raise ConfigError(f'expected one date, got "{date}"')
    run = RunKey(pipeline.name, phase, span.first)
    day = wiring.store.load(pipeline.name, span).get(span.first, {})
    gate = day.get(phase, Gate(run, detail="nothing was heard of it, and it was never looked at"))
    measured = None
    if again:
        measured = judge_phase(pipeline, phase, span.first, measure(wiring.warehouse, pipeline, [phase], span))
    pauses = pause_history(wiring.store, pipeline.name, phase)
    print_gate(Explanation(pipeline, gate, day, wiring.store.history(run), pauses, measured, wiring.clock.now()))
    return 0
