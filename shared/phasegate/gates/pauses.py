"""Pauses in the state store: what is paused now, and starting and ending a pause."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from phasegate.core.gates.pause import Pause, PauseHistory, begin, end, live, subject
from phasegate.core.pipeline.model import Pipeline
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Record, Records, State
from phasegate.serialization import from_object, to_object

KIND = "pause"
"""Records of this kind, by pipeline, or pipeline and phase: `pauses` in the body is the history."""

RETENTION = timedelta(days=400)
"""A subject's pauses are stored for this long after the last of them."""


def paused(records: Records, pipeline: str, phase: str, now: datetime) -> Pause | None:
    """The pause that blocks the release of a phase now, its own or its pipeline's; None when there is none."""
    keys = (subject(pipeline), subject(pipeline, phase))
    return live((pause for pauses in _read(records, keys).values() for pause in pauses), now)


def paused_phases(records: Records, pipeline: Pipeline, now: datetime) -> Mapping[str, Pause]:
    """The phases that are paused now, and by which pause; one read."""
    whole = subject(pipeline.name)
    histories = _read(records, (whole, *(subject(pipeline.name, phase) for phase in pipeline.phases)))
    pauses = {
        phase: live((*histories.get(whole, ()), *histories.get(subject(pipeline.name, phase), ())), now)
        for phase in pipeline.phases
    }
    return {phase: pause for phase, pause in pauses.items() if pause is not None}


def pause_history(records: Records, pipeline: str, phase: str) -> Sequence[Pause]:
    """Every stored pause of a phase and its pipeline, oldest first."""
    histories = _read(records, (subject(pipeline), subject(pipeline, phase)))
    return sorted((pause for history in histories.values() for pause in history), key=lambda pause: pause.at)


class Pauses:
    """Starts and ends pauses."""

    def __init__(self, store: State, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def pause(
        self, pipeline: Pipeline, phase: str | None, *, by: str, why: str, until: datetime, dry_run: bool = False
    ) -> Pause:
        """Pause a pipeline, or one of its phases; replaces a pause in force.

        Raises:
            UnknownPhase: There is no such phase.
            ActionRefused: The pause makes no sense.
        """
        name = _checked_subject(pipeline, phase)
        new = Pause(name, by, why, self._clock.now(), until)
        self._change(name, lambda history: begin(history, new), dry_run)
        return new

    def resume(self, pipeline: Pipeline, phase: str | None, *, by: str, why: str = "", dry_run: bool = False) -> Pause:
        """End the pause in force; the next tick releases what it blocked.

        Raises:
            UnknownPhase: There is no such phase.
            ActionRefused: Nothing is paused.
        """
        name = _checked_subject(pipeline, phase)
        now = self._clock.now()
        return self._change(name, lambda history: end(name, history, now, by, why), dry_run)[-1]

    def _change(self, name: str, change: Callable[[PauseHistory], PauseHistory], dry_run: bool) -> PauseHistory:
        # Read and written at one version: of two people who pause at the same time both stay in the history.
        def write() -> PauseHistory:
            record = self._store.find(KIND, [name]).get(name, Record(KIND, name, {"pauses": []}))
            pauses = change(_pauses(record))
            if dry_run:
                return pauses
            body = {"pauses": [to_object(pause) for pause in pauses]}
            updated = Record(KIND, name, body, record.version, expires=pauses[-1].until + RETENTION)
            self._store.commit(Change(records=(updated,)))
            return pauses

        return until_written(write, f"{name}: its pauses kept changing")


def _checked_subject(pipeline: Pipeline, phase: str | None) -> str:
    if phase is not None:
        pipeline.phase(phase)
    return subject(pipeline.name, phase)


def _read(records: Records, keys: Sequence[str]) -> Mapping[str, PauseHistory]:
    return {key: _pauses(record) for key, record in records.find(KIND, keys).items()}


def _pauses(record: Record) -> PauseHistory:
    return tuple(from_object(Pause, pause) for pause in record.body["pauses"])
