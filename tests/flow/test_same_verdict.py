"""A date that passes validation passes the gate, and vice versa: all 365 dates of the demo."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from phasegate.adapters.local import LocalBus
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.adapters.warehouse.duckdb import DuckDBWarehouse
from phasegate.app.pipeline_file import load
from phasegate.core.checks.base import CheckResult
from phasegate.core.gates.completion import Envelope
from phasegate.core.gates.gate import GateState
from phasegate.core.gates.verdict import Verdict
from phasegate.core.pipeline.model import Pipeline
from phasegate.demo.warehouse import YEAR
from phasegate.gates.adoption import adopt
from phasegate.gates.backfill import Validation, validate
from phasegate.gates.monitor import Monitor
from phasegate.testing import ManualClock

REPO = Path(__file__).parents[2]
PIPELINE = load(REPO / "shared/pipelines/flights.yaml")
LATER = datetime(2014, 1, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def validated(demo_warehouse: Path) -> Validation:
    return validate(PIPELINE, PIPELINE.phases, YEAR, warehouse=DuckDBWarehouse(str(demo_warehouse)), now=LATER)


@pytest.fixture(scope="module")
def store(demo_warehouse: Path) -> SQLiteStore:
    """The gates after every producer of every phase has reported for every date, in order."""
    store, clock = SQLiteStore(":memory:"), ManualClock()
    warehouse = DuckDBWarehouse(str(demo_warehouse))
    monitor = Monitor([PIPELINE], warehouse=warehouse, store=store, outbox=store, publisher=LocalBus(), clock=clock)
    per_day = sum(len(PIPELINE.producers(phase)) for phase in PIPELINE.phases)
    for n, body in enumerate(completions(PIPELINE)):
        clock.set(morning_after(body["run_date"]) + timedelta(seconds=n % per_day))
        monitor.handle(Envelope(f"m{n}", json.dumps({**body, "started_at": clock.now().isoformat()}).encode(), {}))
    return store


def morning_after(run_date: str) -> datetime:
    """After the rows were loaded, and before the phase is due: it is judged exactly when its last producer reports."""
    return datetime.combine(date.fromisoformat(run_date) + timedelta(days=1), time(5, 45), PIPELINE.zone).astimezone(UTC)


def completions(pipeline: Pipeline) -> Iterator[dict[str, str]]:
    for day in YEAR.days():
        for phase in pipeline.phases:
            for producer in pipeline.producers(phase):
                yield {"phase": phase, "producer": producer, "run_date": str(day), "status": "done"}


def test_validator_and_gate_agree_on_every_phase_and_date(validated: Validation, store: SQLiteStore) -> None:
    gates = store.load("flights", YEAR)
    compared = 0
    for day in validated.dates:
        for phase in day.phases:
            gate = gates[day.run_date][phase.phase]
            assert gate.verdict is phase.verdict, f"{gate.run}: {gate.detail}"
            assert gate.score == phase.score or phase.verdict is Verdict.OFF
            assert [rounded(r) for r in gate.results] == [rounded(r) for r in phase.results] or phase.verdict is Verdict.OFF
            compared += 1
    assert compared == 365 * 4


def rounded(result: CheckResult) -> CheckResult:
    """A result without the last digits of an average, which depend on the order of addition."""
    measured = float(f"{result.measured:.9g}") if isinstance(result.measured, float) else result.measured
    return replace(result, measured=measured)


def test_a_gate_opens_exactly_where_the_verdict_allows_it(validated: Validation, store: SQLiteStore) -> None:
    gates = store.load("flights", YEAR)
    for day in validated.dates:
        held = False
        for phase in day.phases:
            held = held or phase.verdict is Verdict.FAIL
            expected = GateState.OFF if phase.verdict is Verdict.OFF else GateState.HELD if held else GateState.OPEN
            assert gates[day.run_date][phase.phase].state is expected


def test_the_years_known_oddities_give_its_verdicts(validated: Validation) -> None:
    """Weather feeds that broke off are red; storms, an absurd reading and odd tail numbers are amber."""
    failed = [str(day.run_date) for day in validated.dates if day.verdict is Verdict.FAIL]
    amber = [str(day.run_date) for day in validated.dates if day.verdict is Verdict.ACCEPTABLE]
    assert failed == ["2013-10-25", "2013-11-02", "2013-12-30", "2013-12-31"]
    assert {"2013-02-08", "2013-02-09", "2013-02-12"} <= set(amber)
    assert len(amber) == 15
    assert validated.summary[Verdict.PASS] == 346


@pytest.mark.slow
def test_validator_and_adopted_gates_agree_on_every_phase_and_date(validated: Validation, demo_warehouse: Path) -> None:
    """Also when the year is validated again, with the adopted gates."""
    warehouse, store = DuckDBWarehouse(str(demo_warehouse)), SQLiteStore(":memory:")
    adopt(PIPELINE, PIPELINE.phases, YEAR, warehouse=warehouse, known={}, store=store, now=LATER, by="ann")
    gates = store.load("flights", YEAR)
    again = validate(PIPELINE, PIPELINE.phases, YEAR, warehouse=warehouse, now=LATER, known=gates)
    states = {Verdict.OFF: GateState.OFF, Verdict.ACCEPTED: GateState.ACCEPTED}
    for day, now_said in zip(validated.dates, again.dates, strict=True):
        for phase, adopted in zip(day.phases, now_said.phases, strict=True):
            gate = gates[day.run_date][phase.phase]
            is_gap = phase.verdict is Verdict.FAIL
            assert gate.verdict is adopted.verdict is (Verdict.ACCEPTED if is_gap else phase.verdict), gate.run
            assert gate.state is states.get(adopted.verdict, GateState.OPEN)
            assert [rounded(r) for r in gate.results] == [rounded(r) for r in phase.results] or phase.verdict is Verdict.OFF
