"""A whole season on a simulated clock: no alert on good dates, and each of many missing reports alerted in the minute it is due."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time

import pytest
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import GateState
from phasegate.testing import Crash

from tests.season import DAY, FIRST, GAMES, HOUR, LAST, MINUTE, OFF_SEASON, WITHOUT_GAMES, Season, Silence, local


def down(season: Season) -> None:
    season.warehouse.down = "the warehouse does not answer"


def up(season: Season) -> None:
    season.warehouse.down = ""


def broken(season: Season) -> None:
    season.warehouse.broken = {"clean.games"}


def repaired(season: Season) -> None:
    season.warehouse.broken = set()


def mute(season: Season) -> None:
    season.silent_topics = {"games-raw-go"}


def unmute(season: Season) -> None:
    season.silent_topics = set()


def asleep(season: Season) -> None:
    """The scheduler is down at the due time."""
    season.asleep = (season.clock.now(), OUTAGE_ENDS)


OUTAGE_ENDS = local(date(2026, 1, 9), time(4, 0))

SILENCES = (
    # No report and no rows: on an ordinary day, next to special days of the calendar, and when the clocks change.
    Silence(phase="raw", day=date(2025, 12, 6), cause="nothing_heard", mentions="scores, odds have not reported"),
    Silence(phase="raw", day=FIRST, cause="nothing_heard"),
    Silence(phase="raw", day=date(2025, 11, 1), cause="nothing_heard", noticed_at=datetime(2025, 11, 2, 5, 30, tzinfo=UTC)),
    Silence(phase="raw", day=date(2025, 12, 27), cause="nothing_heard"),  # the first date after a holiday
    Silence(phase="raw", day=OFF_SEASON.first - DAY, cause="nothing_heard"),
    Silence(phase="raw", day=OFF_SEASON.last + DAY, cause="nothing_heard"),
    # Rows but no message.
    Silence(
        phase="raw", day=date(2025, 11, 18), cause="no_message", mentions="raw.scores has 100", fills=("raw.scores", "raw.odds")
    ),
    Silence(phase="raw", day=date(2025, 11, 22), cause="no_message", mentions="raw.odds has 100 rows", fills=("raw.odds",)),
    Silence(phase="clean", day=date(2025, 11, 28), cause="no_message", fills=("clean.games",)),
    # Some producers missing, with and without their rows.
    Silence(
        phase="raw",
        day=date(2025, 12, 12),
        cause="producers_missing",
        mentions="odds has not reported; scores has; table raw.odds has 0 rows",
        fills=("raw.scores",),
        reporting=("scores",),
    ),
    Silence(
        phase="raw",
        day=date(2025, 12, 16),
        cause="producers_missing",
        mentions="scores has not reported; odds has; the tables pass",
        fills=("raw.scores", "raw.odds"),
        reporting=("odds", "weather"),
    ),
    # Reported but unverified, alerted after ten minutes: the warehouse is down at the due time; one table cannot be measured.
    Silence(
        phase="raw",
        day=date(2025, 12, 31),
        cause="not_measured",
        mentions="does not answer",
        fills=("raw.scores", "raw.odds"),
        reporting=("scores", "odds"),
        begins=down,
        ends=up,
    ),
    Silence(
        phase="feeds",
        day=date(2025, 12, 31),
        cause="not_measured",
        fills=("feeds.east", "feeds.west", "feeds.north"),
        reporting=("east", "west", "north"),
    ),
    Silence(
        phase="clean",
        day=date(2026, 1, 6),
        cause="not_measured",
        mentions="clean.games does not answer",
        fills=("clean.games",),
        reporting=("clean",),
        begins=broken,
        ends=repaired,
    ),
    # Open, but the next phase has not started.
    Silence(phase="clean", day=date(2026, 1, 17), cause="not_started", mentions="raw was released at"),
    Silence(phase="clean", day=date(2026, 3, 7), cause="not_started", noticed_at=datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),
    Silence(phase="report", day=date(2026, 1, 27), cause="not_started", mentions="features was released at"),
    Silence(phase="report", day=date(2026, 10, 20), cause="not_started", mentions="feeds was released at"),  # in a warm-up
    # Recorded but unsent: the topic of the go-signal accepts nothing.
    Silence(
        phase="raw",
        day=date(2026, 2, 3),
        cause="unsent",
        mentions="games/raw/2026-02-03/g1 can't be sent to games-raw-go: the bus is silent",
        after=20 * MINUTE,
        fills=("raw.scores", "raw.odds"),
        reporting=("scores", "odds"),
        begins=mute,
        ends=unmute,
    ),
    # Late upstream: it arrives, and then its follower, whose due time counts from there, does not.
    Silence(phase="raw", day=date(2026, 2, 8), cause="nothing_heard", after=2 * HOUR),
    Silence(
        phase="clean",
        day=date(2026, 2, 8),
        cause="not_started",
        mentions="due moved from 02-09 02:30 to 02-09 04:30, because raw was released at 02-09 03:30",
        noticed_at=local(date(2026, 2, 8), time(4, 31)),
    ),
    # One of three feeds is missing: the quorum releases the others when due, and lists the missing one.
    Silence(phase="features", day=date(2026, 1, 30), cause="not_started", noticed_at=local(date(2026, 1, 30), time(3, 30))),
    Silence(
        phase="feeds",
        day=date(2026, 2, 21),
        cause="quorum",
        mentions="released without table feeds.north; north has not reported",
        fills=("feeds.east", "feeds.west"),
        reporting=("east", "west"),
    ),
    Silence(
        phase="feeds", day=date(2026, 2, 24), cause="producers_missing", fills=("feeds.west",), reporting=("west", "north")
    ),
    # The scheduler was down at the due time: noticed by the first tick afterwards.
    Silence(phase="raw", day=date(2026, 1, 9), cause="nothing_heard", begins=asleep, noticed_at=OUTAGE_ENDS),
)


def runs() -> dict[date, tuple[str, ...]]:
    """The phases that run, by run date."""
    days = (day for day in Span(FIRST, LAST).days() if GAMES.calendar.has_run(day) and day not in WITHOUT_GAMES)
    return {day: tuple(phase for phase in GAMES.phases if GAMES.runs(phase, day)) for day in days}


@pytest.fixture(scope="module")
def season() -> Season:
    new = Season(SILENCES)
    new.live(Span(FIRST, LAST))
    return new


def after_release(season: Season, day: date) -> datetime:
    """When features is due: an hour after the later of its inputs."""
    gates = season.store.load("games", Span(day, day))[day]
    return max(opened for name in ("clean", "feeds") if (opened := gates[name].opened_at)) + HOUR


@pytest.mark.parametrize("silence", SILENCES, ids=lambda s: f"{s.day}-{s.phase}-{s.cause}")
def test_a_missing_report_is_alerted_within_a_tick_with_its_cause(season: Season, silence: Silence) -> None:
    firing = [alert for alert in season.alerts if alert.cause == silence.cause and alert.state == "firing"]
    subjects = ((silence.phase, silence.day), ("games-raw-go", date.min))
    (alert,) = (alert for alert in firing if (alert.phase, alert.day) in subjects)
    due = after_release(season, silence.day) if silence.phase == "features" else silence.at
    assert alert.at <= due + MINUTE
    assert alert.at >= due or silence.cause in ("not_measured", "unsent"), "these can be known before it is late"
    assert silence.mentions in alert.detail


def test_there_are_no_other_alerts(season: Season) -> None:
    """Except for followers that wait for the missing phase; good dates, dates without a run and the off-season are quiet."""
    causes = {(alert.phase, alert.day, alert.cause) for alert in season.alerts if alert.cause != "unsent"}
    planted = {(s.phase, s.day, s.cause) for s in SILENCES}
    waiting = {(phase, day, "upstream_shut") for s in SILENCES for day in [s.day] for phase in GAMES.phases if phase != s.phase}
    assert causes - planted <= waiting
    assert len(SILENCES) >= 20


def test_each_problem_has_one_alert_and_one_recovery(season: Season) -> None:
    counts = Counter((alert.phase, alert.day, alert.cause, alert.state) for alert in season.alerts)
    assert set(counts.values()) == {1}
    firing, recovered = ({key[:3] for key in counts if key[3] == state} for state in ("firing", "recovered"))
    assert {cause for _, _, cause in firing - recovered} == {"quorum"}, "a degraded release does not recover"
    assert recovered <= firing


def test_at_the_end_every_gate_is_open_and_each_signal_was_sent_once(season: Season) -> None:
    days = season.store.load("games", Span(FIRST, LAST))
    expected = {(phase, day) for day, phases in runs().items() for phase in phases}
    assert {(phase, day) for day, gates in days.items() for phase, gate in gates.items() if gate.is_open} == expected
    assert {gate.state for gates in days.values() for gate in gates.values()} == {GateState.OPEN, GateState.OFF}
    again = [str(gate.run) for gates in days.values() for gate in gates.values() if gate.generation > 1]
    assert again == ["games/feeds/2026-02-21"], "the late rows are other data than was released"
    assert len(season.signals) == len(set(season.signals)) == len(expected) + len(again)


@pytest.mark.parametrize("first", [date(2025, 11, 1), date(2026, 3, 7)])
def test_a_tick_every_minute_sends_the_same_alerts(season: Season, first: date) -> None:
    """In the nights in which the clocks change."""
    span = Span(first, first)
    dense = Season([s for s in SILENCES if s.day in span])
    dense.live(span, every=MINUTE)
    alerts = [
        [(t.phase, t.day, t.cause, t.state, t.at if t.state == "firing" else None) for t in one.alerts if t.day in span]
        for one in (dense, season)
    ]
    assert alerts[0] == alerts[1] != []


def test_two_seasons_differ_only_by_chance() -> None:
    """Nothing depends on the minute in which a job ends or a tick comes."""
    span = Span(date(2026, 2, 20), date(2026, 2, 26))
    seasons = [Season([s for s in SILENCES if s.day in span], seed=seed) for seed in range(3)]
    for season in seasons:
        season.live(span)
    alerts = [{(t.phase, t.day, t.cause, t.state, t.at if t.state == "firing" else None) for t in s.alerts} for s in seasons]
    assert alerts[0] == alerts[1] == alerts[2]


def test_rows_without_a_message_are_released_when_due_where_the_policy_allows_it() -> None:
    day = date(2026, 2, 20)
    season = Season([Silence(phase="report", day=day, cause="", fills=("report.games",))])
    season.live(Span(day, day))
    gate = season.store.load("games", Span(day, day))[day]["report"]
    assert (gate.opened_at, gate.generation) == (local(day, time(9)), 1)
    history = [event.detail for event in season.store.history(gate.run)]
    assert "all needed checks pass, score 100; released without a message: report has not reported" in history
    assert season.alerts == []


# -- a disturbed scheduler ----------------------------------------------------------------------------------------------------


class Dying(Season):
    """Every third tick dies at some point; the next one comes within the minute."""

    def run_tick(self) -> None:
        if self.chance.random() < 1 / 3:
            self.calls.left = self.chance.randrange(30)
        try:
            super().run_tick()
        except Crash:
            self.died += 1
        finally:
            self.calls.left = None


class Doubled(Season):
    """Every tick runs twice at the same time."""

    def run_tick(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            for ticked in [pool.submit(self.tick.run), pool.submit(self.tick.run)]:
                ticked.result()


class SetBack(Season):
    """Now and then the clock is set back by an hour, and then corrected."""

    def run_tick(self) -> None:
        super().run_tick()
        if self.chance.random() < 1 / 5:
            now = self.clock.now()
            self.clock.set(now - HOUR)
            super().run_tick()
            self.clock.set(now)


class Sleeping(Season):
    """Some hours have no tick: the machine was suspended, and its clock jumps by an hour when it wakes."""

    def run_tick(self) -> None:
        if self.clock.now().hour % 3 != 1:
            super().run_tick()


def final_state(season: Season, span: Span) -> object:
    """The final state: gates, releases, alerts and recoveries, without how often and when they were written or sent."""
    days = season.store.load("games", span)
    gates = {
        str(gate.run): (gate.state, gate.reason, gate.generation, gate.consumed, gate.alert, gate.missing)
        for gates in days.values()
        for gate in gates.values()
    }
    alerts = {(t.phase, t.day, t.cause, t.state) for t in season.alerts if t.cause != "upstream_shut"}
    return gates, set(season.signals), alerts, list(season.store.pending(season.clock.now() + 99 * DAY, 9))


@pytest.mark.parametrize("kind", [Dying, Doubled, SetBack, Sleeping])
def test_a_disturbed_scheduler_ends_in_the_same_state(kind: type[Season]) -> None:
    span = Span(date(2026, 2, 2), date(2026, 2, 9))
    undisturbed, disturbed = (one([s for s in SILENCES if s.day in span]) for one in (Season, kind))
    for season in (undisturbed, disturbed):
        season.live(span)
    assert final_state(disturbed, span) == final_state(undisturbed, span)
    if kind is Dying:
        assert disturbed.died > 20
