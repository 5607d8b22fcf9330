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
_MAX_COUNTED = 1_000


@click.command(epilog="Example: phasegate status 2013-02-04..2013-02-10")
@click.argument("dates", required=False)
@pipeline_option
@located("pipelines", "state")
def command(dates: str | None, pipeline_name: str | None, pipelines: str | None, state: str | None) -> int:
    """Show the gates of DATES; without, of the seven days up to the newest that is known.

    A sign per phase and date, then why each gate that is not open is not, and what must run again after a repair.
    """
    from phasegate.cli.output.status import Status, print_status

    wiring = wired(pipelines=pipelines, state=state)
    pipeline = chosen(wiring, pipeline_name)
    store, now = wiring.store, wiring.clock.now()
    if dates is None:
        newest = store.latest(pipeline.name) or pipeline.today(now)
        span = Span(newest - timedelta(days=_DAYS - 1), newest)
    else:
        span = parse_range(dates, pipeline, now=now)
    # A rerun can be due to a change before the range, as far back as all look-backs together reach.
    gates = store.load(pipeline.name, Span(span.first - total_look_back(pipeline), span.last))
    print_status(
        Status(
            pipeline=pipeline,
            span=span,
            gates=gates,
            pauses=tuple(dict.fromkeys(paused_phases(store, pipeline, now).values())),
            reruns=[rerun for rerun in needed_reruns(pipeline, gates) if rerun.run.run_date in span],
            # Those that wait for their next attempt are unsent, too.
            unsent=len(store.pending(now + _FAR, _MAX_COUNTED)),
            parked=len(store.parked()),
            unprocessed=len(retained_messages(store)),
            scheduler=clock_stopped_message(store, now),
            now=now,
        )
    )
    return 0
