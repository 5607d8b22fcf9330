"""`phasegate.preflight`: a job continues only when it may start."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import phasegate
import pytest
import stamina
from phasegate.adapters.preflight_client import PreflightClient
from phasegate.adapters.state.sqlite import SQLiteStore
from phasegate.app.pipeline_file import load
from phasegate.core.gates.completion import RunKey
from phasegate.core.gates.gate import Gate, GateState
from phasegate.core.gates.preflight import Topic
from phasegate.errors import AdapterError, ConfigError
from phasegate.ports import Change

from tests.serving import REPO, free_port, serving
from tests.watching import listening

DAY = date(2026, 3, 2)
FILE = """
pipeline: shop
calendar: {from: 2026-01-01}
phases:
  raw:
    outputs: {raw.orders: {date: d}}
  clean:
    after: [raw]
    needs: {raw.rates: {date: d, checks: [{row_count: {at_least: 2}}]}}
    outputs: {clean.orders: {date: d}}
"""
GO = {
    "go": True,
    "pipeline": "shop",
    "phase": "clean",
    "date": str(DAY),
    "at": "2026-03-03T05:00:00+00:00",
    "reasons": [{"topic": "running", "word": "yes", "detail": "nothing else", "cure": None, "next": []}],
    "claim": None,
}


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """The usual number of attempts, without the pauses."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The settings of a job on one machine."""
    (tmp_path / "shop.yaml").write_text(FILE)
    (tmp_path / "tables/raw").mkdir(parents=True)
    listening(tmp_path / "state.sqlite", load(tmp_path / "shop.yaml"))
    (tmp_path / "tables/raw/rates.csv").write_text(f"d,rate\n{DAY},1\n{DAY},2\n")
    return {
        "PHASEGATE_PIPELINES": str(tmp_path / "shop.yaml"),
        "PHASEGATE_WAREHOUSE": f"duckdb:{tmp_path / 'tables'}",
        "PHASEGATE_STATE": f"sqlite:{tmp_path / 'state.sqlite'}",
        "PHASEGATE_BUS": "local:",
    }


def release(environ: dict[str, str]) -> None:
    store = SQLiteStore(environ["PHASEGATE_STATE"].partition(":")[2])
    store.commit(Change(Gate(RunKey("shop", "raw", DAY), state=GateState.OPEN, generation=1)))


def test_a_job_continues_only_when_it_may_start(environ: dict[str, str]) -> None:
    with pytest.raises(phasegate.NotNow) as caught:
        phasegate.preflight("clean", run_date=DAY, environ=environ)
    assert str(caught.value) == (
        "shop/clean/2026-03-02 must not start now: raw is waiting: no report received (once raw has run, and its tables pass)"
    )
    assert [point.topic for point in caught.value.clearance.objections] == [Topic.UPSTREAM]
    release(environ)
    assert phasegate.preflight("clean", run_date=str(DAY), environ=environ).go


def test_needed_tables_must_have_rows(environ: dict[str, str], tmp_path: Path) -> None:
    release(environ)
    (tmp_path / "tables/raw/rates.csv").write_text(f"d,rate\n{DAY},1\n")
    with pytest.raises(
        phasegate.NotNow, match=r"table raw.rates has 1 row, expected at least 2 \(once raw.rates meets the needs of clean"
    ):
        phasegate.preflight("clean", run_date=DAY, environ=environ)
    (tmp_path / "tables/raw/rates.csv").unlink()
    with pytest.raises(phasegate.NotNow, match=r"raw.rates could not be measured"):
        phasegate.preflight("clean", run_date=DAY, environ=environ)


def test_the_function_gives_the_same_answer(environ: dict[str, str], tmp_path: Path) -> None:
    """The job only knows the URL."""
    job = environ | {"PHASEGATE_PIPELINES": "", "PHASEGATE_STATE": "", "PHASEGATE_WAREHOUSE": ""}
    source = REPO / "functions/preflight/main.py"
    with serving(tmp_path, environ, source, target="preflight") as address:
        job["PHASEGATE_PREFLIGHT"] = address
        with pytest.raises(phasegate.NotNow) as far:
            phasegate.preflight("clean", run_date=DAY, environ=job)
        with pytest.raises(phasegate.NotNow) as near:
            phasegate.preflight("clean", run_date=DAY, environ=environ)
        assert str(far.value) == str(near.value)
        assert far.value.clearance.points == near.value.clearance.points
        release(environ)
        found = phasegate.preflight("clean", run_date=DAY, claim="run-1", lease="30m", environ=job)
        assert found.claim is not None
        assert found.claim.owner == "run-1"
        assert phasegate.preflight("clean", run_date=DAY, claim="run-1", environ=job).go, "a step that is tried again"
        with pytest.raises(phasegate.NotNow, match="run-1 has been running shop/clean/2026-03-02 since"):
            phasegate.preflight("clean", run_date=DAY, claim="run-2", environ=environ)
        with pytest.raises(ConfigError, match='phase: expected one of raw, clean, got "cleen"'):
            phasegate.preflight("cleen", run_date=DAY, environ=job)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"phase": "cleen"}, 'phase: expected one of raw, clean, got "cleen"'),
        ({"run_date": "TODAY"}, "run_date: expected a date like 2013-02-08"),
        ({"run_date": datetime(2026, 3, 2)}, "run_date: expected a date, got the time"),
        ({"pipeline": "trains"}, "pipeline: expected one of shop"),
        ({"lease": "1h"}, "lease: expected a claim with it"),
        ({"claim": "a", "lease": "soon"}, "lease: expected a duration"),
        ({"address": "preflight.example.com"}, "PHASEGATE_PREFLIGHT: expected an address"),
        ({"address": "https://me:secret@example.com"}, "PHASEGATE_PREFLIGHT: expected an address"),
    ],
)
def test_a_wrong_argument_stops_the_job(environ: dict[str, str], given: dict[str, Any], said: str) -> None:
    asked = {"phase": "clean", "run_date": DAY, **given}
    if address := asked.pop("address", None):
        environ["PHASEGATE_PREFLIGHT"] = address
    with pytest.raises(ConfigError, match=said):
        phasegate.preflight(asked.pop("phase"), environ=environ, **asked)


def test_a_job_without_settings_is_refused(tmp_path: Path) -> None:
    code = "import phasegate; phasegate.preflight('raw', run_date='2026-03-02')"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PHASEGATE_")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConfigError: pipelines: expected a value" in done.stderr


@contextmanager
def answering(*answers: tuple[int, bytes], **headers: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in turn, the last one forever; and the requests it got."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append({"body": json.loads(body), "authorization": self.headers.get("authorization")})
            status, answer = answers[min(len(asked), len(answers)) - 1]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def encoded(**changed: Any) -> bytes:
    return json.dumps({**GO, **changed}).encode()


def test_a_transient_error_of_the_function_is_retried() -> None:
    with answering((503, b'{"go": false, "error": "state"}'), (500, b"oops"), (200, encoded())) as (address, asked):
        assert phasegate.preflight("clean", run_date=DAY, environ={"PHASEGATE_PREFLIGHT": address}).go
        assert [each["body"] for each in asked] == [{"phase": "clean", "date": "2026-03-02"}] * 3


@pytest.mark.parametrize(
    ("status", "body", "said", "times"),
    [
        (
            503,
            b'{"go": false, "error": "could not be found out: state"}',
            "answered with an error: could not be found out: state",
            5,
        ),
        (500, b"<html>", "answered with an error: status 500", 5),
        (403, b"<html>Forbidden", "status 403; the caller needs roles/run.invoker", 1),
        (404, b"", "status 404", 1),
        (302, b"", "status 302", 1),
        (200, b"", "status 200", 1),
        (200, b"{}", "did not send a valid preflight answer", 1),
        (200, b'{"go": true}', "did not send a valid preflight answer", 1),
        (200, b"true", "status 200", 1),
        (200, encoded(go="true"), "did not send a valid preflight answer", 1),
        (200, encoded(reasons=[]), "did not send a valid preflight answer", 1),
        (200, encoded(reasons=[{**GO["reasons"][0], "word": "no"}]), "the reasons say otherwise", 1),  # type: ignore[index]
        (200, encoded(reasons=[{**GO["reasons"][0], "word": "perhaps"}]), "did not send a valid preflight answer", 1),  # type: ignore[index]
        (200, encoded(phase="raw"), "answered about shop/raw/2026-03-02, not about the run in the request", 1),
        (200, encoded(date="2026-03-03"), "not about the run in the request", 1),
    ],
)
def test_a_malformed_answer_is_never_a_go(status: int, body: bytes, said: str, times: int) -> None:
    with answering((status, body), location="http://127.0.0.1:1/elsewhere") as (address, asked):
        with pytest.raises(AdapterError, match=said):
            phasegate.preflight("clean", run_date=DAY, environ={"PHASEGATE_PREFLIGHT": address})
        assert len(asked) >= times
        assert (len(asked) == 1) is (times == 1)


def test_a_refused_connection_is_never_a_go() -> None:
    with pytest.raises(AdapterError, match="does not answer"):
        phasegate.preflight("clean", run_date=DAY, environ={"PHASEGATE_PREFLIGHT": f"http://127.0.0.1:{free_port()}"})


def test_no_token_is_sent_without_tls() -> None:
    with answering((200, encoded())) as (address, asked):
        PreflightClient(address, token=lambda _: "secret").ask({"phase": "clean"})
        assert asked[0]["authorization"] is None
    told: list[str] = []

    def token(audience: str) -> str:
        told.append(audience)
        return "secret"

    with pytest.raises(AdapterError):
        PreflightClient(f"https://127.0.0.1:{(port := free_port())}/", token=token).ask({})
    assert told == [f"https://127.0.0.1:{port}"], "for the service, whatever the path"
