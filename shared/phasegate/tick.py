"""The clock: once a minute, look for what was never said, and send what was never sent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from phasegate.core.decide import Decision
from phasegate.core.pipeline import Pipeline
from phasegate.core.schedule import OLDER, first_watched, to_look_at, window
from phasegate.errors import Conflict, PhasegateError
from phasegate.heartbeat import WATCH, Heart, last_beats
from phasegate.monitor import Monitor
from phasegate.ports import Change, Clock, Record, Records, StateStore

SINCE = "watched_since"
"""Records of this kind, by pipeline: `run_date` in the body is the first whose silence counts."""

Hook = Callable[[], object]
"""Something else that wants a turn every minute."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one tick has done."""

    decisions: tuple[Decision, ...]
    sent: int


class Tick:
    """Everything that happens once a minute. Two at once, or one that dies half-way, change nothing that another would not.

    Args:
        records: The same store as *store*.
        hooks: Called last, each even when another one failed.
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        store: StateStore,
        records: Records,
        clock: Clock,
        heart: Heart,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._monitor = monitor
        self._store = store
        self._records = records
        self._clock = clock
        self._hooks = hooks
        self._heart = heart

    def run(self) -> Ticked:
        """One tick: look at the gates that want it, send what is unsent, let the others have their turn, note the heartbeat.

        Raises:
            PhasegateError: A step failed; the others were done. There is no heartbeat then, and the next tick does it again.
        """
        failed: list[PhasegateError] = []
        decisions: list[Decision] = []
        sent = 0

        def attempt(step: Hook) -> None:
            try:
                step()
            except PhasegateError as error:
                failed.append(error)

        def send() -> None:
            nonlocal sent
            sent = self._monitor.relay()

        last = last_beats(self._records).get(WATCH)
        for pipeline in self._monitor.pipelines.values():
            attempt(lambda pipeline=pipeline: decisions.extend(self._look(pipeline, last)))  # type: ignore[misc]
        for step in (send, *self._hooks):
            attempt(step)
        if failed:
            raise failed[0]
        self._heart.beat(WATCH, self._clock.now())
        return Ticked(tuple(decisions), sent)

    def _look(self, pipeline: Pipeline, last: datetime | None) -> tuple[Decision, ...]:
        now = self._clock.now()
        since = self._since(pipeline, now)
        span = window(pipeline, now, last)
        days = self._store.load(pipeline.name, span)
        older = self._store.restless(pipeline.name, span.first, OLDER)
        return self._monitor.look_at(pipeline, to_look_at(pipeline, days, span, now, since=since, older=older), days)

    def _since(self, pipeline: Pipeline, now: datetime) -> date:
        """The first run date whose silence counts, settled when the clock ticks for the first time."""
        found: Mapping[str, Record] = self._records.find(SINCE, [pipeline.name])
        if pipeline.name in found:
            return date.fromisoformat(found[pipeline.name].body["run_date"])
        since = first_watched(pipeline, now)
        try:
            self._store.commit(Change(records=(Record(SINCE, pipeline.name, {"run_date": str(since)}),)))
        except Conflict:
            return self._since(pipeline, now)
        return since
