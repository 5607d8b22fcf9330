"""The one sentence: a completion comes in; parse, load, measure, judge, decide, record with what must be sent, send."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from phasegate.core.checks.base import Answers
from phasegate.core.checks.metrics import Cost, Query
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import Action, apply, needs_verdict
from phasegate.core.gates.completion import Envelope, Report, RunKey, parse_completion
from phasegate.core.gates.decide import Case, Decision, decide, needs_measuring
from phasegate.core.gates.gate import Gate, GatesByPhase, Retries
from phasegate.core.gates.pause import Pause
from phasegate.core.gates.rerun_requests import Random, RerunRequest, RetryStep, next_retry_step, postponed, retries_exhausted
from phasegate.core.gates.schedule import deadline, gates_to_look_at, group_nearby_dates
from phasegate.core.gates.verdict import PhaseVerdict, Verdict, judge_phase, queries
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import ActionRefused, ConfigError, Conflict, WarehouseError
from phasegate.gates.pauses import paused, paused_phases
from phasegate.messaging.bodies import alert_message, event_message, retry_message, signal_message
from phasegate.messaging.inbox import Handled, Inbox, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.messaging.retry_on_conflict import attempts
from phasegate.ports import Change, Clock, Event, Outbox, Outgoing, Publisher, Record, State, Warehouse

TICK = "tick"
"""What a decision without a message was triggered by."""


def by_hand(who: str) -> str:
    """What a decision that a person led to was triggered by."""
    return f"by hand: {who}"


Judge = Callable[[RunKey], PhaseVerdict]
"""Says what the tables hold for a gate."""

Progress = Callable[[str, int, int], None]
"""Is told what was just measured, how many queries are done, and of how many."""


def measure(
    warehouse: Warehouse,
    pipeline: Pipeline,
    phases: Iterable[str],
    span: Span,
    progress: Progress | None = None,
    *,
    keys: bool = False,
) -> Answers:
    """Every number that is needed to judge some phases on every date of a span: one query per table.

    Args:
        keys: Checksums of the keys are wanted too, to tell the same rows from others.

    Raises:
        WarehouseError: The warehouse could not be asked at all.
        ConfigError: SQL of the pipeline file does not parse.
    """
    return run_queries(warehouse, pipeline, queries(pipeline, phases, keys=keys), span, progress)


def run_queries(
    warehouse: Warehouse, pipeline: Pipeline, asked: Sequence[Query], span: Span, progress: Progress | None = None
) -> Answers:
    """What the warehouse answers on every date of a span; see `measure`."""
    answers = []
    for answer in warehouse.measure(asked, span):
        answers.append(answer)
        if progress:
            progress(answer.query.source.table, len(answers), len(asked))
    expected = pipeline.calendar.expected
    return Answers(answers, None if expected is None else expected.asked())


BUDGET = "retry_budget"
"""Records of this kind, by pipeline, phase and local day: `used` in the body counts the requests to run again."""

BREAKER = "breaker"
"""Records of this kind, by pipeline and phase: while live, only `run_date` in the body is asked to run again."""


@dataclass(frozen=True, slots=True)
class SignedAction:
    """An act by hand, and who does it."""

    act: Action
    by: str


@dataclass(frozen=True, slots=True)
class ActionResult:
    """What became of an act on one gate.

    Args:
        decision: None when it was refused.
        refused: Why; empty when it was not.
    """

    run: RunKey
    decision: Decision | None
    refused: str = ""


@dataclass(frozen=True, slots=True)
class RerunPlan:
    """Requests to run again, and the budget that is spent with them."""

    requests: tuple[RerunRequest, ...] = ()
    records: tuple[Record, ...] = ()


@dataclass(slots=True)
class _Date:
    """What was read of one run date: the gates, and after them the tables; None when it must be read anew.

    Args:
        pause: What keeps the phase from being released; a tick leaves paused phases alone.
    """

    gates: dict[str, Gate]
    judge: Judge | None
    pause: Pause | None = None


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
        self._chance = chance
        self._relay = Relay(outbox, publisher, clock)
        self._intake = Inbox(store, self._relay, clock)

    def handle(self, envelope: Envelope) -> InboxResult:
        """Take in one message; when this returns, its effect is stored, and sent as far as the bus took it.

        Raises:
            AdapterError: The effect is not stored; the message must come again.
        """
        return self._intake.take(envelope, self._handle)

    def receive(self, headers: Mapping[str, str], body: bytes) -> InboxResult:
        """Take in one message as an HTTP request brings it; see `handle`."""
        return self._intake.receive(headers, body, self._handle)

    def _handle(self, envelope: Envelope) -> InboxResult:
        completion = parse_completion(envelope, tuple(self.pipelines.values()), now=self._clock.now())
        return self._settle(completion.run, completion.report, envelope.message_id)

    def look(self, run: RunKey) -> Decision:
        """Judge a gate without a message: because it is due, or because its data may have changed."""
        decision = self._settle(run).decision
        assert decision is not None, "without a message there is no duplicate"
        return decision

    def act(self, run: RunKey, act: Action, by: str, *, dry_run: bool = False) -> Decision:
        """Do something to a gate by hand; it is judged at once, by the same rules as ever.

        Args:
            by: Who does it; stands in the history.
            dry_run: Say what would become of the gate, and change nothing.

        Raises:
            UnknownPhase: The pipeline file has no such phase.
            Refused: The act makes no sense on this gate now.
        """
        self.pipelines[run.pipeline].phase(run.phase)
        decision = self._settle(run, signed=SignedAction(act, by), dry_run=dry_run).decision
        assert decision is not None, "without a message there is no duplicate"
        return decision

    def act_on(self, runs: Sequence[RunKey], act: Action, by: str, *, dry_run: bool = False) -> tuple[ActionResult, ...]:
        """Do one thing to several gates of a phase, by date; see `act`. What is refused on one is done on the others.

        The tables are measured together: one query per table for all dates that lie close together.
        """
        pipeline, signed = self.pipelines[runs[0].pipeline], SignedAction(act, by)
        pause = paused(self._store, pipeline.name, runs[0].phase, self._clock.now())
        done: list[ActionResult] = []
        for group in group_nearby_dates(runs):
            dates = self._read(pipeline, group, {}, all_measured=needs_verdict(act))
            for run in group:
                dates[run.run_date].pause = pause
                try:
                    outcome = self._settle(run, signed=signed, dry_run=dry_run, read=dates[run.run_date])
                except ActionRefused as refused:
                    done.append(ActionResult(run, None, str(refused)))
                else:
                    done.append(ActionResult(run, outcome.decision))
        return tuple(sorted(done, key=lambda acted: acted.run.run_date))

    def watch(self, span: Span) -> tuple[Decision, ...]:
        """Look at every gate of *span* for which `wants_look` says so, newest first; send what is unsent."""
        decisions: list[Decision] = []
        for pipeline in self.pipelines.values():
            days = self._store.load(pipeline.name, span)
            now = self._clock.now()
            skip = paused_phases(self._store, pipeline, now)
            runs = gates_to_look_at(pipeline, days, span, now, since=span.first, paused=skip)
            decisions += self.look_at(pipeline, runs, days)
        self.relay()
        return tuple(decisions)

    def look_at(self, pipeline: Pipeline, runs: Sequence[RunKey], days: Mapping[date, GatesByPhase]) -> tuple[Decision, ...]:
        """Judge gates without messages, measured together: one query per table for all dates that lie close together.

        Args:
            days: The gates as they are known, read before now; dates that are missing are read.
        """
        decisions = []
        for group in group_nearby_dates(runs):
            dates = self._read(pipeline, group, days)
            for run in group:
                outcome = self._settle(run, read=dates[run.run_date])
                assert outcome.decision is not None, "without a message there is no duplicate"
                decisions.append(outcome.decision)
        return tuple(decisions)

    def _read(
        self, pipeline: Pipeline, group: Sequence[RunKey], days: Mapping[date, GatesByPhase], *, all_measured: bool = False
    ) -> Mapping[date, _Date]:
        """The gates of some dates, and what the tables say of those that want it, or of all, measured together."""
        span = Span(group[-1].run_date, group[0].run_date)
        known = days if all(run.run_date in days for run in group) else self._store.load(pipeline.name, span)
        wanting = [run for run in group if all_measured or needs_measuring(self._case(run, known.get(run.run_date, {})))]
        judge = self._judge(wanting)
        return {run.run_date: _Date(dict(known.get(run.run_date, {})), judge) for run in group}

    def relay(self, limit: int = 1_000) -> int:
        """Send what a crash or a silent bus has left unsent; gives how many entries the bus took."""
        return self._relay.send_pending(limit)

    def _settle(
        self,
        run: RunKey,
        report: Report | None = None,
        message_id: str | None = None,
        *,
        signed: SignedAction | None = None,
        dry_run: bool = False,
        read: _Date | None = None,
    ) -> InboxResult:
        """Load, measure, decide and record, again from the start when the gate moved meanwhile; then send.

        Args:
            signed: What a person does to the gate, in place of a report.
            dry_run: Record and send nothing.
            read: What was read of the run date already; what is recorded is noted there.
        """
        spent = Cost()
        for attempt in attempts():
            if read is None:
                read = _Date({}, None)
            if read.judge is None or attempt:
                span = Span(run.run_date, run.run_date)
                read.gates, read.judge = dict(self._store.load(run.pipeline, span).get(run.run_date, {})), None
                read.pause = paused(self._store, run.pipeline, run.phase, self._clock.now())
            day, judge = read.gates, read.judge
            known = day.get(run.phase, Gate(run))
            gate = known.with_report(report) if report else known
            if gate is None:
                self._store.commit(Change(handled=message_id))
                return InboxResult(message_id or TICK, Handled.DUPLICATE)
            if signed is not None:
                judge = judge or self._judge([run] if needs_verdict(signed.act) else [])
                gate = self._apply(signed, known, day, judge)
            decision, asking = self._ask_again(_with_cost(self._decide(gate, day, judge, read.pause), spent), day)
            change = self._change(decision, known, day, message_id, asking, signed)
            if change is None or dry_run:
                return InboxResult(message_id or TICK, Handled.DECIDED, decision)
            try:
                committed = self._store.commit(change)
            except Conflict:
                spent = (decision.verdict and decision.verdict.cost) or spent
                continue
            if not committed:
                return InboxResult(message_id or TICK, Handled.DUPLICATE)
            day[run.phase] = replace(decision.gate, version=decision.gate.version + 1)
            self._relay.send(change.outbox)
            return InboxResult(message_id or TICK, Handled.DECIDED, decision)
        raise Conflict(f"{run}: the gate kept moving while it was judged")

    def _case(self, run: RunKey, day: GatesByPhase, gate: Gate | None = None) -> Case:
        pipeline = self.pipelines[run.pipeline]
        due = deadline(pipeline, run.phase, run.run_date, day)
        return Case(pipeline, gate or day.get(run.phase, Gate(run)), day, None, due.at if due else None, self._clock.now())

    def _apply(self, signed: SignedAction, known: Gate, day: GatesByPhase, judge: Judge) -> Gate:
        case = self._case(known.run, day, known)
        if needs_verdict(signed.act):
            case = replace(case, verdict=judge(known.run))
        return apply(signed.act, case, signed.by)

    def _decide(self, gate: Gate, day: GatesByPhase, judge: Judge | None, pause: Pause | None) -> Decision:
        case = replace(self._case(gate.run, day, gate), pause=pause)
        if needs_measuring(case):
            case = replace(case, verdict=(judge or self._judge([gate.run]))(gate.run))
        return decide(case)

    def _judge(self, runs: Sequence[RunKey]) -> Judge:
        """What the tables say of some gates of a pipeline; that they could not be asked is a verdict too, and never a pass."""
        if not runs:
            return lambda run: self._judge([run])(run)
        pipeline, dates = self.pipelines[runs[0].pipeline], [run.run_date for run in runs]
        phases = [phase for phase in pipeline.phases if any(run.phase == phase for run in runs)]
        try:
            answers = measure(self._warehouse, pipeline, phases, Span(min(dates), max(dates)), keys=True)
        except (WarehouseError, ConfigError) as error:
            reason = str(error)
            return lambda run: PhaseVerdict(run.phase, Verdict.UNVERIFIED, reason=reason)

        def judge(run: RunKey) -> PhaseVerdict:
            if run not in runs:
                return self._judge([run])(run)
            cost = answers.cost if run == runs[0] else Cost()
            return replace(judge_phase(pipeline, run.phase, run.run_date, answers), cost=cost)

        return judge

    def _ask_again(self, decision: Decision, day: GatesByPhase) -> tuple[Decision, RerunPlan]:
        """The decision with what is done about running again, and the requests with the budget that they are taken from."""
        gate, now, asking = decision.gate, self._clock.now(), RerunPlan()
        pipeline = self.pipelines[gate.run.pipeline]
        found = next_retry_step(pipeline, gate, day, now, self._chance)
        if found.ask:
            found, asking = self._allowed(pipeline, gate, found, now)
        gate = replace(gate, retries=found.retries)
        told = retries_exhausted(gate, now) if found.given_up else None
        names = ", ".join(request.producer for request in asking.requests)
        detail = f"{decision.detail}; asked {names} to run again" if names else decision.detail
        return replace(decision, gate=gate, detail=detail, alerts=(*decision.alerts, *([told] if told else []))), asking

    def _allowed(self, pipeline: Pipeline, gate: Gate, wanted: RetryStep, now: datetime) -> tuple[RetryStep, RerunPlan]:
        """The requests that the breaker and the day's budget of the phase let through."""
        phase, before = f"{pipeline.name}/{gate.run.phase}", gate.retries or Retries()
        policy = pipeline.phase(gate.run.phase).retry
        assert policy is not None, "only a phase with a policy asks"
        breaker = self._store.find(BREAKER, [phase]).get(phase)
        if breaker and breaker.expires is None and breaker.body["run_date"] != str(gate.run.run_date):
            return postponed(before, now + policy.at_most), RerunPlan()
        key = f"{phase}/{pipeline.today(now)}"
        budget = self._store.find(BUDGET, [key]).get(key, Record(BUDGET, key, {"used": 0}))
        producers = wanted.ask[: max(policy.budget_per_day - budget.body["used"], 0)]
        if not producers:
            tomorrow = datetime.combine(pipeline.today(now) + timedelta(days=1), time(), pipeline.zone)
            return postponed(before, tomorrow.astimezone(UTC) + self._chance() * policy.at_most), RerunPlan()
        assert wanted.retries is not None
        attempt = wanted.retries.asked + 1
        spent = replace(budget, body={"used": budget.body["used"] + len(producers)}, expires=now + timedelta(days=2))
        return wanted, RerunPlan(tuple(RerunRequest(gate.run, name, attempt, gate.detail, now) for name in producers), (spent,))

    def _change(
        self,
        decision: Decision,
        known: Gate,
        day: GatesByPhase,
        message_id: str | None,
        asking: RerunPlan,
        signed: SignedAction | None,
    ) -> Change | None:
        """The decision as one atomic change; None when a look found nothing that is not stored already."""
        signals = (signal_message(decision.signal),) if decision.signal else ()
        requests = (retry_message(request) for request in asking.requests)
        outbox: tuple[Outgoing, ...] = (*signals, *(alert_message(alert) for alert in decision.alerts), *requests)
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
            by_hand(signed.by) if signed else message_id or TICK,
            str(signed.act) if signed else "",
        )
        pipeline = self.pipelines[gate.run.pipeline]
        related_versions = {
            replace(gate.run, phase=other): day[other].version if other in day else 0
            for follower in pipeline.followers(gate.run.phase, gate.run.run_date)
            for other in pipeline.inputs(follower, gate.run.run_date)
            if decision.signal and other != gate.run.phase
        }
        return Change(
            gate, related_versions, message_id, (*outbox, event_message(event, decision)), event, records=asking.records
        )


def _with_cost(decision: Decision, spent: Cost) -> Decision:
    """The decision with what was spent before on measurements that came to nothing."""
    verdict = decision.verdict
    if verdict is None or not spent.queries:
        return decision
    return replace(decision, verdict=replace(verdict, cost=(verdict.cost or Cost()) + spent))
