"""The tick: once a minute, judge the gates that are due or may have changed, and send what is still unsent."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from phasegate.core.checks.metrics import Cost
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.schedule import OLDER_GATES_PER_TICK, first_watched, gates_to_recheck, window
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import Conflict, PhasegateError
from phasegate.gates.heartbeat import WATCH, Heartbeats, last_heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.pauses import paused_phases
from phasegate.gates.rerun_requests import Breakers
from phasegate.ports import Change, Clock, Record, Records, State

WATCHED_SINCE = "watched_since"
"""Records of this kind, by pipeline: `run_date` in the body is the first for which a missing report raises an alert."""

Hook = Callable[[], object]
"""Something else to do once a minute."""


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one tick has done."""

    decisions: tuple[Decision, ...]
    sent: int

    @property
    def cost(self) -> Cost:
        """What measuring has cost."""
        return sum((d.verdict.cost for d in self.decisions if d.verdict and d.verdict.cost), Cost())


class Tick:
    """Everything that happens once a minute.

    Two ticks that overlap, or one that dies half-way, are harmless: every step is idempotent.

    Args:
        records: The same store as *store*.
        hooks: Called last, each of them even when another one failed.
    """

    def __init__(
        self,
        monitor: Monitor,
        *,
        store: State,
        records: Records,
        clock: Clock,
        heartbeats: Heartbeats,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self._monitor = monitor
        self._store = store
        self._records = records
        self._clock = clock
        self._hooks = hooks
        self._heartbeats = heartbeats
        self._breakers = Breakers(store, records)

    def run(self) -> TickResult:
        """Recheck the gates that need it, send what is unsent, call the hooks, record the heartbeat.

        Raises:
            PhasegateError: A step failed; the others were done. No heartbeat is recorded; the next tick does the step again.
        """
        errors: list[PhasegateError] = []
        decisions: list[Decision] = []
        sent = 0

        def attempt(step: Hook) -> None:
            try:
                step()
            except PhasegateError as error:
                errors.append(error)

        def send() -> None:
            nonlocal sent
            sent = self._monitor.relay()

        last = last_heartbeats(self._records).get(WATCH)
        for pipeline in self._monitor.pipelines.values():
            attempt(lambda pipeline=pipeline: decisions.extend(self._recheck(pipeline, last)))  # type: ignore[misc]
        for step in (send, *self._hooks):
            attempt(step)
        if errors:
            raise errors[0]
        # Last, so that a missing heartbeat means that some step fails: that is what raises an alert outside of this process.
        self._heartbeats.record(WATCH, self._clock.now())
        return TickResult(tuple(decisions), sent)

    def _recheck(self, pipeline: Pipeline, last: datetime | None) -> tuple[Decision, ...]:
        now = self._clock.now()
        since = self._watched_since(pipeline, now)
        span = window(pipeline, now, last)
        days = self._store.load(pipeline.name, span)
        self._breakers.update(pipeline, days, now)
        older = self._store.awaiting_clock(pipeline.name, span.first, OLDER_GATES_PER_TICK)
        paused = paused_phases(self._records, pipeline, now)
        runs = gates_to_recheck(pipeline, days, span, now, since=since, older=older, paused=paused)
        return self._monitor.recheck(pipeline, runs, days)

    def _watched_since(self, pipeline: Pipeline, now: datetime) -> date:
        """The first run date for which a missing report raises an alert; set by the first tick, so that history raises none."""
        stored: Mapping[str, Record] = self._records.find(WATCHED_SINCE, [pipeline.name])
        if pipeline.name in stored:
            return date.fromisoformat(stored[pipeline.name].body["run_date"])
        since = first_watched(pipeline, now)
        try:
            self._store.commit(Change(records=(Record(WATCHED_SINCE, pipeline.name, {"run_date": str(since)}),)))
        except Conflict:
            return self._watched_since(pipeline, now)  # another tick was first; its date counts
        return since
