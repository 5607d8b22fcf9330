"""A week of the flights pipeline: what goes wrong, what the gates do about it, and how it is repaired.

The loaders are simulated and the clock is set; warehouse, monitor, state, alerts and messages are the real ones.
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
from phasegate.gates.watching import begin_watching
from phasegate.logs import silent
from phasegate.messaging.bodies import go_topic
from phasegate.ports import Outgoing
from phasegate.testing import ManualClock

WEEK = Span(date(2013, 2, 4), date(2013, 2, 10))
WIDTH = 110
TICK = timedelta(minutes=10)
"""The scheduler's interval in the demo, to save time; a real one ticks every minute."""

Print = Callable[[str], None]
Work = Callable[[duckdb.DuckDBPyConnection], None]

_BUILDS = {"clean": loaders.build_clean, "features": loaders.build_features, "predictions": loaders.build_predictions}
_SIGNS = {GateState.OPEN: "●", GateState.WAITING: "…"}


class Story:
    """The week.

    Args:
        folder: Where warehouse, state and mails are stored; those of an earlier run are removed.
        pipelines: The pipeline file.
        write: Called with each line of output.
    """

    def __init__(self, folder: Path, pipelines: Path, write: Print) -> None:
        self._write = write
        self._folder = folder
        self._file = folder / "warehouse.duckdb"
        self._clock = ManualClock(datetime.combine(WEEK.first, time(), UTC))
        self._screen = StringIO()
        self._signals: list[Outgoing] = []
        self._runs = 0
        self._in_chain = False
        self._summarised: list[str] = []
        self._shown_in_full = False
        options = {
            "pipelines": str(pipelines),
            "warehouse": f"duckdb:{self._file}",
            "state": f"sqlite:{folder / 'state.sqlite'}",
            "bus": "local:",
        }
        self._wiring = Wiring(Settings.resolve(options, {}, Path()), clock=self._clock, screen=self._screen, log=silent)
        self._pipeline = _flights(self._wiring)
        for phase in self._pipeline.phases:
            self._wiring.local_bus.subscribe(go_topic(self._pipeline.name, phase), self._signals.append)

    def play(self) -> tuple[Validation, float]:
        """Play it from the start; gives the validation of the year, and how many seconds that took."""
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
        self._write(
            "Every flight that left New York in 2013 is loaded, cleaned, turned into features and scored, a day at a time:"
        )
        self._write("")
        self._write("    raw ─► clean ─► features ─► predictions        one gate behind each phase, for each date")
        self._write("")
        begin_watching(self._wiring.store, self._pipeline, datetime(2013, 1, 1, 12, tzinfo=UTC))
        self._write("January went well. This is the week from 4 February; the loaders report on the morning after each day.")
        with duckdb.connect(self._file) as con:
            loaders.create(con)
            loaders.run_phases(con, Span(loaders.YEAR.first, WEEK.first - timedelta(days=1)))

    def _monday(self) -> None:
        day = self._begin(0, "a good day")
        self._load(day, "05:22")
        self._load_weather(day, "05:31")

    def _tuesday(self) -> None:
        day = self._begin(1, "only half of a file arrives")
        self._load(day, "05:21", share=0.5)
        self._load_weather(day, "05:30")
        self._narrate("06:55", "The file is fetched again and loaded completely.")
        self._load(day, "07:02")

    def _wednesday(self) -> None:
        day = self._begin(2, "one load runs twice")
        self._load(day, "05:20")
        self._narrate("05:27", "flights_loader is started a second time by mistake, and appends the same rows.")
        self._load(day, "05:29", again=True)
        self._load_weather(day, "05:33")
        self._narrate("06:40", "A clean load replaces the date's partition.")
        self._load(day, "06:44")

    def _thursday(self) -> None:
        day = self._begin(3, "one producer does not report")
        self._load(day, "05:21")
        self._narrate("06:00", "weather_loader is due, but has not reported. The scheduler's next tick notices.")
        self._recheck(day, "06:01")
        self._narrate("07:45", "The weather feed is back and loaded.")
        self._load_weather(day, "07:50")

    def _friday(self) -> None:
        day = self._begin(4, "a blizzard; the data is right, but the day is unusual")
        self._load(day, "05:23")
        self._load_weather(day, "05:32")

    def _saturday(self) -> None:
        day = self._begin(5, "a phase runs before its upstream")
        self._narrate("05:10", "A cron job starts features, although clean has not been built yet.")
        self._run("features", day, "05:12")
        self._load(day, "05:24")
        self._load_weather(day, "05:35")

    def _sunday(self) -> None:
        day = self._begin(6, "a good day again")
        self._narrate("05:10", "The cron job now asks first: phasegate preflight features.")
        self._ask("features", day)
        self._load(day, "05:20")
        self._load_weather(day, "05:29")

    def _ask(self, phase: str, day: date) -> None:
        """A job asks whether it may start, and does not start on a no-go."""
        clearance = self._wiring.preflight_checks.ask(PreflightRequest(RunKey(self._pipeline.name, phase, day)))
        for point in clearance.objections:
            self._write(f"         ✗ no-go: {point.detail}; go {point.cure}")

    def _begin(self, n: int, title: str) -> date:
        if n:
            self._at("09:00")
        day = WEEK.first + timedelta(days=n)
        self._morning = day + timedelta(days=1)
        self._clock.set(self._moment("05:00"))
        self._write("")
        self._write(f"── {day:%A %-d %B}: {title} " + "─" * (WIDTH - len(f"{day:%A %-d %B}{title}") - 6))
        return day

    def _at(self, clock: str) -> None:
        moment = self._moment(clock)
        while (tick := self._next_tick()) < moment:
            self._clock.set(tick)
            self._wiring.alerts.tick()
            if self._screen.getvalue():
                self._write(f"  {self._local()}  Alerts that could wait are sent now:")
                self._show_screen()
        self._clock.set(max(moment, self._clock.now()))

    def _moment(self, clock: str) -> datetime:
        return datetime.combine(self._morning, time.fromisoformat(clock), self._pipeline.zone).astimezone(UTC)

    def _next_tick(self) -> datetime:
        now = self._clock.now()
        return now - (now - datetime.min.replace(tzinfo=UTC)) % TICK + TICK

    def _narrate(self, clock: str, text: str) -> None:
        self._at(clock)
        lines = textwrap.wrap(text, WIDTH - 9)
        for n, line in enumerate(lines):
            self._write(f"  {self._local() if n == 0 else '     '}  {line}")

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
        build = _BUILDS[phase]
        table = next(iter(self._pipeline.phase(phase).outputs))
        self._job(phase, phase, table, day, clock, lambda con: build(con, Span(day, day)))

    def _job(self, phase: str, producer: str, table: str, day: date, clock: str, work: Work) -> None:
        """Run a loader and let it report, as a real one does; then start what the gate's go-signal starts."""
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
        went_well = self._in_chain and decision is not None and decision.gate.is_open and not decision.alerts
        summarise = went_well and self._shown_in_full
        if summarise:
            self._summarised.append(phase)
        else:
            self._narrate(self._local(), f"{producer} reports: done, {rows:,} rows in {table}.")
            if decision is not None:
                self._show(decision)
        self._start_next(show=not summarise)

    def _start_next(self, *, show: bool) -> None:
        """What a job runner does with new go-signals: start the phases that they name."""
        signals = tuple(self._signals)
        self._signals.clear()
        for signal in signals:
            if show:
                self._write(f"         → go-signal {signal.key}")
            first, self._in_chain = not self._in_chain, True
            for phase in signal.body["start"]:
                self._clock.advance(timedelta(minutes=3))
                self._run(phase, date.fromisoformat(signal.body["run_date"]), self._local())
            if first:
                self._in_chain = False
                self._print_summary()

    def _print_summary(self) -> None:
        """From the second day on, phases that go well share one line."""
        if self._summarised:
            phases = ", ".join(self._summarised)
            self._narrate(self._local(), f"{phases} run in turn; each reports, is judged, and its gate opens.")
        self._summarised.clear()
        self._shown_in_full = True

    def _recheck(self, day: date, clock: str) -> None:
        """What a tick does with the date's gates: judge those that are due, whether they have reported or not."""
        self._at(clock)
        gates = self._wiring.store.load(self._pipeline.name, Span(day, day))
        runs = gates_to_recheck(self._pipeline, gates, Span(day, day), self._clock.now(), since=day)
        for decision in self._wiring.monitor.recheck(self._pipeline, runs, gates):
            if decision.alerts:
                self._show(decision)

    def _show(self, decision: Decision) -> None:
        """The gate, and the alerts that were sent about it."""
        sign = _SIGNS.get(decision.gate.state, "✗")
        text = f"{decision.gate.run.phase} is {decision.gate.state}: {decision.detail}"
        for n, line in enumerate(textwrap.wrap(text, WIDTH - 11)):
            self._write(f"         {sign if n == 0 else ' '} {line}")
        self._show_screen()

    def _show_screen(self) -> None:
        for line in self._screen.getvalue().splitlines():
            if line:
                self._write(f"         │ {line}")
        self._screen.seek(0)
        self._screen.truncate()

    def _judge_year(self) -> tuple[Validation, float]:
        """Load the rest of the year without reports, and judge it in one go, as after a backfill."""
        self._write("")
        self._write("── The year " + "─" * (WIDTH - 12))
        self._write("  The rest of 2013 is backfilled without reports. Now every date of the year is judged by the same rules:")
        self._write("")
        with duckdb.connect(self._file) as con:
            loaders.run_phases(con, Span(WEEK.last + timedelta(days=1), loaders.YEAR.last))
        self._clock.set(datetime(2014, 1, 2, tzinfo=UTC))
        started = perf_counter()
        validation = validate(
            self._pipeline, self._pipeline.phases, loaders.YEAR, warehouse=self._wiring.warehouse, now=self._clock.now()
        )
        return validation, perf_counter() - started


def _flights(wiring: Wiring) -> Pipeline:
    for pipeline in wiring.pipelines:
        if pipeline.name == "flights":
            return pipeline
    raise ConfigError(f"no pipeline flights in {wiring.settings.pipelines}; the demo needs it")


def _clear(folder: Path) -> None:
    """Remove the demo's own files of an earlier run, and nothing else in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in (*folder.glob("warehouse.duckdb*"), *folder.glob("state.sqlite*")):
        path.unlink()
    rmtree(folder / "mails", ignore_errors=True)
