"""A store of a phasegate that has listened for long, although no tick was played yet."""

from datetime import UTC, datetime, time
from pathlib import Path

from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.gates.schedule import first_watched
from phasegate.core.pipeline.model import Pipeline
from phasegate.gates.watching import WATCHED_SINCE
from phasegate.ports import Change, Record, State


def listening(path: Path, pipeline: Pipeline) -> SQLiteStore:
    """A state file of a phasegate that has listened since the pipeline's first date."""
    store = SQLiteStore(str(path))
    has_listened(store, pipeline, datetime.combine(pipeline.calendar.from_, time(12), UTC))
    return store


def has_listened(store: State, pipeline: Pipeline, now: datetime) -> None:
    """Let every report count that the store does not have; missing ones raise alerts as if the first tick was at *now*."""
    since = first_watched(pipeline, now)
    phases = {phase: {"since": str(since), "begun": "0001-01-01"} for phase in pipeline.phases}
    if not store.find(WATCHED_SINCE, [pipeline.name]):
        store.commit(Change(records=(Record(WATCHED_SINCE, pipeline.name, {"run_date": str(since), "phases": phases}),)))
