"""Settings reach the services."""

import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from phasegate.app.settings import Settings
from phasegate.app.wiring import Wiring
from phasegate.core.checks.metrics import Query, Rows, TableSource
from phasegate.core.field_syntax import Span

from tests.adapters.warehouse.test_bigquery import done, rows, table

DAYS = Span(date(2013, 6, 1), date(2013, 6, 30))


class Service(BaseHTTPRequestHandler):
    """BigQuery with one table in the EU; records the jobs that it receives."""

    jobs: list[dict[str, Any]]

    def do_GET(self) -> None:
        """Describe the table, or return a job's rows."""
        self._answer(table() if "/tables/" in self.path else rows(self.path.partition("?")[0], 7)[1])

    def do_POST(self) -> None:
        """Run a job."""
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.jobs.append(job)
        self._answer(done(job)[1])

    def _answer(self, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The jobs that BigQuery receives."""
    Service.jobs = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"127.0.0.1:{server.server_port}")
        yield Service.jobs
        server.shutdown()


@pytest.mark.parametrize(
    ("where", "variables", "location", "most"),
    [
        ("test-project", {}, "EU", 100 * 2**30),
        ("test-project/us-east1", {"PHASEGATE_MAXIMUM_BYTES_BILLED": "20000000"}, "us-east1", 20_000_000),
    ],
)
def test_bigquery_jobs_use_the_location_and_limit_of_the_settings(
    jobs: list[dict[str, Any]], where: str, variables: dict[str, str], location: str, most: int
) -> None:
    wiring = Wiring(Settings.resolve({"warehouse": f"bigquery:{where}"}, variables, Path()))
    [answer] = wiring.warehouse.measure([Query(TableSource("raw.flights", "d"), (Rows(),))], DAYS)
    assert answer.numbers
    [job] = jobs
    assert job["jobReference"] == {"projectId": "test-project", "jobId": job["jobReference"]["jobId"], "location": location}
    assert job["configuration"]["query"]["maximumBytesBilled"] == str(most)
