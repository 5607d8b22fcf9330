"""The one sentence: a completion comes in; parse, load, measure, judge, decide, commit with what must be sent, send."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date

from phasegate.core.checks.metrics import Cost
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import Action, apply, needs_verdict
from phasegate.core.gates.adopt import PHASEGATE
from phasegate.core.gates.completion import Envelope, Report, RunKey, parse_completion
from phasegate.core.gates.decide import Case, Decision, decide, needs_measuring
from phasegate.core.gates.gate import Gate, GatesByPhase, GateState
from phasegate.core.gates.orphan import RULE, orphaned
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.rerun_requests import Random
from phasegate.core.gates.schedule import deadline, group_nearby_dates
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ActionRefused, Conflict, StateError
from phasegate.gates.adoption import adoption_event, unheard_inputs
from phasegate.gates.measurement import NOT_MEASURED, Measurement, measure_gates
from phasegate.gates.pauses import paused
from phasegate.gates.rerun_requests import RerunPlan, RerunRequests
from phasegate.gates.watching import Watches
from phasegate.messaging.bodies import alert_message, event_message, retry_message, signal_message
from phasegate.messaging.inbox import Handled, Inbox, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.messaging.retry_on_conflict import attempts
from phasegate.ports import Change, Clock, Event, Outbox, Outgoing, Publisher, State, Warehouse


@dataclass(frozen=True, slots=True)
class Trigger:
    """What makes the monitor judge a gate: a message with a report, a person's action, or the tick when there is neither.

    Args:
        by: Who does the action.
    """

    message_id: str | None = None
    report: Report | None = None
    action: Action | None = None
    by: str = ""

    def __str__(self) -> str:
        """As the history stores it."""
        return f"by hand: {self.by}" if self.action else self.message_id or "tick"


TICK = Trigger()


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What a manual action did to one gate.

    Args:
        decision: None when the action was refused.
        refused: Why; empty when it was not.
    """

    run: RunKey
    decision: Decision | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a decision reads from the state store: the gates of the run date, and the pause of the gate's phase."""

    gates: GatesByPhase
    pause: Pause | None = None

    def gate(self, run: RunKey) -> Gate:
        """The gate as it is stored; a new one when it is not."""
        return self.gates.get(run.phase, Gate(run))

    def with_committed(self, gate: Gate) -> "Snapshot":
        """The snapshot after a commit of one of its gates, which raises that gate's version."""
        return replace(self, gates={**self.gates, gate.run.phase: replace(gate, version=gate.version + 1)})


@dataclass(frozen=True, slots=True)
class _Settled:
    """How one gate was settled.

    Args:
        decision: None for a duplicate.
        snapshot: What the next gate of the same batch and run date can start from; None when that must be loaded again.
    """

    decision: Decision | None
    snapshot: Snapshot | None = None


class Monitor:
    """Judges finished phases and opens, or holds, the gates to the next ones."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        warehouse: Warehouse,
        store: State,
        outbox: Outbox,
        publisher: Publisher,
        clock: Clock,
        chance: Random = random.random,
    ) -> None:
        self.pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self._warehouse = warehouse
        self._store = store
        self._clock = clock
        self._reruns = RerunRequests(store, chance)
        self._relay = Relay(outbox, publisher, clock)
        self._inbox = Inbox(store, self._relay, clock)
        self._watches = Watches(store, clock)

    def handle(self, envelope: Envelope) -> InboxResult:
        """Handle one message; when this returns, its effect is stored, and sent as far as the bus accepted it.

        Raises:
            AdapterError: The effect is not stored; the message must be delivered again.
        """
        return self._inbox.take(envelope, self._handle)

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Handle one message as an HTTP request brings it; see `handle`."""
        return self._inbox.receive(headers, body, self._handle)

    def _handle(self, envelope: Envelope) -> InboxResult:
        completion = parse_completion(envelope, tuple(self.pipelines.values()), now=self._clock.now())
        decision = self._settle(completion.run, Trigger(envelope.message_id, completion.report)).decision
        return InboxResult(envelope.message_id, Handled.DECIDED if decision else Handled.DUPLICATE, decision)

    def act(self, run: RunKey, action: Action, by: str, *, dry_run: bool = False) -> Decision:
        """Apply a manual action to a gate, which is then judged by the same rules as ever.

        Args:
            by: Who does it; stored in the history.
            dry_run: Give the decision without storing or sending anything.

        Raises:
            UnknownPhase: The pipeline file has no such phase.
            ActionRefused: The action makes no sense on this gate now.
        """
        self.pipelines[run.pipeline].phase(run.phase)
        return _decided(self._settle(run, Trigger(action=action, by=by), dry_run=dry_run))

    def act_on(self, runs: Sequence[RunKey], action: Action, by: str, *, dry_run: bool = False) -> tuple[ActionResult, ...]:
        """Apply one manual action to several gates of a phase, by date; see `act`. A refusal on one does not stop the others.

        The tables are measured together: one query per table for all dates that lie close together.
        """
        pipeline, trigger = self.pipelines[runs[0].pipeline], Trigger(action=action, by=by)
        pause = paused(self._store, pipeline.name, runs[0].phase, self._clock.now())
        results: list[ActionResult] = []
        for group in group_nearby_dates(runs):
            days, measurement = self._measure_group(pipeline, group, {}, measure_all=needs_verdict(action))
            for run in group:
                snapshot = Snapshot(days.get(run.run_date, {}), pause)
                try:
                    settled = self._settle(run, trigger, snapshot, measurement, dry_run=dry_run)
                except ActionRefused as refused:
                    results.append(ActionResult(run, None, str(refused)))
                else:
                    results.append(ActionResult(run, settled.decision))
        return tuple(sorted(results, key=lambda result: result.run.run_date))

    def leave(self, gates: Iterable[Gate]) -> None:
        """Look no more at gates whose phase is no longer in the pipeline file, and end their alerts."""
        for gate in gates:
            now = self._clock.now()
            left, alerts = orphaned(gate, now)
            event = Event.about(gate, now, RULE, str(TICK))
            change = Change(left, outbox=tuple(alert_message(alert) for alert in alerts), event=event)
            with suppress(Conflict):  # another tick has just done the same
                self._store.commit(change)
                self._relay.send(change.outbox)

    def recheck(
        self,
        pipeline: Pipeline,
        runs: Sequence[RunKey],
        days: Mapping[date, GatesByPhase],
        failed: Callable[[RunKey, Exception], None] | None = None,
    ) -> tuple[Decision, ...]:
        """Judge gates again without a message, because they are due or their data may have changed.

        The tables are measured together: one query per table for all dates that lie close together.

        Args:
            runs: Of phases that are not paused.
            days: The gates as they were just loaded; dates that are missing are loaded here.
            failed: Told of a gate that could not be judged; the others have their turn. Without it, the first error is raised.
        """
        decisions = []
        for group in group_nearby_dates(runs):
            loaded, measurement = self._measure_group(pipeline, group, days)
            snapshots: dict[date, Snapshot | None] = {run.run_date: Snapshot(loaded.get(run.run_date, {})) for run in group}
            for run in group:
                try:
                    settled = self._settle(run, TICK, snapshots[run.run_date], measurement)
                except Exception as error:  # whatever is wrong with one gate, or with the code that judges it
                    if failed is None:
                        raise
                    failed(run, error)
                    snapshots[run.run_date] = None
                    continue
                # A phase that opens just now counts for its followers, which come later in the group.
                snapshots[run.run_date] = settled.snapshot
                decisions.append(_decided(settled))
        return tuple(decisions)

    def relay(self, limit: int = 1_000) -> int:
        """Send what a crash or an unavailable bus has left unsent; gives how many entries the bus accepted."""
        return self._relay.send_pending(limit)

    def _settle(
        self,
        run: RunKey,
        trigger: Trigger,
        snapshot: Snapshot | None = None,
        measurement: Measurement = NOT_MEASURED,
        *,
        dry_run: bool = False,
    ) -> _Settled:
        """Load, measure, judge, decide and commit one gate, then send.

        Args:
            snapshot: What was loaded for a batch; loaded here when it is None.
            measurement: What was measured for the same batch; what it lacks is measured here.
            dry_run: Store and send nothing.
        """
        pipeline, spent = self.pipelines[run.pipeline], Cost()
        for _ in attempts():
            batched = snapshot is not None
            if snapshot is None:
                snapshot, measurement = self._load(run), NOT_MEASURED
            snapshot = self._with_unheard_inputs(run, snapshot, dry_run=dry_run)
            stored = snapshot.gate(run)
            if stored.unreadable:
                raise StateError(f"{run}: {stored.detail}", retryable=True)
            gate = stored.with_report(trigger.report) if trigger.report else stored
            if gate is None:
                # The broker need not deliver it again: its id is stored, although the gate does not change.
                self._store.commit(Change(handled=trigger.message_id))
                return _Settled(None)
            # Measured with no transaction open: queries take seconds, and a lock held that long would block every other report.
            if trigger.action is not None:
                if needs_verdict(trigger.action):
                    measurement = self._measure(run, measurement)
                gate = apply(trigger.action, self._case(gate, snapshot, measurement), trigger.by)
            case = self._case(gate, snapshot)
            if needs_measuring(case):
                measurement = self._measure(run, measurement)
                case = replace(case, verdict=measurement.verdict(run))
            decision = _with_cost(decide(case), spent)
            decision, reruns = self._reruns.plan(pipeline, decision, snapshot.gates, self._clock.now())
            change = self._change(trigger, snapshot, decision, reruns)
            if change is None or dry_run:
                return _Settled(decision, snapshot if batched else None)
            try:
                committed = self._store.commit(change)
            except Conflict:
                # Another instance has committed since the snapshot was read, so neither gates nor numbers can be trusted: start
                # again. Both measurements were billed, so both are counted.
                spent = (decision.verdict and decision.verdict.cost) or spent
                snapshot = None
                continue
            if not committed:
                return _Settled(None)
            # Only after the commit: nothing is sent that is not stored. After a crash here the next tick sends it.
            self._relay.send(change.outbox)
            return _Settled(decision, snapshot.with_committed(decision.gate) if batched else None)
        raise Conflict(f"{run}: other instances kept changing the gate while it was judged")

    def _with_unheard_inputs(self, run: RunKey, snapshot: Snapshot, *, dry_run: bool) -> Snapshot:
        """The snapshot with the inputs that were done before phasegate watched, as far as their tables show it."""
        pipeline, now = self.pipelines[run.pipeline], self._clock.now()
        missing = [name for name in pipeline.inputs(run.phase, run.run_date) if name not in snapshot.gates]
        if not any(self._watches.may_have_missed(pipeline, replace(run, phase=name)) for name in missing):
            return snapshot
        found = unheard_inputs(pipeline, run, snapshot.gates, warehouse=self._warehouse, now=now)
        proven = [gate for gate in found.values() if gate.state in (GateState.OPEN, GateState.OFF)]
        if proven and not dry_run:
            added = self._store.add([(gate, adoption_event(gate, now, PHASEGATE)) for gate in proven])
            if len(added) < len(proven):
                return self._load(run)  # another instance was first
            found = {**found} | {gate.run.phase: replace(gate, version=1) for gate in proven}
        return replace(snapshot, gates={**found, **snapshot.gates})

    def _load(self, run: RunKey) -> Snapshot:
        gates = self._store.load(run.pipeline, Span(run.run_date, run.run_date)).get(run.run_date, {})
        return Snapshot(gates, paused(self._store, run.pipeline, run.phase, self._clock.now()))

    def _measure(self, run: RunKey, measurement: Measurement) -> Measurement:
        """A measurement that has a verdict on the gate: the given one, or one of this gate alone."""
        if measurement.verdict(run) is not None:
            return measurement
        return measure_gates(self._warehouse, self.pipelines[run.pipeline], [run], now=self._clock.now())

    def _measure_group(
        self, pipeline: Pipeline, group: Sequence[RunKey], days: Mapping[date, GatesByPhase], *, measure_all: bool = False
    ) -> tuple[Mapping[date, GatesByPhase], Measurement]:
        """The gates of some dates, and one measurement of those that need it, or of all."""
        if not all(run.run_date in days for run in group):
            days = self._store.load(pipeline.name, Span(group[-1].run_date, group[0].run_date))
        snapshots = {run: Snapshot(days.get(run.run_date, {})) for run in group}
        needed = [run for run, s in snapshots.items() if measure_all or needs_measuring(self._case(s.gate(run), s))]
        return days, measure_gates(self._warehouse, pipeline, needed, now=self._clock.now())

    def _case(self, gate: Gate, snapshot: Snapshot, measurement: Measurement = NOT_MEASURED) -> Case:
        run, pipeline = gate.run, self.pipelines[gate.run.pipeline]
        day = {**snapshot.gates, run.phase: gate}
        due = deadline(pipeline, run.phase, run.run_date, day)
        now = self._clock.now()
        is_late = due is not None and now >= due.at
        # An open gate was released without the reports that nobody heard, so its next generation does not need them either.
        is_adopted = gate.is_open and gate.opened_at is None
        unheard = is_adopted or ((is_late or gate.is_open) and self._watches.may_have_missed(pipeline, run))
        return Case(pipeline, gate, day, measurement.verdict(run), due.at if due else None, now, snapshot.pause, unheard)

    def _change(self, trigger: Trigger, snapshot: Snapshot, decision: Decision, reruns: RerunPlan) -> Change | None:
        """The decision as one atomic change; None when a tick found nothing that is not stored already.

        It is a compare-and-set: the gate and the related gates name the versions that were read, and the store refuses the
        whole change when one of them has moved since.
        """
        signals = (signal_message(decision.signal),) if decision.signal else ()
        requests = (retry_message(request) for request in reruns.requests)
        # Keys are made of the gate's version or generation, so the same decision made twice sends the same keys.
        outbox: tuple[Outgoing, ...] = (*signals, *(alert_message(alert) for alert in decision.alerts), *requests)
        gate = decision.gate
        if trigger.message_id is None and gate == snapshot.gate(gate.run) and not outbox:
            return None
        event = Event(
            gate.run,
            decision.at,
            decision.rule,
            gate.state,
            decision.reason,
            decision.detail,
            gate.generation,
            gate.score,
            str(trigger),
            str(trigger.action or ""),
        )
        return Change(
            gate,
            self._related_gates(decision, snapshot),
            trigger.message_id,
            (*outbox, event_message(event, decision)),
            event,
            records=reruns.records,
        )

    def _related_gates(self, decision: Decision, snapshot: Snapshot) -> Mapping[RunKey, int]:
        """Versions of the other inputs of the followers, when the decision releases the phase.

        The go-signal names the followers that may start, and that depends on these gates. When two inputs open at the same
        time, one of them gets a conflict and decides again. Otherwise each would see the other one closed, and neither would
        start the follower.
        """
        if decision.signal is None:
            return {}
        run, pipeline = decision.gate.run, self.pipelines[decision.gate.run.pipeline]
        return {
            replace(run, phase=other): snapshot.gates[other].version if other in snapshot.gates else 0
            for follower in pipeline.followers(run.phase, run.run_date)
            for other in pipeline.inputs(follower, run.run_date)
            if other != run.phase
        }


def _decided(settled: _Settled) -> Decision:
    assert settled.decision is not None, "only a message can be a duplicate"
    return settled.decision


def _with_cost(decision: Decision, spent: Cost) -> Decision:
    """The decision with the cost of measurements whose commit failed."""
    verdict = decision.verdict
    if verdict is None or not spent.queries:
        return decision
    return replace(decision, verdict=replace(verdict, cost=(verdict.cost or Cost()) + spent))
