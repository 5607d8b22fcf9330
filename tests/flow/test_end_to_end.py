"""The demo's week on emulators, through the function as it is deployed: the same outcome as on one machine."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from phasegate.adapters.local import LocalBus
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.app.pipeline_file import load
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import Envelope
from phasegate.core.gates.gate import Gate
from phasegate.gates.monitor import Monitor
from phasegate.testing import ManualClock

from tests.cloud import Cloud, cloud, wait_for
from tests.serving import REPO

WEEK = Span(date(2013, 12, 25), date(2013, 12, 31))
"""It contains good days, an amber one, and two on which the weather feed broke off."""
PIPELINE = load(REPO / "shared/pipelines/flights.yaml")


@pytest.fixture(scope="module")
def hosts(pubsub_emulator: str, firestore_emulator: str, bigquery_emulator: str) -> dict[str, str]:
    return {
        "PUBSUB_EMULATOR_HOST": pubsub_emulator,
        "FIRESTORE_EMULATOR_HOST": firestore_emulator,
        "BIGQUERY_EMULATOR_HOST": bigquery_emulator,
    }


@pytest.fixture(scope="module")
def played(hosts: dict[str, str], demo_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The week after every producer has reported; a phase runs when a go-signal names it."""
    with cloud(hosts, "week-on-emulators", tmp_path_factory.mktemp("cloud"), demo_warehouse, WEEK) as made:
        play(made)
        yield made


def play(made: Cloud) -> None:
    for n, day in enumerate(WEEK.days()):
        for producer in PIPELINE.producers("raw"):
            made.complete("raw", producer, day, n)
    stop = threading.Event()
    started: list[tuple[str, str]] = []

    def run_what_is_named() -> None:
        while not stop.is_set():
            for phase in PIPELINE.phases:
                for signal in made.signals(phase, wait=0.1):
                    for name in signal["start"]:  # type: ignore[attr-defined]
                        started.append((name, str(signal["run_date"])))
                        made.complete(name, name, date.fromisoformat(str(signal["run_date"])), len(started))

    runner = threading.Thread(target=run_what_is_named)
    runner.start()
    try:
        wait_for("the last gates", lambda: is_over(made), 600)
    finally:
        stop.set()
        runner.join()


def is_over(made: Cloud) -> bool:
    """Each date is held at raw, or all its phases are done."""
    gates = made.gates(WEEK)
    ends = [
        {str(gate.state) for (on, phase), gate in gates.items() if on == day and phase in ("raw", "predictions")}
        for day in WEEK.days()
    ]
    return all(states in ({"held"}, {"open"}) for states in ends) and len([g for g in gates.values() if g.is_open]) == 20


@pytest.fixture(scope="module")
def local(demo_warehouse: Path) -> SQLiteStore:
    """The same week on one machine: DuckDB, SQLite, the bus in the process."""
    store, clock, bus = SQLiteStore(":memory:"), ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), LocalBus()
    warehouse = DuckDBWarehouse(str(demo_warehouse))
    monitor = Monitor([PIPELINE], warehouse=warehouse, store=store, outbox=store, publisher=bus, clock=clock)
    sent: list[dict[str, str]] = [
        {"phase": "raw", "producer": producer, "run_date": str(day)}
        for day in WEEK.days()
        for producer in PIPELINE.producers("raw")
    ]
    for phase in PIPELINE.phases:
        bus.subscribe(
            f"flights-{phase}-go",
            lambda m: sent.extend({"phase": p, "producer": p, "run_date": m.body["run_date"]} for p in m.body["start"]),
        )
    for n, body in enumerate(sent):
        clock.advance(timedelta(seconds=1))
        monitor.handle(Envelope(f"m{n}", json.dumps({**body, "status": "done"}).encode(), {}))
    return store


def test_the_week_has_the_same_outcome_as_on_one_machine(played: Cloud, local: SQLiteStore) -> None:
    """The same states, reasons, verdicts, scores, generations, and the same sentence for each check."""
    here = {(day, phase): gate for day, gates in local.load("flights", WEEK).items() for phase, gate in gates.items()}
    there = played.gates(WEEK)
    assert set(there) == set(here)
    for key, gate in here.items():
        assert outcome(there[key]) == outcome(gate), key


def outcome(gate: Gate) -> object:
    results = [(r.name, r.outcome, r.message) for r in gate.results]
    return gate.state, gate.reason, gate.verdict, gate.score, gate.generation, results


def test_every_open_gate_sent_one_signal_and_nothing_is_left_unsent(played: Cloud) -> None:
    later = datetime.combine(date(2099, 1, 1), time(), UTC)
    wait_for("the outbox to empty", lambda: not played.store.pending(later, 100), 120)
    assert not played.store.parked()
