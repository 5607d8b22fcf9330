"""`phasegate status`: the gates of the last days."""

from datetime import timedelta

import click

from phasegate.cli.options import choose_pipeline, example, location_options, pipeline_option, wired_to_read
from phasegate.core.field_syntax import Span
from phasegate.core.gates.adopt import adoption_hint
from phasegate.core.gates.orphan import left_alone
from phasegate.core.gates.reruns import needed_reruns, total_look_back
from phasegate.gates.backfill import parse_range
from phasegate.gates.heartbeat import clock_stopped_message
from phasegate.gates.pauses import paused_phases
from phasegate.gates.replay import retained_messages
from phasegate.gates.watching import is_unadopted, watched_since

_DAYS = 7
_FAR_FUTURE = timedelta(days=36_500)
_MAX_COUNTED = 1_000


@click.command(epilog=example("phasegate status 2013-02-04..2013-02-10"))
@click.argument("dates", required=False)
@pipeline_option
@location_options("pipelines", "state")
def command(dates: str | None, pipeline_name: str | None, pipelines: str | None, state: str | None) -> int:
    """Show the gates of the last days, and why some are not open.

    Prints a grid with a sign per phase and date, the reason for each gate that is not open, and what must be rerun after a
    repair. DATES is a date or a range; by default it is the seven days up to the newest one with data.

    Exits with 1 when one of these gates is held, overdue, unverified or failing.
    """
    from phasegate.cli.output.status import Status, print_status

    wiring = wired_to_read(pipelines=pipelines, state=state)
    pipeline = choose_pipeline(wiring, pipeline_name)
    store, now = wiring.store, wiring.clock.now()
    if dates is None:
        newest = store.latest(pipeline.name) or pipeline.today(now)
        span = Span(newest - timedelta(days=_DAYS - 1), newest)
    else:
        span = parse_range(dates, pipeline, now=now)
    # A change before the range can require a rerun within it, as far back as all look-backs together reach.
    gates = store.load(pipeline.name, Span(span.first - total_look_back(pipeline), span.last))
    since = watched_since(store, pipeline)
    hint = adoption_hint(pipeline.name, since) if since and is_unadopted(pipeline, since, span, gates) else ""
    shown = Status(
        pipeline=pipeline,
        span=span,
        gates=gates,
        # A pause of the whole pipeline holds every phase, and is shown once.
        pauses=tuple(dict.fromkeys(paused_phases(store, pipeline, now).values())),
        reruns=[rerun for rerun in needed_reruns(pipeline, gates) if rerun.run.run_date in span],
        # Messages whose next attempt is not due yet are unsent, too.
        unsent=len(store.pending(now + _FAR_FUTURE, _MAX_COUNTED)),
        parked=len(store.parked()),
        unprocessed=len(retained_messages(store)),
        scheduler=clock_stopped_message(store, now),
        unadopted=hint,
        watched_since=since,
        left_alone=left_alone(pipeline, gates.values()),
        now=now,
    )
    print_status(shown)
    return 1 if shown.needs_a_person else 0
