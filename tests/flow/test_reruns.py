"""An upstream that is repaired after its release: who is stale, what must run again, and that it is then all in order."""

import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Envelope
from phasegate.core.gates.gate import GateState, Reason, effective_state
from phasegate.core.gates.reruns import needed_reruns, total_look_back
from phasegate.messaging.bodies import ALERTS
from phasegate.ports import Outgoing
from phasegate.testing import ManualClock

PIPELINE = """
pipeline: shop
calendar: {from: 2026-03-01}
phases:
  raw: {due: 06:00 +1d, outputs: {lake.raw: {date: d, key: [id]}}}
  clean: {after: [raw], due: 1h after raw, outputs: {lake.clean: {date: d, key: [id]}}}
  features:
    after: [clean]
    look_back: 2d
    due: 1h after clean
    outputs: {lake.features: {date: d, key: [id]}}
  scores: {after: [features], due: 1h after features, outputs: {lake.scores: {date: d, key: [id]}}}
  book: {after: [clean], due: 1h after clean, outputs: {lake.book: {date: d, key: [id]}}}
"""
FIRST = date(2026, 3, 1)
MINUTE = timedelta(minutes=1)
SPAN = Span(FIRST, FIRST + timedelta(days=5))
BROKEN = SPAN.days()[1]

JOBS = {
    # Each fills its table from what it reads, as it stands then; rows are as many before and after.
    "clean": "SELECT d, id FROM lake.raw WHERE d = $day",
    "features": "SELECT $day, sum(id) FROM lake.clean WHERE d BETWEEN $day - 2 AND $day",
    "scores": "SELECT d, 2 * id FROM lake.features WHERE d = $day",
    "book": "SELECT d, id FROM lake.clean WHERE d = $day",
}


class Shop:
    """The pipeline's jobs on real tables, and the monitor beside them."""

    def __init__(self, folder: Path) -> None:
        (folder / "shop.yaml").write_text(PIPELINE)
        self.folder, self.tables = folder, folder / "shop.duckdb"
        with duckdb.connect(self.tables) as connection:
            connection.execute("CREATE SCHEMA lake")
            for phase in ("raw", *JOBS):
                connection.execute(f"CREATE TABLE lake.{phase} (d DATE, id BIGINT)")
        self.environ = {
            "PHASEGATE_PIPELINES": str(folder / "shop.yaml"),
            "PHASEGATE_WAREHOUSE": f"duckdb:{self.tables}",
            "PHASEGATE_STATE": f"sqlite:{folder / 'state.sqlite'}",
            "PHASEGATE_BUS": "local:",
        }
        self.clock = ManualClock(datetime(2026, 3, 2, 1, tzinfo=UTC))
        self.wiring = Wiring(Settings.resolve({}, self.environ, Path()), clock=self.clock)
        self.pipeline = self.wiring.pipelines[0]
        self.signals: list[str] = []
        for phase in self.pipeline.phases:
            self.wiring.local_bus.subscribe(f"shop-{phase}-go", lambda message: self.signals.append(message.key))

    def raw(self, day: date, *ids: int) -> None:
        self.fill("raw", day, f"SELECT $day, unnest({list(ids)})")

    def run(self, phase: str, day: date) -> None:
        self.fill(phase, day, JOBS[phase])

    def fill(self, phase: str, day: date, query: str) -> None:
        """The job runs for five minutes, and reports."""
        started = self.clock.advance(timedelta(minutes=1))
        with duckdb.connect(self.tables) as connection:
            connection.execute(f"DELETE FROM lake.{phase} WHERE d = ?", [day])  # noqa: S608
            connection.execute(f"INSERT INTO lake.{phase} {query.replace('$day', f'DATE {str(day)!r}')}")
        ended = self.clock.advance(timedelta(minutes=5))
        body = (
            f'{{"phase": "{phase}", "run_date": "{day}", "status": "done",'
            f' "started_at": "{started.isoformat()}", "finished_at": "{ended.isoformat()}"}}'
        )
        self.wiring.monitor.handle(Envelope(f"{phase} {day} {ended}", body.encode(), {}))

    def again(self) -> list[tuple[str, date]]:
        days = self.wiring.store.load("shop", SPAN)
        return [(rerun.run.phase, rerun.run.run_date) for rerun in needed_reruns(self.pipeline, days)]

    def standings(self) -> set[GateState]:
        days = self.wiring.store.load("shop", SPAN)
        return {effective_state(gate, gates, self.pipeline) for gates in days.values() for gate in gates.values()}

    def status(self) -> str:
        phasegate = str(Path(sys.executable).parent / "phasegate")
        done = subprocess.run([phasegate, "status", str(SPAN)], env=self.environ, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    found = Shop(tmp_path)
    for n, day in enumerate(SPAN.days()):
        found.clock.set(datetime(2026, 3, 2, 1, tzinfo=UTC) + timedelta(days=n))
        found.raw(day, 1, 2, 3)
        for phase in JOBS:
            found.run(phase, day)
    assert found.standings() == {GateState.OPEN}
    assert found.again() == []
    assert "rerun in this order" not in found.status()
    return found


def test_after_a_repair_status_says_what_must_run_again_and_then_all_is_whole(shop: Shop) -> None:
    shop.raw(BROKEN, 1, 2, 4)  # as many rows as before, with another key
    expected = [
        ("clean", BROKEN),
        ("book", BROKEN),
        ("features", BROKEN),
        ("scores", BROKEN),
        *((phase, day) for day in SPAN.days()[2:4] for phase in ("features", "scores")),
    ]
    assert sorted(shop.again()) == sorted(expected)
    assert shop.standings() == {GateState.OPEN, GateState.STALE}
    told = shop.status()
    assert "rerun in this order:" in told
    assert "  clean 2026-03-02: raw was released again since it ran" in told
    assert "  features 2026-03-04: clean of 2026-03-02, in its look-back, must rerun first" in told
    assert "2026-03-05:" not in told, "what does not look back so far is left alone"

    ran = list(shop.again())
    for phase, day in ran:  # the order in which it is told works: each reads what has run before it
        assert shop.again()[0] == (phase, day)
        shop.run(phase, day)
    assert shop.again() == []
    assert shop.standings() == {GateState.OPEN}
    days = shop.wiring.store.load("shop", SPAN)
    generations = {(phase, day): gate.generation for day, gates in days.items() for phase, gate in gates.items()}
    assert {key for key, generation in generations.items() if generation == 2} == {("raw", BROKEN), *expected}
    assert set(generations.values()) == {1, 2}
    every = [f"shop/{phase}/{day}/g{n}" for (phase, day), generation in generations.items() for n in range(1, generation + 1)]
    assert Counter(shop.signals) == Counter(every), "one go-signal per gate and generation"


def test_what_does_not_run_again_is_told_when_it_should_have(shop: Shop) -> None:
    """One after the other: who waits for one that is stale itself is not late yet."""
    told: list[tuple[str, str, str]] = []

    def with_report(message: Outgoing) -> None:
        if "phase" in message.body:  # the daily look at the installation has something to say, too
            told.append((message.body["phase"], message.body["cause"], message.body["state"]))

    shop.wiring.local_bus.subscribe(ALERTS, with_report)
    shop.wiring.tick.run()
    shop.raw(BROKEN, 1, 2, 4)
    for _ in range(59):
        shop.clock.advance(MINUTE)
        shop.wiring.tick.run()
    assert told == []
    for _ in range(3):
        shop.clock.advance(MINUTE)
        shop.wiring.tick.run()
    assert told == [("clean", "not_run_again", "firing")]
    assert "raw was released again, and clean has not rerun since; due moved" in shop.status()
    shop.run("clean", BROKEN)
    assert told[1:] == [("clean", "not_run_again", "recovered")]
    for phase, day in shop.again():
        shop.run(phase, day)
    shop.clock.advance(3 * 60 * MINUTE)
    shop.wiring.tick.run()
    assert len(told) == 2


def test_the_same_rows_loaded_again_are_no_repair(shop: Shop) -> None:
    shop.raw(BROKEN, 3, 2, 1)
    assert shop.again() == []
    assert shop.standings() == {GateState.OPEN}


def test_a_run_on_the_old_input_stays_in_the_list(shop: Shop) -> None:
    """It began before the repair was released, so it may have read what was there before."""
    started = shop.clock.now()
    shop.raw(BROKEN, 1, 2, 4)
    body = f'{{"phase": "clean", "run_date": "{BROKEN}", "status": "done", "started_at": "{started.isoformat()}"}}'
    shop.wiring.monitor.handle(Envelope("early", body.encode(), {}))
    gate = shop.wiring.store.load("shop", SPAN)[BROKEN]["clean"]
    assert "ran before its upstream" in gate.detail
    assert shop.again()[0] == ("clean", BROKEN)


def test_what_ran_before_its_upstream_must_run_again(shop: Shop) -> None:
    day = SPAN.last + timedelta(days=1)
    shop.run("clean", day)
    shop.raw(day, 1, 2, 3)
    gates = shop.wiring.store.load("shop", Span(day, day))
    assert gates[day]["clean"].reason is Reason.RAN_BEFORE_UPSTREAM
    (rerun,) = needed_reruns(shop.pipeline, gates)
    assert str(rerun.run) == f"shop/clean/{day}"
    assert rerun.why.startswith("ran before its upstream: raw had not been released when it started")


def test_a_date_that_comes_late_contaminates_those_that_look_back_on_it(shop: Shop) -> None:
    """Nobody was stale: on its own date everything is in order."""
    late, later = SPAN.last + timedelta(days=1), SPAN.last + timedelta(days=2)
    for day in (later, late):
        shop.raw(day, 1, 2, 3)
        for phase in JOBS:
            shop.run(phase, day)
    days = shop.wiring.store.load("shop", Span(FIRST, later))
    found = {str(rerun.run): rerun.why for rerun in needed_reruns(shop.pipeline, days)}
    assert list(found) == [f"shop/features/{later}", f"shop/scores/{later}"]
    assert found[f"shop/features/{later}"] == f"clean of {late}, in its look-back, was released since it ran"


def test_the_reach_is_that_of_all_look_backs_together(shop: Shop) -> None:
    assert total_look_back(shop.pipeline) == timedelta(days=2)
