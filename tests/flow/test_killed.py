"""The function is killed at every step while Pub/Sub keeps delivering."""

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from phasegate.app.wiring import Wiring
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import GateState
from phasegate.gates.monitor import Monitor

from tests.cloud import Cloud, cloud, wait_for

PRODUCERS = ("flights_loader", "weather_loader")
FILE = f"""
pipeline: flights
calendar: {{from: 2013-01-01, to: 2013-12-31}}
phases:
  raw:
    producers: {{{PRODUCERS[0]}: {{}}, {PRODUCERS[1]}: {{}}}}
    outputs: {{raw.flights: {{date: flight_date, checks: [row_count: {{at_least: 1}}]}}}}
  clean:
    after: [raw]
    outputs: {{clean.flights: {{date: flight_date, checks: [row_count: {{per: raw.flights, between: [1, 1]}}]}}}}
"""
"""The first two phases of the demo with one check each: an interrupted measurement changes nothing, so it need not be long."""
POINTS = 32
SPAN = Span(date(2013, 1, 31), date(2013, 3, 3))
"""A date for each point."""
LATER = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def hosts(pubsub_emulator: str, firestore_emulator: str, bigquery_emulator: str) -> dict[str, str]:
    return {
        "PUBSUB_EMULATOR_HOST": pubsub_emulator,
        "FIRESTORE_EMULATOR_HOST": firestore_emulator,
        "BIGQUERY_EMULATOR_HOST": bigquery_emulator,
    }


@pytest.fixture
def kills(tmp_path: Path) -> Path:
    """On the n-th date the process dies at its n-th step."""
    folder = tmp_path / "kills"
    folder.mkdir()
    for n, day in enumerate(SPAN.days(), 1):
        (folder / f"{day}.at").write_text(str(n))
    return folder


@pytest.fixture
def mortal(hosts: dict[str, str], demo_warehouse: Path, tmp_path: Path, kills: Path) -> Iterator[Cloud]:
    source = Path(__file__).with_name("killed_function.py")
    folder = tmp_path / "cloud"
    folder.mkdir()
    file = folder / "flights.yaml"
    file.write_text(FILE)
    environ = {**hosts, "KILLS": str(kills)}
    with cloud(environ, "killed-at-every-step", folder, demo_warehouse, SPAN, source, pipeline=file) as made:
        yield made


def test_a_kill_between_any_two_steps_neither_loses_nor_doubles_a_decision(mortal: Cloud, kills: Path) -> None:
    assert len(SPAN.days()) == POINTS
    seen: list[dict[str, object]] = []
    stop = threading.Event()

    def follow() -> None:
        """Run clean when raw's go-signal names it, once per decision id, as a consumer must."""
        started: set[str] = set()
        while not stop.is_set():
            for phase in ("raw", "clean"):
                for signal in mortal.signals(phase, wait=0.2):
                    seen.append(dict(signal))
                    if phase == "raw" and str(signal["key"]) not in started:
                        started.add(str(signal["key"]))
                        mortal.complete("clean", "clean", date.fromisoformat(str(signal["run_date"])), len(started))
            relay(mortal)

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        for n, day in enumerate(SPAN.days()):
            for producer in PRODUCERS:
                mortal.complete("raw", producer, day, n)
        wait_for("every gate to open", lambda: len(opened(mortal)) == 2 * POINTS, 900)
        wait_for("every signal", lambda: len({signal["key"] for signal in seen}) == 2 * POINTS, 300)
    finally:
        stop.set()
        follower.join()
    died = [day for day in SPAN.days() if (kills / str(day)).stat().st_size >= int((kills / f"{day}.at").read_text())]
    assert len(died) == POINTS, "every point was reached"
    log = (kills.parent / "cloud/log").read_text()
    assert log.count("SIGKILL") >= 30 or log.count("was sent") >= 30, "and the process really died"
    assert {gate.generation for gate in opened(mortal).values()} == {1}
    bodies: dict[object, dict[str, object]] = {}
    for signal in seen:
        assert bodies.setdefault(signal["key"], signal) == signal, "one key means one thing"
    assert not mortal.store.pending(LATER, 1_000)
    assert not mortal.store.parked()


def opened(made: Cloud) -> dict[object, object]:
    return {key: gate for key, gate in made.gates(SPAN).items() if gate.state is GateState.OPEN}


def relay(made: Cloud) -> None:
    """The tick: send what a kill left unsent."""
    monitor(made).relay()


def monitor(made: Cloud) -> Monitor:
    if not hasattr(made, "ticking"):
        made.ticking = Wiring.from_env(made.environ).monitor  # type: ignore[attr-defined]
    return made.ticking  # type: ignore[attr-defined, no-any-return]
