"""The part of a tick that judges gates, for chosen run dates: without heartbeat, breakers and hooks."""

from phasegate.core.field_syntax import Span
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.schedule import gates_to_recheck
from phasegate.core.pipeline.model import Pipeline
from phasegate.gates.monitor import Monitor
from phasegate.gates.pauses import paused_phases
from phasegate.ports import Clock, State


def recheck(monitor: Monitor, pipeline: Pipeline, span: Span, *, store: State, clock: Clock) -> tuple[Decision, ...]:
    """Judge every gate of the dates that a tick would judge, and send what is unsent."""
    days, now = store.load(pipeline.name, span), clock.now()
    paused = paused_phases(store, pipeline, now)
    runs = gates_to_recheck(pipeline, days, span, now, since=span.first, paused=paused)
    decisions = monitor.recheck(pipeline, runs, days)
    monitor.relay()
    return decisions
