"""A pipeline over a whole season: a simulated clock, tables that fill, jobs that start on go-signals and report.

Nothing here knows how missing reports are noticed. A `Silence` states what does not happen on a date; the jobs of all other dates
work.
"""

import heapq
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.core.checks.kinds import RowCount
from phasegate.core.field_syntax import Due, Span
from phasegate.core.gates.completion import Envelope
from phasegate.core.pipeline.model import Calendar, Expected, MessageNeed, Output, Part, Phase, Pipeline, Producer, Quorum
from phasegate.errors import PublishError
from phasegate.gates.heartbeat import Heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.tick import Tick
from phasegate.messaging.bodies import EVENTS
from phasegate.messaging.outbox import Relay
from phasegate.messaging.stuck import StuckMessages
from phasegate.ports import Outgoing
from phasegate.testing import Countdown, Crashing, ManualClock, ScriptedWarehouse

ZONE = ZoneInfo("America/New_York")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FIRST, LAST = date(2025, 10, 21), date(2026, 11, 8)
OFF_SEASON = Span(date(2026, 4, 13), date(2026, 10, 12))
WARM_UPS = {"warm_up": (Part(from_=FIRST, days=14),), "second_warm_up": (Part(from_=date(2026, 10, 13), days=14),)}
WITHOUT_GAMES = frozenset(date(2026, 2, 13) + n * DAY for n in range(5))
"""The calendar has a run on these dates, but the schedule has no games."""

ROWS = 100


def _output(*tables: str) -> dict[str, Output]:
    return {table: Output(date="d", checks=(RowCount(at_least=90),)) for table in tables}


GAMES = Pipeline(
    pipeline="games",
    timezone="America/New_York",
    calendar=Calendar(
        from_=FIRST,
        to=LAST,
        weekdays=frozenset({0, 1, 2, 4, 5, 6}),  # no games on Thursdays
        closed=(Span(date(2025, 12, 24), date(2025, 12, 26)), OFF_SEASON),
        expected=Expected(table="raw.schedule", date="d", count="game"),
        parts=WARM_UPS,
    ),
    phases={
        # 01:30 comes twice in the night of 2 November, 02:30 not at all in that of 8 March.
        "raw": Phase(
            producers={
                "scores": Producer(fills="raw.scores"),
                "odds": Producer(fills="raw.odds"),
                "weather": Producer(optional=True),
            },
            due=Due(at=time(1, 30), days=1),
            outputs=_output("raw.scores", "raw.odds"),
        ),
        "clean": Phase(after=("raw",), due=Due(at=time(2, 30), days=1), outputs=_output("clean.games")),
        "feeds": Phase(
            producers={name: Producer(fills=f"feeds.{name}") for name in ("east", "west", "north")},
            due=Due(at=time(3), days=1),
            quorum=Quorum(at_least=2, of=3, always=("east",)),
            outputs=_output("feeds.east", "feeds.west", "feeds.north"),
        ),
        "features": Phase(
            after=("clean", "feeds"),
            due=Due(after="clean", after_release=HOUR),
            look_back=7 * DAY,
            skip_in=tuple(WARM_UPS),
            outputs=_output("features.games"),
        ),
        "report": Phase(
            after=("features",),
            due=Due(at=time(9), days=1),
            message=MessageNeed.OPTIONAL,
            outputs=_output("report.games"),
        ),
    },
)

STARTS = {"raw": time(0, 20), "feeds": time(0, 40)}
"""When the jobs that need no go-signal start, in the following night."""

TAKES = {"raw": 25, "feeds": 30, "clean": 12, "features": 20, "report": 15}
"""Minutes."""

SILENT = PublishError("the bus is silent", retryable=True)


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Something that does not happen on a date, and is made good later.

    Args:
        cause: The cause of the alert that must go out.
        mentions: What the alert must contain.
        fills: The tables that are filled nevertheless; the others only when it is made good.
        reporting: The producers that report nevertheless.
        after: How long after *at* it is made good.
        noticed_at: When it must be noticed; by default, when the phase is due. For a due time relative to a release, when it is
            made good.
        begins, ends: What else happens when the phase should have been done, and when it is made good.
    """

    phase: str
    day: date
    cause: str
    mentions: str = ""
    fills: tuple[str, ...] = ()
    reporting: tuple[str, ...] = ()
    after: timedelta = 75 * MINUTE
    noticed_at: datetime | None = None
    begins: "Callable[[Season], None]" = lambda _: None
    ends: "Callable[[Season], None]" = lambda _: None

    @property
    def at(self) -> datetime:
        """When it must be noticed, from the pipeline file alone."""
        if self.noticed_at:
            return self.noticed_at
        due = GAMES.phases[self.phase].due
        assert due is not None
        assert due.at is not None
        return local(self.day, due.at)


def local(day: date, at: time) -> datetime:
    """A time of the night after a run date, in UTC."""
    return datetime.combine(day + DAY, at, ZONE).astimezone(UTC)


def _minute(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


@dataclass(frozen=True)
class SentAlert:
    """An alert, and when it was sent."""

    at: datetime
    cause: str
    state: str
    detail: str
    phase: str = ""
    day: date = date.min


class Season:
    """The season, its jobs, and its monitor."""

    def __init__(self, silences: Sequence[Silence] = (), *, pipeline: Pipeline = GAMES, seed: int = 1) -> None:
        self.clock = ManualClock(local(FIRST - DAY, time(12)))
        self.store = SQLiteStore(":memory:")
        self.warehouse = ScriptedWarehouse()
        self.silent_topics: set[str] = set()
        self.alerts: list[SentAlert] = []
        self.signals: list[str] = []
        self.ticks = self.died = 0
        self.calls = Countdown()
        self.asleep: tuple[datetime, datetime] | None = None
        self._pipeline = pipeline
        self._silences: Mapping[tuple[str, date], Silence] = {(s.phase, s.day): s for s in silences}
        self.chance = random.Random(seed)  # noqa: S311
        self._agenda: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order, self._messages = count(), count()
        self._ticked = self.clock.now()
        self.monitor = Monitor(
            [pipeline], warehouse=self.warehouse, store=self.store, outbox=self.store, publisher=self, clock=self.clock
        )
        self.tick = self.started()

    def started(self) -> Tick:
        """The tick of a newly started process; it dies when the countdown ends."""
        store, bus = Crashing(self.store, self.calls), Crashing(self, self.calls)
        monitor = Monitor(
            [self._pipeline], warehouse=self.warehouse, store=store, outbox=store, publisher=bus, clock=self.clock
        )
        unsent = StuckMessages(store, store, Relay(store, bus, self.clock), self.clock)
        heartbeats = Heartbeats(store, store)
        return Tick(monitor, store=store, records=store, clock=self.clock, heartbeats=heartbeats, hooks=(unsent.check,))

    # -- what happens ---------------------------------------------------------------------------------------------------------

    def live(self, span: Span, *, every: timedelta = 6 * HOUR) -> None:
        """Simulate the run dates of *span*, and the day after.

        Args:
            every: The interval of ticks. Unless that is a minute, there are also ticks at every due time, in the minute
                after each event, and around the time at which a silence must be noticed: nothing changes in between.
        """
        self.clock.set(local(span.first - DAY, time(12)))
        for day in span.days():
            if self._pipeline.calendar.has_run(day) and day not in WITHOUT_GAMES:
                self.warehouse.numbers["raw.schedule", day] = 8
                for phase, start in STARTS.items():
                    self._start(phase, day, local(day, start))
        for silence in self._silences.values():
            for n in (-1, 0, 1):
                self._at(silence.at + n * MINUTE, self._tick)
        moment, end = self.clock.now(), local(span.last, time(12)) + DAY
        while moment < end:
            self._at(moment, self._tick)
            moment = moment + MINUTE if every == MINUTE else _minute(moment + every * self.chance.uniform(0.5, 1))
        for day in span.days():
            for name in self._pipeline.phases:
                if due := self._pipeline.due(name, day):
                    self._at(due, self._tick)
        while self._agenda:
            moment, _, happen = heapq.heappop(self._agenda)
            self.clock.set(moment)
            happen()

    def _at(self, moment: datetime, happen: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (moment, next(self._order), happen))

    def _tick(self) -> None:
        now = self.clock.now()
        if now <= self._ticked or (self.asleep and self.asleep[0] <= now < self.asleep[1]):
            return
        self._ticked = now
        self.ticks += 1
        self.run_tick()

    def run_tick(self) -> None:
        """Run one tick."""
        self.tick.run()

    def happens(self, moment: datetime, happen: Callable[[], None]) -> None:
        """Schedule something half a minute after a tick, and a tick after it."""
        self._at(_minute(moment) + MINUTE / 2, happen)
        self._at(_minute(moment) + MINUTE, self._tick)

    def _start(self, phase: str, day: date, moment: datetime) -> None:
        self.happens(moment + TAKES[phase] * self.chance.uniform(0.6, 1) * MINUTE, lambda: self._end(phase, day))

    def _end(self, phase: str, day: date) -> None:
        declared = self._pipeline.phases[phase]
        everything, everyone = tuple(declared.outputs), tuple(self._pipeline.producers(phase))
        silence = self._silences.get((phase, day))
        if silence is None:
            self._done(phase, day, everything, everyone)
            return
        silence.begins(self)
        self._done(phase, day, silence.fills, silence.reporting)

        def make_up() -> None:
            silence.ends(self)
            late = tuple(name for name in everyone if name not in silence.reporting)
            self._done(phase, day, everything, late)

        self.happens(silence.at + silence.after, make_up)
        # What one of several producers makes up for settles first.
        self._at(_minute(silence.at + silence.after + declared.settle) + 2 * MINUTE, self._tick)

    def _done(self, phase: str, day: date, tables: Sequence[str], producers: Sequence[str]) -> None:
        for table in tables:
            self.warehouse.numbers[table, day] = ROWS
        for name in producers:
            now = self.clock.now().isoformat()
            body = {"phase": phase, "producer": name, "run_date": str(day), "status": "done", "rows": ROWS, "finished_at": now}
            self.monitor.handle(Envelope(f"m{next(self._messages)}", json.dumps(body).encode(), {}))

    # -- the bus --------------------------------------------------------------------------------------------------------------

    def publish(self, message: Outgoing) -> str:
        """See `Publisher.publish`; a go-signal starts the jobs that it names."""
        if message.topic in self.silent_topics:
            raise SILENT
        body, now = message.body, self.clock.now()
        if message.topic == "alerts":
            where = (body["phase"], date.fromisoformat(body["run_date"])) if "phase" in body else (body["subject"], date.min)
            self.alerts.append(SentAlert(now, body["cause"], body["state"], body["detail"], *where))
        elif message.topic != EVENTS:
            assert message.topic.endswith("-go"), message
            if message.key not in self.signals:
                for phase in body["start"]:
                    self._start(phase, date.fromisoformat(body["run_date"]), now)
                    due = self._pipeline.phases[phase].due
                    if due and due.after_release:
                        self._at(_minute(now + due.after_release) + MINUTE, self._tick)
            self.signals.append(message.key)
        return message.key
