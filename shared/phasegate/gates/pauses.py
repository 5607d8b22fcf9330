"""Pauses in the state store: what is paused now, and putting and ending a pause."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from phasegate.core.gates.pause import Pause, PauseHistory, begin, end, live, subject
from phasegate.core.pipeline.model import Pipeline
from phasegate.messaging.retry_on_conflict import until_written
from phasegate.ports import Change, Clock, Record, Records, State
from phasegate.serialization import from_object, to_object

KIND = "pause"
"""Records of this kind, by pipeline, or pipeline and phase: `pauses` in the body are those that are remembered."""

KEPT = timedelta(days=400)
"""A subject's pauses are remembered for so long after the last of them."""


def paused(records: Records, pipeline: str, phase: str, now: datetime) -> Pause | None:
    """The pause that keeps a phase from being released now, its own or its pipeline's; None when there is none."""
    keys = (subject(pipeline), subject(pipeline, phase))
    return live((pause for pauses in _read(records, keys).values() for pause in pauses), now)


def paused_phases(records: Records, pipeline: Pipeline, now: datetime) -> Mapping[str, Pause]:
    """The phases that are paused now, and by which pause; read at once."""
    whole = subject(pipeline.name)
    found = _read(records, (whole, *(subject(pipeline.name, phase) for phase in pipeline.phases)))
    holding = {
        phase: live((*found.get(whole, ()), *found.get(subject(pipeline.name, phase), ())), now) for phase in pipeline.phases
    }
    return {phase: pause for phase, pause in holding.items() if pause is not None}


def pause_history(records: Records, pipeline: str, phase: str) -> Sequence[Pause]:
    """Every pause of a phase or its pipeline that is remembered, oldest first."""
    found = _read(records, (subject(pipeline), subject(pipeline, phase)))
    return sorted((pause for pauses in found.values() for pause in pauses), key=lambda pause: pause.at)


class Pauses:
    """Puts and ends pauses.

    Args:
        store: Where they are kept.
    """

    def __init__(self, store: State, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def pause(
        self, pipeline: Pipeline, phase: str | None, *, by: str, why: str, until: datetime, dry_run: bool = False
    ) -> Pause:
        """Stop a pipeline, or one of its phases, in place of a pause that holds.

        Raises:
            UnknownPhase: There is no such phase.
            Refused: The pause makes no sense.
        """
        name = _named(pipeline, phase)
        new = Pause(name, by, why, self._clock.now(), until)
        self._change(name, lambda known: begin(known, new), dry_run)
        return new

    def resume(self, pipeline: Pipeline, phase: str | None, *, by: str, why: str = "", dry_run: bool = False) -> Pause:
        """End the pause that holds; the next tick goes on.

        Raises:
            UnknownPhase: There is no such phase.
            Refused: Nothing holds.
        """
        name = _named(pipeline, phase)
        now = self._clock.now()
        return self._change(name, lambda known: end(name, known, now, by, why), dry_run)[-1]

    def _change(self, name: str, change: Callable[[PauseHistory], PauseHistory], dry_run: bool) -> PauseHistory:
        def take() -> PauseHistory:
            record = self._store.find(KIND, [name]).get(name, Record(KIND, name, {"pauses": []}))
            pauses = change(_pauses(record))
            if dry_run:
                return pauses
            body = {"pauses": [to_object(pause) for pause in pauses]}
            kept = Record(KIND, name, body, record.version, expires=pauses[-1].until + KEPT)
            self._store.commit(Change(records=(kept,)))
            return pauses

        return until_written(take, f"{name}: its pauses kept changing")


def _named(pipeline: Pipeline, phase: str | None) -> str:
    if phase is not None:
        pipeline.phase(phase)
    return subject(pipeline.name, phase)


def _read(records: Records, keys: Sequence[str]) -> Mapping[str, PauseHistory]:
    return {key: _pauses(record) for key, record in records.find(KIND, keys).items()}


def _pauses(record: Record) -> PauseHistory:
    return tuple(from_object(Pause, each) for each in record.body["pauses"])
