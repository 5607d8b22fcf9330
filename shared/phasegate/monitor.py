"""The one sentence: a completion comes in; parse, load, measure, judge, decide, record with what must be sent, send."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from phasegate.core.checks import Answers
from phasegate.core.decide import Case, Decision, decide, needs_measuring
from phasegate.core.gate import Day, Gate, GateState
from phasegate.core.messages import Envelope, Report, RunKey, parse_completion
from phasegate.core.notation import Span
from phasegate.core.pipeline import Pipeline
from phasegate.core.verdict import PhaseVerdict, Verdict, judge_phase, queries
from phasegate.errors import ConfigError, Conflict, WarehouseError
from phasegate.intake import Handled, Intake, Outcome
from phasegate.outgoing import alert_message, event_message, signal_message
from phasegate.ports import Change, Clock, Event, Outbox, Outgoing, Publisher, StateStore, Warehouse
from phasegate.relay import Relay

CONFLICTS = 20
"""How often a decision is taken anew because the gate moved meanwhile, before the message is left to come again."""

LONGEST_PAUSE = 1.0
"""Seconds, before a decision is taken anew."""

TICK = "tick"
"""What a decision without a message was triggered by."""

Progress = Callable[[str, int, int], None]
"""Is told what was just measured, how many queries are done, and of how many."""


def measure(
    warehouse: Warehouse, pipeline: Pipeline, phases: Iterable[str], span: Span, progress: Progress | None = None
) -> Answers:
    """Every number that is needed to judge some phases on every date of a span: one query per table.

    Raises:
        WarehouseError: The warehouse could not be asked at all.
        ConfigError: SQL of the pipeline file does not parse.
    """
    asked = queries(pipeline, phases)
    answers = []
    for answer in warehouse.measure(asked, span):
        answers.append(answer)
        if progress:
            progress(answer.query.source.table, len(answers), len(asked))
    expected = pipeline.calendar.expected
    return Answers(answers, None if expected is None else expected.asked())


class Monitor:
    """Judges finished phases and opens, or holds, the gates to the next ones."""

    def __init__(
        self,
        pipelines: Sequence[Pipeline],
        *,
        warehouse: Warehouse,
        store: StateStore,
        outbox: Outbox,
        publisher: Publisher,
        clock: Clock,
    ) -> None:
        self.pipelines = {pipeline.name: pipeline for pipeline in pipelines}
        self._warehouse = warehouse
        self._store = store
        self._clock = clock
        self._relay = Relay(outbox, publisher, clock)
        self._intake = Intake(store, self._relay, clock)

    def handle(self, envelope: Envelope) -> Outcome:
        """Take in one message; when this returns, its effect is stored, and sent as far as the bus took it.

        Raises:
            AdapterError: The effect is not stored; the message must come again.
        """
        return self._intake.take(envelope, self._handle)

    def receive(self, headers: Mapping[str, str], body: bytes) -> Outcome:
        """Take in one message as an HTTP request brings it; see `handle`."""
        return self._intake.receive(headers, body, self._handle)

    def _handle(self, envelope: Envelope) -> Outcome:
        completion = parse_completion(envelope, tuple(self.pipelines.values()), now=self._clock.now())
        return self._settle(completion.run, completion.report, envelope.message_id)

    def look(self, run: RunKey) -> Decision:
        """Judge a gate without a message: because it is due, or because its data may have changed."""
        decision = self._settle(run).decision
        assert decision is not None, "without a message there is no duplicate"
        return decision

    def watch(self, span: Span) -> tuple[Decision, ...]:
        """Look at every gate of *span* that has heard something or is due and may open, newest first; send what is unsent.

        A gate whose gap was accepted is looked at when the acceptance has expired.
        """
        decisions = []
        for pipeline in self.pipelines.values():
            known = self._store.load(pipeline.name, span)
            for day in reversed(span.days()):
                for phase in pipeline.phases if pipeline.calendar.has_run(day) else ():
                    gate = known.get(day, {}).get(phase, Gate(RunKey(pipeline.name, phase, day)))
                    due = pipeline.due(phase, day)
                    now = self._clock.now()
                    expired = gate.state is GateState.ACCEPTED and gate.gap is not None and now >= gate.gap.until
                    if expired or (gate.is_unsettled and (gate.reports or (due is not None and now >= due))):
                        decisions.append(self.look(gate.run))
        self.relay()
        return tuple(decisions)

    def relay(self, limit: int = 1_000) -> int:
        """Send what a crash or a silent bus has left unsent; gives how many entries the bus took."""
        return self._relay.send_pending(limit)

    def _settle(self, run: RunKey, report: Report | None = None, message_id: str | None = None) -> Outcome:
        """Load, measure, decide and record, again from the start when the gate moved meanwhile; then send."""
        for attempt in range(CONFLICTS):
            if attempt > 1:
                # Of many that collide one wins each time; the others must not come back all at once.
                time.sleep(random.uniform(0, min(0.01 * 2**attempt, LONGEST_PAUSE)))  # noqa: S311
            day = self._store.load(run.pipeline, Span(run.run_date, run.run_date)).get(run.run_date, {})
            known = day.get(run.phase, Gate(run))
            gate = known.hear(report) if report else known
            if gate is None:
                self._store.commit(Change(handled=message_id))
                return Outcome(message_id or TICK, Handled.DUPLICATE)
            decision = self._decide(gate, day)
            change = self._change(decision, known, day, message_id)
            if change is None:
                return Outcome(message_id or TICK, Handled.DECIDED, decision)
            try:
                committed = self._store.commit(change)
            except Conflict:
                continue
            if not committed:
                return Outcome(message_id or TICK, Handled.DUPLICATE)
            self._relay.send(change.outbox)
            return Outcome(message_id or TICK, Handled.DECIDED, decision)
        raise Conflict(f"{run}: the gate kept moving while it was judged")

    def _decide(self, gate: Gate, day: Day) -> Decision:
        pipeline = self.pipelines[gate.run.pipeline]
        due = pipeline.due(gate.run.phase, gate.run.run_date)
        case = Case(pipeline, gate, day, None, due, self._clock.now())
        if needs_measuring(case):
            case = replace(case, verdict=self._judge(pipeline, gate.run))
        return decide(case)

    def _judge(self, pipeline: Pipeline, run: RunKey) -> PhaseVerdict:
        """What the tables say; that they could not be asked is a verdict too, and never a pass."""
        try:
            answers = measure(self._warehouse, pipeline, [run.phase], Span(run.run_date, run.run_date))
        except (WarehouseError, ConfigError) as error:
            return PhaseVerdict(run.phase, Verdict.UNVERIFIED, reason=str(error))
        return replace(judge_phase(pipeline, run.phase, run.run_date, answers), cost=answers.cost)

    def _change(self, decision: Decision, known: Gate, day: Day, message_id: str | None) -> Change | None:
        """The decision as one atomic change; None when a look found nothing that is not stored already."""
        signals = (signal_message(decision.signal),) if decision.signal else ()
        outbox: tuple[Outgoing, ...] = (*signals, *(alert_message(alert) for alert in decision.alerts))
        if message_id is None and decision.gate == known and not outbox:
            return None
        gate = decision.gate
        event = Event(
            gate.run,
            decision.at,
            decision.rule,
            gate.state,
            decision.reason,
            decision.detail,
            gate.generation,
            gate.score,
            message_id or TICK,
        )
        pipeline = self.pipelines[gate.run.pipeline]
        beside = {
            replace(gate.run, phase=other): day[other].version if other in day else 0
            for follower in pipeline.followers(gate.run.phase, gate.run.run_date)
            for other in pipeline.inputs(follower, gate.run.run_date)
            if decision.signal and other != gate.run.phase
        }
        return Change(gate, beside, message_id, (*outbox, event_message(event, decision)), event)
