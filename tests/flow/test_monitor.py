"""Messages through the whole monitor: what is stored, what is sent, and what a crash at any point leaves."""

import base64
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.checks.kinds import RowCount
from phasegate.core.checks.metrics import Answer, Cost, Query
from phasegate.core.field_syntax import Due, Span
from phasegate.core.gates.completion import Envelope, RunKey
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import AcceptedGap, Gate, GateState, Reason
from phasegate.core.pipeline.model import Calendar, Output, Phase, Pipeline, Producer
from phasegate.errors import ConfigError, PublishError
from phasegate.gates.monitor import Monitor
from phasegate.messaging.bodies import EVENTS
from phasegate.messaging.inbox import Handled
from phasegate.messaging.outbox import MAX_RETRY_SECONDS
from phasegate.ports import Change, Outgoing
from phasegate.testing import Countdown, Crash, Crashing, ManualClock, ScriptedWarehouse

from tests.flow.rechecks import recheck
from tests.watching import has_listened

DAY = date(2026, 3, 2)
SPAN = Span(DAY, DAY)
MORNING = datetime(2026, 3, 3, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
CHECKS = (RowCount(at_least=10),)
SHOP = Pipeline(
    pipeline="shop",
    calendar=Calendar(from_=DAY),
    phases={
        "raw": Phase(
            producers={"orders": Producer(), "prices": Producer()},
            due=Due(at=time(6), days=1),
            outputs={"raw.orders": Output(date="d", checks=CHECKS), "raw.prices": Output(date="d", checks=CHECKS)},
        ),
        "clean": Phase(after=("raw",), outputs={"clean.orders": Output(date="d", checks=CHECKS)}),
        "report": Phase(
            after=("clean",), due=Due(at=time(9), days=1), outputs={"report.sales": Output(date="d", checks=CHECKS)}
        ),
    },
)
TABLES = [table for phase in SHOP.phases.values() for table in phase.outputs]


class Bus:
    """Records what it accepts, with history rows apart; raises an error while one is set."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []
        self.rows: list[Outgoing] = []
        self.tried: list[str] = []
        self.refuses: PublishError | None = None

    def publish(self, message: Outgoing) -> str:
        self.tried.append(message.topic)
        if self.refuses:
            raise self.refuses
        (self.rows if message.topic == EVENTS else self.taken).append(message)
        return f"bus-{len(self.taken) + len(self.rows)}"

    @property
    def keys(self) -> list[str]:
        return [message.key for message in self.taken]

    @property
    def alerts(self) -> list[tuple[str, str]]:
        return [(m.body["cause"], m.body["state"]) for m in self.taken if m.topic == "alerts"]

    @property
    def signals(self) -> list[str]:
        return [message.key for message in self.taken if message.topic.endswith("-go")]


SILENT = PublishError("the bus is silent", retryable=True)
REFUSED = PublishError("no such topic", retryable=False)


class World:
    """A monitor with everything around it; every table has enough rows."""

    def __init__(self, warehouse: Any = None, store: Any = None, *, listened: bool = True) -> None:
        self.clock = ManualClock(MORNING)
        self.store = store or SQLiteStore(":memory:")
        if listened:
            has_listened(self.store, SHOP, MORNING)
        self.warehouse = warehouse or ScriptedWarehouse({(table, DAY): 10 for table in TABLES})
        self.bus = Bus()
        self.calls = Countdown()
        self.monitor = self.started()
        self.sent = 0

    def started(self) -> Monitor:
        """A newly started process; it dies when the countdown ends."""
        return Monitor(
            [SHOP],
            warehouse=Crashing(self.warehouse, self.calls),
            store=Crashing(self.store, self.calls),
            outbox=Crashing(self.store, self.calls),
            publisher=Crashing(self.bus, self.calls),
            clock=self.clock,
        )

    def recheck(self, span: Span = SPAN) -> tuple[Decision, ...]:
        """What a tick does with the gates of some dates."""
        store: Any = Crashing(self.store, self.calls)
        return recheck(self.monitor, SHOP, span, store=store, clock=self.clock)

    def done(self, phase: str, producer: str | None = None, **fields: Any) -> Envelope:
        """A completion of a run that has just ended."""
        self.sent += 1
        now = self.clock.now().isoformat()
        body = {
            "phase": phase, "producer": producer or phase, "run_date": str(DAY), "status": "done",
            "started_at": now, "finished_at": now, **fields,
        }  # fmt: skip
        return Envelope(f"m{self.sent}", json.dumps(body).encode(), {})

    def gate(self, phase: str) -> Gate:
        return self.store.load("shop", SPAN).get(DAY, {}).get(phase, Gate(RunKey("shop", phase, DAY)))

    def pending(self) -> Sequence[str]:
        """Everything that will be sent at some time."""
        return [entry.message.key for entry in self.store.pending(self.clock.now() + timedelta(days=99), 999)]


@pytest.fixture
def world() -> World:
    return World()


def run_raw(world: World) -> None:
    """Both producers of raw report done."""
    world.monitor.handle(world.done("raw", "orders"))
    world.monitor.handle(world.done("raw", "prices"))


def test_three_phases_open_one_after_the_other(world: World) -> None:
    first = world.monitor.handle(world.done("raw", "orders"))
    assert (first.handled, first.message_id, world.bus.taken) == (Handled.DECIDED, "m1", [])
    assert world.warehouse.queries == [], "nothing is measured before everyone has reported"
    second = world.monitor.handle(world.done("raw", "prices"))
    assert second.decision is not None
    assert second.decision.gate.state is GateState.OPEN
    world.clock.advance(MINUTE)
    world.monitor.handle(world.done("clean"))
    world.clock.advance(MINUTE)
    world.monitor.handle(world.done("report", correlation_id="c1"))
    assert [(m.topic, m.key, m.body["start"]) for m in world.bus.taken] == [
        ("shop-raw-go", "shop/raw/2026-03-02/g1", ["clean"]),
        ("shop-clean-go", "shop/clean/2026-03-02/g1", ["report"]),
        ("shop-report-go", "shop/report/2026-03-02/g1", []),
    ]
    last = world.bus.taken[-1]
    assert last.body["upstream"] == ["shop/clean/2026-03-02/g1"]
    assert last.body["correlation_id"] == "c1"
    assert last.attributes["decision_id"] == last.key
    assert world.pending() == []
    assert [e.trigger for e in world.store.history(RunKey("shop", "raw", DAY))] == ["m1", "m2"]
    assert [world.gate(phase).version for phase in SHOP.phases] == [2, 1, 1]


def test_a_push_request_is_handled(world: World) -> None:
    data = base64.b64encode(world.done("clean").data).decode()
    body = json.dumps({"message": {"data": data, "messageId": "p1"}}).encode()
    assert world.monitor.receive({}, body).handled is Handled.DECIDED
    assert world.monitor.receive({}, body).handled is Handled.DUPLICATE


def test_reports_without_ids_are_each_a_report_and_the_newest_wins(world: World) -> None:
    """A job that is run again posts the same words again."""

    def post(status: str) -> GateState:
        world.clock.advance(MINUTE)
        body = json.dumps({"phase": "clean", "run_date": str(DAY), "status": status}).encode()
        assert world.monitor.receive({}, body).handled is Handled.DECIDED
        return world.gate("clean").state

    run_raw(world)
    assert [post("done"), post("failed"), post("done")] == [GateState.OPEN, GateState.OPEN, GateState.OPEN]
    assert world.gate("clean").reports["clean"].status == "done"
    world.clock.advance(timedelta(days=1))
    assert [post("failed"), post("done")] == [GateState.OPEN, GateState.OPEN]
    assert world.gate("clean").reports["clean"].received_at == world.clock.now()


def test_an_invalid_message_without_an_id_raises_an_alert_again_when_it_comes_again(world: World) -> None:
    for _ in range(2):
        world.clock.advance(timedelta(days=30))
        assert world.monitor.receive({}, b'{"phase": "enrch"}').handled is Handled.REJECTED
    assert world.bus.alerts == [("message_rejected", "firing")] * 2


def test_a_duplicate_changes_nothing(world: World) -> None:
    """With its old id or a new one."""
    run_raw(world)
    before, taken = world.gate("raw"), list(world.bus.taken)
    again = world.done("raw", "orders")
    for envelope in (Envelope("m1", again.data, {}), Envelope("new", again.data, {}), Envelope("new", again.data, {})):
        outcome = world.monitor.handle(envelope)
        assert (outcome.handled, outcome.decision) == (Handled.DUPLICATE, None)
    assert (world.gate("raw"), world.bus.taken) == (before, taken)


def test_messages_refused_by_an_unavailable_bus_are_sent_later(world: World) -> None:
    """First after 2 s, then after twice the wait each time."""
    world.bus.refuses = SILENT
    run_raw(world)
    assert world.gate("raw").state is GateState.OPEN, "the decision is stored, whatever the bus does"
    signal, waits = "shop/raw/2026-03-02/g1", []

    def waiting(now: datetime) -> list[int]:
        return [entry.attempts for entry in world.store.pending(now, 9) if entry.message.key == signal]

    for _ in range(4):
        attempts, start = waiting(world.clock.now() + timedelta(days=1)), world.clock.now()
        while not waiting(world.clock.now()):
            world.clock.advance(timedelta(seconds=1))
        waits.append((*attempts, (world.clock.now() - start).seconds))
        assert world.monitor.relay() == 0
    assert waits == [(1, 2), (2, 4), (3, 8), (4, 16)]
    world.bus.refuses = None
    world.monitor.relay()
    assert signal not in world.bus.keys, "not before its time"
    world.clock.advance(timedelta(seconds=32))
    world.monitor.relay()
    assert signal in world.bus.keys
    assert world.pending() == []
    assert world.monitor.relay() == 0


def test_an_unavailable_bus_is_tried_once_per_topic(world: World) -> None:
    """Each attempt takes seconds, so the rest waits its turn in the same order."""
    world.bus.refuses = SILENT
    for _ in range(5):
        world.monitor.handle(world.done("raw", "orders"))
        world.clock.advance(MINUTE)
    world.bus.tried.clear()
    world.monitor.relay()
    assert world.bus.tried == ["events"]
    world.bus.refuses = None
    world.clock.advance(timedelta(hours=2))
    world.monitor.relay()
    assert [row.key for row in world.bus.rows] == [f"shop/raw/2026-03-02/v{n}" for n in range(1, 6)]


def test_an_unavailable_bus_is_tried_forever_at_least_once_an_hour(world: World) -> None:
    """No recorded message is given up while the bus may still accept it."""
    world.bus.refuses = SILENT
    run_raw(world)
    for _ in range(50):
        world.clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))
        assert world.monitor.relay() == 0
    assert not world.store.parked()
    world.bus.refuses = None
    world.clock.advance(timedelta(seconds=MAX_RETRY_SECONDS))
    assert world.monitor.relay() == 3
    assert world.bus.keys == ["shop/raw/2026-03-02/g1"]


def test_a_message_that_the_bus_refuses_for_good_is_parked_immediately(world: World) -> None:
    world.bus.refuses = REFUSED
    run_raw(world)
    keys = [f"shop/raw/2026-03-02/{what}" for what in ("v1", "g1", "v2")]
    assert [entry.message.key for entry in world.store.parked()] == keys
    assert world.pending() == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"phase": "enrch", "run_date": "2026-03-02", "status": "done"}', 'unknown phase "enrch"'),
        (b'{"phase": "clean", "run_date": "TODAY", "status": "done"}', "run_date must be a date"),
        (b"\xff\x00 garbage \xed\xa0\x80", "a body that is not JSON"),
        (b'{"phase": "\\ud800\\u0000"}', 'unknown phase "?\\u0000"'),
        (b"[" * 990 + b"]" * 990, "a body that is no"),
        (b"", "an empty message"),
        (b"x" * 1_000_000, "a body that is not JSON"),
    ],
)
def test_an_invalid_message_is_stored_alerted_once_and_acknowledged(world: World, data: bytes, reason: str) -> None:
    for n in range(2):
        outcome = world.monitor.handle(Envelope("bad", data, {}))
        assert outcome.handled is (Handled.DUPLICATE if n else Handled.REJECTED)
    (rejected,) = world.store.rejected(9)
    assert rejected.message_id == "bad"
    assert rejected.reason.startswith(reason)
    assert len(rejected.data) <= 100_000
    assert world.bus.keys == ["rejected/bad"]
    assert world.bus.alerts == [("message_rejected", "firing")]
    assert world.store.load("shop", SPAN) == {}


def test_an_invalid_envelope_is_stored_and_alerted_once(world: World) -> None:
    for n in range(2):
        outcome = world.monitor.receive({"ce-id": "x"}, b"\xff")
        assert outcome.handled is (Handled.DUPLICATE if n else Handled.REJECTED)
    assert len(world.store.rejected(9)) == len(world.bus.taken) == 1


def test_hostile_text_is_stored_and_sent(world: World) -> None:
    """Half of a surrogate pair in any field must not cause endless redelivery."""
    bad = "\ud800\x00\x1b"
    body = {"phase": "clean", "run_date": str(DAY), "status": "failed", "run_id": bad, "error": bad, "correlation_id": bad}
    message = {"data": base64.b64encode(json.dumps(body).encode()).decode(), "messageId": bad, "attributes": {bad: bad}}
    for text in (json.dumps({"message": message}), json.dumps({"message": {**message, "data": "", "messageId": "other"}})):
        world.monitor.receive({}, text.encode())
    assert world.gate("clean").reason is Reason.PRODUCER_FAILED
    assert len(world.store.rejected(9)) == 1
    for taken in world.bus.taken:
        json.dumps(taken.body, ensure_ascii=False).encode()


def test_a_late_message_without_times_is_recognised_as_old(world: World) -> None:
    """The broker keeps no order, but states when it accepted a message."""
    body = {"phase": "clean", "run_date": str(DAY)}
    run_raw(world)
    world.clock.advance(5 * MINUTE)
    done = Envelope("b", json.dumps({**body, "status": "done"}).encode(), {}, world.clock.now())
    failed = Envelope("a", json.dumps({**body, "status": "failed"}).encode(), {}, world.clock.now() - MINUTE)
    world.monitor.handle(done)
    world.clock.advance(MINUTE)
    assert world.monitor.handle(failed).handled is Handled.DUPLICATE
    assert world.gate("clean").state is GateState.OPEN


def test_a_warehouse_that_is_down_leaves_the_gate_unverified_until_it_is_back(world: World) -> None:
    world.warehouse.down = "the warehouse is down"
    run_raw(world)
    gate = world.gate("raw")
    assert (gate.state, gate.detail) == (GateState.UNVERIFIED, "could not be measured: the warehouse is down")
    for _ in range(11):
        world.clock.advance(MINUTE)
        world.recheck()
    assert world.bus.alerts == [("not_measured", "firing")]
    world.warehouse.down = ""
    world.clock.advance(MINUTE)
    (decision,) = world.recheck()
    assert decision.gate.state is GateState.OPEN
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]
    assert world.bus.alerts == [("not_measured", "firing"), ("not_measured", "recovered")]


def test_a_table_that_does_not_answer_leaves_the_gate_unverified(world: World) -> None:
    world.warehouse.broken = {"raw.orders"}
    run_raw(world)
    assert world.gate("raw").state is GateState.UNVERIFIED
    assert [r.name for r in world.gate("raw").results if r.unmeasured] == ["raw.orders.row_count"]


class Refusing(ScriptedWarehouse):
    """A warehouse that fails half-way on the SQL of the pipeline file."""

    def measure(self, queries: Sequence[Query], span: Span) -> Iterator[Answer]:
        for n, answer in enumerate(super().measure(queries, span)):
            if n:
                raise ConfigError("phases.raw: expected GoogleSQL")
            yield answer


def test_sql_that_does_not_parse_leaves_the_gate_unverified() -> None:
    world = World(Refusing())
    run_raw(world)
    gate = world.gate("raw")
    assert (gate.state, gate.detail) == (GateState.UNVERIFIED, "could not be measured: phases.raw: expected GoogleSQL")
    assert world.bus.signals == []


def test_a_held_gate_opens_when_its_rows_arrive(world: World) -> None:
    """By the next tick, without a message; then its alert recovers."""
    world.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(world)
    assert world.gate("raw").state is GateState.HELD
    assert world.recheck()[0].alerts == ()
    versions = world.gate("raw").version
    world.recheck()
    assert world.gate("raw").version == versions, "a recheck that finds nothing new writes nothing"
    world.warehouse.numbers["raw.orders", DAY] = 11
    world.recheck()
    assert world.gate("raw").state is GateState.OPEN
    assert world.bus.alerts == [("checks_failed", "firing"), ("checks_failed", "recovered")]


def test_a_missing_report_is_noticed_at_the_due_time(world: World) -> None:
    world.clock.set(datetime(2026, 3, 3, 5, 59, 59, tzinfo=UTC))
    assert world.recheck() == ()
    world.clock.advance(timedelta(seconds=1))
    assert [decision.gate.state for decision in world.recheck()] == [GateState.OVERDUE]
    world.recheck()
    assert world.bus.alerts == [("no_message", "firing")]


def test_an_expired_accepted_gap_is_rechecked(world: World) -> None:
    """When the acceptance ends, the gate is overdue again and raises an alert."""
    world.clock.set(datetime(2026, 3, 3, 7, tzinfo=UTC))
    world.recheck()
    until = world.clock.now() + timedelta(days=1)
    gap = AcceptedGap("ann", "lost at the source", world.clock.now(), until)
    gate = world.gate("raw")
    world.store.commit(Change(Gate(gate.run, gate.version, gate.state, gate.reason, gap=gap, alert=gate.alert)))
    world.recheck()
    assert world.gate("raw").state is GateState.ACCEPTED
    world.clock.set(until - MINUTE)
    assert "raw" not in [decision.gate.run.phase for decision in world.recheck()]
    world.clock.set(until)
    world.recheck()
    assert world.gate("raw").state is GateState.OVERDUE
    assert world.bus.alerts[-1] == ("no_message", "firing")


def test_an_open_gate_that_could_not_be_measured_is_measured_by_a_tick(world: World) -> None:
    """A late message comes while the warehouse is down; it need not be sent again."""
    run_raw(world)
    world.clock.advance(MINUTE)
    world.warehouse.down = "the warehouse is down"
    world.warehouse.numbers["raw.orders", DAY] = 12
    run_raw(world)
    assert (world.gate("raw").unproven, world.gate("raw").generation) == (True, 1)
    version = world.gate("raw").version
    world.recheck()
    assert world.gate("raw").version == version, "a recheck that finds nothing new writes nothing"
    world.warehouse.down = ""
    world.recheck()
    assert (world.gate("raw").unproven, world.gate("raw").generation) == (False, 2)
    assert world.recheck() == ()


def test_a_late_failure_recovers_without_a_message(world: World) -> None:
    run_raw(world)
    world.clock.advance(MINUTE)
    world.warehouse.numbers["raw.orders", DAY] = 3
    run_raw(world)
    world.warehouse.numbers["raw.orders", DAY] = 10
    world.recheck()
    assert world.bus.alerts == [("late_failure", "firing"), ("late_failure", "recovered")]
    assert world.gate("raw").generation == 1


def test_an_open_gate_is_not_rechecked_by_the_tick(world: World) -> None:
    run_raw(world)
    world.clock.set(datetime(2026, 3, 3, 7, tzinfo=UTC))
    world.warehouse.queries.clear()
    assert world.recheck() == ()
    assert world.warehouse.queries == []


def test_a_gate_that_changes_while_it_is_measured_is_decided_again(world: World) -> None:
    other = world.started()
    world.monitor.handle(world.done("raw", "orders"))

    def meanwhile() -> None:
        world.warehouse.before_answer = None
        other.handle(world.done("raw", "orders", attempt=2))

    world.warehouse.before_answer = meanwhile
    outcome = world.monitor.handle(world.done("raw", "prices"))
    assert outcome.handled is Handled.DECIDED
    assert world.gate("raw").reports["orders"].attempt == 2
    assert outcome.decision is not None
    assert outcome.decision.verdict is not None
    assert outcome.decision.verdict.cost == Cost(len(world.warehouse.queries)), "measured twice for one decision"
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]


# -- crashes ------------------------------------------------------------------------------------------------------------------


def crash_at(point: int, *, rows: int, bus: PublishError | None = None) -> tuple[World, bool]:
    """The process dies at a point while it handles raw's last message; then the message comes again, and a tick follows."""
    world = World()
    world.warehouse.numbers["raw.orders", DAY] = rows
    world.monitor.handle(world.done("raw", "orders"))
    last = world.done("raw", "prices")
    world.bus.refuses = bus
    world.calls.left = point
    try:
        world.monitor.handle(last)
        died = False
    except Crash:
        died = True
    world.calls.left = None
    world.bus.refuses = None
    world.monitor = world.started()
    world.monitor.handle(last)
    world.clock.advance(MINUTE)
    world.recheck()
    return world, died


def points(**how: Any) -> int:
    """How many points there are: steps before and after every call of a port."""
    point = 0
    while crash_at(point, **how)[1]:
        point += 1
    return point


@pytest.mark.parametrize("bus", [None, SILENT], ids=["bus", "silent bus"])
def test_a_crash_at_any_point_loses_and_doubles_no_signal(bus: PublishError | None) -> None:
    """There is one decision and one key, however often it is sent, and nothing recorded stays unsent."""
    # load, pauses, measure, commit, two of publish, and sent or twice failed: each may die before it is done and after it.
    # A publish that is refused has no after.
    assert points(rows=10, bus=bus) == 14
    for point in range(15):
        world, _ = crash_at(point, rows=10, bus=bus)
        gate = world.gate("raw")
        assert (gate.state, gate.generation) == (GateState.OPEN, 1), point
        assert set(world.bus.keys) == {"shop/raw/2026-03-02/g1"}, point
        assert len(world.bus.taken) <= 2, point
        assert len({json.dumps(dict(message.body)) for message in world.bus.taken}) == 1, "one key means one thing"
        assert {row.key for row in world.bus.rows} == {"shop/raw/2026-03-02/v1", "shop/raw/2026-03-02/v2"}, point
        assert len({json.dumps(row.body) for row in world.bus.rows}) == 2, "a row that comes twice is the same"
        assert world.pending() == [], point
        assert world.store.parked() == [], point
        assert len(world.store.history(gate.run)) == 2, point


def test_a_crash_at_any_point_loses_and_doubles_no_alert() -> None:
    for point in range(points(rows=3) + 1):
        world, _ = crash_at(point, rows=3)
        assert world.gate("raw").state is GateState.HELD, point
        assert set(world.bus.keys) == {"shop/raw/2026-03-02/v2/checks_failed"}, point
        assert world.pending() == [], point


def test_a_crash_at_any_point_stores_a_rejected_message_once() -> None:
    point, died = 0, True
    while died:
        world = World()
        world.calls.left = point
        bad = Envelope("bad", b"{}", {})
        try:
            world.monitor.handle(bad)
            died = False
        except Crash:
            died = True
        world.calls.left = None
        world.monitor = world.started()
        world.monitor.handle(bad)
        world.recheck()
        assert len(world.store.rejected(9)) == 1, point
        assert set(world.bus.keys) == {"rejected/bad"}, point
        assert world.pending() == [], point
        point += 1
    assert point == 7, "commit, publish, sent: before and after each, and once without"
