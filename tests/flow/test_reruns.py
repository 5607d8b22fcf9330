"""An upstream that is repaired after its release: what is stale, what must rerun, and that everything is fine afterwards."""

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

from tests.watching import has_listened

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
    # Each fills its table from what it reads, as it is then; the number of rows does not change.
    "clean": "SELECT d, id FROM lake.raw WHERE d = $day",
    "features": "SELECT $day, sum(id) FROM lake.clean WHERE d BETWEEN $day - 2 AND $day",
    "scores": "SELECT d, 2 * id FROM lake.features WHERE d = $day",
    "book": "SELECT d, id FROM lake.clean WHERE d = $day",
}


class Shop:
    """The pipeline's jobs on real tables, with a monitor."""

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
        has_listened(self.wiring.store, self.pipeline, self.clock.now())
        self.signals: list[str] = []
        for phase in self.pipeline.phases:
            self.wiring.local_bus.subscribe(f"shop-{phase}-go", lambda message: self.signals.append(message.key))

    def raw(self, day: date, *ids: int) -> None:
        self.fill("raw", day, f"SELECT $day, unnest({list(ids)})")

    def run(self, phase: str, day: date) -> None:
        self.fill(phase, day, JOBS[phase])

    def fill(self, phase: str, day: date, query: str) -> None:
        """Run the job for five minutes, and report."""
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
    new = Shop(tmp_path)
    for n, day in enumerate(SPAN.days()):
        new.clock.set(datetime(2026, 3, 2, 1, tzinfo=UTC) + timedelta(days=n))
        new.raw(day, 1, 2, 3)
        for phase in JOBS:
            new.run(phase, day)
    assert new.standings() == {GateState.OPEN}
    assert new.again() == []
    assert "rerun in this order" not in new.status()
    return new


def test_status_lists_the_reruns_after_a_repair_until_all_are_done(shop: Shop) -> None:
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
    status = shop.status()
    assert "rerun in this order:" in status
    assert "  clean 2026-03-02: raw was released again since it ran" in status
    assert "  features 2026-03-04: clean of 2026-03-02, in its look-back, must rerun first" in status
    assert "2026-03-05:" not in status, "what does not look back so far is left alone"

    ran = list(shop.again())
    for phase, day in ran:  # the listed order works: each reads what has run before it
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


def test_a_missing_rerun_raises_an_alert_when_it_is_due(shop: Shop) -> None:
    """One after the other: a phase whose input is itself stale is not late yet."""
    alerts: list[tuple[str, str, str]] = []

    def with_report(message: Outgoing) -> None:
        if "phase" in message.body:  # the daily check of the installation sends alerts, too
            alerts.append((message.body["phase"], message.body["cause"], message.body["state"]))

    shop.wiring.local_bus.subscribe(ALERTS, with_report)
    shop.wiring.tick.run()
    shop.raw(BROKEN, 1, 2, 4)
    for _ in range(59):
        shop.clock.advance(MINUTE)
        shop.wiring.tick.run()
    assert alerts == []
    for _ in range(3):
        shop.clock.advance(MINUTE)
        shop.wiring.tick.run()
    assert alerts == [("clean", "not_run_again", "firing")]
    assert "raw was released again, and clean has not rerun since; due moved" in shop.status()
    shop.run("clean", BROKEN)
    assert alerts[1:] == [("clean", "not_run_again", "recovered")]
    for phase, day in shop.again():
        shop.run(phase, day)
    shop.clock.advance(3 * 60 * MINUTE)
    shop.wiring.tick.run()
    assert len(alerts) == 2


def test_loading_the_same_rows_again_needs_no_rerun(shop: Shop) -> None:
    shop.raw(BROKEN, 3, 2, 1)
    assert shop.again() == []
    assert shop.standings() == {GateState.OPEN}


def test_a_run_on_the_old_input_still_must_rerun(shop: Shop) -> None:
    """It started before the repair was released, so it may have read the old data."""
    started = shop.clock.now()
    shop.raw(BROKEN, 1, 2, 4)
    body = f'{{"phase": "clean", "run_date": "{BROKEN}", "status": "done", "started_at": "{started.isoformat()}"}}'
    shop.wiring.monitor.handle(Envelope("early", body.encode(), {}))
    gate = shop.wiring.store.load("shop", SPAN)[BROKEN]["clean"]
    assert "ran before its upstream" in gate.detail
    assert shop.again()[0] == ("clean", BROKEN)


def test_a_phase_that_ran_before_its_upstream_must_rerun(shop: Shop) -> None:
    day = SPAN.last + timedelta(days=1)
    shop.run("clean", day)
    shop.raw(day, 1, 2, 3)
    gates = shop.wiring.store.load("shop", Span(day, day))
    assert gates[day]["clean"].reason is Reason.RAN_BEFORE_UPSTREAM
    (rerun,) = needed_reruns(shop.pipeline, gates)
    assert str(rerun.run) == f"shop/clean/{day}"
    assert rerun.why.startswith("ran before its upstream: raw had not been released when it started")


def test_a_late_date_affects_dates_that_look_back_on_it(shop: Shop) -> None:
    """Nothing was stale: on its own date everything is fine."""
    late, later = SPAN.last + timedelta(days=1), SPAN.last + timedelta(days=2)
    for day in (later, late):
        shop.raw(day, 1, 2, 3)
        for phase in JOBS:
            shop.run(phase, day)
    days = shop.wiring.store.load("shop", Span(FIRST, later))
    reruns = {str(rerun.run): rerun.why for rerun in needed_reruns(shop.pipeline, days)}
    assert list(reruns) == [f"shop/features/{later}", f"shop/scores/{later}"]
    assert reruns[f"shop/features/{later}"] == f"clean of {late}, in its look-back, was released since it ran"


def test_the_total_look_back_is_the_sum_of_all(shop: Shop) -> None:
    assert total_look_back(shop.pipeline) == timedelta(days=2)
