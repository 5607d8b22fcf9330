"""One bad thing harms only itself: a removed phase, a gate or record that cannot be read, a bug, a process without secrets."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from phasegate.adapters.local import LocalBus
from phasegate.alerts.dispatch import AlertDispatch
from phasegate.app.pipeline_file import load
from phasegate.core.alerts.routing import Silence
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Envelope, RunKey
from phasegate.core.gates.gate import GateState
from phasegate.core.gates.orphan import left_alone
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import NotifyError, PublishError, StateError
from phasegate.gates.heartbeat import WATCH, Heartbeats, clock_stopped_message, last_heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.tick import Tick
from phasegate.messaging.inbox import Handled
from phasegate.messaging.outbox import Relay
from phasegate.ports import Change, Outgoing, Receipt, Record

from tests.flow.fan import DAY, HOUR, MINUTE, World, fan
from tests.flow.test_alerts import World as Desk


def with_file(world: World, pipeline: Pipeline) -> None:
    """The same installation, started again with another pipeline file."""
    world.pipeline = pipeline
    world.monitor = Monitor(
        [pipeline], warehouse=world.warehouse, store=world.store, outbox=world.store, publisher=world.bus, clock=world.clock
    )
    heartbeats = Heartbeats(world.store, world.store)
    world._ticker = Tick(world.monitor, store=world.store, records=world.store, clock=world.clock, heartbeats=heartbeats)


def damage(world: World, phase: str, **changed: object) -> None:
    """What a newer version, or a bad disk, has left of a gate."""
    with world.store._writing() as connection:
        (body,) = connection.execute("SELECT body FROM gate WHERE phase = ? AND run_date = ?", (phase, str(DAY))).fetchone()
        text = json.dumps({**json.loads(body), **changed}) if changed else body[:50]
        connection.execute("UPDATE gate SET body = ? WHERE phase = ? AND run_date = ?", (text, phase, str(DAY)))


def days(world: World) -> Any:
    return world.store.load("p", Span(DAY, DAY)).values()


# -- a phase that was removed ---------------------------------------------------------------------------------------------------


@pytest.fixture
def removed(tmp_path: Path) -> World:
    """`next` is held, and then it is not in the file any more."""
    world = World(fan(tmp_path))
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.done("next")
    assert world.alerts[-1] == ("checks_failed", "firing")
    file = tmp_path / "fan.yaml"
    file.write_text(file.read_text().partition("  next:")[0])
    with_file(world, load(file))
    return world


def test_a_removed_phase_ends_with_its_alert_and_keeps_nothing_busy(removed: World) -> None:
    removed.tick(3)
    assert removed.alerts[-1] == ("checks_failed", "recovered")
    told = len(removed.alerts)
    removed.warehouse.queries.clear()
    for _ in range(20 * 24):
        removed.tick()
        removed.clock.advance(HOUR)
    assert len(removed.alerts) == told
    assert "a.next" not in {query.source.table for query in removed.warehouse.queries}
    assert last_heartbeats(removed.store)[WATCH] > removed.clock.now() - 2 * HOUR
    (line,) = left_alone(removed.pipeline, days(removed))
    assert line == f"next is not in the pipeline file any more; 1 of its gates were not settled, the newest of {DAY}"


def test_a_removed_phase_ends_with_both_alerts_when_its_retries_are_spent(removed: World) -> None:
    damage(removed, "next", retries={"asked": 4, "given_up": True})
    removed.tick()
    assert removed.alerts[-2:] == [("checks_failed", "recovered"), ("retries_spent", "recovered")]


def test_other_phases_go_on(removed: World) -> None:
    removed.tick(3)
    removed.loaded("one", "two", rows=20)
    assert removed.signals[-1] == f"raw/{DAY}/g2"


def test_a_phase_that_is_back_is_judged_again(removed: World, tmp_path: Path) -> None:
    removed.tick(3)
    with_file(removed, fan(tmp_path))
    removed.fill("a.next")
    removed.done("next")
    assert removed.state("next") is GateState.OPEN
    assert left_alone(removed.pipeline, days(removed)) == ()


# -- a gate or record that cannot be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [{}, {"reason": "of_a_newer_version"}, {"state": "half_open"}, {"since": "yesterday"}])
def test_a_gate_that_cannot_be_read_is_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str]
) -> None:
    world = World(fan(tmp_path))
    world.loaded("one")  # raw waits for two
    later = DAY + timedelta(days=1)
    world.loaded("one", day=later)
    damage(world, "raw", **changed)
    world.tick(61)
    assert world.alerts == [("producers_missing", "firing")], "the other date has its turn"
    assert last_heartbeats(world.store)[WATCH] == world.clock.now() - MINUTE
    assert capsys.readouterr().out.count("unreadable_gate") == 1
    assert left_alone(world.pipeline, days(world)) == (
        f"the stored state of p/raw/{DAY} cannot be read by this version of phasegate",
    )
    with pytest.raises(StateError, match="its stored state cannot be read"):
        world.loaded("two")
    assert "its stored state cannot be read" in world.may_start().objections[0].detail


def test_a_bug_that_one_gate_brings_out_does_not_keep_the_others_from_their_turn(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    later = DAY + timedelta(days=1)
    for day in (DAY, later):
        world.loaded("one", day=day)
    commit = world.store.commit

    def broken(change: Any) -> bool:
        if change.gate is not None and change.gate.run == RunKey("p", "raw", DAY):
            raise RuntimeError("a bug")
        return commit(change)

    world.store.commit = broken  # type: ignore[method-assign]
    world.clock.advance(2 * HOUR)
    with pytest.raises(RuntimeError, match="a bug"):
        world.tick()
    assert world.alerts == [("producers_missing", "firing")]


@pytest.mark.parametrize("kind", ["incident", "delivery", "destination", "silence"])
def test_a_record_that_cannot_be_read_harms_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    desk = Desk(tmp_path)
    desk.alerts.silences.add(
        Silence(id="s1", by="ann", why="why", at=desk.clock.now(), until=desk.clock.now() + 9 * HOUR, subject="other")
    )
    desk.alerts.handle(desk.alert(phase="raw"))
    with desk.store._writing() as connection:
        connection.execute("UPDATE record SET body = '{\"later\": 1}', due = due WHERE kind = ?", (kind,))
    desk.pass_time(timedelta(hours=5))
    desk.alerts.handle(desk.alert(phase="clean"))
    assert desk.destination("chat").accepted, "whatever else is known is still told"
    assert [notice.data["subject"] for notice in desk.destination("chat").accepted][-1] == "clean"
    assert "unreadable_record" in capsys.readouterr().out


# -- a process without the secrets ----------------------------------------------------------------------------------------------


def test_who_has_not_the_secret_leaves_the_delivery_to_who_has_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    told: list[str] = []

    class Lacking:
        def notify(self, _: object) -> Receipt:
            raise NotifyError("secret://chat is missing: set PHASEGATE_SECRET_CHAT", retryable=False, lacks_secret=True)

    command = AlertDispatch(
        [desk.pipeline],
        notifiers=dict.fromkeys(desk.destinations, Lacking()),
        store=desk.store,
        relay=Relay(desk.store, LocalBus(), desk.clock),
        clock=desk.clock,
        log=lambda event, **fields: told.append(f"{event} {fields['destination']}"),
        leaves=True,
    )
    command.handle(desk.alert())
    assert told == ["notice_left shop/chat"]
    assert not any(health.is_down for health in desk.alerts.destinations.health())
    assert not any(result.problem == "" for result in command.destinations.test())
    assert not any(health.is_down for health in desk.alerts.destinations.health()), "a test by hand harms nobody either"
    desk.pass_time(MINUTE)
    (notice,) = desk.destination("chat").accepted
    assert not notice.possible_duplicate, "nothing was sent before"


def test_a_server_without_the_secret_sends_to_the_fallback(tmp_path: Path) -> None:
    """Nobody else would, and it must be known."""
    desk = Desk(tmp_path)
    desk.destination("chat").errors.append(NotifyError("secret://chat is missing", retryable=False, lacks_secret=True))
    desk.alerts.handle(desk.alert())
    assert any(health.is_down for health in desk.alerts.destinations.health())


def test_a_message_of_a_sender_that_is_nobodys_leaves_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "fan.yaml"
    fan(tmp_path)
    file.write_text(file.read_text() + 'messages: {ignore: ["beat*"]}\n')
    world = World(load(file))
    handled = world.monitor.handle(Envelope("m", b'{"producer": "beat-7", "run_date": "who knows"}', {}))
    assert (handled.handled, handled.detail) == (Handled.IGNORED, 'its sender "beat-7" is ignored')
    assert world.store.rejected(9) == []
    assert world.bus.taken == []


@pytest.mark.parametrize("body", [{}, {"at": "soon"}, {"at": 7}])
def test_a_damaged_heartbeat_does_not_stop_the_tick(tmp_path: Path, body: dict[str, object]) -> None:
    world = World(fan(tmp_path))
    world.store.commit(Change(records=(Record("heartbeat", WATCH, body, version=1),)))
    assert clock_stopped_message(world.store, world.clock.now()).startswith("the scheduler has never run here")
    world.tick()
    assert last_heartbeats(world.store)[WATCH] == world.clock.now() - MINUTE


def test_a_heartbeat_of_a_clock_that_was_ahead_is_not_believed(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.clock.advance(timedelta(days=2000))
    world.tick()
    world.clock.advance(-timedelta(days=2001))
    said = "the scheduler's last run is recorded for 2032-05-12 10:01 UTC, which is still to come: a clock was wrong"
    assert clock_stopped_message(world.store, world.clock.now()) == said
    world.tick()
    assert clock_stopped_message(world.store, world.clock.now()) == ""


def test_every_failing_step_of_a_tick_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(fan(tmp_path))

    def forgetful() -> None:
        raise KeyError("at")

    def unlucky() -> None:
        raise StateError("the disk is full", retryable=True)

    heartbeats = Heartbeats(world.store, world.store)
    hooks = (unlucky, forgetful)
    world.clock.advance(MINUTE)
    tick = Tick(world.monitor, store=world.store, records=world.store, clock=world.clock, heartbeats=heartbeats, hooks=hooks)
    with pytest.raises(KeyError):
        tick.run()
    failed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "step_failed" in line]
    assert [(line["step"].rpartition(".")[2], line["error"]) for line in failed] == [
        ("unlucky", "the disk is full"),
        ("forgetful", "'at'"),
    ]
    assert ["trace" in line for line in failed] == [False, True]
    assert last_heartbeats(world.store)[WATCH] < world.clock.now(), "it is missing, and that raises the alert"


# -- one dead topic -------------------------------------------------------------------------------------------------------------


class Dead:
    """A bus on which some topics never answer."""

    def __init__(self, *topics: str) -> None:
        self.topics = topics
        self.sent: list[str] = []
        self.tried = 0

    def publish(self, message: Outgoing) -> str:
        self.tried += 1
        if message.topic in self.topics:
            raise PublishError("no answer", retryable=True)
        self.sent.append(message.key)
        return "1"


def backlog(world: World, bus: Dead, **entries: int) -> Relay:
    for topic, number in entries.items():
        world.store.commit(Change(outbox=tuple(Outgoing(f"{topic}-{n}", topic, {}) for n in range(number))))
    return Relay(world.store, bus, world.clock)


def test_the_backlog_of_a_dead_topic_keeps_no_other_topic_waiting(tmp_path: Path) -> None:
    world, bus = World(fan(tmp_path)), Dead("lost")
    relay = backlog(world, bus, lost=1_200, go=1)
    assert relay.send_pending() == 1
    assert (bus.sent, bus.tried) == (["go-0"], 2)


def test_many_dead_topics_are_tried_once_each(tmp_path: Path) -> None:
    world, bus = World(fan(tmp_path)), Dead("lost", "gone")
    relay = backlog(world, bus, lost=30, gone=30, go=15)
    assert relay.send_pending(limit=10) == 15
    assert bus.tried == 17


def test_a_topic_that_works_again_gets_its_messages_in_order(tmp_path: Path) -> None:
    world, bus = World(fan(tmp_path)), Dead("lost")
    relay = backlog(world, bus, lost=25)
    for _ in range(3):
        relay.send_pending(limit=10)
        world.clock.advance(MINUTE)
    bus.topics = ()
    assert relay.send_pending(limit=10) == 25
    assert bus.sent == [f"lost-{n}" for n in range(25)]
    assert world.store.pending(world.clock.now() + 9 * HOUR, 9) == []
