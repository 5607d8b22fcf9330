"""Incidents are the same in whatever order alerts arrive, and each opening and recovery is reported once."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phasegate.core.alerts.incident import (
    Acknowledgement,
    Board,
    Incident,
    IncidentState,
    IncidentUpdate,
    NotifyReason,
    fold,
    read_alert,
    tidy,
)
from phasegate.core.alerts.routing import NotificationState, NotifyContext, Silence, Target, after_notice, decide_notice

START = datetime(2026, 3, 2, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
EMPTY = Board(pipeline="shop", subject="raw")
CAUSES = ("checks_failed", "producers_missing", "nothing_heard")
DAYS = ("2026-03-01", "2026-03-02", "2026-03-03")


def update(
    day: str, at: datetime, *, cause: str = "checks_failed", over: bool = False, severity: str = "critical"
) -> IncidentUpdate:
    """An alert about raw of a day."""
    body = {
        "key": f"shop/raw/{day}/{at.isoformat()}", "pipeline": "shop", "phase": "raw", "run_date": day, "severity": severity,
        "state": "recovered" if over else "firing", "cause": cause, "about": ["raw.orders.row_count"],
        "gate": "held", "detail": "3 rows", "evidence": [], "effect": "", "since": at.isoformat(),
        "at": at.isoformat(),
    }  # fmt: skip
    return read_alert(body)


outlines = st.tuples(st.sampled_from(DAYS), st.sampled_from(CAUSES), st.booleans())


def story(steps: list[tuple[str, str, bool]]) -> list[IncidentUpdate]:
    """Alerts of one phase in the order in which they were decided, a minute apart."""
    return [update(day, START + timedelta(minutes=n), cause=cause, over=over) for n, (day, cause, over) in enumerate(steps)]


def folded(updates: list[IncidentUpdate]) -> Board:
    board = EMPTY
    for item in updates:
        board = fold(board, item)
    return board


def open_problems(board: Board) -> Mapping[str, tuple[str, str]]:
    """For each run date with an open problem its cause and the newest alert about it."""
    problems = {}
    for incident in board.incidents.values():
        for member in incident.open_members:
            assert member.name not in problems, "a run date has one problem at a time"
            problems[member.name] = (incident.cause, member.key)
    return problems


@given(st.lists(outlines, max_size=12), st.randoms())
@settings(deadline=None, max_examples=300)
def test_any_order_of_alerts_with_duplicates_ends_in_the_same_board(steps, random) -> None:
    """The newest alert about each run date counts."""
    updates = story(steps)
    shuffled = updates * 2
    random.shuffle(shuffled)
    newest = {item.member.name: item for item in updates}
    expected = {name: (item.cause, item.member.key) for name, item in newest.items() if not item.over}
    assert open_problems(folded(updates)) == expected
    assert open_problems(folded(shuffled)) == expected


@given(st.lists(outlines, max_size=12))
@settings(deadline=None)
def test_a_duplicate_changes_nothing(steps) -> None:
    updates = story(steps)
    board = folded(updates)
    for item in updates:
        assert fold(board, item) is board


class Recipient:
    """One destination that is notified by the rules."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.told: NotificationState | None = None
        self.withheld = False
        self.notices: list[tuple[NotifyReason, datetime, datetime]] = []

    def check(self, incident: Incident, now: datetime, silences: tuple[Silence, ...]) -> None:
        context = NotifyContext(silences=silences, was_withheld=self.withheld)
        decision = decide_notice(incident, self.told, self.target, context, now=now)
        unaware = self.told is None or self.told.over
        nothing = decision.reason is NotifyReason.NOTHING
        self.withheld = unaware and (decision.withheld or (self.withheld and nothing))
        if nothing:
            assert decision.again is None or decision.again > now, "nothing that is due now is put off to now"
            return
        self.told = after_notice(incident, self.told, decision.reason, now)
        self.withheld = False
        self.notices.append((decision.reason, incident.opened_at, now))


steps = st.lists(
    st.tuples(
        st.sampled_from(["fire", "recover", "wait", "silence", "acknowledge"]),
        st.sampled_from(DAYS[:2]),
        st.integers(1, 300),
    ),
    max_size=25,
)
quiets = st.sampled_from([None, ("22:00", "06:00")])


@given(steps, st.sampled_from(["critical", "warning"]), quiets)
@settings(deadline=None, max_examples=300)
def test_each_opening_and_recovery_is_reported_once_and_no_recovery_is_forgotten(steps, severity, quiet) -> None:
    """Whatever happens, and however long it is muted."""
    hours = None if quiet is None else tuple(datetime.strptime(text, "%H:%M").time() for text in quiet)
    recipient = Recipient(Target(destination="shop/chat", zone=UTC_ZONE, remind=timedelta(hours=4), quiet=hours))
    board, now, silences = EMPTY, START, ()

    def pass_time(span: timedelta) -> None:
        nonlocal board, now
        end = now + span
        while now < end:
            now += timedelta(minutes=20)
            board = tidy(board, now)
            for incident in board.incidents.values():
                recipient.check(incident, now, silences)

    for what, day, minutes in steps:
        now += timedelta(seconds=1)
        match what:
            case "fire" | "recover":
                board = fold(board, update(day, now, over=what == "recover", severity=severity))
            case "silence":
                until = now + timedelta(minutes=minutes)
                silences = (*silences, Silence(id=str(now), by="ann", why="", at=now, until=until))
            case "acknowledge":
                ack = Acknowledgement("ann", now)
                board = replace(board, incidents={c: replace(i, acknowledged=ack) for c, i in board.incidents.items()})
            case _:
                pass_time(timedelta(minutes=minutes))
        for incident in board.incidents.values():
            recipient.check(incident, now, silences)
    for day in DAYS[:2]:
        now += timedelta(seconds=1)
        board = fold(board, update(day, now, over=True))
    pass_time(timedelta(hours=30))
    reasons = [reason for reason, _, _ in recipient.notices]
    firsts = [opened for reason, opened, _ in recipient.notices if reason is NotifyReason.FIRST]
    assert len(firsts) == len(set(firsts)), "no opening is reported twice"
    ends = [opened for reason, opened, _ in recipient.notices if reason is NotifyReason.RECOVERED]
    assert len(ends) == len(set(ends)), "no recovery is reported twice"
    if recipient.told is not None:
        assert recipient.told.over, "whoever was notified of it is notified of its recovery"
        assert reasons[-1] is NotifyReason.RECOVERED
    assert all(incident.state is IncidentState.RECOVERED for incident in board.incidents.values())


def test_a_flapping_incident_is_reported_a_few_times_and_its_recovery_once_it_settles() -> None:
    recipient = Recipient(Target(destination="shop/chat", zone=UTC_ZONE, remind=timedelta(hours=4)))
    board, now = EMPTY, START
    for n in range(144):  # twelve hours: five minutes with the problem, five without
        now = START + timedelta(minutes=5 * n)
        board = fold(board, update(DAYS[0], now, over=n % 2 == 1))
        recipient.check(board.incidents["checks_failed"], now, ())
    reasons = [reason for reason, _, _ in recipient.notices]
    assert len(reasons) <= 10, reasons
    recipient.check(board.incidents["checks_failed"], now + timedelta(hours=1), ())
    assert recipient.notices[-1][0] is NotifyReason.RECOVERED
    assert [reason for reason, _, _ in recipient.notices[-2:]].count(NotifyReason.RECOVERED) == 1


@pytest.mark.parametrize(("severity", "hour"), [("critical", 23), ("warning", 6)])
def test_quiet_hours_put_off_what_is_not_critical(severity, hour) -> None:
    quiet = (datetime(2026, 1, 1, 22).time(), datetime(2026, 1, 1, 6).time())
    recipient = Recipient(Target(destination="shop/chat", zone=UTC_ZONE, quiet=quiet))
    now = START + timedelta(hours=23)
    board = fold(EMPTY, update(DAYS[0], now, severity=severity))
    for minute in range(0, 600, 10):
        recipient.check(board.incidents["checks_failed"], now + timedelta(minutes=minute), ())
    ((reason, _, at),) = recipient.notices
    assert (reason, at.hour, at.minute) == (NotifyReason.FIRST, hour, 0)
