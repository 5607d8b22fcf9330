"""Incidents whatever order alerts come in, and people who are told of each opening once."""

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


def statement(
    day: str, at: datetime, *, cause: str = "checks_failed", over: bool = False, severity: str = "critical"
) -> IncidentUpdate:
    """What an alert about raw of a day says."""
    body = {
        "key": f"shop/raw/{day}/{at.isoformat()}", "pipeline": "shop", "phase": "raw", "run_date": day, "severity": severity,
        "state": "recovered" if over else "firing", "cause": cause, "about": ["raw.orders.row_count"],
        "gate": "held", "detail": "3 rows", "evidence": [], "effect": "", "since": at.isoformat(),
        "at": at.isoformat(),
    }  # fmt: skip
    return read_alert(body)


said = st.tuples(st.sampled_from(DAYS), st.sampled_from(CAUSES), st.booleans())


def story(steps: list[tuple[str, str, bool]]) -> list[IncidentUpdate]:
    """Alerts of one phase in the order in which they were decided, a minute apart."""
    return [statement(day, START + timedelta(minutes=n), cause=cause, over=over) for n, (day, cause, over) in enumerate(steps)]


def played(statements: list[IncidentUpdate]) -> Board:
    board = EMPTY
    for each in statements:
        board = fold(board, each)
    return board


def standing(board: Board) -> Mapping[str, tuple[str, str]]:
    """What lasts: for each run date the cause and the alert that spoke of it last."""
    found = {}
    for incident in board.incidents.values():
        for member in incident.open_members:
            assert member.name not in found, "a run date is in one trouble at a time"
            found[member.name] = (incident.cause, member.key)
    return found


@given(st.lists(said, max_size=12), st.randoms())
@settings(deadline=None, max_examples=300)
def test_order_and_duplicates_don_t_matter_in_the_end(steps, random) -> None:
    """The newest word about each run date counts, whatever came when and however often."""
    told = story(steps)
    shuffled = told * 2
    random.shuffle(shuffled)
    newest = {each.member.name: each for each in told}
    expected = {name: (each.cause, each.member.key) for name, each in newest.items() if not each.over}
    assert standing(played(told)) == expected
    assert standing(played(shuffled)) == expected


@given(st.lists(said, max_size=12))
@settings(deadline=None)
def test_what_was_said_already_changes_nothing(steps) -> None:
    told = story(steps)
    board = played(told)
    for each in told:
        assert fold(board, each) is board


class People:
    """One destination, told by the rules; it keeps what it was told."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.told: NotificationState | None = None
        self.withheld = False
        self.heard: list[tuple[NotifyReason, datetime, datetime]] = []

    def look(self, incident: Incident, now: datetime, silences: tuple[Silence, ...]) -> None:
        around = NotifyContext(silences=silences, was_withheld=self.withheld)
        say = decide_notice(incident, self.told, self.target, around, now=now)
        never = self.told is None or self.told.over
        self.withheld = never and (say.withheld or (self.withheld and say.reason is NotifyReason.NOTHING))
        if say.reason is NotifyReason.NOTHING:
            assert say.again is None or say.again > now, "nothing that is due now is put off to now"
            return
        self.told = after_notice(incident, self.told, say.reason, now)
        self.withheld = False
        self.heard.append((say.reason, incident.opened_at, now))


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
def test_nobody_hears_of_a_beginning_or_an_end_twice_and_an_end_is_never_forgotten(steps, severity, quiet) -> None:
    """Whatever happens, and is silenced, for however long."""
    hours = None if quiet is None else tuple(datetime.strptime(text, "%H:%M").time() for text in quiet)
    people = People(Target(destination="shop/chat", zone=UTC_ZONE, remind=timedelta(hours=4), quiet=hours))
    board, now, silences = EMPTY, START, ()

    def pass_time(span: timedelta) -> None:
        nonlocal board, now
        end = now + span
        while now < end:
            now += timedelta(minutes=20)
            board = tidy(board, now)
            for incident in board.incidents.values():
                people.look(incident, now, silences)

    for what, day, minutes in steps:
        now += timedelta(seconds=1)
        match what:
            case "fire" | "recover":
                board = fold(board, statement(day, now, over=what == "recover", severity=severity))
            case "silence":
                until = now + timedelta(minutes=minutes)
                silences = (*silences, Silence(id=str(now), by="ann", why="", at=now, until=until))
            case "acknowledge":
                word = Acknowledgement("ann", now)
                board = replace(board, incidents={c: replace(i, acknowledged=word) for c, i in board.incidents.items()})
            case _:
                pass_time(timedelta(minutes=minutes))
        for incident in board.incidents.values():
            people.look(incident, now, silences)
    for day in DAYS[:2]:
        now += timedelta(seconds=1)
        board = fold(board, statement(day, now, over=True))
    pass_time(timedelta(hours=30))
    reasons = [reason for reason, _, _ in people.heard]
    firsts = [opened for reason, opened, _ in people.heard if reason is NotifyReason.FIRST]
    assert len(firsts) == len(set(firsts)), "no opening has two beginnings"
    ends = [opened for reason, opened, _ in people.heard if reason is NotifyReason.RECOVERED]
    assert len(ends) == len(set(ends)), "and none has two ends"
    if people.told is not None:
        assert people.told.over, "who heard of it hears of its end"
        assert reasons[-1] is NotifyReason.RECOVERED
    assert all(incident.state is IncidentState.RECOVERED for incident in board.incidents.values())


def test_what_comes_and_goes_is_told_a_few_times_and_its_end_once_it_stays() -> None:
    people = People(Target(destination="shop/chat", zone=UTC_ZONE, remind=timedelta(hours=4)))
    board, now = EMPTY, START
    for n in range(144):  # twelve hours, five minutes in trouble and five not
        now = START + timedelta(minutes=5 * n)
        board = fold(board, statement(DAYS[0], now, over=n % 2 == 1))
        people.look(board.incidents["checks_failed"], now, ())
    reasons = [reason for reason, _, _ in people.heard]
    assert len(reasons) <= 10, reasons
    people.look(board.incidents["checks_failed"], now + timedelta(hours=1), ())
    assert people.heard[-1][0] is NotifyReason.RECOVERED
    assert [reason for reason, _, _ in people.heard[-2:]].count(NotifyReason.RECOVERED) == 1


@pytest.mark.parametrize(("severity", "hour"), [("critical", 23), ("warning", 6)])
def test_quiet_hours_keep_back_what_is_not_critical(severity, hour) -> None:
    quiet = (datetime(2026, 1, 1, 22).time(), datetime(2026, 1, 1, 6).time())
    people = People(Target(destination="shop/chat", zone=UTC_ZONE, quiet=quiet))
    now = START + timedelta(hours=23)
    board = fold(EMPTY, statement(DAYS[0], now, severity=severity))
    for minute in range(0, 600, 10):
        people.look(board.incidents["checks_failed"], now + timedelta(minutes=minute), ())
    ((reason, _, at),) = people.heard
    assert (reason, at.hour, at.minute) == (NotifyReason.FIRST, hour, 0)
