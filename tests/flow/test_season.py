"""A whole season on a simulated clock: silence on good dates, and each of many silences found in the minute it is due."""

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


def whole(season: Season) -> None:
    season.warehouse.broken = set()


def mute(season: Season) -> None:
    season.silent_topics = {"games-raw-go"}


def heard(season: Season) -> None:
    season.silent_topics = set()


def asleep(season: Season) -> None:
    """The clock stands still over the due time."""
    season.asleep = (season.clock.now(), OUTAGE_ENDS)


OUTAGE_ENDS = local(date(2026, 1, 9), time(4, 0))

SILENCES = (
    # Nothing heard and no rows: on a day like others, beside what is special in the calendar, and when the clocks change.
    Silence(phase="raw", day=date(2025, 12, 6), cause="nothing_heard", says="scores, odds have not reported"),
    Silence(phase="raw", day=FIRST, cause="nothing_heard"),
    Silence(phase="raw", day=date(2025, 11, 1), cause="nothing_heard", found=datetime(2025, 11, 2, 5, 30, tzinfo=UTC)),
    Silence(phase="raw", day=date(2025, 12, 27), cause="nothing_heard"),  # the first date after a holiday
    Silence(phase="raw", day=OFF_SEASON.first - DAY, cause="nothing_heard"),
    Silence(phase="raw", day=OFF_SEASON.last + DAY, cause="nothing_heard"),
    # Rows but no message.
    Silence(
        phase="raw", day=date(2025, 11, 18), cause="no_message", says="raw.scores has 100", fills=("raw.scores", "raw.odds")
    ),
    Silence(phase="raw", day=date(2025, 11, 22), cause="no_message", says="raw.odds has 100 rows", fills=("raw.odds",)),
    Silence(phase="clean", day=date(2025, 11, 28), cause="no_message", fills=("clean.games",)),
    # Some producers missing, with and without their rows.
    Silence(
        phase="raw",
        day=date(2025, 12, 12),
        cause="producers_missing",
        says="odds has not reported; scores has; table raw.odds has 0 rows",
        fills=("raw.scores",),
        hears=("scores",),
    ),
    Silence(
        phase="raw",
        day=date(2025, 12, 16),
        cause="producers_missing",
        says="scores has not reported; odds has; the tables pass",
        fills=("raw.scores", "raw.odds"),
        hears=("odds", "weather"),
    ),
    # Heard but unverified, known as soon as that has lasted: the warehouse is down over the due time; one table cannot be measured.
    Silence(
        phase="raw",
        day=date(2025, 12, 31),
        cause="not_measured",
        says="does not answer",
        fills=("raw.scores", "raw.odds"),
        hears=("scores", "odds"),
        begins=down,
        ends=up,
    ),
    Silence(
        phase="feeds",
        day=date(2025, 12, 31),
        cause="not_measured",
        fills=("feeds.east", "feeds.west", "feeds.north"),
        hears=("east", "west", "north"),
    ),
    Silence(
        phase="clean",
        day=date(2026, 1, 6),
        cause="not_measured",
        says="clean.games does not answer",
        fills=("clean.games",),
        hears=("clean",),
        begins=broken,
        ends=whole,
    ),
    # Open, but the next phase has not started.
    Silence(phase="clean", day=date(2026, 1, 17), cause="not_started", says="raw was released at"),
    Silence(phase="clean", day=date(2026, 3, 7), cause="not_started", found=datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),
    Silence(phase="report", day=date(2026, 1, 27), cause="not_started", says="features was released at"),
    Silence(phase="report", day=date(2026, 10, 20), cause="not_started", says="feeds was released at"),  # in a warm-up
    # Recorded but unsent: the topic of the go-signal takes nothing.
    Silence(
        phase="raw",
        day=date(2026, 2, 3),
        cause="unsent",
        says="games/raw/2026-02-03/g1 can't be sent to games-raw-go: the bus is silent",
        after=20 * MINUTE,
        fills=("raw.scores", "raw.odds"),
        hears=("scores", "odds"),
        begins=mute,
        ends=heard,
    ),
    # Late upstream: it comes, and then the follower, which has its time from there, does not.
    Silence(phase="raw", day=date(2026, 2, 8), cause="nothing_heard", after=2 * HOUR),
    Silence(
        phase="clean",
        day=date(2026, 2, 8),
        cause="not_started",
        says="due moved from 02-09 02:30 to 02-09 04:30, because raw was released at 02-09 03:30",
        found=local(date(2026, 2, 8), time(4, 31)),
    ),
    # One of three feeds is lacking: the quorum lets the others pass when due, and says which one it went without.
    Silence(phase="features", day=date(2026, 1, 30), cause="not_started", found=local(date(2026, 1, 30), time(3, 30))),
    Silence(
        phase="feeds",
        day=date(2026, 2, 21),
        cause="quorum",
        says="released without feeds.north, north",
        fills=("feeds.east", "feeds.west"),
        hears=("east", "west"),
    ),
    Silence(phase="feeds", day=date(2026, 2, 24), cause="producers_missing", fills=("feeds.west",), hears=("west", "north")),
    # The clock itself stood still over the due time: found by the first tick after.
    Silence(phase="raw", day=date(2026, 1, 9), cause="nothing_heard", begins=asleep, found=OUTAGE_ENDS),
)


def runs() -> dict[date, tuple[str, ...]]:
    """The phases that run, by run date."""
    days = (day for day in Span(FIRST, LAST).days() if GAMES.calendar.has_run(day) and day not in WITHOUT_GAMES)
    return {day: tuple(phase for phase in GAMES.phases if GAMES.runs(phase, day)) for day in days}


@pytest.fixture(scope="module")
def season() -> Season:
    found = Season(SILENCES)
    found.live(Span(FIRST, LAST))
    return found


def after_release(season: Season, day: date) -> datetime:
    """When features is due: an hour after the later of its inputs."""
    gates = season.store.load("games", Span(day, day))[day]
    return max(opened for name in ("clean", "feeds") if (opened := gates[name].opened_at)) + HOUR


@pytest.mark.parametrize("silence", SILENCES, ids=lambda s: f"{s.day}-{s.phase}-{s.cause}")
def test_a_silence_is_found_within_a_tick_and_its_cause_named(season: Season, silence: Silence) -> None:
    said = [told for told in season.told if told.cause == silence.cause and told.state == "firing"]
    (told,) = (told for told in said if (told.phase, told.day) in ((silence.phase, silence.day), ("games-raw-go", date.min)))
    due = after_release(season, silence.day) if silence.phase == "features" else silence.at
    assert told.at <= due + MINUTE
    assert told.at >= due or silence.cause in ("not_measured", "unsent"), "what people can know before it is late"
    assert silence.says in told.detail


def test_nothing_else_is_told(season: Season) -> None:
    """But that followers of what is silent wait for it; good dates, dates without a run and the off-season are quiet."""
    found = {(told.phase, told.day, told.cause) for told in season.told if told.cause != "unsent"}
    planted = {(s.phase, s.day, s.cause) for s in SILENCES}
    waiting = {(phase, day, "upstream_shut") for s in SILENCES for day in [s.day] for phase in GAMES.phases if phase != s.phase}
    assert found - planted <= waiting
    assert len(SILENCES) >= 20


def test_each_trouble_is_told_once_and_is_over_once(season: Season) -> None:
    counts = Counter((told.phase, told.day, told.cause, told.state) for told in season.told)
    assert set(counts.values()) == {1}
    firing, over = ({key[:3] for key in counts if key[3] == state} for state in ("firing", "recovered"))
    assert {cause for _, _, cause in firing - over} == {"quorum"}, "what was released so is no state that ends"
    assert over <= firing


def test_in_the_end_every_gate_is_open_and_each_release_was_sent_once(season: Season) -> None:
    days = season.store.load("games", Span(FIRST, LAST))
    expected = {(phase, day) for day, phases in runs().items() for phase in phases}
    assert {(phase, day) for day, gates in days.items() for phase, gate in gates.items() if gate.is_open} == expected
    assert {gate.state for gates in days.values() for gate in gates.values()} == {GateState.OPEN, GateState.OFF}
    again = [str(gate.run) for gates in days.values() for gate in gates.values() if gate.generation > 1]
    assert again == ["games/feeds/2026-02-21"], "the straggler's rows are other data than was released"
    assert len(season.signals) == len(set(season.signals)) == len(expected) + len(again)


@pytest.mark.parametrize("first", [date(2025, 11, 1), date(2026, 3, 7)])
def test_a_tick_every_minute_says_the_same(season: Season, first: date) -> None:
    """Over the nights in which the clocks change."""
    span = Span(first, first)
    dense = Season([s for s in SILENCES if s.day in span])
    dense.live(span, every=MINUTE)
    told = [
        [(t.phase, t.day, t.cause, t.state, t.at if t.state == "firing" else None) for t in one.told if t.day in span]
        for one in (dense, season)
    ]
    assert told[0] == told[1] != []


def test_two_seasons_are_alike_but_for_chance() -> None:
    """Nothing rests on the minute in which a job ends or the clock ticks."""
    span = Span(date(2026, 2, 20), date(2026, 2, 26))
    seasons = [Season([s for s in SILENCES if s.day in span], seed=seed) for seed in range(3)]
    for season in seasons:
        season.live(span)
    told = [{(t.phase, t.day, t.cause, t.state, t.at if t.state == "firing" else None) for t in s.told} for s in seasons]
    assert told[0] == told[1] == told[2]


def test_rows_without_a_message_are_released_when_due_where_that_is_allowed_and_it_is_said() -> None:
    day = date(2026, 2, 20)
    season = Season([Silence(phase="report", day=day, cause="", fills=("report.games",))])
    season.live(Span(day, day))
    gate = season.store.load("games", Span(day, day))[day]["report"]
    assert (gate.opened_at, gate.generation) == (local(day, time(9)), 1)
    history = [event.detail for event in season.store.history(gate.run)]
    assert "all needed checks pass, score 100; released without a message: report has not reported" in history
    assert season.told == []


# -- what disturbs a clock ----------------------------------------------------------------------------------------------------


class Dying(Season):
    """Every third tick dies somewhere; the next one comes in its minute."""

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
    """Two ticks at once, every time."""

    def run_tick(self) -> None:
        with ThreadPoolExecutor(2) as pool:
            for ticked in [pool.submit(self.tick.run), pool.submit(self.tick.run)]:
                ticked.result()


class SetBack(Season):
    """Now and then the clock is set back by an hour, and then right again."""

    def run_tick(self) -> None:
        super().run_tick()
        if self.chance.random() < 1 / 5:
            now = self.clock.now()
            self.clock.set(now - HOUR)
            super().run_tick()
            self.clock.set(now)


class Sleeping(Season):
    """Of some hours there is no tick: the machine was suspended, and its clock is an hour ahead when it wakes."""

    def run_tick(self) -> None:
        if self.clock.now().hour % 3 != 1:
            super().run_tick()


def ended(season: Season, span: Span) -> object:
    """Where it ended: gates, releases, and what was told and is over; not how often it was written or sent, and when."""
    days = season.store.load("games", span)
    gates = {
        str(gate.run): (gate.state, gate.reason, gate.generation, gate.consumed, gate.alert, gate.missing)
        for gates in days.values()
        for gate in gates.values()
    }
    told = {(t.phase, t.day, t.cause, t.state) for t in season.told if t.cause != "upstream_shut"}
    return gates, set(season.signals), told, list(season.store.pending(season.clock.now() + 99 * DAY, 9))


@pytest.mark.parametrize("kind", [Dying, Doubled, SetBack, Sleeping])
def test_a_disturbed_clock_ends_where_an_undisturbed_one_does(kind: type[Season]) -> None:
    span = Span(date(2026, 2, 2), date(2026, 2, 9))
    undisturbed, disturbed = (one([s for s in SILENCES if s.day in span]) for one in (Season, kind))
    for season in (undisturbed, disturbed):
        season.live(span)
    assert ended(disturbed, span) == ended(undisturbed, span)
    if kind is Dying:
        assert disturbed.died > 20
