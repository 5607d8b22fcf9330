"""A pipeline with a history that phasegate did not hear: adopted by its tables, or left alone."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.app.pipeline_file import load
from phasegate.core.field_syntax import Span
from phasegate.core.gates.actions import EndGap
from phasegate.core.gates.completion import Envelope
from phasegate.core.gates.gate import GateState, Reason
from phasegate.core.pipeline.model import Pipeline
from phasegate.demo.warehouse import YEAR
from phasegate.gates.adoption import Adopted, Adoption, adopt
from phasegate.gates.backfill import validate
from phasegate.gates.heartbeat import Heartbeats
from phasegate.gates.monitor import Monitor
from phasegate.gates.tick import Tick
from phasegate.testing import ManualClock

from tests.flow.fan import DAY, LATER, MINUTE, World, fan
from tests.flow.test_monitor import Bus

REPO = Path(__file__).parents[2]
HOUR = timedelta(hours=1)
TABLES = ("a.one", "a.two", "a.next")


def unheard(folder: Path, *, full: bool = True, **lines: str) -> World:
    """A monitor that begins at LATER; the tables of DAY were filled long before."""
    world = World(fan(folder, **lines), listened=False)
    if full:
        world.fill(*TABLES)
    return world


def adopted(world: World, span: Span, *, dry_run: bool = False) -> Adoption:
    known = world.store.load("p", span)
    return adopt(
        world.pipeline, world.pipeline.phases, span, warehouse=world.warehouse, known=known,
        store=None if dry_run else world.store, now=world.clock.now(), by="ann",
    )  # fmt: skip


# -- a run of a date that nobody has adopted ------------------------------------------------------------------------------------


def test_a_run_of_an_unheard_date_is_judged_by_its_tables_and_those_of_its_inputs(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    world.done("next")
    assert (world.state("next"), world.alerts) == (GateState.OPEN, [])
    assert (world.gate("raw").reason, world.gate("raw").generation) == (Reason.ADOPTED, 1)
    assert world.signals == [f"next/{DAY}/g1"], "nobody is told of a release that was long ago"
    world.tick(120)
    assert world.alerts == []


def test_before_the_first_tick_too(tmp_path: Path) -> None:
    """A completion by hand before anything runs."""
    world = unheard(tmp_path)
    fresh = SQLiteStore(":memory:")
    monitor = Monitor(
        [world.pipeline], warehouse=world.warehouse, store=fresh, outbox=fresh, publisher=Bus(), clock=world.clock
    )
    body = {"phase": "next", "run_date": str(DAY), "status": "done"}
    decision = monitor.handle(Envelope("m", json.dumps(body).encode(), {})).decision
    assert decision is not None
    assert (decision.gate.state, decision.alerts) == (GateState.OPEN, ())


def test_an_input_whose_tables_fail_holds_it_and_is_named(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    world.fill("a.two", rows=3)
    world.done("next")
    gate = world.gate("next")
    assert (gate.state, gate.reason) == (GateState.HELD, Reason.RAN_BEFORE_UPSTREAM)
    assert gate.detail == "its input is not complete; raw: table a.two has 3 rows, expected at least 10"
    assert world.gate("raw").version == 0, "the input itself is nobody's business yet"


def test_an_input_that_could_not_be_measured_proves_nothing(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    world.warehouse.broken = {"a.two"}
    world.done("next")
    assert world.gate("next").state is GateState.HELD
    world.warehouse.broken = set()
    world.tick(61)
    assert world.gate("next").state is GateState.OPEN, "the tick looks again"


def test_a_backfill_of_unheard_dates_from_the_beginning_is_like_any_other(tmp_path: Path) -> None:
    world = unheard(tmp_path, full=False)
    world.loaded("one", "two")
    world.clock.advance(MINUTE)
    world.fill("a.next")
    world.done("next")
    assert world.signals == [f"raw/{DAY}/g1", f"next/{DAY}/g1"]
    assert world.alerts == []


def test_a_preflight_of_an_unheard_date_asks_the_tables(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    assert world.may_start().go
    assert world.gate("raw").version == 0, "asking stores nothing"
    world.fill("a.two", rows=3)
    (no,) = world.may_start().objections
    assert no.detail == "raw is held: table a.two has 3 rows, expected at least 10"


def test_what_was_reported_before_the_first_tick_is_not_missed(tmp_path: Path) -> None:
    """The run of yesterday is due after the start, but it may have been reported before."""
    start = datetime(2026, 11, 6, 3, tzinfo=UTC)
    world = World(fan(tmp_path), now=start, listened=False)
    world.fill(*TABLES)
    world.tick(8 * 60)
    assert [(c, s) for c, s in world.alerts] == []
    assert (world.state("raw"), world.state("next")) == (GateState.OPEN, GateState.OPEN)


@pytest.mark.parametrize(("some", "cause"), [(True, "checks_failed"), (False, "nothing_heard")])
def test_what_is_not_there_at_its_due_time_is_alerted_also_on_the_first_day(tmp_path: Path, some: bool, cause: str) -> None:
    world = World(fan(tmp_path), now=datetime(2026, 11, 6, 3, tzinfo=UTC), listened=False)
    world.fill(*(["a.one"] if some else []))
    world.tick(4 * 60)
    assert world.alerts == [(cause, "firing")]


def test_a_first_week_on_a_history_of_three_years(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No alert about the past, and one hint."""
    file = tmp_path / "fan.yaml"
    fan(tmp_path)
    file.write_text(file.read_text().replace("from: 2026-11-01", "from: 2023-11-01"))
    begun = datetime(2026, 11, 20, 10, 17, tzinfo=UTC)
    world = World(load(file), now=begun, listened=False)
    days = Span(date(2023, 11, 1), date(2026, 11, 27)).days()
    world.warehouse.numbers |= {(table, day): 10 for table in TABLES for day in days if day.day % 9}  # some were never good
    for _ in range(7):
        world.clock.set(datetime.combine(world.clock.now().date() + timedelta(days=1), datetime.min.time(), UTC) + 5 * HOUR)
        yesterday = world.clock.now().date() - timedelta(days=1)
        for producer in ("one", "two"):
            world.done("raw", producer, day=yesterday)
        world.clock.advance(MINUTE)
        world.done("next", day=yesterday)
        for _ in range(24 * 4):
            world.tick()
            world.clock.advance(14 * MINUTE)
    alerts = [m.body["run_date"] for m in world.bus.taken if m.topic == "alerts"]
    assert [day for day in alerts if day < "2026-11-20"] == []
    hints = [line for line in capsys.readouterr().out.splitlines() if "history_not_adopted" in line]
    assert len(hints) == 1
    assert "phasegate adopt --pipeline p" in json.loads(hints[0])["message"]


def test_a_phase_that_is_added_later_is_watched_from_then_on(tmp_path: Path) -> None:
    world = World(fan(tmp_path))
    world.tick(5)
    file = tmp_path / "fan.yaml"
    file.write_text(file.read_text() + "  last: {after: [next], due: 09:00 +1d, outputs: {a.last: {date: d}}}\n")
    bus = Bus()
    pipeline = load(file)
    monitor = Monitor(
        [pipeline], warehouse=world.warehouse, store=world.store, outbox=world.store, publisher=bus, clock=world.clock
    )
    tick = Tick(
        monitor, store=world.store, records=world.store, clock=world.clock, heartbeats=Heartbeats(world.store, world.store)
    )
    for _ in range(60):
        tick.run()
        world.clock.advance(MINUTE)
    assert [m.body for m in bus.taken if m.topic == "alerts" and m.body["phase"] == "last"] == []


# -- adopting by hand -----------------------------------------------------------------------------------------------------------

SPAN = Span(date(2026, 11, 1), date(2026, 11, 18))


@pytest.fixture
def history(tmp_path: Path) -> World:
    """18 dates; the tables of one fail, those of another can't be measured."""
    world = World(fan(tmp_path), listened=False)
    for day in SPAN.days():
        world.fill(*TABLES, day=day)
    world.fill("a.two", rows=3, day=date(2026, 11, 7))
    return world


def test_a_history_is_recorded_as_its_tables_are(history: World) -> None:
    adoption = adopted(history, SPAN)
    assert {outcome: adoption.count(outcome) for outcome in Adopted if adoption.count(outcome)} == {
        Adopted.OPEN: 35,
        Adopted.GAP: 1,
    }
    gates = history.store.load("p", SPAN)
    assert gates[DAY]["next"].consumed == {"raw": 1}
    bad = gates[date(2026, 11, 7)]["raw"]
    assert (bad.state, bad.gap and bad.gap.until) == (GateState.ACCEPTED, None)
    assert (
        bad.detail == "ann accepted the gap: known when the history was adopted: table a.two has 3 rows, expected at least 10"
    )
    (event,) = history.store.history(gates[DAY]["raw"].run)
    assert (event.trigger, event.reason) == ("by hand: ann", Reason.ADOPTED)
    queries = len(history.warehouse.queries)
    history.tick(120)
    assert (history.alerts, history.signals, len(history.warehouse.queries)) == ([], [], queries), "nothing of it is looked at"


def test_adopting_again_changes_nothing_and_a_dry_run_stores_nothing(history: World) -> None:
    assert adopted(history, SPAN, dry_run=True).count(Adopted.OPEN) == 35
    assert history.store.load("p", SPAN) == {}
    adopted(history, Span(SPAN.first, date(2026, 11, 9)))  # as after a kill
    before = history.store.load("p", SPAN)
    adoption = adopted(history, SPAN)
    assert (adoption.count(Adopted.KNOWN), adoption.count(Adopted.OPEN)) == (18, 18)
    after = history.store.load("p", SPAN)
    assert all(after[day] == gates for day, gates in before.items())


def test_what_could_not_be_measured_is_left_alone_and_named(history: World) -> None:
    history.warehouse.broken = {"a.next"}
    adoption = adopted(history, Span(DAY, DAY))
    assert [str(run) for run in adoption.of(Adopted.UNVERIFIED)] == [f"p/next/{DAY}"]
    assert "next" not in history.store.load("p", SPAN)[DAY]


def test_a_known_gap_lasts_until_it_is_repaired(history: World) -> None:
    day = date(2026, 11, 7)
    adopted(history, SPAN)
    history.loaded("one", "two", day=day)
    assert history.state("raw", day) is GateState.OPEN
    assert history.alerts == []
    assert history.signals == [f"raw/{day}/g1"]


def test_a_known_gap_that_one_of_two_producers_repairs_opens_when_the_other_would_be_due(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    world.fill("a.two", rows=3)
    adopted(world, Span(DAY, DAY))
    world.loaded("two")
    world.tick(30)
    assert world.state() is GateState.ACCEPTED, "the other one may be running, too"
    world.tick(100)
    assert world.state() is GateState.OPEN
    assert world.gate().detail == "all needed checks pass, score 100; released without a message: one has not reported"
    assert (world.alerts, world.signals) == ([], [f"raw/{DAY}/g1"])


@pytest.mark.parametrize("tables_before", [10, 3])
def test_a_lone_late_file_of_an_adopted_date_gets_through_again_and_again(tmp_path: Path, tables_before: int) -> None:
    """Also when it repairs what the adopted date lacked; the other producer never reports."""
    world = unheard(tmp_path, raw="quorum: {at_least: 1, of: 2}")
    world.fill("a.two", rows=tables_before)
    adopted(world, Span(DAY, DAY))
    assert world.gate().degraded is (tables_before == 3)
    for generation, rows in ((2, 12), (3, 14)):
        world.loaded("two", rows=rows)
        assert world.gate().generation == generation - 1, "the other one may be running, too"
        world.tick(15)
        assert (world.gate().generation, world.gate().degraded) == (generation, False)
    assert (world.alerts, world.signals) == ([], [f"raw/{DAY}/g2", f"raw/{DAY}/g3"])


def test_a_known_gap_that_a_report_does_not_repair_stays_one(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    world.fill("a.two", rows=3)
    adopted(world, Span(DAY, DAY))
    world.done("raw", "one")
    queries = len(world.warehouse.queries)
    world.tick(240)
    assert (world.state(), world.alerts) == (GateState.ACCEPTED, [])
    assert len(world.warehouse.queries) - queries <= 8, "one query per table and hour"


def test_a_known_gap_that_somebody_ends_is_held_by_its_tables_and_not_by_reports_that_nobody_heard(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    world.fill("a.two", rows=3)
    adopted(world, Span(DAY, DAY))
    world.act(EndGap())
    world.tick(120)
    assert (world.state(), world.gate().detail) == (GateState.HELD, "table a.two has 3 rows, expected at least 10")
    assert world.alerts == [("checks_failed", "firing")]


def test_a_follower_that_is_adopted_before_its_input_is_stale_when_the_input_is_released_again(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    for phases in (["next"], ["next", "raw"]):
        adopt(
            world.pipeline, phases, Span(DAY, DAY), warehouse=world.warehouse, known=world.store.load("p", Span(DAY, DAY)),
            store=world.store, now=world.clock.now(), by="ann",
        )  # fmt: skip
    assert (world.state("raw"), world.state("next")) == (GateState.OPEN, GateState.OPEN)
    world.loaded("one", "two", rows=12)
    assert (world.signals, world.state("next")) == ([f"raw/{DAY}/g2"], GateState.STALE)


def test_phases_are_adopted_in_their_order_whatever_order_they_are_named_in(tmp_path: Path) -> None:
    world = unheard(tmp_path)
    world.fill("a.two", rows=3)
    adopt(
        world.pipeline, ["next", "raw", "next"], Span(DAY, DAY), warehouse=world.warehouse, known={}, store=world.store,
        now=world.clock.now(), by="ann",
    )  # fmt: skip
    assert world.gate("next").consumed == {"raw": 0}, "it was built on a gap, so it is stale once that is repaired"
    world.loaded("one", "two")
    assert world.state("next") is GateState.STALE


def test_validate_and_the_adopted_gates_agree(history: World) -> None:
    adopted(history, SPAN)
    known = history.store.load("p", SPAN)
    found = validate(
        history.pipeline, history.pipeline.phases, SPAN, warehouse=history.warehouse, now=LATER + HOUR, known=known
    )
    said = {(day.run_date, phase.phase): phase for day in found.dates for phase in day.phases}
    for day, gates in known.items():
        for phase, gate in gates.items():
            verdict = said[day, phase].verdict
            assert (verdict == "accepted") is (gate.state is GateState.ACCEPTED), gate.run
            assert (verdict == "pass") is (gate.state is GateState.OPEN), gate.run


@pytest.mark.parametrize(
    ("line", "two", "state", "degraded"),
    [
        ("quorum: {at_least: 1, of: 2}", 3, GateState.OPEN, True),
        ("quorum: {at_least: 1, of: 2}", 10, GateState.OPEN, False),
        ("mode: observe", 3, GateState.OPEN, False),
        ("mode: enforce", 3, GateState.ACCEPTED, False),
    ],
)
def test_the_modes_of_a_phase_count_for_adopted_dates(
    tmp_path: Path, line: str, two: int, state: GateState, degraded: bool
) -> None:
    world = unheard(tmp_path, raw=line)
    world.fill("a.two", rows=two)
    adopted(world, Span(DAY, DAY))
    assert (world.gate().state, world.gate().degraded) == (state, degraded)
    world.tick(61)
    assert world.alerts == []


# -- the demo's year ------------------------------------------------------------------------------------------------------------

BACKFILLED = Span(date(2013, 3, 1), date(2013, 3, 10))
REPAIRED = Span(date(2013, 5, 1), date(2013, 5, 3))


class Year:
    """The demo's pipeline after its year, with a monitor that has just been installed."""

    def __init__(self, warehouse: Path, pipeline: Pipeline) -> None:
        self.path = warehouse
        self.clock = ManualClock(datetime(2014, 1, 3, 12, tzinfo=UTC))
        self.store, self.bus = SQLiteStore(":memory:"), Bus()
        self.installed(pipeline)
        self._messages = 0

    def installed(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.warehouse = DuckDBWarehouse(str(self.path))
        self.monitor = Monitor(
            [pipeline], warehouse=self.warehouse, store=self.store, outbox=self.store, publisher=self.bus, clock=self.clock
        )
        heartbeats = Heartbeats(self.store, self.store)
        self._tick = Tick(self.monitor, store=self.store, records=self.store, clock=self.clock, heartbeats=heartbeats)

    def ticks(self, minutes: int) -> None:
        for _ in range(minutes):
            self._tick.run()
            self.clock.advance(MINUTE)

    def done(self, phase: str, day: date, *, apart: timedelta = MINUTE) -> None:
        """Every producer of a phase reports, *apart* from each other; the clock ticks in between."""
        for producer in self.pipeline.producers(phase):
            self._messages += 1
            body = {"phase": phase, "producer": producer, "run_date": str(day), "started_at": self.clock.now().isoformat()}
            self.monitor.handle(Envelope(f"m{self._messages}", json.dumps({**body, "status": "done"}).encode(), {}))
            self.ticks(apart // MINUTE)

    def counts(self) -> Mapping[str, int]:
        topics = [message.topic for message in self.bus.taken]
        return {"alerts": topics.count("alerts"), "signals": sum(topic.endswith("-go") for topic in topics)}


@pytest.mark.slow
def test_a_year_is_adopted_backfilled_repaired_and_gets_a_new_phase(demo_warehouse: Path, tmp_path: Path) -> None:
    tables = tmp_path / "warehouse.duckdb"
    shutil.copy(demo_warehouse, tables)
    file = REPO / "shared/pipelines/flights.yaml"
    year = Year(tables, load(file))
    year.ticks(1)

    adoption = adopt(
        year.pipeline, year.pipeline.phases, YEAR, warehouse=year.warehouse, known={}, store=year.store,
        now=year.clock.now(), by="ann",
    )  # fmt: skip
    assert adoption.validation.cost.queries == 11, "one per table, one per compared pair"
    assert adoption.count(Adopted.OPEN) + adoption.count(Adopted.GAP) + adoption.count(Adopted.OFF) == 4 * 365
    year.ticks(5)
    assert year.counts() == {"alerts": 0, "signals": 0}

    for day in BACKFILLED.days():  # the same rows again
        year.done("raw", day, apart=3 * MINUTE)
    year.ticks(90)
    assert year.counts() == {"alerts": 0, "signals": 0}

    with duckdb.connect(tables) as connection:  # one flight of each date was no flight
        for day in REPAIRED.days():
            (flight,) = (
                connection.execute("SELECT min(flight_id) FROM clean.flights WHERE flight_date = ?", [day]).fetchone() or ()
            )
            for table in ("clean.flights", "features.flights", "predictions.delays"):
                connection.execute(f"DELETE FROM {table} WHERE flight_date = ? AND flight_id = ?", [day, flight])  # noqa: S608
            _, carrier, number, origin = flight.rsplit("-", 3)
            condition = "flight_date = ? AND carrier = ? AND flight = ? AND origin = ?"
            connection.execute(f"DELETE FROM raw.flights WHERE {condition}", [day, carrier, int(number), origin])  # noqa: S608
    for phase in year.pipeline.phases:
        for day in REPAIRED.days():
            year.done(phase, day, apart=3 * MINUTE)
    year.ticks(90)
    assert year.counts() == {"alerts": 0, "signals": 12}
    assert {key.rpartition("/")[2] for key in year.bus.signals} == {"g2"}

    with duckdb.connect(tables) as connection:
        connection.execute("CREATE SCHEMA board")
        connection.execute("CREATE TABLE board.delays AS SELECT flight_date, flight_id FROM predictions.delays")
    added = "\n  publish:\n    after: [predictions]\n    due: 30m after predictions\n    outputs: {board.delays: {date: flight_date}}\n"
    (tmp_path / "flights.yaml").write_text(file.read_text().replace("\nalerts:\n", f"{added}\nalerts:\n"))
    year.installed(load(tmp_path / "flights.yaml"))
    year.ticks(24 * 60)
    assert year.counts() == {"alerts": 0, "signals": 12}
    year.done("publish", date(2013, 6, 1))
    assert year.counts() == {"alerts": 0, "signals": 13}
