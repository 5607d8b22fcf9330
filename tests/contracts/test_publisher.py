"""The contract of every publisher."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient
from phasegate.adapters.local import LocalBus
from phasegate.adapters.pubsub import TIMEOUT, PubSubPublisher
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.errors import PublishError
from phasegate.ports import Outgoing, Publisher

from tests import emulators
from tests.contracts.conftest import BUSES

SIGNAL = Outgoing(
    "shop/raw/2026-03-02/g1",
    "shop-raw-go",
    {"decision_id": "shop/raw/2026-03-02/g1", "start": ["clean"], "score": 99.5, "degraded": False, "note": "geöffnet \u2713"},
    {"decision_id": "shop/raw/2026-03-02/g1", "degraded": "false", "key": "shop/raw/2026-03-02/g1"},
)


class Bus(Protocol):
    """A publisher with one topic, and the messages that arrived there."""

    publisher: Publisher

    def received(self, count: int) -> Sequence[Outgoing]: ...


class InProcess:
    def __init__(self, topic: str) -> None:
        self.publisher = LocalBus()
        self._arrived: list[Outgoing] = []
        self.publisher.subscribe(topic, self._arrived.append)

    def received(self, count: int) -> Sequence[Outgoing]:
        return self._arrived


class Cloud:
    """A topic and a subscription in the emulator, which the environment names."""

    def __init__(self, project: str, topic: str) -> None:
        self.publisher = PubSubPublisher(project)
        self._subscriber = pubsub_v1.SubscriberClient()
        path = f"projects/{project}/topics/phasegate-{topic}"
        self._topic, self._subscription = topic, f"projects/{project}/subscriptions/{topic}"
        pubsub_v1.PublisherClient().create_topic(name=path)
        request = {"name": self._subscription, "topic": path, "enable_message_ordering": True}
        self._subscriber.create_subscription(request=request)

    def pulled(self, count: int) -> Sequence[pubsub_v1.types.PubsubMessage]:
        found: list[pubsub_v1.types.PubsubMessage] = []
        end = time.monotonic() + 20
        while len(found) < count and time.monotonic() < end:
            pulled = self._subscriber.pull(subscription=self._subscription, max_messages=100, timeout=20).received_messages
            if pulled:
                self._subscriber.acknowledge(subscription=self._subscription, ack_ids=[each.ack_id for each in pulled])
            found += [each.message for each in pulled]
        return found

    def received(self, count: int) -> Sequence[Outgoing]:
        return [
            Outgoing(each.attributes["key"], self._topic, json.loads(each.data), dict(each.attributes))
            for each in self.pulled(count)
        ]


Make = Callable[[str], Cloud]


@pytest.fixture
def cloud(pubsub_emulator: str, project: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    return lambda topic: Cloud(project, topic)


@pytest.fixture
def local_bus() -> Bus:
    return InProcess(SIGNAL.topic)


@pytest.fixture
def pubsub_bus(cloud: Make) -> Bus:
    return cloud(SIGNAL.topic)


@pytest.fixture(params=BUSES)
def bus(request: pytest.FixtureRequest) -> Bus:
    made: Bus = request.getfixturevalue(f"{request.param}_bus")
    return made


def test_every_accepted_message_has_its_own_id(bus: Bus) -> None:
    first, second = bus.publisher.publish(SIGNAL), bus.publisher.publish(SIGNAL)
    assert first
    assert second not in ("", first)
    assert len(bus.received(2)) == 2


def test_body_and_attributes_arrive_unchanged(bus: Bus) -> None:
    bus.publisher.publish(SIGNAL)
    assert list(bus.received(1)) == [SIGNAL]


def test_alerts_about_one_gate_arrive_in_order(cloud: Make) -> None:
    """The last one counts."""
    bus = cloud("alerts")
    gate = {"pipeline": "shop", "phase": "raw", "run_date": "2026-03-02"}
    for n in range(20):
        bus.publisher.publish(Outgoing(f"a{n}", "alerts", {**gate, "n": n}))
    pulled = bus.pulled(20)
    assert [json.loads(each.data)["n"] for each in pulled] == list(range(20))
    assert {each.ordering_key for each in pulled} == {"shop/raw/2026-03-02"}


@pytest.mark.parametrize(
    "message", [SIGNAL, Outgoing("rejected/7", "alerts", {"key": "rejected/7"})], ids=["go-signal", "rejected"]
)
def test_other_messages_have_no_ordering_key(cloud: Make, message: Outgoing) -> None:
    bus = cloud(message.topic)
    bus.publisher.publish(message)
    assert [each.ordering_key for each in bus.pulled(1)] == [""]


def test_the_key_and_the_trace_are_attributes(cloud: Make) -> None:
    bus = cloud("shop-raw-go")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    bus.publisher.publish(Outgoing("k", "shop-raw-go", {"traceparent": trace}))
    assert dict(bus.received(1)[0].attributes) == {"key": "k", "traceparent": trace}


UNKNOWN_TOPIC = [
    pytest.param(
        "local",
        marks=pytest.mark.xfail(strict=True, raises=pytest.fail.Exception, reason="topics need not be declared: no error"),
    ),
    "pubsub",
]


@pytest.mark.parametrize("bus", UNKNOWN_TOPIC, indirect=True)
def test_a_missing_topic_is_not_retryable(bus: Bus) -> None:
    with pytest.raises(PublishError, match="no-such-topic") as caught:
        bus.publisher.publish(Outgoing("k", "no-such-topic", {}))
    assert not caught.value.retryable


def test_a_broker_that_stops_is_an_error_within_the_timeout(monkeypatch: pytest.MonkeyPatch, project: str) -> None:
    with emulators.started(emulators.PUBSUB) as host:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        bus = Cloud(project, SIGNAL.topic)
        bus.publisher.publish(SIGNAL)
    began = time.monotonic()
    with pytest.raises(PublishError) as caught:
        bus.publisher.publish(SIGNAL)
    assert caught.value.retryable
    assert time.monotonic() - began < TIMEOUT + 1


def test_the_client_is_made_on_first_use_and_once(cloud: Make, project: str) -> None:
    """Nothing is connected before a server forks its workers; its threads share one client."""
    bus, made = cloud(SIGNAL.topic), []

    def connect() -> PublisherClient:
        made.append(PublisherClient())
        time.sleep(0.05)
        return made[-1]

    publisher = PubSubPublisher(project, connect=connect)
    assert not made
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(publisher.publish, [SIGNAL] * 24))
    assert len(made) == 1
    assert len(set(ids)) == 24
    assert len(bus.received(24)) == 24


@pytest.mark.parametrize(("rest", "prefix"), [("", "phasegate"), ("/team-a", "team-a")])
def test_topic_names_start_with_the_prefix_of_the_setting(
    rest: str, prefix: str, pubsub_emulator: str, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no topic, so the error names it."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    wiring = Wiring(Settings.resolve({"bus": f"pubsub:{project}{rest}"}, {}, Path()))
    with pytest.raises(PublishError, match=f"projects/{project}/topics/{prefix}-shop-raw-go"):
        wiring.publisher.publish(SIGNAL)
