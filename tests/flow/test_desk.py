"""The alert desk: few messages, none lost, whatever repeats, fails or dies."""

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
class Door:
    """A destination that answers as told, and remembers what it took."""

    errors: list[NotifyError] = field(default_factory=list)
    always: NotifyError | None = None
    taken: list[Notice] = field(default_factory=list)

    def notify(self, notice: Notice) -> Receipt:
        """See `Notifier.notify`."""
        if self.errors:
            raise self.errors.pop(0)
        if self.always:
            raise self.always
        self.taken.append(notice)
        return Receipt(200, f"id-{len(self.taken)}")

    @property
    def said(self) -> list[str]:
        """The reasons of what it took, tests and digests by their names."""
        return [str(notice.data.get("reason", "test" if "test" in notice.data else "digest")) for notice in self.taken]


class Office:
    """A desk with its doors, a clock that is set, and a tick for each minute that passes."""

    def __init__(self, tmp_path: Path, *, file: str = FILE, store: State | None = None) -> None:
        (tmp_path / "shop.yaml").write_text(file)
        self.pipeline: Pipeline = load(tmp_path / "shop.yaml")
        self.clock = ManualClock(START)
        self.store: Any = store or SQLiteStore(str(tmp_path / "state.sqlite"))
        self.doors = {f"shop/{name}": Door() for name in self.pipeline.alerts.destinations}
        self.alerts = self.made()

    def made(self, wrap: Callable[[Any], Any] = lambda port: port) -> AlertDispatch:
        bus = LocalBus()
        store = wrap(self.store)
        alerts = AlertDispatch(
            [self.pipeline],
            notifiers={name: wrap(door) for name, door in self.doors.items()},
            store=store,
            relay=Relay(store, bus, self.clock),
            clock=self.clock,
        )
        bus.subscribe(ALERTS, alerts.take)
        return alerts

    def door(self, name: str) -> Door:
        return self.doors[f"shop/{name}"]

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
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def real(door: Door) -> list[str]:
    """What it was told, self-tests left aside."""
    return [reason for reason in door.said if reason != "test"]


def test_a_thousand_repeats_from_eight_threads_are_one_alert_its_reminders_and_one_recovery(tmp_path):
    """For each destination of the route, over most of a day."""
    office = Office(tmp_path, file=FILE.replace("to: [chat], remind", "to: [chat, mail], remind"))
    for _ in range(125):
        bodies = [office.alert(key=f"repeat/{office.clock.now().isoformat()}/{n}") for n in range(8)]
        threads = [Thread(target=office.alerts.handle, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        office.clock.advance(timedelta(minutes=10))
        office.alerts.tick()
    office.alerts.handle(office.alert(state="recovered", gate="open"))
    office.pass_time(timedelta(hours=1))
    for name in ("chat", "mail"):
        assert real(office.door(name)) == ["first", "reminder", "reminder", "recovered"], "after 4 h, and 8 h after that"
    assert real(office.door("boss")) == []


def test_in_firestore_it_is_the_same(tmp_path, firestore_store):
    """What is claimed, told and due is read back as it was written; of those that come at once one tells."""
    office = Office(tmp_path, store=firestore_store)
    bodies = [office.alert(day, key=f"{day}/{n}") for n in range(4) for day in (1, 2)]
    threads = [Thread(target=office.alerts.handle, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    office.pass_time(timedelta(minutes=5))
    office.clock.advance(timedelta(hours=5))
    office.alerts.tick()
    for day in (1, 2):
        office.alerts.handle(office.alert(day, state="recovered", gate="open"))
    office.pass_time(timedelta(minutes=3))
    told = real(office.door("chat"))
    assert [reason for reason in told if reason != "new_member"] == ["first", "reminder", "recovered"]
    assert told.count("new_member") <= 1
    assert office.alerts.incidents.still_open() == []
    assert not any(row.is_pending for row in office.alerts.ledger.deliveries())


def test_ten_dates_are_one_incident_with_ten_members(office):
    for day in range(1, 11):
        office.alerts.handle(office.alert(day))
    office.pass_time(timedelta(minutes=5))
    (incident,) = office.alerts.incidents.still_open()
    assert len(incident.open_members) == 10
    assert real(office.door("chat")) == ["first", "new_member"]


def test_a_follower_is_muted_while_its_upstream_fires_and_told_when_it_stays_late(office):
    office.alerts.handle(office.alert())
    office.alerts.handle(office.alert(phase="clean", cause="upstream_shut", about=["raw"], gate="overdue"))
    office.alerts.handle(office.alert(phase="scores", cause="upstream_shut", about=["clean"], gate="overdue"))
    office.pass_time(timedelta(minutes=30))
    assert real(office.door("chat")) == ["first"]
    root = next(incident for incident in office.alerts.incidents.still_open() if incident.subject == "raw")
    assert set(root.speaks_for) == {"clean", "scores"}
    office.pass_time(timedelta(hours=4), timedelta(minutes=10))
    assert real(office.door("chat")) == ["first", "reminder"], "and nothing of the followers on their own"
    assert "Also late: clean (2026-03-01), scores (2026-03-01)" in plain(office.door("chat").taken[-1])
    office.alerts.handle(office.alert(state="recovered", gate="open"))
    office.pass_time(timedelta(minutes=10))
    assert real(office.door("chat")) == ["first", "reminder", "recovered", "first"]
    assert "clean" in office.door("chat").taken[-1].subject


def test_it_escalates_until_somebody_acknowledges(office):
    office.alerts.handle(office.alert())
    office.pass_time(timedelta(hours=31), timedelta(minutes=10))
    assert real(office.door("boss")) == ["escalation"]
    office.alerts.handle(office.alert(2, phase="clean"))
    office.alerts.incidents.acknowledge("shop/clean/checks_failed", by="ann")
    office.pass_time(timedelta(hours=31), timedelta(minutes=10))
    assert not [notice for notice in office.door("boss").taken if "clean" in notice.subject]


def test_a_recovery_during_a_silence_is_told_when_the_beginning_was(office):
    office.alerts.handle(office.alert())
    until = office.clock.now() + timedelta(hours=2)
    office.alerts.silences.add(Silence(id="s1", by="ann", why="works", at=START, until=until, pipeline="shop"))
    office.alerts.handle(office.alert(phase="clean"))
    office.pass_time(timedelta(hours=1))
    office.alerts.handle(office.alert(state="recovered", gate="open"))
    office.alerts.handle(office.alert(phase="clean", state="recovered", gate="open"))
    office.pass_time(timedelta(hours=2))
    assert real(office.door("chat")) == ["first", "recovered"]
    assert all("raw" in notice.subject for notice in office.door("chat").taken)


def test_a_digest_is_sent_once_a_day(office):
    for day in range(1, 4):
        office.alerts.handle(office.alert(day, phase="raw", severity="warning", cause="quorum", gate="open"))
        office.alerts.handle(office.alert(day, phase="clean", severity="warning", cause="passed", gate="open"))
    office.pass_time(timedelta(hours=24), timedelta(minutes=10))
    assert real(office.door("paper")) == ["digest"]


def test_a_pause_that_a_destination_asks_for_is_honoured(office):
    office.door("chat").errors = [NotifyError("slow down", retryable=True, status=429, retry_after=300)]
    office.alerts.handle(office.alert())
    office.pass_time(timedelta(minutes=4))
    assert real(office.door("chat")) == []
    office.pass_time(timedelta(minutes=2))
    assert real(office.door("chat")) == ["first"]


def test_a_destination_that_is_gone_is_replaced_by_its_fallback_and_is_an_incident_itself(office):
    office.door("chat").always = NotifyError("gone", retryable=False, status=404)
    office.alerts.handle(office.alert())
    assert sorted(notice.subject.split("]")[0] for notice in office.door("mail").taken) == ["[phasegate", "[shop"]
    office.door("chat").always = None
    office.pass_time(timedelta(hours=2))
    assert {incident.cause for incident in office.alerts.incidents.still_open()} == {"checks_failed"}


def test_what_nobody_takes_is_parked_and_told_when_somebody_does(office):
    for name in ("chat", "mail"):
        office.door(name).always = NotifyError("down", retryable=True, status=500)
    office.alerts.handle(office.alert())
    office.pass_time(timedelta(hours=2))
    assert [row.destination for row in office.alerts.ledger.deliveries() if row.parked and row.cause == "checks_failed"] == [
        "shop/chat"
    ]
    assert {i.subject for i in office.alerts.incidents.still_open() if i.cause == "destination_down"} >= {
        "shop/chat",
        "shop/mail",
    }
    for name in ("chat", "mail"):
        office.door(name).always = None
    office.pass_time(timedelta(hours=2))
    told = office.door("chat").taken + office.door("mail").taken
    assert any("raw" in notice.subject for notice in told)


def test_many_at_once_are_one_notice(office):
    office.door("chat").errors = [NotifyError("slow down", retryable=True, status=429, retry_after=120)]
    for cause in (
        "checks_failed",
        "producer_failed",
        "not_measured",
        "ran_before_upstream",
        "producers_missing",
        "late_failure",
    ):
        office.alerts.handle(office.alert(len(cause), cause=cause))
    office.pass_time(timedelta(minutes=4))
    assert real(office.door("chat")) == ["digest"]


@pytest.mark.parametrize("step", range(30))
def test_it_dies_at_every_step_and_nothing_is_lost(office, step):
    """At most one repeat, which says that it may be one."""
    calls = Countdown(step)
    mortal = office.made(lambda port: Crashing(port, calls))
    body = office.alert()
    try:
        mortal.handle(body)
    except Crash:
        office.alerts.handle(body)
    office.pass_time(timedelta(minutes=5))
    taken = [notice for notice in office.door("chat").taken if "test" not in notice.data]
    assert 1 <= len(taken) <= 2
    assert all(notice.possible_duplicate for notice in taken[1:])
    assert real(office.door("chat")) == ["first"] * len(taken)
