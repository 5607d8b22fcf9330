"""The function `phase_monitor`, as functions-framework serves it: it answers only once the effect is stored."""

import base64
import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from shutil import copy

import pytest
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.pipeline_file import load
from phasegate.core.field_syntax import Span
from phasegate.core.gates.gate import GateState

from tests.serving import PHASE_MONITOR, REPO, serving
from tests.watching import listening

DAY = date(2013, 3, 5)
FLIGHTS = load(REPO / "shared/pipelines/flights.yaml")


@dataclass
class Served:
    """The function at a URL, and the state that it writes."""

    address: str
    folder: Path

    def post(self, body: bytes, **headers: str) -> int:
        """Send a request; gives the status."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.address, body, given, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def gate(self, phase: str, day: date = DAY) -> GateState | None:
        """The stored state of a gate."""
        gates = SQLiteStore(str(self.folder / "state.sqlite")).load("flights", Span(day, day)).get(day, {})
        return gates[phase].state if phase in gates else None

    def rejected(self) -> list[str]:
        """The reasons of rejected messages, newest first."""
        return [r.reason for r in SQLiteStore(str(self.folder / "state.sqlite")).rejected(100)]


def settings(folder: Path, warehouse: Path) -> dict[str, str]:
    return {
        "PHASEGATE_PIPELINES": str(REPO / "shared/pipelines/flights.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{warehouse}",
        "PHASEGATE_STATE": f"sqlite:{folder / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }


@pytest.fixture(scope="module")
def served(demo_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("function")
    copy(demo_warehouse, folder / "warehouse.duckdb")
    listening(folder / "state.sqlite", FLIGHTS)
    with serving(folder, settings(folder, folder / "warehouse.duckdb")) as address:
        yield Served(address, folder)


def completion(producer: str, day: date = DAY, **more: object) -> dict[str, object]:
    return {"pipeline": "flights", "producer": producer, "run_date": str(day), "status": "done", **more}


def wrapped(body: object, message_id: str = "1", **attributes: str) -> bytes:
    data = base64.b64encode(json.dumps(body).encode()).decode() if body is not None else ""
    message = {"data": data, "messageId": message_id, "publishTime": "2013-03-06T10:22:00.123456789Z", "attributes": attributes}
    return json.dumps({"message": message, "subscription": "projects/p/subscriptions/s"}).encode()


def test_a_wrapped_push_is_stored_before_it_is_acknowledged(served: Served) -> None:
    assert served.post(wrapped(completion("flights_loader"), "w1"), content_type="application/json") == 204
    assert served.gate("raw") is GateState.OVERDUE, "2013 is past due"
    assert served.post(wrapped(completion("weather_loader"), "w2"), content_type="application/json") == 204
    assert served.gate("raw") is GateState.OPEN


@pytest.mark.parametrize(
    ("day", "headers", "shape"),
    [
        (date(2013, 3, 6), {"ce_id": "e1", "ce_type": "google.cloud.pubsub.topic.v1.messagePublished", "ce_specversion": "1.0",
                            "ce_source": "//pubsub", "content_type": "application/json"}, "binary"),
        (date(2013, 3, 7), {"content_type": "application/cloudevents+json"}, "structured"),
        (date(2013, 3, 8), {"content_type": "application/x-www-form-urlencoded", "x_goog_pubsub_message_id": "u1"}, "unwrapped"),
        (date(2013, 3, 9), {"content_type": "application/json"}, "attributes"),
        (date(2013, 3, 10), {"content_type": "application/json"}, "no data key"),
    ],
)  # fmt: skip
def test_every_envelope_of_the_platform_is_read(served: Served, day: date, headers: dict[str, str], shape: str) -> None:
    for producer in ("flights_loader", "weather_loader"):
        body = completion(producer, day)
        push = json.loads(wrapped(body, f"{shape}-{producer}"))
        texts = {name: str(value) for name, value in body.items()}
        bare = {"messageId": f"{shape}-{producer}", "attributes": texts}
        sent = {
            "binary": push,
            "structured": {"specversion": "1.0", "id": producer, "source": "//pubsub", "type": "t", "data": push},
            "unwrapped": body,
            "attributes": {"message": {**bare, "data": ""}, "subscription": "s"},
            "no data key": {"message": bare, "subscription": "s"},
        }[shape]
        given = {**headers, "x_goog_pubsub_message_id": f"{shape}-{producer}"} if shape == "unwrapped" else headers
        assert served.post(json.dumps(sent).encode(), **given) == 204
    assert served.gate("raw", day) is GateState.OPEN


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x00\xff garbage", "not JSON"),
        (b"{}", "neither phase nor producer"),
        (b"", "an empty message"),
        (
            wrapped(completion("flights_loader") | {"run_date": "TODAY"}, "t1"),
            'run_date must be a date like 2013-02-08, got "TODAY"',
        ),
        (wrapped(completion("nobody"), "t2"), 'unknown producer "nobody"'),
        (wrapped(completion("flights_loader") | {"status": "splendid"}, "t3"), "status must be one of"),
        (wrapped(completion("flights_loader") | {"run_date": "2999-01-01"}, "t4"), "too far in the future"),
    ],
)
def test_an_invalid_message_is_stored_and_acknowledged(served: Served, body: bytes, reason: str) -> None:
    assert served.post(body, content_type="application/json") == 204
    assert reason in served.rejected()[0]


def test_a_get_is_refused(served: Served) -> None:
    with pytest.raises(urllib.error.HTTPError, match="405"):
        urllib.request.urlopen(served.address, timeout=10)


def test_a_failing_store_gives_an_error_so_that_the_message_is_redelivered(demo_warehouse: Path, tmp_path: Path) -> None:
    listening(tmp_path / "state.sqlite", FLIGHTS)
    with serving(tmp_path, settings(tmp_path, demo_warehouse)) as address:
        function = Served(address, tmp_path)
        assert function.post(wrapped(completion("flights_loader"), "s1")) == 204
        with closing(sqlite3.connect(tmp_path / "state.sqlite")) as connection:
            connection.execute("DROP TABLE outbox")
        assert function.post(wrapped(completion("weather_loader"), "s2")) == 500
        assert function.gate("raw") is GateState.OVERDUE, "nothing of it was stored"


def test_wrong_settings_stop_the_start_and_all_are_reported(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "PHASEGATE_WAREHOUSE": "oracle:w", "PHASEGATE_BUS": "kafka:", "PHASEGATE_STATE": "x"}
    done = subprocess.run(
        [sys.executable, PHASE_MONITOR], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert all(f"PHASEGATE_{name}: expected" in done.stderr for name in ("WAREHOUSE", "STATE", "BUS"))
