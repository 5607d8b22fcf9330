"""The invariants I1–I8 and those of late runs and re-runs over generated histories: duplicates, reordering, old attempts, crashes, conflicts, outages, manual actions."""

import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.checks.kinds import RowCount
from phasegate.core.field_syntax import Due, Span
from phasegate.core.gates.actions import AcceptGap, EndGap, EndWaiver, LiftHold, PutHold, Waive, waivable
from phasegate.core.gates.completion import Envelope, RunKey
from phasegate.core.gates.decide import WAIVABLE
from phasegate.core.gates.gate import CLOCK_TOLERANCE, Gate, GatesByPhase, GateState, is_live, is_released
from phasegate.core.pipeline.model import Calendar, Output, Phase, Pipeline, Producer, Quorum
from phasegate.errors import ActionRefused, PublishError
from phasegate.gates.monitor import Monitor
from phasegate.gates.pauses import Pauses, paused
from phasegate.messaging.bodies import EVENTS
from phasegate.ports import Change, Outgoing
from phasegate.testing import Countdown, Crash, Crashing, ManualClock, ScriptedWarehouse

from tests.flow.rechecks import recheck
from tests.watching import has_listened

DAYS = (date(2026, 3, 2), date(2026, 3, 3))
SPAN = Span(*DAYS)
ENOUGH = 10

CHECK = (RowCount(at_least=ENOUGH),)
PIPELINE = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=DAYS[0]),
    phases={
        "raw": Phase(
            producers={"orders": Producer(aliases=("Orders",)), "prices": Producer(), "extras": Producer(optional=True)},
            due=Due(after=None, at=datetime(2026, 3, 2, 6).time(), days=1),
            outputs={"raw.orders": Output(date="d", checks=CHECK), "raw.prices": Output(date="d", checks=CHECK)},
        ),
        "clean": Phase(after=("raw",), outputs={"clean.orders": Output(date="d", checks=CHECK)}),
        "stock": Phase(after=("raw",), outputs={"stock.levels": Output(date="d", checks=CHECK)}),
        "report": Phase(
            after=("clean", "stock"),
            due=Due(at=datetime(2026, 3, 2, 9).time(), days=1),
            quorum=Quorum(at_least=1, of=2, always=("sales",)),
            outputs={"report.sales": Output(date="d", checks=CHECK), "report.extra": Output(date="d", checks=CHECK)},
        ),
    },
)
SETTLE, LATE_BY = timedelta(minutes=10), timedelta(hours=1)
"""As the pipeline file has them unless it says otherwise."""
MISSING = ("nothing_heard", "no_message", "not_started", "producers_missing")
PRODUCERS = [(phase, producer) for phase in PIPELINE.phases for producer in PIPELINE.producers(phase)]
TABLES = [table for phase in PIPELINE.phases.values() for table in phase.outputs]


class FlakyBus:
    """Records what it accepts; while it is silent it accepts nothing."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []
        self.silent = False

    def publish(self, message: Outgoing) -> str:
        if self.silent:
            raise PublishError("the bus is silent", retryable=True)
        self.taken.append(message)
        return str(len(self.taken))


class Oracle:
    """Checks every commit that releases a gate against the policy, with the numbers of the tables themselves."""

    def __init__(self, store: SQLiteStore, warehouse: ScriptedWarehouse, clock: ManualClock) -> None:
        self._store, self._warehouse, self._clock = store, warehouse, clock
        self.read: dict[tuple[str, date], object] = {}
        self.loaded: Mapping[date, GatesByPhase] = {}
        self.released: dict[str, int] = {}
        self.heard: dict[RunKey, datetime] = {}
        self.released_on: dict[RunKey, dict[str, str | None]] = {}
        self.reruns = self.late_alerts = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def load(self, pipeline: str, span: Span) -> Mapping[date, GatesByPhase]:
        days = self._store.load(pipeline, span)
        self.loaded = {**{day: gates for day, gates in self.loaded.items() if day not in span}, **days}
        return days

    def commit(self, change: Change) -> bool:
        committed = self._store.commit(change)
        if committed and change.gate is not None:
            run = change.gate.run
            self._check(change, self.loaded.get(run.run_date, {}))
            # A tick reads the gates once, and continues with what it has committed itself.
            stored = replace(change.gate, version=change.gate.version + 1)
            self.loaded = {**self.loaded, run.run_date: {**self.loaded.get(run.run_date, {}), run.phase: stored}}
        return committed

    def _check(self, change: Change, day: GatesByPhase) -> None:
        """A decision depends on the gates as they were read; the store refuses it when its own gate has changed since."""
        gate = change.gate
        assert gate is not None
        stored = day.get(gate.run.phase, Gate(gate.run))
        if gate.reports:
            self.heard.setdefault(gate.run, self._clock.now())
        self._check_own_due_time(change, gate)
        signals = [message for message in change.outbox if message.topic.endswith("-go")]
        assert len(signals) == gate.generation - stored.generation <= 1, "one signal per generation, and no other"
        if not signals:
            assert stored.state is not GateState.OPEN or gate.state is GateState.OPEN, "a release is never taken back"
            return
        assert signals[0].key == f"{gate.run}/g{gate.generation}"
        self.released[signals[0].key] = self.released.get(signals[0].key, 0) + 1
        self._check_evidence(gate, day)
        self._check_the_rerun_is_over(gate, stored)

    def _check_the_rerun_is_over(self, gate: Gate, stored: Gate) -> None:
        """No release while a needed producer of the same re-run is outstanding within `settle`."""
        before = self.released_on.get(gate.run)
        self.released_on[gate.run] = {name: report.run_id for name, report in gate.reports.items()}
        if before is None or stored.opened_at is None:
            return
        since = {name: report.received_at for name, report in gate.reports.items() if before.get(name) != report.run_id}
        needed = {name for name, producer in PIPELINE.producers(gate.run.phase).items() if not producer.optional}
        if since and len(needed) > 1 and not needed <= set(since):
            self.reruns += 1
            assert self._clock.now() - max(since.values()) >= SETTLE, f"{gate.run} was released again on half of its re-run"

    def _check_own_due_time(self, change: Change, gate: Gate) -> None:
        """No alert that reports are missing for a run that was not late by its own due time."""
        told = [message.body for message in change.outbox if message.topic == "alerts" and message.body["state"] == "firing"]
        if not any(body["cause"] in MISSING for body in told):
            return
        planned, now = PIPELINE.due(gate.run.phase, gate.run.run_date), self._clock.now()
        assert planned is not None and now >= planned, f"{gate.run} has an alert before it was due"
        first = self.heard.get(gate.run)
        if (
            first is not None and first > planned and not PIPELINE.phase(gate.run.phase).after
        ):  # others move with their upstream
            self.late_alerts += 1
            assert now >= first + LATE_BY, f"{gate.run} was heard of late, and has an alert before its own due time"

    def _check_evidence(self, gate: Gate, day: GatesByPhase) -> None:
        """I3: the numbers that this decision was based on satisfy the policy."""
        phase, now = PIPELINE.phase(gate.run.phase), self._clock.now()
        assert gate.hold is None or not is_live(gate.hold, now), "what a person holds is not released"
        assert paused(self._store, "shop", gate.run.phase, now) is None, "nor what is paused"
        waived = {name for override in gate.overrides if is_live(override, now) for name in override.checks}
        rows = {table: int(str(self.read.get((table, gate.run.run_date), 0))) for table in phase.outputs}
        good = {table for table in phase.outputs if rows[table] >= ENOUGH or f"{table}.row_count" in waived}
        needed = [name for name, producer in PIPELINE.producers(gate.run.phase).items() if not producer.optional]
        silent = [name for name in needed if name not in gate.reports]
        failed = [name for name in needed if name not in silent and gate.reports[name].status == "failed"]
        reported = (not silent or "producers_missing" in waived) and (not failed or "producer_failed" in waived)
        due = PIPELINE.due(gate.run.phase, gate.run.run_date)
        quorum = phase.quorum is not None and due is not None and self._clock.now() >= due
        enough = good == set(phase.outputs) and reported
        if gate.degraded:
            assert quorum, "degraded only by a quorum after due"
            assert {"report.sales"} <= good, "what is in always is never waived"
            assert gate.missing
        else:
            assert enough, f"{gate.run} opened without evidence"
        for upstream in phase.after if "ran_before_upstream" not in waived else ():
            assert is_released(PIPELINE, upstream, day), f"{gate.run} opened before {upstream}"
            opened = day[upstream].opened_at
            early = [
                report for report in gate.reports.values() if opened is not None and report.began <= opened - CLOCK_TOLERANCE
            ]
            assert not early, f"{gate.run} rests on a run that began before {upstream} was released"


class World:
    """A monitor, its stores, and a random history."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311
        # A third of the histories are backfills: everything is past due when it is first heard of.
        self.clock = ManualClock(datetime(2026, 3, 2 if seed % 3 else 5, 1, tzinfo=UTC))
        self.store = SQLiteStore(":memory:")
        self.warehouse = ScriptedWarehouse()
        self.bus = FlakyBus()
        self.calls = Countdown()
        has_listened(self.store, PIPELINE, datetime(2026, 3, 2, 1, tzinfo=UTC))
        self.oracle = Oracle(self.store, self.warehouse, self.clock)
        self.monitor = self.started()
        self.sent: list[Envelope] = []
        self.unacknowledged: Envelope | None = None
        self.runs = 0

    def started(self) -> Monitor:
        """A process that starts: nothing in memory, everything in the store."""
        return Monitor(
            [PIPELINE],
            warehouse=Crashing(self._reading(), self.calls),
            store=Crashing(self.oracle, self.calls),
            outbox=Crashing(self.store, self.calls),
            publisher=Crashing(self.bus, self.calls),
            clock=self.clock,
        )

    def _reading(self) -> ScriptedWarehouse:
        warehouse, oracle = self.warehouse, self.oracle

        class Reading(ScriptedWarehouse):
            def measure(self, queries, span):  # type: ignore[no-untyped-def]
                oracle.read.update(
                    {key: warehouse.numbers.get(key, 0) for key in ((t, d) for t in TABLES for d in span.days())}
                )
                yield from warehouse.measure(queries, span)

        return Reading()

    def play(self, steps: int) -> None:
        moves: list[Callable[[], None]] = [
            *[self.run] * 7, *[self.again] * 3, *[self.tick] * 2, *[self.wait] * 2,
            self.load, self.report, self.damage, self.silence, self.outage, *[self.person] * 2,
        ]  # fmt: skip
        for _ in range(steps):
            if self.random.random() < 0.3:
                self.calls.left = self.random.randrange(28)
            if self.random.random() < 0.3:
                self.warehouse.before_answer = self._meanwhile
            move = self.random.choice(moves)
            try:
                move()
            except Crash:
                self.monitor = self.started()
                if self.unacknowledged:
                    self.deliver(self.unacknowledged)
            self.calls.left = None
            self.warehouse.before_answer = None

    def _meanwhile(self) -> None:
        """Another instance handles a message while this one measures: the same one, or the report of a sibling."""
        self.warehouse.before_answer = None
        calls, self.calls.left = self.calls.left, None
        loaded, read = self.oracle.loaded, dict(self.oracle.read)
        other = self.started()
        if self.unacknowledged and self.random.random() < 0.5:
            other.handle(self.unacknowledged)
        else:
            day = self.random.choice(DAYS)
            phase, producer = self.random.choice([("clean", "clean"), ("stock", "stock"), ("raw", "prices")])
            other.handle(self.message(phase, producer, day, self.clock.now(), "done"))
        self.calls.left, self.oracle.loaded, self.oracle.read = calls, loaded, read

    def run(self) -> None:
        """A phase runs for a date: mostly the next one in order, mostly well; its producers report in any order."""
        day = self.random.choice(DAYS)
        gates = self.store.load("shop", SPAN).get(day, {})
        shut = [name for name in PIPELINE.phases if name not in gates or not gates[name].is_open]
        phase = shut[0] if shut and self.random.random() < 0.7 else self.random.choice(list(PIPELINE.phases))
        for table in PIPELINE.phase(phase).outputs:
            self.warehouse.numbers[table, day] = self.random.choice([ENOUGH] * 6 + [ENOUGH + 1, ENOUGH + 2, 3, 0])
        producers = [producer for producer in PIPELINE.producers(phase) if self.random.random() < 0.95]
        self.random.shuffle(producers)
        self.clock.advance(timedelta(minutes=3))
        for producer in producers:
            status = "failed" if self.random.random() < 0.05 else "done"
            self.deliver(self.message(phase, producer, day, self.clock.now(), status))

    def load(self) -> None:
        """A loader writes a table; later loads bring other rows, or the same."""
        key = (self.random.choice(TABLES), self.random.choice(DAYS))
        self.warehouse.numbers[key] = self.random.choice([ENOUGH, ENOUGH, ENOUGH + 1, ENOUGH + 2])

    def damage(self) -> None:
        """A table loses rows."""
        key = (self.random.choice(TABLES), self.random.choice(DAYS))
        self.warehouse.numbers[key] = self.random.choice([0, 3])

    def report(self) -> None:
        """A producer reports; sometimes an old attempt, sometimes a failure."""
        phase, producer = self.random.choice(PRODUCERS)
        ended = self.clock.now() - timedelta(minutes=self.random.choice([0, 0, 1, 120]))
        status = self.random.choice(["done"] * 6 + ["failed", "partial"])
        self.deliver(self.message(phase, producer, self.random.choice(DAYS), ended, status))

    def message(self, phase: str, producer: str, day: date, ended: datetime, status: str) -> Envelope:
        self.runs += 1
        body = (
            f'{{"phase": "{phase}", "producer": "{producer}", "run_date": "{day}", "status": "{status}",'
            f' "run_id": "r{self.runs}", "started_at": "{(ended - timedelta(seconds=30)).isoformat()}",'
            f' "finished_at": "{ended.isoformat()}"}}'
        )
        self.sent.append(Envelope(f"m{self.runs}", body.encode(), {}))
        return self.sent[-1]

    def again(self) -> None:
        """The broker delivers some message again, under its old id or a new one."""
        if self.sent:
            envelope = self.random.choice(self.sent)
            self.sent.append(replace(envelope, message_id=self.random.choice([envelope.message_id, f"n{len(self.sent)}"])))
            self.deliver(self.sent[-1])

    def deliver(self, envelope: Envelope) -> None:
        self.unacknowledged = envelope
        self.monitor.handle(envelope)
        self.unacknowledged = None

    def person(self) -> None:
        """A person does some manual action, valid or not."""
        day, phase = self.random.choice(DAYS), self.random.choice(list(PIPELINE.phases))
        until = self.clock.now() + timedelta(minutes=self.random.choice([1, 30, 300, 3000]))
        gate = self.store.load("shop", SPAN).get(day, {}).get(phase, Gate(RunKey("shop", phase, day)))
        failing = [result.name for result in gate.results if result.outcome == "failed"]
        wrong = [*failing, *([gate.reason] if gate.reason in WAIVABLE else [])] or waivable(PIPELINE, phase)
        waive = Waive(tuple(name for name in wrong if self.random.random() < 0.8), "why", until)
        act = self.random.choice(
            [waive, waive, EndWaiver(), PutHold("why", until), LiftHold(), AcceptGap("why", until), EndGap()]
        )
        pauses = Pauses(Crashing(self.oracle, self.calls), self.clock)  # type: ignore[arg-type]
        subject = self.random.choice([phase, None])
        with suppress(ActionRefused):
            match self.random.randrange(8):
                case 0:
                    pauses.pause(PIPELINE, subject, by="ann", why="why", until=until)
                case 1:
                    pauses.resume(PIPELINE, subject, by="ann")
                case _:
                    self.monitor.act(RunKey("shop", phase, day), act, "ann", dry_run=self.random.random() < 0.1)

    def tick(self) -> None:
        store: Any = Crashing(self.oracle, self.calls)
        recheck(self.monitor, PIPELINE, SPAN, store=store, clock=self.clock)

    def wait(self) -> None:
        self.clock.advance(
            self.random.choice([timedelta(minutes=1), timedelta(minutes=20), timedelta(hours=7), timedelta(hours=20)])
        )

    def silence(self) -> None:
        self.bus.silent = not self.bus.silent

    def outage(self) -> None:
        self.warehouse.down = "" if self.warehouse.down else "the warehouse is down"

    def settle(self) -> None:
        """Everything works again, holds and pauses are ended, and ticks follow."""
        self.bus.silent, self.warehouse.down = False, ""
        pauses = Pauses(self.store, self.clock)
        for phase in (None, *PIPELINE.phases):
            with suppress(ActionRefused):
                pauses.resume(PIPELINE, phase, by="ann")
        for gate in [gate for day in self.store.load("shop", SPAN).values() for gate in day.values()]:
            for act in (LiftHold(), EndGap()):
                with suppress(ActionRefused):
                    self.monitor.act(gate.run, act, "ann")
        for _ in range(3):
            self.clock.advance(timedelta(hours=2))
            self.tick()

    def check(self) -> None:
        keys = [message.key for message in self.bus.taken if message.topic.endswith("-go")]
        gates = [gate for day in self.store.load("shop", SPAN).values() for gate in day.values()]
        recorded = {f"{gate.run}/g{n}" for gate in gates for n in range(1, gate.generation + 1)}
        assert set(keys) == recorded, "I1, I2: every generation has its signal, and no other signal exists"
        assert self.oracle.released == dict.fromkeys(recorded, 1), "I1: one decision per generation"
        bodies = {message.key: message.body for message in self.bus.taken}
        assert all(bodies[message.key] == message.body for message in self.bus.taken), "one key means one thing"
        assert not self.store.pending(self.clock.now() + timedelta(days=9), 999), "I2: nothing recorded stays unsent"
        versions = {f"{gate.run}/v{n}" for gate in gates for n in range(1, gate.version + 1)}
        assert {message.key for message in self.bus.taken if message.topic == EVENTS} == versions, "every decision has its row"
        self._check_the_fan_in_is_started()
        self._check_every_due_gate_is_told(gates)
        self._check_duplicates_change_nothing()

    def _check_the_fan_in_is_started(self) -> None:
        """Of two upstream gates that open at the same time, at least one sees the other, so that their follower is started."""
        for date_, day in self.store.load("shop", SPAN).items():
            # What people opened before its upstream is stale once that opens, and must run again before anything is started.
            ready = [name for name, gate in day.items() if gate.is_open and is_released(PIPELINE, name, day)]
            if {"clean", "stock"} <= set(ready) and "raw" in day and day["raw"].generation == 1:
                starts = [m.body["start"] for m in self.bus.taken if m.body.get("run_date") == str(date_) and "start" in m.body]
                assert ["report"] in starts, f"{date_}: no signal started report"

    def _check_every_due_gate_is_told(self, gates: list[Gate]) -> None:
        by_run = {gate.run: gate for gate in gates}
        for day in DAYS:
            for phase in ("raw", "report"):
                run = RunKey("shop", phase, day)
                due = PIPELINE.due(phase, day)
                if due is not None and self.clock.now() > due:
                    gate = by_run[run]
                    assert gate.state is GateState.OPEN or gate.alert is not None, (
                        f"I6: {run} is {gate.state} and no alert went out"
                    )

    def _check_duplicates_change_nothing(self) -> None:
        before = self.store.load("shop", SPAN)
        for n, envelope in enumerate(self.sent):
            self.monitor.handle(envelope)
            self.monitor.handle(replace(envelope, message_id=f"copy-{n}"))
        assert self.store.load("shop", SPAN) == before, "I7: a replay changes nothing"


@pytest.mark.parametrize("block", range(20))
def test_generated_histories_keep_the_invariants(block: int) -> None:
    """250 histories per block, 5,000 in all; the message has the seed of a failing one."""
    reruns = late_alerts = 0
    for seed in range(block * 250, (block + 1) * 250):
        world = World(seed)
        try:
            world.play(20)
            world.settle()
            world.check()
        except Exception as error:
            raise AssertionError(f"history {seed}: {error}") from error
        reruns, late_alerts = reruns + world.oracle.reruns, late_alerts + world.oracle.late_alerts
    assert reruns and late_alerts, "the histories have partial re-runs and late runs that stay incomplete"
