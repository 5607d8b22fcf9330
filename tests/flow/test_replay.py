"""Messages without effect: stored, alerted once, and reprocessed without counting twice, wherever a process dies."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from phasegate.core.gates.completion import Envelope, Status
from phasegate.core.gates.gate import GateState
from phasegate.gates.replay import Replay, Replayed, retained_messages
from phasegate.messaging.dead_letters import FORWARDED, DeadLetters
from phasegate.messaging.inbox import Handled
from phasegate.messaging.outbox import Relay
from phasegate.ports import Outgoing
from phasegate.testing import Crash, Crashing

from tests.flow.test_monitor import DAY, MINUTE, SHOP, World, run_raw

FIRST = datetime(2026, 3, 3, 0, 30, tzinfo=UTC)


def body(**fields: Any) -> bytes:
    return json.dumps({"phase": "raw", "producer": "orders", "run_date": str(DAY), "status": "done", **fields}).encode()


def given_up(data: bytes, message_id: str = "d1", subscription: str = "phasegate-shop-raw-complete", **more: str) -> bytes:
    """A message of a dead-letter topic, as Pub/Sub pushes it."""
    attributes = {
        f"{FORWARDED}SourceDeliveryCount": "20",
        f"{FORWARDED}SourceSubscription": subscription,
        f"{FORWARDED}SourceSubscriptionProject": "p",
        f"{FORWARDED}SourceTopicPublishTime": FIRST.isoformat(),
        **more,
    }
    message = {"data": base64.b64encode(data).decode(), "messageId": message_id, "attributes": attributes}
    return json.dumps({"message": {**message, "publishTime": "2026-03-03T03:00:00Z"}, "subscription": "s"}).encode()


def receive(world: World, pushed: bytes) -> Handled:
    store = Crashing(world.store, world.calls)
    relay = Relay(store, Crashing(world.bus, world.calls), world.clock)
    return DeadLetters(store, relay, world.clock).receive({}, pushed).handled


def replay(world: World, *, dry_run: bool = False) -> list[Replayed]:
    """Replay all retained messages, oldest first."""
    again = Replay(world.started(), store=Crashing(world.store, world.calls), clock=world.clock)
    return [again.replay(message, dry_run=dry_run) for message in reversed(retained_messages(world.store))]


@pytest.fixture
def world() -> World:
    return World()


def test_a_dead_letter_is_stored_and_alerted_once(world: World) -> None:
    pushed = given_up(body())
    assert [receive(world, pushed) for _ in range(2)] == [Handled.STORED, Handled.DUPLICATE]
    (retained,) = retained_messages(world.store)
    assert (retained.source, retained.reason) == (
        "phasegate-shop-raw-complete",
        "given up by phasegate-shop-raw-complete after 20 attempts",
    )
    (alert,) = world.bus.taken
    assert (alert.body["cause"], alert.body["subject"]) == ("message_undelivered", "phasegate-shop-raw-complete")
    assert alert.body["next"] == ["phasegate replay"]
    assert world.gate("raw").reports == {}, "nothing counts before somebody says so"


def test_a_replayed_message_counts_once_with_its_original_age(world: World) -> None:
    receive(world, given_up(body()))
    (replayed,) = replay(world)
    assert replayed.settled
    assert replayed.result.startswith("orders reports done for shop/raw/2026-03-02; shop/raw/2026-03-02 is waiting")
    assert world.gate("raw").reports["orders"].received_at == FIRST
    assert (retained_messages(world.store), replay(world)) == ([], [])


def test_replaying_the_same_message_twice_changes_nothing(world: World) -> None:
    """Two people at the same time: both have it on their list."""
    receive(world, given_up(body()))
    (message,) = retained_messages(world.store)
    again = Replay(world.started(), store=world.store, clock=world.clock)
    again.replay(message)
    gate, sent = world.gate("raw"), list(world.bus.rows)
    assert again.replay(message).result.startswith("nothing new")
    assert (world.gate("raw"), world.bus.rows) == (gate, sent)


def test_a_replayed_message_opens_the_gate(world: World) -> None:
    """The state store was unavailable for hours; the table has what the gate needs."""
    for producer in ("orders", "prices"):
        receive(world, given_up(body(producer=producer), f"d-{producer}"))
    assert [replayed.settled for replayed in replay(world)] == [True, True]
    assert world.gate("raw").state is GateState.OPEN
    assert world.bus.signals == ["shop/raw/2026-03-02/g1"]


def test_a_replayed_message_never_replaces_a_newer_report(world: World) -> None:
    receive(world, given_up(body(status="failed")))
    run_raw(world)
    before = world.gate("raw")
    assert before.state is GateState.OPEN
    (replayed,) = replay(world)
    assert replayed.settled
    assert replayed.result.startswith("nothing new")
    assert world.gate("raw") == before
    assert world.gate("raw").reports["orders"].status is Status.DONE


def test_a_message_that_is_still_invalid_stays_listed_with_the_reason(world: World) -> None:
    world.monitor.handle(Envelope("bad", body(phase="enrch"), {}))
    alerts = list(world.bus.taken)
    for _ in range(2):
        (replayed,) = replay(world)
        assert not replayed.settled
        assert 'stays listed, still invalid: unknown phase "enrch"' in replayed.result
    assert len(retained_messages(world.store)) == len(world.store.rejected(99)) == 1
    assert world.bus.taken == alerts, "people know already"


def test_an_invalid_message_is_handled_once_the_pipeline_file_is_fixed(world: World) -> None:
    world.monitor.handle(Envelope("bad", body(producer="ordres"), {}, FIRST))
    assert not replay(world)[0].settled
    raw = SHOP.phases["raw"]
    aliases = {"orders": type(raw.producers["orders"])(aliases=("ordres",)), "prices": raw.producers["prices"]}
    fixed = type(raw)(producers=aliases, due=raw.due, outputs=raw.outputs)
    pipeline = type(SHOP)(pipeline="shop", calendar=SHOP.calendar, phases={**SHOP.phases, "raw": fixed})
    monitor = world.started()
    monitor.pipelines = {"shop": pipeline}
    replayed = Replay(monitor, store=world.store, clock=world.clock).replay(retained_messages(world.store)[0])
    assert replayed.settled
    assert world.gate("raw").reports["orders"].received_at == FIRST


def test_a_dry_run_of_a_replay_gives_the_results_and_does_nothing(world: World) -> None:
    receive(world, given_up(body()))
    world.monitor.handle(Envelope("bad", b"{}", {}))
    before = (world.store.rejected(99), world.store.pending(world.clock.now(), 99), list(world.bus.tried))
    results = replay(world, dry_run=True)
    assert [replayed.result for replayed in results] == [
        "would be handled: orders reports done for shop/raw/2026-03-02",
        "stays listed, still invalid: neither phase nor producer is given",
    ]
    assert before == (world.store.rejected(99), world.store.pending(world.clock.now(), 99), world.bus.tried)
    assert len(retained_messages(world.store)) == 2


def test_an_undelivered_alert_is_resent(world: World) -> None:
    alert = {"key": "k", "cause": "checks_failed", "state": "firing"}
    receive(world, given_up(json.dumps(alert).encode(), "a1", "phasegate-alerts", key="k", severity="critical"))
    world.bus.taken.clear()
    (replayed,) = replay(world)
    assert replayed.result == "resent to alerts"
    assert world.bus.taken == [Outgoing("replay/a1", "alerts", alert, {"key": "k", "severity": "critical"})]
    assert retained_messages(world.store) == []


def test_an_obsolete_message_is_no_longer_listed(world: World) -> None:
    receive(world, given_up(b"tick", "t1", "phasegate-ticks"))
    (replayed,) = replay(world)
    assert replayed.result == "not needed: a tick; later ticks have done its work"
    assert retained_messages(world.store) == []


@pytest.mark.parametrize("pushed", [b"", b"\xff\x00", b"{}", b'{"message": {"data": "%%%"}}', b"[" * 9999])
def test_any_dead_letter_is_stored_and_acknowledged(world: World, pushed: bytes) -> None:
    assert receive(world, pushed) in (Handled.STORED, Handled.REJECTED)
    assert len(retained_messages(world.store)) == len(world.bus.taken) == 1
    assert not replay(world)[0].settled


def test_a_message_that_was_cut_is_reported_as_such(world: World) -> None:
    receive(world, given_up(body(error="x" * 200_000)))
    assert "only the start of the message was stored" in replay(world)[0].result


def test_messages_are_selected_by_time(world: World) -> None:
    receive(world, given_up(body(), "d1"))
    moment = world.clock.advance(5 * MINUTE)
    receive(world, given_up(body(producer="prices"), "d2"))
    assert [message.message_id for message in retained_messages(world.store, since=moment)] == ["d2"]
    assert [message.message_id for message in retained_messages(world.store)] == ["d2", "d1"]
    assert retained_messages(world.store, since=moment + timedelta(seconds=1)) == []


def test_a_crash_anywhere_loses_and_doubles_nothing() -> None:
    """Before and after each call of store, warehouse and bus; then everything is delivered and replayed again."""
    point, died = 0, True
    while died:
        world = World()
        world.calls.left = point
        try:
            _keep_and_replay(world)
            died = False
        except Crash:
            died = True
        world.calls.left = None
        _keep_and_replay(world)
        world.started().relay()
        assert world.gate("raw").state is GateState.OPEN, point
        assert set(world.bus.signals) == {"shop/raw/2026-03-02/g1"}, point
        assert retained_messages(world.store) == [], point
        assert {message.key for message in world.bus.taken if message.topic == "alerts"} == {
            "undelivered/d-orders",
            "undelivered/d-prices",
        }, point
        point += 1
    assert point > 30, "it dies at many points"


def _keep_and_replay(world: World) -> None:
    for producer in ("orders", "prices"):
        receive(world, given_up(body(producer=producer), f"d-{producer}"))
    replay(world)
