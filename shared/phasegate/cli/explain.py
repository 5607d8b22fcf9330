"""`phasegate explain`: why a gate is in its state."""

from datetime import timedelta

import click

from phasegate.cli.options import choose_pipeline, example, location_options, pipeline_option, wired_to_read
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GateState, effective_state
from phasegate.core.gates.verdict import judge_phase
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ConfigError
from phasegate.gates.backfill import parse_range
from phasegate.gates.measurement import measure
from phasegate.gates.pauses import pause_history
from phasegate.ports import StateStore

_LOOKED_BACK = timedelta(days=60)


@click.command(epilog=example("phasegate explain raw 2013-02-06"))
@click.argument("phase")
@click.argument("date", required=False)
@pipeline_option
@click.option("--measure", "measure_now", is_flag=True, help="Measure the tables now, instead of showing the last results.")
@location_options("pipelines", "warehouse", "state")
def command(
    phase: str,
    date: str | None,
    pipeline_name: str | None,
    measure_now: bool,
    pipelines: str | None,
    warehouse: str | None,
    state: str | None,
) -> int:
    """Explain why a gate is in its state.

    Prints, for PHASE on DATE, the reports of its producers, its upstream gates, its check results and its history. Without
    DATE it takes the newest date on which the gate needs a person, or else the newest with a gate.
    """
    from phasegate.cli.output.gate import Explanation, print_gate

    wiring = wired_to_read(pipelines=pipelines, warehouse=warehouse, state=state)
    pipeline = choose_pipeline(wiring, pipeline_name)
    pipeline.phase(phase)  # an unknown phase is refused, not shown as one without reports
    now = wiring.clock.now()
    span = parse_range(date, pipeline, now=now) if date else _newest(wiring.store, pipeline, phase)
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


def _newest(store: StateStore, pipeline: Pipeline, phase: str) -> Span:
    """The newest date on which the gate of a phase needs a person; without any, the newest on which it is known.

    Raises:
        ConfigError: It is known on no recent date.
    """
    last = store.latest(pipeline.name)
    days = store.load(pipeline.name, Span(last - _LOOKED_BACK, last)) if last else {}
    known = [day for day in sorted(days, reverse=True) if phase in days[day]]
    settled = (GateState.OPEN, GateState.OFF, GateState.ACCEPTED)
    wrong = [day for day in known if effective_state(days[day][phase], days[day], pipeline) not in settled]
    if not known:
        raise ConfigError(f"no gate of {phase} is known yet; name a date, as in phasegate explain {phase} 2013-02-06")
    day = (wrong or known)[0]
    return Span(day, day)
