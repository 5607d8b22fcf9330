"""Firestore, BigQuery or Pub/Sub stops while messages keep coming; afterwards nothing is lost and nothing is doubled."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from phasegate.app.pipeline_file import load
from phasegate.app.wiring import Wiring
from phasegate.core.field_syntax import Span
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import GateState, Reason

from tests.cloud import Cloud, cloud, wait_for
from tests.door import Door
from tests.serving import REPO

PIPELINE = load(REPO / "shared/pipelines/flights.yaml")
SPAN = Span(date(2013, 2, 13), date(2013, 2, 16))
FIRST, UNMEASURED, UNSTORED, UNSENT = SPAN.days()
"""A good date, and one for each service that stops."""
RAW = "flights/raw"
LATER = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def doors(pubsub_emulator: str, firestore_emulator: str, bigquery_emulator: str) -> Iterator[Mapping[str, Door]]:
    """Between the function and each emulator."""
    hosts = {
        "PUBSUB_EMULATOR_HOST": pubsub_emulator,
        "FIRESTORE_EMULATOR_HOST": firestore_emulator,
        "BIGQUERY_EMULATOR_HOST": bigquery_emulator,
    }
    with ExitStack() as stack:
        yield {name: stack.enter_context(Door(host)) for name, host in hosts.items()}


@pytest.fixture(scope="module")
def watched(
    doors: Mapping[str, Door],
    pubsub_emulator: str,
    firestore_emulator: str,
    bigquery_emulator: str,
    demo_warehouse: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """The test itself bypasses the doors; Pub/Sub reaches the function without one."""
    hosts = {
        "PUBSUB_EMULATOR_HOST": pubsub_emulator,
        "FIRESTORE_EMULATOR_HOST": firestore_emulator,
        "BIGQUERY_EMULATOR_HOST": bigquery_emulator,
    }
    seen = {name: door.host for name, door in doors.items()}
    with cloud(hosts, "outages", tmp_path_factory.mktemp("outage"), demo_warehouse, SPAN, seen=seen) as made:
        yield made


def test_an_outage_of_a_service_delays_and_loses_nothing(watched: Cloud, doors: Mapping[str, Door]) -> None:
    log = watched.folder / "log"

    raw_is_done(watched, FIRST)
    wait_for("the first gate", lambda: state(watched, FIRST) == (GateState.OPEN, Reason.PASSED))

    doors["BIGQUERY_EMULATOR_HOST"].shut()
    raw_is_done(watched, UNMEASURED)
    wait_for("a gate that can't be measured", lambda: state(watched, UNMEASURED) == (GateState.UNVERIFIED, Reason.NOT_MEASURED))
    doors["BIGQUERY_EMULATOR_HOST"].open()

    doors["FIRESTORE_EMULATOR_HOST"].shut()
    raw_is_done(watched, UNSTORED)
    wait_for("messages that are refused", lambda: log.read_text().count("not_handled") >= 2)
    assert state(watched, UNSTORED) is None
    doors["FIRESTORE_EMULATOR_HOST"].open()
    wait_for("their redelivery", lambda: state(watched, UNSTORED) == (GateState.OPEN, Reason.PASSED))

    doors["PUBSUB_EMULATOR_HOST"].shut()
    raw_is_done(watched, UNSENT)
    wait_for("a stored decision", lambda: state(watched, UNSENT) == (GateState.OPEN, Reason.PASSED))
    wait_for(
        "its signal and its row to be given up for now", lambda: tried(watched) >= {f"{RAW}/{UNSENT}/g1", f"{RAW}/{UNSENT}/v2"}
    )
    doors["PUBSUB_EMULATOR_HOST"].open()

    assert state(watched, UNMEASURED) == (GateState.UNVERIFIED, Reason.NOT_MEASURED), "it has not been rechecked yet"
    monitor = Wiring.from_env(watched.environ).monitor
    monitor.recheck(PIPELINE, [RunKey("flights", "raw", UNMEASURED)], {})  # as the tick does
    wait_for("the outbox to empty", lambda: monitor.relay() == 0 and not watched.store.pending(LATER, 100))
    assert not watched.store.parked()
    assert {state(watched, day) for day in SPAN.days()} == {(GateState.OPEN, Reason.PASSED)}
    signals = Counter(str(signal["key"]) for signal in watched.signals("raw", wait=3))
    assert set(signals) == {f"{RAW}/{day}/g1" for day in SPAN.days()}
    assert set(signals.values()) == {1}, "no answer was lost here, so nothing was even sent twice"
    rows = [json.loads(message.data) for message in watched.taken("events", wait=3)]
    assert {row["key"] for row in rows} == {
        f"{gate.run}/v{n}" for gate in watched.gates(SPAN).values() for n in range(1, gate.version + 1)
    }


def raw_is_done(watched: Cloud, day: date) -> None:
    """Both producers report, one after the other so that the second judges."""
    for n, producer in enumerate(PIPELINE.producers("raw")):
        watched.complete("raw", producer, day, n)


def tried(watched: Cloud) -> set[str]:
    """The messages that the function could not send, and that wait for the tick."""
    return {entry.message.key for entry in watched.store.pending(LATER, 100) if entry.attempts}


def state(watched: Cloud, day: date) -> tuple[GateState, Reason] | None:
    gate = watched.gates(SPAN).get((day, "raw"))
    return (gate.state, gate.reason) if gate else None
