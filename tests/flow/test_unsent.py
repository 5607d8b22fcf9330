"""What is recorded and does not get out is told once, and once when it is over."""

from datetime import timedelta

import pytest
from phasegate.errors import PublishError
from phasegate.ports import Outgoing
from phasegate.relay import Relay
from phasegate.unsent import Unsent

from tests.flow.test_monitor import DAY, MINUTE, REFUSED, SILENT, Bus, World, run_raw
from tests.flow.test_tick import ticking


class Choosing(Bus):
    """Refuses on some topics only."""

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
    unsent = Unsent(world.store, world.store, Relay(world.store, world.bus, world.clock), world.clock)
    for _ in range(minutes):
        world.clock.advance(MINUTE)
        ticking(world, unsent.mind).run()


def refuse(world: World, topic: str, error: PublishError) -> None:
    assert isinstance(world.bus, Choosing)
    world.bus.refused = {topic: error}


def accept(world: World) -> None:
    assert isinstance(world.bus, Choosing)
    world.bus.refused = {}


def test_a_silent_topic_is_told_after_three_attempts_and_when_it_is_over(world: World) -> None:
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


def test_what_is_refused_for_good_is_told_by_the_next_tick(world: World) -> None:
    refuse(world, "shop-raw-go", REFUSED)
    run_raw(world)
    tick(world, 3)
    assert world.bus.alerts == [("unsent", "firing")]
    assert len(world.store.parked()) == 1


@pytest.mark.parametrize("topic", ["shop-raw-go", "alerts"])
def test_what_was_refused_for_good_is_sent_within_an_hour_of_the_topic_being_mended(world: World, topic: str) -> None:
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
