"""`phasegate explain`: why a gate is in its state."""

import click

from phasegate.cli.options import choose_pipeline, example, location_options, pipeline_option, wired_to_read
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate
from phasegate.core.gates.verdict import judge_phase
from phasegate.errors import ConfigError
from phasegate.gates.backfill import parse_range
from phasegate.gates.measurement import measure
from phasegate.gates.pauses import pause_history


@click.command(epilog=example("phasegate explain raw 2013-02-06"))
@click.argument("phase")
@click.argument("date")
@pipeline_option
@click.option("--measure", "measure_now", is_flag=True, help="Measure the tables now, instead of showing the last results.")
@location_options("pipelines", "warehouse", "state")
def command(
    phase: str,
    date: str,
    pipeline_name: str | None,
    measure_now: bool,
    pipelines: str | None,
    warehouse: str | None,
    state: str | None,
) -> int:
    """Explain why a gate is in its state.

    Prints, for PHASE on DATE, the reports of its producers, its upstream gates, its check results and its history.
    """
    from phasegate.cli.output.gate import Explanation, print_gate

    wiring = wired_to_read(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = choose_pipeline(wiring, pipeline_name)
    pipeline.phase(phase)  # an unknown phase is refused, not shown as one without reports
    now = wiring.clock.now()
    span = parse_range(date, pipeline, now=now)
    if span.first != span.last:
        raise ConfigError(f'expected one date, got "{date}"')
    run = RunKey(pipeline.name, phase, span.first)
    day = wiring.store.load(pipeline.name, span).get(span.first, {})
    gate = day.get(phase, Gate(run, detail="no report received, and not checked yet"))
    measured = None
    if measure_now:
        answers = measure(wiring.warehouse, pipeline, [phase], span, now=now)
        measured = judge_phase(pipeline, phase, span.first, answers)
    pauses = pause_history(wiring.store, pipeline.name, phase)
    print_gate(Explanation(pipeline, gate, day, wiring.store.history(run), pauses, measured, now))
    return 0
