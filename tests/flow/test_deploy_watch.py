"""Deployments and drift through the whole watch: stored once, told once, ended once, whatever comes when."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.alerts.incident import Board, IncidentState, fold, read_alert
from phasegate.errors import StateError
from phasegate.installation.deploy_watch import DeployWatch
from phasegate.installation.deployment import Installation
from phasegate.messaging.inbox import Handled, InboxResult
from phasegate.messaging.outbox import Relay
from phasegate.ports import Outgoing
from phasegate.testing import Countdown, Crash, Crashing, ManualClock

from tests.flow.test_monitor import Bus
from tests.installation.test_deployment import NOW, build, drift

MINUTE = timedelta(minutes=1)


class Watch:
    """A watch over a store, and what it sent."""

    def __init__(self, store: Any) -> None:
        self.store, self.bus, self.clock = store, Bus(), ManualClock(NOW + 60 * MINUTE)
        self.calls = Countdown()

    def receive(self, body: object) -> InboxResult:
        store = Crashing(self.store, self.calls)
        relay = Relay(store, self.bus, self.clock)
        watch = DeployWatch(Installation("some-project", "acme"), store=store, records=store, relay=relay, clock=self.clock)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return watch.receive({"x-goog-pubsub-message-id": "m1"} if isinstance(body, bytes) else {}, data)

    @property
    def alerts(self) -> list[tuple[str, str, str]]:
        return [(m.body["subject"], m.body["cause"], m.body["state"]) for m in self.bus.taken]


@pytest.fixture(params=["sqlite", "firestore"])
def watch(request: pytest.FixtureRequest, tmp_path: Path) -> Watch:
    if request.param == "sqlite":
        return Watch(SQLiteStore(str(tmp_path / "state.sqlite")))
    return Watch(request.getfixturevalue("firestore_store"))


def test_a_failed_deployment_raises_one_alert_and_the_next_success_ends_it(watch: Watch) -> None:
    failed, fixed = build(id="b1"), build("SUCCESS", NOW + 5 * MINUTE, id="b2")
    outcomes = [watch.receive(body).handled for body in (failed, failed, fixed, fixed, failed)]
    assert outcomes == [Handled.DECIDED, Handled.DUPLICATE, Handled.DECIDED, Handled.DUPLICATE, Handled.DUPLICATE]
    assert watch.alerts == [("acme-deploy", "build_failed", "firing"), ("acme-deploy", "build_failed", "recovered")]


def test_a_failure_that_arrives_after_a_later_success_raises_no_alert(watch: Watch) -> None:
    watch.receive(build("SUCCESS", NOW + 5 * MINUTE, id="b2"))
    watch.receive(build(id="b1"))
    assert watch.alerts == []


def test_drift_stays_open_until_a_plan_is_empty_and_a_failed_plan_does_not_end_it(watch: Watch) -> None:
    at = [NOW + n * 10 * MINUTE for n in range(4)]
    watch.receive(drift(at=at[0], build="c1"))
    watch.receive(drift("failed", at=at[1], build="c2", errors=["Error: no right"]))
    assert watch.alerts == [("infrastructure", "drift", "firing"), ("drift-check", "not_compared", "firing")]
    watch.receive(drift("clean", at=at[2], build="c3"))
    assert watch.alerts[2:] == [("infrastructure", "drift", "recovered"), ("drift-check", "not_compared", "recovered")]
    watch.receive(drift("clean", at=at[3], build="c4"))
    assert len(watch.alerts) == 4


def test_a_drift_check_during_a_deployment_is_ignored(watch: Watch) -> None:
    watch.receive(build("WORKING", finishTime=None))
    assert watch.receive(drift()).handled is Handled.IGNORED
    watch.receive(build("SUCCESS", NOW + MINUTE))
    assert watch.receive(drift()).handled is Handled.IGNORED, "it comes late"
    assert watch.receive(drift(at=NOW + 20 * MINUTE)).handled is Handled.DECIDED
    assert watch.alerts == [("infrastructure", "drift", "firing")]


def test_every_order_of_arrival_leaves_the_same_incidents_open(tmp_path: Path) -> None:
    bodies = [
        build(id="b1"),
        build("SUCCESS", NOW + 5 * MINUTE, id="b2"),
        drift(at=NOW + 10 * MINUTE, build="c1"),
        drift("clean", at=NOW + 20 * MINUTE, build="c2"),
        drift(at=NOW + 30 * MINUTE, build="c3"),
    ]
    for n, order in enumerate(itertools.permutations(bodies)):
        watch = Watch(SQLiteStore(str(tmp_path / f"{n}.sqlite")))
        for body in (*order, *order):
            watch.receive(body)
        assert incidents(watch.bus.taken) == {"phasegate/infrastructure/drift": IncidentState.FIRING}, order


def incidents(sent: list[Outgoing]) -> dict[str, IncidentState]:
    """The open incidents that the alert desk makes of the alerts."""
    boards: dict[str, Board] = {}
    for message in sent:
        alert = read_alert(message.body)
        boards[alert.subject] = fold(boards.get(alert.subject, Board(pipeline="", subject=alert.subject)), alert)
    every = [incident for board in boards.values() for incident in board.incidents.values()]
    return {incident.key: incident.state for incident in every if incident.open_members}


def test_a_crash_at_any_step_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    for steps in range(12):
        watch = Watch(SQLiteStore(str(tmp_path / f"{steps}.sqlite")))
        watch.calls.left = steps
        for body in (build(id="b1"), build("SUCCESS", NOW + 5 * MINUTE, id="b2")):
            try:
                watch.receive(body)
            except Crash:
                watch.receive(body)  # Pub/Sub delivers again
        Relay(watch.store, watch.bus, watch.clock).send_pending()
        assert dict.fromkeys(watch.alerts) == {
            ("acme-deploy", "build_failed", "firing"): None,
            ("acme-deploy", "build_failed", "recovered"): None,
        }, steps
        keys = [message.key for message in watch.bus.taken]
        assert len(set(keys)) == 2, "what is sent twice has the same key"


def test_many_concurrent_reports_leave_the_newest(watch: Watch) -> None:
    bodies = [build("FAILURE", NOW + n * MINUTE, id=f"b{n}") for n in range(6)] + [build("SUCCESS", NOW + 10 * MINUTE, id="b9")]
    threads = [Thread(target=watch.receive, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.receive(build("FAILURE", NOW + 9 * MINUTE, id="late")).handled is Handled.DUPLICATE
    assert incidents(sorted(watch.bus.taken, key=lambda message: message.body["at"])) == {}


@pytest.mark.parametrize("body", [b"\xff", b"{}", json.dumps(build("SPLENDID")).encode()])
def test_a_malformed_message_is_stored_and_raises_one_alert(watch: Watch, body: bytes) -> None:
    assert [watch.receive(body).handled for _ in range(2)] == [Handled.REJECTED, Handled.DUPLICATE]
    assert [rejected.data for rejected in watch.store.rejected(10)] == [body.decode(errors="replace")]
    assert [cause for _, cause, _ in watch.alerts] == ["message_rejected"]


def test_a_message_is_redelivered_when_the_store_does_not_answer() -> None:
    class Silent(SQLiteStore):
        def commit(self, change: Any) -> bool:
            raise StateError("no answer", retryable=True)

    watch = Watch(Silent(":memory:"))
    with pytest.raises(StateError):
        watch.receive(build())
    assert watch.alerts == []


def test_an_alert_has_the_time_of_the_build_not_of_its_arrival(watch: Watch) -> None:
    watch.receive(build())
    assert datetime.fromisoformat(watch.bus.taken[0].body["at"]) == NOW
    assert NOW.tzinfo is UTC
