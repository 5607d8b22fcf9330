"""Since when phasegate watches a pipeline: what happened before, nobody reported to it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.schedule import first_watched
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import Conflict
from phasegate.ports import Change, Clock, Record, Records, State
from phasegate.serialization import from_object, to_object

WATCHED_SINCE = "watched_since"
"""Records of this kind, by pipeline; its body has `Watch` for the pipeline, and one for each phase that was added later."""

HISTORY = timedelta(days=31)
"""So much of the time before the first tick tells whether the history is adopted."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Since when the clock watches a phase.

    Args:
        since: The first run date for which a missing report raises an alert.
        begun: The pipeline's date at the first tick. Reports about this and earlier run dates may have been sent before.
    """

    since: date
    begun: date


class Watches:
    """Since when each phase is watched; remembered once a tick has seen every phase, because that never changes."""

    def __init__(self, records: Records, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._stored: dict[str, Mapping[str, Watch]] = {}

    def may_have_missed(self, pipeline: Pipeline, run: RunKey) -> bool:
        """True when a run may have been reported before anybody listened."""
        watches = self._stored.get(pipeline.name)
        if watches is None:
            record = self._records.find(WATCHED_SINCE, [pipeline.name]).get(pipeline.name)
            watches = _read(record, pipeline, self._clock.now())
            if record is not None and _is_whole(record, pipeline):
                self._stored[pipeline.name] = watches
        return run.run_date <= watches[run.phase].begun


def begin_watching(store: State, pipeline: Pipeline, now: datetime) -> tuple[Mapping[str, Watch], bool]:
    """Since when each phase is watched, stored by the first tick that sees it; and whether this is the pipeline's first."""
    record = store.find(WATCHED_SINCE, [pipeline.name]).get(pipeline.name)
    watches = _read(record, pipeline, now)
    if record is not None and _is_whole(record, pipeline):
        return watches, False
    known = record.body.get("phases", {}) if record else {}
    stored = known | {phase: to_object(watch) for phase, watch in watches.items()}
    # `run_date` is what earlier versions read.
    first = record.body["run_date"] if record else str(min(watch.since for watch in watches.values()))
    body = {"run_date": first, "phases": stored}
    try:
        store.commit(Change(records=(Record(WATCHED_SINCE, pipeline.name, body, record.version if record else 0),)))
    except Conflict:
        return begin_watching(store, pipeline, now)  # another tick was first; its dates count
    return watches, record is None


def watched_since(records: Records, pipeline: Pipeline) -> date | None:
    """The first run date that the clock watches; None before the first tick."""
    record = records.find(WATCHED_SINCE, [pipeline.name]).get(pipeline.name)
    return None if record is None else date.fromisoformat(record.body["run_date"])


def is_unadopted(pipeline: Pipeline, since: date, span: Span, days: Container[date]) -> bool:
    """True when a run date of *span* has no gate, and is before the clock watched; it leaves such dates out.

    Args:
        since: The first run date that is watched.
        days: Dates with stored gates.
    """
    return any(pipeline.calendar.has_run(day) and day < since and day not in days for day in span.days())


def unadopted_history(store: State, pipeline: Pipeline) -> date | None:
    """The first run date that is watched, unless the month before it is adopted: then all of the history is."""
    since = watched_since(store, pipeline)
    if since is None:
        return None
    before = Span(since - HISTORY, since - timedelta(days=1))
    return since if is_unadopted(pipeline, since, before, store.load(pipeline.name, before)) else None


def _read(record: Record | None, pipeline: Pipeline, now: datetime) -> Mapping[str, Watch]:
    if record is not None and "phases" not in record.body:  # of an earlier version, for which later phases were no different
        since = date.fromisoformat(record.body["run_date"])
        return dict.fromkeys(pipeline.phases, Watch(since, since - timedelta(days=1)))
    stored = record.body["phases"] if record else {}
    new = [phase for phase in pipeline.phases if phase not in stored]
    begins = Watch(first_watched(pipeline, now, new), pipeline.today(now))
    return {phase: begins if phase in new else from_object(Watch, stored[phase]) for phase in pipeline.phases}


def _is_whole(record: Record, pipeline: Pipeline) -> bool:
    """True when a tick has seen every phase."""
    return "phases" in record.body and all(phase in record.body["phases"] for phase in pipeline.phases)
