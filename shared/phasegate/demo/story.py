"""A week of the flights pipeline, played: what goes wrong in it, how the gates see it, how it is repaired.

The loaders are simulated, the clock is set; warehouse, monitor, state, alerts and messages are the real ones.
"""

import json
import textwrap
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from pathlib import Path
from shutil import rmtree
from time import perf_counter

import duckdb

from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Envelope, Report, RunKey, Status, encode_completion
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import GateState
from phasegate.core.gates.schedule import gates_to_recheck
from phasegate.core.pipeline.model import Pipeline
from phasegate.demo import warehouse as loaders
from phasegate.errors import ConfigError
from phasegate.gates.backfill import Validation, validate
from phasegate.gates.preflight import PreflightRequest
from phasegate.logs import silent
from phasegate.messaging.bodies import go_topic
from phasegate.ports import Outgoing
from phasegate.testing import ManualClock

WEEK = Span(date(2013, 2, 4), date(2013, 2, 10))
WIDTH = 110
TICK = timedelta(minutes=10)
"""How often the clock ticks here; it does so every minute where nobody waits for it."""

Print = Callable[[str], None]
Work = Callable[[duckdb.DuckDBPyConnection], None]

_BUILD = {"clean": loaders.build_clean, "features": loaders.build_features, "predictions": loaders.build_predictions}
_SIGNS = {GateState.OPEN: "●", GateState.WAITING: "…"}


class Story:
    """The week.

    Args:
        folder: Where warehouse, state and mails are left; what an earlier run left there is removed.
        pipelines: The pipeline file.
        say: Is given each line.
    """

    def __init__(self, folder: Path, pipelines: Path, say: Print) -> None:
        self._say = say
        self._folder = folder
        self._file = folder / "warehouse.duckdb"
        self._clock = ManualClock(datetime.combine(WEEK.first, time(), UTC))
        self._screen = StringIO()
        self._signals: list[Outgoing] = []
        self._runs = 0
        self._following = False
        self._followed: list[str] = []
        self._told_in_full = False
        where = {
            "pipelines": str(pipelines),
            "warehouse": f"duckdb:{self._file}",
            "state": f"sqlite:{folder / 'state.sqlite'}",
            "bus": "local:",
        }
        self._wiring = Wiring(Settings.resolve(where, {}, Path()), clock=self._clock, screen=self._screen, log=silent)
        self._pipeline = _flights(self._wiring)
        for phase in self._pipeline.phases:
            self._wiring.local_bus.subscribe(go_topic(self._pipeline.name, phase), self._signals.append)

    def play(self) -> tuple[Validation, float]:
        """Play it from the start; gives what the year's validation found, and how many seconds that took."""
        _clear(self._folder)
        self._prepare()
        self._monday()
        self._tuesday()
        self._wednesday()
        self._thursday()
        self._friday()
        self._saturday()
        self._sunday()
        return self._judge_year()

    def _prepare(self) -> None:
        self._say(
            "Every flight that left New York in 2013 is loaded, cleaned, turned into features and scored, a day at a time:"
        )
        self._say("")
        self._say("    raw ─► clean ─► features ─► predictions        one gate behind each phase, for each date")
        self._say("")
        self._say("January has gone well. We play the week from 4 February; the morning after each day, the loaders report.")
        with duckdb.connect(self._file) as con:
            loaders.create(con)
            loaders.run_phases(con, Span(loaders.YEAR.first, WEEK.first - timedelta(days=1)))

    def _monday(self) -> None:
        day = self._begin(0, "a good day")
        self._load(day, "05:22")
        self._load_weather(day, "05:31")

    def _tuesday(self) -> None:
        day = self._begin(1, "one file arrives half")
        self._load(day, "05:21", share=0.5)
        self._load_weather(day, "05:30")
        self._tell("06:55", "The file is fetched again and loaded whole.")
        self._load(day, "07:02")

    def _wednesday(self) -> None:
        day = self._begin(2, "one load runs twice")
        self._load(day, "05:20")
        self._tell("05:27", "A nervous scheduler starts flights_loader again; it appends the same rows.")
        self._load(day, "05:29", again=True)
        self._load_weather(day, "05:33")
        self._tell("06:40", "The date's partition is replaced by one clean load.")
        self._load(day, "06:44")

    def _thursday(self) -> None:
        day = self._begin(3, "one producer stays silent")
        self._load(day, "05:21")
        self._tell("06:00", "weather_loader should have reported by now. No message comes; the clock asks.")
        self._watch(day, "06:01")
        self._tell("07:45", "The weather feed is back, and loaded.")
        self._load_weather(day, "07:50")

    def _friday(self) -> None:
        day = self._begin(4, "the blizzard arrives; the data is right, the day is not")
        self._load(day, "05:23")
        self._load_weather(day, "05:32")

    def _saturday(self) -> None:
        day = self._begin(5, "a phase runs before its upstream")
        self._tell("05:10", "Somebody's cron job starts features at ten past five. clean has not been built yet.")
        self._run("features", day, "05:12")
        self._load(day, "05:24")
        self._load_weather(day, "05:35")

    def _sunday(self) -> None:
        day = self._begin(6, "a good day again")
        self._tell("05:10", "The cron job has learned to ask first: phasegate preflight features.")
        self._ask("features", day)
        self._load(day, "05:20")
        self._load_weather(day, "05:29")

    def _ask(self, phase: str, day: date) -> None:
        """A job asks whether it may start, and stays away when it may not."""
        clearance = self._wiring.preflight_checks.ask(PreflightRequest(RunKey(self._pipeline.name, phase, day)))
        for point in clearance.objections:
            self._say(f"         ✗ no-go: {point.detail}; a go {point.cure}")

    def _begin(self, n: int, title: str) -> date:
        if n:
            self._at("09:00")
        day = WEEK.first + timedelta(days=n)
        self._morning = day + timedelta(days=1)
        self._clock.set(self._moment("05:00"))
        self._say("")
        self._say(f"── {day:%A %-d %B}: {title} " + "─" * (WIDTH - len(f"{day:%A %-d %B}{title}") - 6))
        return day

    def _at(self, clock: str) -> None:
        moment = self._moment(clock)
        while (tick := self._next_tick()) < moment:
            self._clock.set(tick)
            self._wiring.alerts.tick()
            if self._screen.getvalue():
                self._say(f"  {self._local()}  What could wait is told now:")
                self._show_screen()
        self._clock.set(max(moment, self._clock.now()))

    def _moment(self, clock: str) -> datetime:
        return datetime.combine(self._morning, time.fromisoformat(clock), self._pipeline.zone).astimezone(UTC)

    def _next_tick(self) -> datetime:
        now = self._clock.now()
        return now - (now - datetime.min.replace(tzinfo=UTC)) % TICK + TICK

    def _tell(self, clock: str, text: str) -> None:
        self._at(clock)
        lines = textwrap.wrap(text, WIDTH - 9)
        for n, line in enumerate(lines):
            self._say(f"  {self._local() if n == 0 else '     '}  {line}")

    def _local(self) -> str:
        return f"{self._clock.now().astimezone(self._pipeline.zone):%H:%M}"

    def _load(self, day: date, clock: str, *, share: float = 1.0, again: bool = False) -> None:
        def load(con: duckdb.DuckDBPyConnection) -> None:
            loaders.load_flights(con, Span(day, day), share=share, again=again)

        self._job("raw", "flights_loader", "raw.flights", day, clock, load)

    def _load_weather(self, day: date, clock: str) -> None:
        def load(con: duckdb.DuckDBPyConnection) -> None:
            loaders.load_weather(con, Span(day, day))

        self._job("raw", "weather_loader", "raw.weather", day, clock, load)

    def _run(self, phase: str, day: date, clock: str) -> None:
        build = {"clean": loaders.build_clean, "features": loaders.build_features, "predictions": loaders.build_predictions}[
            phase
        ]
        table = next(iter(self._pipeline.phase(phase).outputs))
        self._job(phase, phase, table, day, clock, lambda con: build(con, Span(day, day)))

    def _job(self, phase: str, producer: str, table: str, day: date, clock: str, work: Work) -> None:
        """Run a loader and let it report, as it would at home; then start what the gate lets start."""
        self._at(clock)
        started = self._clock.now()
        with duckdb.connect(self._file) as con:
            work(con)
            rows = len(con.table(table).filter(f"{self._pipeline.date_columns[table]} = DATE '{day}'"))
        ended = self._clock.advance(timedelta(minutes=1))
        self._runs += 1
        report = Report(producer, Status.DONE, ended, f"run-{self._runs}", None, started, ended, rows)
        body = json.dumps(encode_completion(self._pipeline, phase, day, report))
        decision = self._wiring.monitor.handle(Envelope(f"message-{self._runs}", body.encode(), {})).decision
        follows = self._following and decision is not None and decision.gate.is_open and not decision.alerts
        if follows and self._told_in_full:
            self._followed.append(phase)
        else:
            self._tell(self._local(), f"{producer} reports: done, {rows:,} rows in {table}.")
            if decision is not None:
                self._show(decision)
        self._start_next(told=not (follows and self._told_in_full))

    def _start_next(self, *, told: bool) -> None:
        """What a job runner does with the go-signals that came: start the phases that they name."""
        signals = tuple(self._signals)
        self._signals.clear()
        for signal in signals:
            if told:
                self._say(f"         → go-signal {signal.key}")
            first, self._following = not self._following, True
            for phase in signal.body["start"]:
                self._clock.advance(timedelta(minutes=3))
                self._run(phase, date.fromisoformat(signal.body["run_date"]), self._local())
            if first:
                self._following = False
                self._tell_followed()

    def _tell_followed(self) -> None:
        """From the second day on, what goes well is told in one line."""
        if self._followed:
            self._tell(self._local(), f"{', '.join(self._followed)} run in turn; each reports, is judged, and its gate opens.")
        self._followed.clear()
        self._told_in_full = True

    def _watch(self, day: date, clock: str) -> None:
        """The clock ticks: gates that are due are looked at, message or not."""
        self._at(clock)
        gates = self._wiring.store.load(self._pipeline.name, Span(day, day))
        runs = gates_to_recheck(self._pipeline, gates, Span(day, day), self._clock.now(), since=day)
        for decision in self._wiring.monitor.recheck(self._pipeline, runs, gates):
            if decision.alerts:
                self._show(decision)

    def _show(self, decision: Decision) -> None:
        """The gate, and what people were sent about it."""
        sign = _SIGNS.get(decision.gate.state, "✗")
        told = f"{decision.gate.run.phase} is {decision.gate.state}: {decision.detail}"
        for n, line in enumerate(textwrap.wrap(told, WIDTH - 11)):
            self._say(f"         {sign if n == 0 else ' '} {line}")
        self._show_screen()

    def _show_screen(self) -> None:
        for line in self._screen.getvalue().splitlines():
            if line:
                self._say(f"         │ {line}")
        self._screen.seek(0)
        self._screen.truncate()

    def _judge_year(self) -> tuple[Validation, float]:
        """The rest of the year is loaded without the gates, and judged at once, as after a backfill."""
        self._say("")
        self._say("── The year " + "─" * (WIDTH - 12))
        self._say("  The rest of 2013 is backfilled behind the gates' back. By the same rules, every date of it is judged now:")
        self._say("")
        with duckdb.connect(self._file) as con:
            loaders.run_phases(con, Span(WEEK.last + timedelta(days=1), loaders.YEAR.last))
        self._clock.set(datetime(2014, 1, 2, tzinfo=UTC))
        started = perf_counter()
        found = validate(
            self._pipeline, self._pipeline.phases, loaders.YEAR, warehouse=self._wiring.warehouse, now=self._clock.now()
        )
        return found, perf_counter() - started


def _flights(wiring: Wiring) -> Pipeline:
    for pipeline in wiring.pipelines:
        if pipeline.name == "flights":
            return pipeline
    raise ConfigError(f"no pipeline flights in {wiring.settings.pipelines}; the demo plays that one")


def _clear(folder: Path) -> None:
    """Remove what an earlier run left: its own files, and nothing else in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob("warehouse.duckdb*"), *folder.glob("state.sqlite*")):
        path.unlink()
    rmtree(folder / "mails", ignore_errors=True)
