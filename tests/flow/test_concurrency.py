"""Many concurrent messages through the real monitor and the Firestore emulator; the figures are printed (`pytest -s`)."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.cloud.firestore import Client
from phasegate.adapters.state.firestore import FirestoreStore
from phasegate.core.checks.kinds import RowCount
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Envelope
from phasegate.core.gates.gate import GateState
from phasegate.core.pipeline.model import Calendar, Output, Phase, Pipeline, Producer
from phasegate.gates.monitor import Monitor
from phasegate.messaging.inbox import Handled
from phasegate.ports import Outgoing
from phasegate.testing import ManualClock, ScriptedWarehouse

THREADS = 16
FIRST = date(2026, 3, 2)
NOW = datetime(2026, 12, 1, tzinfo=UTC)

READS = {"RunQuery", "BatchGetDocuments"}
WRITES = {"Commit"}


class RoundTrips(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):  # type: ignore[misc]
    """Counts requests by thread as they are sent."""

    def __init__(self) -> None:
        self._mine = threading.local()

    @property
    def mine(self) -> "Counter[str]":
        if not hasattr(self._mine, "counter"):
            self._mine.counter = Counter()
        counter: Counter[str] = self._mine.counter
        return counter

    def _count(self, go_on: Callable[..., Any], details: grpc.ClientCallDetails, request: object) -> Any:
        self.mine[str(details.method).rpartition("/")[2]] += 1
        return go_on(details, request)

    intercept_unary_unary = _count
    intercept_unary_stream = _count


class Counted(Client):
    """The library's client with counted requests."""

    trips = RoundTrips()

    def _emulator_channel(self, transport: Any) -> Any:
        return grpc.intercept_channel(super()._emulator_channel(transport), self.trips)


class Bus:
    """Accepts everything."""

    def __init__(self) -> None:
        self.taken: list[Outgoing] = []

    def publish(self, message: Outgoing) -> str:
        self.taken.append(message)
        return message.key

    def signals(self) -> "Counter[str]":
        return Counter(message.key for message in self.taken if message.topic.endswith("-go"))


def completion(producer: str, day: date, message_id: str) -> Envelope:
    body = {"phase": "raw", "producer": producer, "run_date": str(day), "status": "done", "run_id": message_id}
    return Envelope(message_id, json.dumps({**body, "finished_at": f"{day}T05:00:00Z"}).encode(), {})


class World:
    def __init__(self, client: Client, project: str, producers: int, days: int) -> None:
        names = [f"p{n:02}" for n in range(producers)]
        raw = Phase(
            producers={name: Producer() for name in names},
            outputs={"raw.orders": Output(date="d", checks=(RowCount(at_least=1),))},
        )
        clean = Phase(after=("raw",), outputs={"clean.orders": Output(date="d")})
        self.pipeline = Pipeline(pipeline="shop", calendar=Calendar(from_=FIRST), phases={"raw": raw, "clean": clean})
        self.days = Span(FIRST, FIRST + timedelta(days=days - 1))
        self.messages = [completion(name, day, f"{day}-{name}") for day in self.days.days() for name in names]
        self.store, self.bus = FirestoreStore(project, "(default)", client=client), Bus()
        self.monitor = Monitor(
            [self.pipeline],
            warehouse=ScriptedWarehouse({("raw.orders", day): 10 for day in self.days.days()}),
            store=self.store,
            outbox=self.store,
            publisher=self.bus,
            clock=ManualClock(NOW),
        )

    def deliver(self, messages: Sequence[Envelope]) -> tuple[list[Handled], list["Counter[str]"], float]:
        """Deliver all concurrently from many threads; gives each result, its round trips, and the total seconds."""
        gather = threading.Barrier(THREADS)
        todo = iter(messages)
        lock = threading.Lock()

        def work() -> Iterator[tuple[Handled, "Counter[str]"]]:
            gather.wait()
            while True:
                with lock:
                    envelope = next(todo, None)
                if envelope is None:
                    return
                Counted.trips.mine.clear()
                outcome = self.monitor.handle(envelope)
                yield outcome.handled, Counter(Counted.trips.mine)

        began = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            done = [each for worked in pool.map(lambda _: list(work()), range(THREADS)) for each in worked]
        seconds = time.monotonic() - began
        return [handled for handled, _ in done], [trips for _, trips in done], seconds


@pytest.fixture
def client(firestore_emulator: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore_emulator)
    client = Counted(project)
    client.document("warm/up").get()
    yield client
    client.close()


def total(trips: Sequence["Counter[str]"], kind: set[str]) -> int:
    return sum(count for each in trips for method, count in each.items() if method in kind)


def test_fifty_concurrent_completions_of_one_gate_lose_nothing_and_open_it_once(client: Client, project: str) -> None:
    """Each producer reports once; then all messages are delivered again and change nothing."""
    world = World(client, project, producers=50, days=1)

    handled, trips, seconds = world.deliver(world.messages)

    gate = world.store.load("shop", world.days)[FIRST]["raw"]
    assert Counter(handled) == {Handled.DECIDED: 50}
    assert set(gate.reports) == set(world.pipeline.producers("raw")), "no update is lost"
    assert gate.state is GateState.OPEN
    assert gate.version == 50
    assert len(world.store.history(gate.run)) == 50
    assert world.bus.signals() == {"shop/raw/2026-03-02/g1": 1}

    again, _, _ = world.deliver(world.messages)
    assert Counter(again) == {Handled.DUPLICATE: 50}
    assert world.bus.signals() == {"shop/raw/2026-03-02/g1": 1}
    reads, writes = total(trips, READS), total(trips, WRITES)
    print(f"\n50 messages for one gate, {THREADS} threads: {seconds:.2f} s, {reads} reads, {writes} writes")  # noqa: T201


def test_two_hundred_concurrent_gates_take_few_round_trips_each(client: Client, project: str) -> None:
    world = World(client, project, producers=1, days=200)

    handled, trips, seconds = world.deliver(world.messages)

    assert Counter(handled) == {Handled.DECIDED: 200}
    assert world.bus.signals() == {f"shop/raw/{day}/g1": 1 for day in world.days.days()}
    assert not world.store.pending(NOW, 1_000)
    reads = max(total([each], READS) for each in trips)
    writes = max(total([each], WRITES) for each in trips)
    assert reads <= 3
    assert writes <= 2
    rate = len(world.messages) / seconds
    print(f"\n200 gates, {THREADS} threads: {rate:.0f} messages/s, at most {reads} reads and {writes} writes each")  # noqa: T201
