"""Two producers that fill two tables, and a phase behind them: what late runs, re-runs and decisions by hand are played on."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.pipeline_file import load
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import Action
from phasegate.core.gates.completion import Envelope, RunKey
from phasegate.core.gates.decide import Decision
from phasegate.core.gates.gate import Gate, GateState, effective_state
from phasegate.core.gates.preflight import Clearance
from phasegate.core.pipeline.model import Pipeline
from phasegate.gates.heartbeat import Heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.preflight import PreflightChecks, PreflightRequest
from phasegate.gates.tick import Tick
from phasegate.testing import ManualClock, ScriptedWarehouse

from tests.flow.test_monitor import Bus
from tests.watching import has_listened

DAY = date(2026, 11, 5)
LATER = datetime(2026, 11, 20, 10, tzinfo=UTC)
"""Long after DAY was due."""

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ROWS = 10

FILE = """\
pipeline: p
calendar: {from: 2026-11-01}
phases:
  raw:
    due: 06:00 +1d
    RAW
    producers: {one: {fills: a.one}, two: {fills: a.two}}
    outputs: {a.one: {date: d, checks: [row_count: {at_least: 10}]}, a.two: {date: d, checks: [row_count: {at_least: 10}]}}
  next:
    after: [raw]
    due: 08:00 +1d
    NEXT
    outputs: {a.next: {date: d}}
"""


def fan(folder: Path, *, raw: str = "mode: enforce", next_: str = "mode: enforce") -> Pipeline:
    """The pipeline, with a line more for a phase."""
    file = folder / "fan.yaml"
    file.write_text(FILE.replace("RAW", raw).replace("NEXT", next_))
    return load(file)


class World:
    """A monitor whose clock has ticked since the pipeline's first date, and now stands at *now*."""

    def __init__(self, pipeline: Pipeline, now: datetime = LATER, *, listened: bool = True) -> None:
        self.pipeline = pipeline
        self.clock = ManualClock(datetime(2026, 11, 1, tzinfo=UTC))
        self.store = SQLiteStore(":memory:")
        self.warehouse = ScriptedWarehouse()
        self.bus = Bus()
        self.monitor = Monitor(
            [pipeline], warehouse=self.warehouse, store=self.store, outbox=self.store, publisher=self.bus, clock=self.clock
        )
        if listened:
            has_listened(self.store, pipeline, max(now, self.clock.now()))
        heartbeats = Heartbeats(self.store, self.store)
        self._ticker = Tick(self.monitor, store=self.store, records=self.store, clock=self.clock, heartbeats=heartbeats)
        self._messages = 0
        self.clock.set(max(now, self.clock.now()))
        self.tick()

    def tick(self, minutes: int = 1) -> None:
        """The clock ticks, once a minute."""
        for _ in range(minutes):
            self._ticker.run()
            self.clock.advance(MINUTE)

    def fill(self, *tables: str, rows: int = ROWS, day: date = DAY) -> None:
        """Tables hold so many rows."""
        self.warehouse.numbers |= {(table, day): rows for table in tables}

    def done(self, phase: str, producer: str = "", *, day: date = DAY, **fields: str) -> Decision:
        """A producer reports a run that has just begun and ended."""
        self._messages += 1
        now = self.clock.now().isoformat()
        body = {
            "phase": phase, "producer": producer or phase, "run_date": str(day), "status": "done",
            "started_at": now, "finished_at": now, **fields,
        }  # fmt: skip
        decision = self.monitor.handle(Envelope(f"m{self._messages}", json.dumps(body).encode(), {})).decision
        assert decision is not None
        return decision

    def loaded(self, *producers: str, rows: int = ROWS, day: date = DAY) -> None:
        """Producers of raw fill their tables and report, a second apart."""
        for producer in producers:
            self.fill(f"a.{producer}", rows=rows, day=day)
            self.clock.advance(timedelta(seconds=1))
            self.done("raw", producer, day=day)

    def act(self, action: Action, phase: str = "raw", *, day: date = DAY) -> Decision:
        """A person acts on a gate."""
        return self.monitor.act(RunKey("p", phase, day), action, "ann")

    def gate(self, phase: str = "raw", day: date = DAY) -> Gate:
        """A gate as it is stored."""
        return self.store.load("p", Span(day, day)).get(day, {}).get(phase, Gate(RunKey("p", phase, day)))

    def state(self, phase: str = "raw", day: date = DAY) -> GateState:
        """A gate's state as people see it."""
        return effective_state(self.gate(phase, day), self.store.load("p", Span(day, day)).get(day, {}), self.pipeline)

    def may_start(self, phase: str = "next", day: date = DAY) -> Clearance:
        """The answer of a preflight."""
        asked = PreflightRequest(RunKey("p", phase, day))
        return PreflightChecks([self.pipeline], warehouse=self.warehouse, store=self.store, clock=self.clock).ask(asked)

    @property
    def alerts(self) -> list[tuple[str, str]]:
        """Cause and state of every alert about a date that was past when the world began."""
        bodies = (message.body for message in self.bus.taken if message.topic == "alerts")
        return [(body["cause"], body["state"]) for body in bodies if body["run_date"] < str(LATER.date())]

    @property
    def signals(self) -> list[str]:
        """The go-signals, as phase/date/generation."""
        return [key.removeprefix("p/") for key in self.bus.signals]
