"""`phasegate status`: the gates of the last days."""

from datetime import timedelta

import click

from phasegate.cli.options import chosen, located, pipeline_option, wired
from phasegate.core.field_syntax import Span
from phasegate.core.gates.reruns import needed_reruns, total_look_back
from phasegate.gates.backfill import parse_range
from phasegate.gates.heartbeat import clock_stopped_message
from phasegate.gates.pauses import paused_phases
from phasegate.gates.replay import retained_messages

_DAYS = 7
_FAR = timedelta(days=36_500)


@click.command(epilog="Example: phasegate status 2013-02-04..2013-02-10")
@click.argument("dates", required=False)
@pipeline_option
@located("pipelines", "state")
def command(dates: str | None, pipeline_name: str | None, pipelines: str | None, state: str | None) -> int:
    """Show the gates of DATES; without, of the seven days up to the newest that is known.

    A sign per phase and date, then why each gate that is not open is not, and what must run again after a repair.
    """
    from phasegate.cli.tables import print_status

    wiring = wired(pipelines=pipelines, state=state)
    pipeline = chosen(wiring, pipeline_name)
    now = wiring.clock.now()
    if dates is None:
        newest = wiring.store.latest(pipeline.name) or pipeline.today(now)
        span = Span(newest - timedelta(days=_DAYS - 1), newest)
    else:
        span = parse_range(dates, pipeline, now=now)
    unsent = len(wiring.store.pending(now + _FAR, 1_000))
    parked, kept = len(wiring.store.parked()), len(retained_messages(wiring.store))
    days, clock = (
        wiring.store.load(pipeline.name, Span(span.first - total_look_back(pipeline), span.last)),
        clock_stopped_message(wiring.store, now),
    )
    again = [rerun for rerun in needed_reruns(pipeline, days) if rerun.run.run_date in span]
    pauses = paused_phases(wiring.store, pipeline, now).values()
    print_status(pipeline, days, span, again, unsent, parked, kept, clock, pauses, now)
    return 0
