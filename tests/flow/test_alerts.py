"""Alert dispatch: few notices, none lost, whatever repeats, fails or crashes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from phasegate.adapters.local import LocalBus
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.alerts.dispatch import AlertDispatch
from phasegate.app.pipeline_file import load
from phasegate.core.alerts.notice import Notice, plain
from phasegate.core.alerts.routing import Silence
from phasegate.core.pipeline.model import Pipeline
from phasegate.errors import NotifyError
from phasegate.messaging.bodies import ALERTS
from phasegate.messaging.outbox import Relay
from phasegate.ports import Receipt, State
from phasegate.testing import Countdown, Crash, Crashing, ManualClock

START = datetime(2026, 3, 2, 6, tzinfo=UTC)
FILE = """\
pipeline: shop
calendar: {from: 2026-01-01}
phases:
  raw: {due: 06:00, outputs: {raw.orders: {date: day}}}
  clean: {after: [raw], due: 1h after raw, outputs: {clean.orders: {date: day}}}
  scores: {after: [clean], due: 1h after clean, outputs: {scores.orders: {date: day}}}
alerts:
  destinations:
    chat: {kind: slack, webhook: secret://chat, fallback: mail}
    mail: {kind: email, to: [a@example.com]}
    boss: {kind: email, to: [boss@example.com]}
    paper: {kind: email, to: [paper@example.com]}
  mail: {host: smtp.example.com, user: phasegate, password: secret://smtp-password, from: phasegate@example.com}
  routes:
    - {severity: critical, to: [chat], remind: 4h, escalate: {after: 30h, to: boss}}
    - {severity: warning, to: [paper], digest: daily 08:00}
"""


@dataclass
class FakeDestination:
    """A destination that answers as configured, and remembers what it accepted."""

    errors: list[NotifyError] = field(default_factory=list)
    always: NotifyError | None = None
    accepted: list[Notice] = field(default_factory=list)

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        if self.errors:
            raise self.errors.pop(0)
        if self.always:
            raise self.always
        self.accepted.append(notice)
        return Receipt(200, f"id-{len(self.accepted)}")

    @property
    def reasons(self) -> list[str]:
        """Why it was notified each time; `test` and `digest` for those."""
        return [str(notice.data.get("reason", "test" if "test" in notice.data else "digest")) for notice in self.accepted]


class World:
    """Alert dispatch with its destinations, a clock that is set, and a tick for each minute that passes."""

    def __init__(self, tmp_path: Path, *, file: str = FILE, store: State | None = None) -> None:
        (tmp_path / "shop.yaml").write_text(file)
        self.pipeline: Pipeline = load(tmp_path / "shop.yaml")
        self.clock = ManualClock(START)
        self.store: Any = store or SQLiteStore(str(tmp_path / "state.sqlite"))
        self.destinations = {f"shop/{name}": FakeDestination() for name in self.pipeline.alerts.destinations}
        self.alerts = self.dispatch()

    def dispatch(self, wrap: Callable[[Any], Any] = lambda port: port) -> AlertDispatch:
        bus = LocalBus()
        store = wrap(self.store)
        alerts = AlertDispatch(
            [self.pipeline],
            notifiers={name: wrap(destination) for name, destination in self.destinations.items()},
            store=store,
            relay=Relay(store, bus, self.clock),
            clock=self.clock,
        )
        bus.subscribe(ALERTS, alerts.take)
        return alerts

    def destination(self, name: str) -> FakeDestination:
        return self.destinations[f"shop/{name}"]

    def pass_time(self, span: timedelta, step: timedelta = timedelta(minutes=1)) -> None:
        end = self.clock.now() + span
        while self.clock.now() < end:
            self.clock.advance(step)
            self.alerts.tick()

    def alert(self, day: int = 1, *, phase: str = "raw", cause: str = "checks_failed", **fields: Any) -> Mapping[str, Any]:
        at = self.clock.now()
        return {
            "key": f"shop/{phase}/2026-03-{day:02}/{at.isoformat()}",
            "pipeline": "shop",
            "phase": phase,
            "run_date": str(date(2026, 3, day)),
            "severity": "critical",
            "state": "firing",
            "cause": cause,
            "about": ["raw.orders.row_count"],
            "gate": "held",
            "detail": "3 rows, expected 10",
            "evidence": [],
            "effect": "shut",
            "since": at.isoformat(),
            "at": at.isoformat(),
            **fields,
        }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def reasons(destination: FakeDestination) -> list[str]:
    """Why it was notified each time, without self-tests."""
    return [reason for reason in destination.reasons if reason != "test"]


def test_a_thousand_repeats_from_eight_threads_are_one_alert_its_reminders_and_one_recovery(tmp_path):
    """At each destination of the route, over most of a day."""
    world = World(tmp_path, file=FILE.replace("to: [chat], remind", "to: [chat, mail], remind"))
    for _ in range(125):
        bodies = [world.alert(key=f"repeat/{world.clock.now().isoformat()}/{n}") for n in range(8)]
        threads = [Thread(target=world.alerts.handle, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        world.clock.advance(timedelta(minutes=10))
        world.alerts.tick()
    world.alerts.handle(world.alert(state="recovered", gate="open"))
    world.pass_time(timedelta(hours=1))
    for name in ("chat", "mail"):
        assert reasons(world.destination(name)) == ["first", "reminder", "reminder", "recovered"], (
            "after 4 h, and 8 h after that"
        )
    assert reasons(world.destination("boss")) == []


def test_it_works_the_same_with_firestore(tmp_path, firestore_store):
    """Claims, sent notices and due times are read back as written; of alerts at the same time one is sent."""
    world = World(tmp_path, store=firestore_store)
    bodies = [world.alert(day, key=f"{day}/{n}") for n in range(4) for day in (1, 2)]
    threads = [Thread(target=world.alerts.handle, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.pass_time(timedelta(minutes=5))
    world.clock.advance(timedelta(hours=5))
    world.alerts.tick()
    for day in (1, 2):
        world.alerts.handle(world.alert(day, state="recovered", gate="open"))
    world.pass_time(timedelta(minutes=3))
    sent = reasons(world.destination("chat"))
    assert [reason for reason in sent if reason != "new_member"] == ["first", "reminder", "recovered"]
    assert sent.count("new_member") <= 1
    assert world.alerts.incidents.still_open() == []
    assert not any(row.is_pending for row in world.alerts.ledger.deliveries())


def test_ten_dates_are_one_incident_with_ten_members(world):
    for day in range(1, 11):
        world.alerts.handle(world.alert(day))
    world.pass_time(timedelta(minutes=5))
    (incident,) = world.alerts.incidents.still_open()
    assert len(incident.open_members) == 10
    assert reasons(world.destination("chat")) == ["first", "new_member"]


def test_a_late_follower_is_muted_while_its_upstream_is_held(world):
    world.alerts.handle(world.alert())
    world.alerts.handle(world.alert(phase="clean", cause="upstream_shut", about=["raw"], gate="overdue"))
    world.alerts.handle(world.alert(phase="scores", cause="upstream_shut", about=["clean"], gate="overdue"))
    world.pass_time(timedelta(minutes=30))
    assert reasons(world.destination("chat")) == ["first"]
    root = next(incident for incident in world.alerts.incidents.still_open() if incident.subject == "raw")
    assert set(root.speaks_for) == {"clean", "scores"}
    world.pass_time(timedelta(hours=4), timedelta(minutes=10))
    assert reasons(world.destination("chat")) == ["first", "reminder"], "and no separate notice about the followers"
    assert "Also late: clean (2026-03-01), scores (2026-03-01)" in plain(world.destination("chat").accepted[-1])
    world.alerts.handle(world.alert(state="recovered", gate="open"))
    world.pass_time(timedelta(minutes=10))
    assert reasons(world.destination("chat")) == ["first", "reminder", "recovered", "first"]
    assert "clean" in world.destination("chat").accepted[-1].subject


def test_an_incident_escalates_unless_somebody_acknowledges_it(world):
    world.alerts.handle(world.alert())
    world.pass_time(timedelta(hours=31), timedelta(minutes=10))
    assert reasons(world.destination("boss")) == ["escalation"]
    world.alerts.handle(world.alert(2, phase="clean"))
    world.alerts.incidents.acknowledge("shop/clean/checks_failed", by="ann")
    world.pass_time(timedelta(hours=31), timedelta(minutes=10))
    assert not [notice for notice in world.destination("boss").accepted if "clean" in notice.subject]


def test_a_silence_lets_a_recovery_through_if_the_incident_was_reported(world):
    world.alerts.handle(world.alert())
    until = world.clock.now() + timedelta(hours=2)
    world.alerts.silences.add(Silence(id="s1", by="ann", why="works", at=START, until=until, pipeline="shop"))
    world.alerts.handle(world.alert(phase="clean"))
    world.pass_time(timedelta(hours=1))
    world.alerts.handle(world.alert(state="recovered", gate="open"))
    world.alerts.handle(world.alert(phase="clean", state="recovered", gate="open"))
    world.pass_time(timedelta(hours=2))
    assert reasons(world.destination("chat")) == ["first", "recovered"]
    assert all("raw" in notice.subject for notice in world.destination("chat").accepted)


def test_a_digest_is_sent_once_a_day(world):
    for day in range(1, 4):
        world.alerts.handle(world.alert(day, phase="raw", severity="warning", cause="quorum", gate="open"))
        world.alerts.handle(world.alert(day, phase="clean", severity="warning", cause="passed", gate="open"))
    world.pass_time(timedelta(hours=24), timedelta(minutes=10))
    assert reasons(world.destination("paper")) == ["digest"]


def test_retry_after_is_respected(world):
    world.destination("chat").errors = [NotifyError("slow down", retryable=True, status=429, retry_after=300)]
    world.alerts.handle(world.alert())
    world.pass_time(timedelta(minutes=4))
    assert reasons(world.destination("chat")) == []
    world.pass_time(timedelta(minutes=2))
    assert reasons(world.destination("chat")) == ["first"]


def test_a_broken_destination_is_replaced_by_its_fallback_and_becomes_an_incident(world):
    world.destination("chat").always = NotifyError("gone", retryable=False, status=404)
    world.alerts.handle(world.alert())
    assert sorted(notice.subject.split("]")[0] for notice in world.destination("mail").accepted) == ["[phasegate", "[shop"]
    world.destination("chat").always = None
    world.pass_time(timedelta(hours=2))
    assert {incident.cause for incident in world.alerts.incidents.still_open()} == {"checks_failed"}


def test_a_notice_that_nobody_accepts_is_parked_and_sent_later(world):
    for name in ("chat", "mail"):
        world.destination(name).always = NotifyError("down", retryable=True, status=500)
    world.alerts.handle(world.alert())
    world.pass_time(timedelta(hours=2))
    assert [row.destination for row in world.alerts.ledger.deliveries() if row.parked and row.cause == "checks_failed"] == [
        "shop/chat"
    ]
    assert {i.subject for i in world.alerts.incidents.still_open() if i.cause == "destination_down"} >= {
        "shop/chat",
        "shop/mail",
    }
    for name in ("chat", "mail"):
        world.destination(name).always = None
    world.pass_time(timedelta(hours=2))
    accepted = world.destination("chat").accepted + world.destination("mail").accepted
    assert any("raw" in notice.subject for notice in accepted)


def test_many_incidents_at_the_same_time_are_one_notice(world):
    world.destination("chat").errors = [NotifyError("slow down", retryable=True, status=429, retry_after=120)]
    for cause in (
        "checks_failed",
        "producer_failed",
        "not_measured",
        "ran_before_upstream",
        "producers_missing",
        "late_failure",
    ):
        world.alerts.handle(world.alert(len(cause), cause=cause))
    world.pass_time(timedelta(minutes=4))
    assert reasons(world.destination("chat")) == ["digest"]


@pytest.mark.parametrize("step", range(30))
def test_a_crash_at_any_step_loses_nothing(world, step):
    """There is at most one repeat, and it says that it may be one."""
    calls = Countdown(step)
    crashing = world.dispatch(lambda port: Crashing(port, calls))
    body = world.alert()
    try:
        crashing.handle(body)
    except Crash:
        world.alerts.handle(body)
    world.pass_time(timedelta(minutes=5))
    accepted = [notice for notice in world.destination("chat").accepted if "test" not in notice.data]
    assert 1 <= len(accepted) <= 2
    assert all(notice.possible_duplicate for notice in accepted[1:])
    assert reasons(world.destination("chat")) == ["first"] * len(accepted)
