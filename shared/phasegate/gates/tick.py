"""The tick: once a minute, judge the gates that are due or may have changed, and send what is still unsent."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import TypeVar

from phasegate.core.checks.metrics import Cost
from phasegate.core.gates.adopt import adoption_hint
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import Gate
from phasegate.core.gates.orphan import orphans
from phasegate.core.gates.schedule import OLDER_GATES_PER_TICK, gates_to_recheck, window
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import PhasegateError, bug_trace
from phasegate.gates.heartbeat import WATCH, Heartbeats, last_heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.pauses import paused_phases
from phasegate.gates.rerun_requests import Breakers
from phasegate.gates.watching import begin_watching, unadopted_history
from phasegate.logs import Log, log
from phasegate.ports import Clock, Records, State

T = TypeVar("T")

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
        log: Log = log,
    ) -> None:
        self._monitor = monitor
        self._store = store
        self._records = records
        self._clock = clock
        self._hooks = hooks
        self._heartbeats = heartbeats
        self._log = log
        self._named: set[RunKey] = set()
        self._breakers = Breakers(store, records)

    def run(self) -> TickResult:
        """Recheck the gates that need it, send what is unsent, call the hooks, record the heartbeat.

        Raises:
            Exception: The first error of a step, a bug before others; the other steps were done. Each was logged. No heartbeat
                is recorded; the next tick does the step again.
        """
        errors: list[Exception] = []
        decisions: list[Decision] = []

        def attempt(name: str, step: Callable[[], T]) -> T | None:
            try:
                return step()
            except Exception as error:  # noqa: BLE001 (a bug in one step must not keep the others from their turn)
                self._log("step_failed", severity="ERROR", step=name, error=str(error), trace=bug_trace(error))
                errors.append(error)
                return None

        last = last_heartbeats(self._records).get(WATCH)
        for pipeline in self._monitor.pipelines.values():
            decisions += attempt(pipeline.name, partial(self._recheck, pipeline, last, errors)) or ()
        sent = attempt("outbox", self._monitor.relay) or 0
        for hook in self._hooks:
            attempt(getattr(hook, "__qualname__", repr(hook)), hook)
        if errors:
            raise min(errors, key=lambda error: isinstance(error, PhasegateError))
        # Last, so that a missing heartbeat means that some step fails: that is what raises an alert outside of this process.
        self._heartbeats.record(WATCH, self._clock.now())
        return TickResult(tuple(decisions), sent)

    def _recheck(self, pipeline: Pipeline, last: datetime | None, errors: list[Exception]) -> tuple[Decision, ...]:
        now = self._clock.now()
        since = self._begin_watching(pipeline, now)
        span = window(pipeline, now, last)
        days = self._store.load(pipeline.name, span)
        self._breakers.update(pipeline, days, now)
        older = self._store.awaiting_clock(pipeline.name, span.first, OLDER_GATES_PER_TICK)
        known = [gate for gates in days.values() for gate in gates.values()]
        self._monitor.leave(orphans(pipeline, (*known, *older)))
        self._name(gate for gate in (*known, *older) if gate.unreadable)
        paused = paused_phases(self._records, pipeline, now)
        runs = gates_to_recheck(pipeline, days, span, now, since=since, older=older, paused=paused)

        def failed(run: RunKey, error: Exception) -> None:
            self._log("gate_not_judged", severity="ERROR", run=str(run), error=str(error), trace=bug_trace(error))
            errors.append(error)

        return self._monitor.recheck(pipeline, runs, days, failed)

    def _name(self, gates: Iterable[Gate]) -> None:
        """Log each gate that cannot be read once; everything else has its turn."""
        for run in {gate.run for gate in gates} - self._named:
            self._named.add(run)
            self._log("unreadable_gate", severity="ERROR", run=str(run))

    def _begin_watching(self, pipeline: Pipeline, now: datetime) -> Mapping[str, date]:
        """From which run date on a missing report of each phase raises an alert; the first tick says what it leaves out."""
        watches, is_first = begin_watching(self._store, pipeline, now)
        since = {phase: watch.since for phase, watch in watches.items()}
        if is_first and (first := unadopted_history(self._store, pipeline)):
            hint = adoption_hint(pipeline.name, first)
            self._log("history_not_adopted", severity="WARNING", pipeline=pipeline.name, message=hint)
        return since
