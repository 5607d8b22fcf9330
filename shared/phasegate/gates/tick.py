"""The clock: once a minute, look for what was never said, and send what was never sent."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from phasegate.core.alerts.incident import Trouble, TroubleCause
from phasegate.core.checks.metrics import Cost
from phasegate.core.field_syntax import Span
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import AlertState, GatesByPhase
from phasegate.core.gates.rerun_requests import streak
from phasegate.core.gates.schedule import OLDER_GATES_PER_TICK, first_watched, gates_to_look_at, window
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import Conflict, PhasegateError
from phasegate.gates.heartbeat import WATCH, Heartbeats, last_heartbeats
from phasegate.gates.monitor import BREAKER, Monitor
from phasegate.gates.pauses import paused_phases
from phasegate.messaging.bodies import trouble_message
from phasegate.ports import Change, Clock, Record, Records, State

WATCHED_SINCE = "watched_since"
"""Records of this kind, by pipeline: `run_date` in the body is the first whose silence counts."""

Hook = Callable[[], object]
"""Something else that wants a turn every minute."""


@dataclass(frozen=True, slots=True)
class Ticked:
    """What one tick has done."""

    decisions: tuple[Decision, ...]
    sent: int

    @property
    def cost(self) -> Cost:
        """What measuring has cost."""
        return sum((d.verdict.cost for d in self.decisions if d.verdict and d.verdict.cost), Cost())


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
        self._heart = heartbeats

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

        last = last_heartbeats(self._records).get(WATCH)
        for pipeline in self._monitor.pipelines.values():
            attempt(lambda pipeline=pipeline: decisions.extend(self._look(pipeline, last)))  # type: ignore[misc]
        for step in (send, *self._hooks):
            attempt(step)
        if failed:
            raise failed[0]
        self._heart.record(WATCH, self._clock.now())
        return Ticked(tuple(decisions), sent)

    def _look(self, pipeline: Pipeline, last: datetime | None) -> tuple[Decision, ...]:
        now = self._clock.now()
        since = self._since(pipeline, now)
        span = window(pipeline, now, last)
        days = self._store.load(pipeline.name, span)
        self._mind_breakers(pipeline, days, now)
        older = self._store.awaiting_clock(pipeline.name, span.first, OLDER_GATES_PER_TICK)
        paused = paused_phases(self._records, pipeline, now)
        runs = gates_to_look_at(pipeline, days, span, now, since=since, older=older, paused=paused)
        return self._monitor.look_at(pipeline, runs, days)

    def _since(self, pipeline: Pipeline, now: datetime) -> date:
        """The first run date whose silence counts, settled when the clock ticks for the first time."""
        found: Mapping[str, Record] = self._records.find(WATCHED_SINCE, [pipeline.name])
        if pipeline.name in found:
            return date.fromisoformat(found[pipeline.name].body["run_date"])
        since = first_watched(pipeline, now)
        try:
            self._store.commit(Change(records=(Record(WATCHED_SINCE, pipeline.name, {"run_date": str(since)}),)))
        except Conflict:
            return self._since(pipeline, now)
        return since

    def _mind_breakers(self, pipeline: Pipeline, days: Mapping[date, GatesByPhase], now: datetime) -> None:
        """Stop asking a phase that fails date after date, but for its newest date; ask again once that one is released."""
        policies = {phase: declared.retry for phase, declared in pipeline.phases.items() if declared.retry}
        known = self._records.find(BREAKER, [f"{pipeline.name}/{phase}" for phase in policies]) if policies else {}
        for phase, policy in policies.items():
            subject = f"{pipeline.name}/{phase}"
            found = known.get(subject, Record(BREAKER, subject, {}, expires=now))
            failed = streak(gates[phase] for gates in days.values() if phase in gates)
            trial = date.fromisoformat(found.body["run_date"]) if found.expires is None else None
            if trial is None and len(failed) >= policy.breaker_after:
                body = {"run_date": str(failed[0]), "since": now.isoformat()}
                self._set(replace(found, body=body, expires=None), _suspended(subject, failed, now, now))
            elif trial is not None and self._is_over(pipeline, phase, trial, days):
                since = datetime.fromisoformat(found.body["since"])
                self._set(replace(found, expires=now + timedelta(days=1)), _suspended(subject, (), since, now))
            elif trial is not None and failed and failed[0] > trial:
                self._set(replace(found, body={**found.body, "run_date": str(failed[0])}))

    def _is_over(self, pipeline: Pipeline, phase: str, trial: date, days: Mapping[date, GatesByPhase]) -> bool:
        gates = days[trial] if trial in days else self._store.load(pipeline.name, Span(trial, trial)).get(trial, {})
        return phase in gates and not gates[phase].is_unsettled

    def _set(self, breaker: Record, *said: Trouble) -> None:
        with suppress(Conflict):  # another tick has just done it
            self._store.commit(Change(records=(breaker,), outbox=tuple(map(trouble_message, said))))


def _suspended(subject: str, failed: Sequence[date], since: datetime, now: datetime) -> Trouble:
    """That a phase is no longer asked to run again but for one date; without failed dates, that it is again."""
    text = f"{subject} failed on {len(failed)} run dates in a row: {', '.join(map(str, failed))}"
    return Trouble(
        key=f"breaker/{subject}/{now.isoformat()}",
        cause=TroubleCause.RETRIES_SUSPENDED,
        subject=subject,
        detail=text if failed else f"{subject} is released again, and its other run dates are asked for again",
        effect="Only the newest of them is asked to run again, until that one is released." if failed else "",
        state=AlertState.FIRING if failed else AlertState.RECOVERED,
        since=since,
        at=now,
    )
