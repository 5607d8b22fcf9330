"""Messages that can't be sent raise one alert, and one recovery."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from phasegate.errors import PublishError
from phasegate.messaging.outbox import Relay
from phasegate.messaging.stuck import StuckMessages
from phasegate.ports import Outgoing

from tests.flow.test_monitor import DAY, MINUTE, REFUSED, SILENT, Bus, World, run_raw
from tests.flow.test_tick import ticking


class Choosing(Bus):
    """Refuses some topics only."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: dict[str, PublishError] = {}

    def publish(self, message: Outgoing) -> str:
        if message.topic in self.refused:
            raise self.refused[message.topic]
        return super().publish(message)


@pytest.fixture
def world() -> World:
    found = World()
    found.bus = Choosing()
    found.monitor = found.started()
    return found


def tick(world: World, minutes: int) -> None:
    unsent = StuckMessages(world.store, world.store, Relay(world.store, world.bus, world.clock), world.clock)
    for _ in range(minutes):
        world.clock.advance(MINUTE)
        ticking(world, unsent.check).run()


def refuse(world: World, topic: str, error: PublishError) -> None:
    assert isinstance(world.bus, Choosing)
    world.bus.refused = {topic: error}


def accept(world: World) -> None:
    assert isinstance(world.bus, Choosing)
    world.bus.refused = {}


def test_a_failing_topic_raises_an_alert_after_three_attempts_and_then_a_recovery(world: World) -> None:
    for _ in range(2):
        refuse(world, "shop-raw-go", SILENT)
        world.warehouse.numbers["raw.orders", DAY] = 10 + len(world.bus.alerts)
        run_raw(world)
        tick(world, 1)
        told = len(world.bus.alerts)
        assert told in (0, 2), "one silent minute mends itself"
        tick(world, 5)
        assert world.bus.alerts[told:] == [("unsent", "firing")]
        alert = world.bus.taken[-1]
        assert alert.body["subject"] == "shop-raw-go"
        assert "can't be sent to shop-raw-go: the bus is silent" in alert.body["detail"]
        accept(world)
        tick(world, 20)
        assert world.bus.alerts[told:] == [("unsent", "firing"), ("unsent", "recovered")]


class Meanwhile:
    """A store in which something happens once, right after one of its answers."""

    def __init__(self, store: object, question: str, happen: Callable[[], None]) -> None:
        self._store, self._question, self._happen = store, question, happen

    def __getattr__(self, name: str) -> object:
        verb = getattr(self._store, name)
        if name != self._question:
            return verb

        def call(*args: object) -> object:
            answer = verb(*args)
            self._question = ""
            self._happen()
            return answer

        return call


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("question", ["pending", "parked", "find", "live"])
def test_two_concurrent_ticks_raise_one_alert(world: World, question: str, again: bool) -> None:
    """The other tick may come between any two requests, whether or not the topic had failed before."""
    relay = Relay(world.store, world.bus, world.clock)
    if again:
        refuse(world, "shop-raw-go", REFUSED)
        run_raw(world)
        tick(world, 1)
        accept(world)
        tick(world, 100)
    before = len(world.bus.alerts)
    refuse(world, "shop-raw-go", REFUSED)
    world.warehouse.numbers["raw.orders", DAY] = 12
    run_raw(world)
    world.clock.advance(MINUTE)
    other = StuckMessages(world.store, world.store, relay, world.clock)

    def happen() -> None:
        other.check()
        world.clock.advance(timedelta(microseconds=1))

    store: Any = Meanwhile(world.store, question, happen)
    StuckMessages(store, store, relay, world.clock).check()
    assert [cause for cause in world.bus.alerts[before:] if cause[0] == "unsent"] == [("unsent", "firing")]


@pytest.mark.parametrize("question", ["live", "pending", "parked"])
def test_an_incident_that_another_tick_opens_meanwhile_has_not_recovered(world: World, question: str) -> None:
    """A topic that fails while this tick is running."""
    relay = Relay(world.store, world.bus, world.clock)
    refuse(world, "shop-raw-go", REFUSED)

    def happen() -> None:
        run_raw(world)
        StuckMessages(world.store, world.store, relay, world.clock).check()

    store: Any = Meanwhile(world.store, question, happen)
    StuckMessages(store, store, relay, world.clock).check()
    assert world.bus.alerts == [("unsent", "firing")]


def test_a_parked_message_raises_an_alert_at_the_next_tick(world: World) -> None:
    refuse(world, "shop-raw-go", REFUSED)
    run_raw(world)
    tick(world, 3)
    assert world.bus.alerts == [("unsent", "firing")]
    assert len(world.store.parked()) == 1


@pytest.mark.parametrize("topic", ["shop-raw-go", "alerts"])
def test_a_parked_message_is_sent_within_an_hour_of_the_fix(world: World, topic: str) -> None:
    refuse(world, topic, REFUSED)
    if topic == "alerts":
        world.warehouse.numbers.clear()
    run_raw(world)
    tick(world, 2)
    refused = [entry.message.key for entry in world.store.parked()]
    assert len(refused) == 1
    world.clock.advance(timedelta(minutes=50))
    tick(world, 1)
    assert [entry.attempts for entry in world.store.parked()] == [1], "not before an hour has passed"
    world.clock.advance(timedelta(hours=1))
    tick(world, 1)
    assert [entry.attempts for entry in world.store.parked()] == [2]
    accept(world)
    tick(world, 62)
    assert world.store.parked() == []
    assert [message.key for message in world.bus.taken if message.key in refused] == refused
    assert world.bus.alerts == (
        [("unsent", "firing"), ("unsent", "recovered")] if topic != "alerts" else [("checks_failed", "firing")]
    )


def test_alerts_that_cannot_be_sent_are_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    refuse(world, "alerts", SILENT)
    world.warehouse.numbers.clear()
    run_raw(world)
    tick(world, 4)
    assert world.bus.alerts == []
    assert '"event": "unsent"' in capsys.readouterr().out
    accept(world)
    world.clock.advance(timedelta(hours=1))
    tick(world, 1)
    assert world.bus.alerts == [("checks_failed", "firing")]
