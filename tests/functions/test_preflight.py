"""The preflight on the demo's pipeline: command and function give the same answers."""

import json
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from phasegate.app.pipeline_file import load

from tests.functions.test_phase_monitor import settings
from tests.serving import REPO, serving
from tests.watching import listening

DAY = "2013-02-09"


@dataclass
class Served:
    """The function at a URL, and the state that it reads."""

    address: str
    environ: dict[str, str]
    folder: Path

    def ask(self, method: str = "GET", body: bytes | None = None, **query: str) -> tuple[int, dict[str, Any]]:
        """Send a request; gives the status and the JSON of the answer."""
        address = f"{self.address}?{urllib.parse.urlencode(query)}" if query else self.address
        request = urllib.request.Request(address, body, {"content-type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the same state."""
        command = [str(Path(sys.executable).parent / "phasegate"), *args]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def served(demo_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("preflight")
    copy(demo_warehouse, folder / "warehouse.duckdb")
    environ = settings(folder, folder / "warehouse.duckdb")
    listening(folder / "state.sqlite", load(REPO / "shared/pipelines/flights.yaml"))
    with serving(folder, environ, REPO / "functions/preflight/main.py", target="preflight") as address:
        yield Served(address, environ, folder)


def test_a_premature_run_of_features_is_blocked_until_the_release(served: Served) -> None:
    """The demo's Saturday: a cron job starts features at 05:10, before clean is built."""
    refused = served.run("preflight", "features", DAY)
    assert refused.returncode == 1, refused.stderr
    assert refused.stdout.splitlines()[:4] == [
        "no-go: flights/features/2013-02-09",
        "  ✗ upstream   clean is waiting: no report received",
        "               once clean has run, and its tables pass",
        "               phasegate explain clean 2013-02-09 --pipeline flights",
    ]
    status, answer = served.ask(phase="features", date=DAY)
    assert (status, answer["go"]) == (200, False)
    assert [each for each in answer["reasons"] if each["word"] == "no"] == [
        {
            "topic": "upstream",
            "word": "no",
            "detail": "clean is waiting: no report received",
            "cure": "once clean has run, and its tables pass",
            "next": ["phasegate explain clean 2013-02-09 --pipeline flights"],
        }
    ]

    for phase, producer in (("raw", "flights_loader"), ("raw", "weather_loader"), ("clean", "clean")):
        assert served.run("preflight", "features", DAY).returncode == 1
        assert served.ask(phase="features", date=DAY)[1]["go"] is False
        served.run("complete", phase, DAY, "--producer", producer)

    let = served.run("preflight", "features", DAY)
    assert (let.returncode, let.stdout.splitlines()[0]) == (0, "go: flights/features/2013-02-09"), let.stdout
    status, answer = served.ask("POST", json.dumps({"phase": "features", "date": DAY}).encode())
    assert (status, answer["go"], answer["claim"]) == (200, True, None)
    assert json.loads(served.run("preflight", "features", DAY, "--format", "json").stdout).keys() == answer.keys()


def test_of_several_concurrent_jobs_one_may_start(served: Served) -> None:
    """raw has no upstream; each job claims the same loader."""

    def ask(n: int) -> tuple[int, dict[str, Any]]:
        body = {"phase": "raw", "date": "2013-02-12", "producer": "flights_loader", "claim": f"job-{n}", "lease": "1h"}
        return served.ask("POST", json.dumps(body).encode())

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert [status for status, _ in found] == [200] * 4
    (winner,) = [answer["claim"]["owner"] for _, answer in found if answer["go"]]
    late = served.run("preflight", "raw", "2013-02-12")
    assert late.returncode == 1
    command = f"phasegate preflight raw 2013-02-12 --pipeline flights --unclaim {winner}"
    assert command in late.stdout
    assert served.run(*command.split()[1:]).stdout == f"flights/raw/2013-02-12: the claim of {winner} has ended\n"
    assert served.run("preflight", "raw", "2013-02-12").returncode == 0


@pytest.mark.parametrize(
    ("method", "query", "body", "status", "said"),
    [
        ("GET", {}, None, 400, "phase: expected a phase, got nothing"),
        ("GET", {"phase": "features"}, None, 400, "date: expected a date like 2013-02-08, got nothing"),
        ("GET", {"phase": "enrch", "date": "TODAY"}, None, 400, 'phase: expected one of raw, clean, features, predictions, got "enrch"'),
        ("GET", {"phase": "features", "date": "2013-02-30"}, None, 400, "date: expected a date that exists"),
        ("GET", {"phase": "features", "date": "9999-12-31"}, None, 400, "date: expected a date from 1900-01-01 to"),
        ("GET", {"phase": "features", "date": DAY, "pipeline": "trains"}, None, 400, 'pipeline: expected one of flights, got "trains"'),
        ("GET", {"phase": "features", "date": DAY, "clam": "me"}, None, 400, 'unknown field "clam" (known: phase, date'),
        ("GET", {"phase": "features", "date": DAY, "claim": "me"}, None, 400, "claim: expected POST"),
        ("GET", {"phase": "features", "date": DAY, "lease": "1h"}, None, 400, "lease: expected a claim with it"),
        ("POST", {}, b'{"phase": "raw", "date": "2013-02-09", "claim": "me", "lease": "99d"}', 400, "lease: expected more than 0 and at most 7d"),
        ("POST", {}, b'{"phase": "raw", "date": "2013-02-09", "producer": "nobody"}', 400, "producer: expected one of flights_loader, weather_loader"),
        ("POST", {}, b'{"phase": ["raw"], "date": 20130209}', 400, "phase: expected text, got ['raw']"),
        ("POST", {}, b'{"phase": "raw", "date": "2013-02-09", "claim": "\\u001b[31m\\u202e"}', 400, "claim: expected a name"),
        ("POST", {}, b'{"phase": "\\ud800\\u0000", "date": "2013-02-09"}', 400, "phase: expected one of"),
        ("POST", {}, b"[]", 400, "expected a JSON object"),
        ("POST", {}, b"\xff\x00", 400, "or a JSON object with such fields"),
        ("POST", {}, b"[" * 9000, 400, "or a JSON object with such fields"),
        ("POST", {}, b" " * 20_000, 400, "expected at most 10,000 bytes"),
        ("POST", {"phase": "raw"}, b'{"phase": "raw", "date": "2013-02-09"}', 400, "given more than once: 'phase'"),
        ("GET", {"phase": "x" * 9000}, None, 400, "phase: expected one of raw, clean, features, predictions, got \"xxx"),
        ("DELETE", {}, None, 405, "ask with GET"),
    ],
)  # fmt: skip
def test_an_invalid_request_is_refused_with_its_faults(
    served: Served, method: str, query: dict[str, str], body: bytes | None, status: int, said: str
) -> None:
    found, answer = served.ask(method, body, **query)
    assert (found, answer["go"]) == (status, False)
    assert said in answer["error"]
    assert "Traceback" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["enrch", DAY], 2, 'phase: expected one of raw, clean, features, predictions, got "enrch"'),
        (["features", "TODAY"], 2, 'date: expected a date like 2013-02-08, got "TODAY"'),
        (["features", DAY, "--lease", "1h"], 2, "lease: expected a claim with it"),
        (["features", DAY, "--claim", "a", "--unclaim", "b"], 2, "either --claim or --unclaim"),
        (["features", DAY, "--state", "sqlite:/dev/null/x"], 3, "no state at /dev/null/x"),
    ],
)
def test_the_command_reports_wrong_arguments(served: Served, args: list[str], code: int, said: str) -> None:
    done = served.run("preflight", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


def test_on_a_date_without_a_run_there_is_nothing_to_do(served: Served) -> None:
    """In the warm-up, features lacks a week to look back on; outside its year the pipeline has no runs."""
    for day, said in (
        ("2013-01-03", "features does not run in warm_up"),
        ("2014-01-01", "the calendar has no run on 2014-01-01"),
    ):
        done = served.run("preflight", "features", day)
        assert (done.returncode, done.stdout.splitlines()[0]) == (5, f"off: flights/features/{day}")
        assert said in done.stdout
        assert served.ask(phase="features", date=day)[1]["status"] == "off"


def test_a_warehouse_that_does_not_answer_is_a_no_go(served: Served) -> None:
    done = served.run("preflight", "raw", DAY, "--warehouse", f"duckdb:{served.folder / 'gone.duckdb'}")
    assert done.returncode == 3, "nothing is wrong for sure"
    assert "  ? calendar   whether a run is expected could not be measured: no warehouse at" in done.stdout


def test_a_state_store_that_cannot_be_read_is_a_no_go_without_a_traceback(demo_warehouse: Path, tmp_path: Path) -> None:
    with serving(
        tmp_path, settings(tmp_path, demo_warehouse), REPO / "functions/preflight/main.py", target="preflight"
    ) as address:
        function = Served(address, {}, tmp_path)
        assert function.ask(phase="raw", date=DAY)[0] == 200
        for name in ("state.sqlite", "state.sqlite-wal", "state.sqlite-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "state.sqlite").write_bytes(b"no database")
        status, answer = function.ask(phase="raw", date=DAY)
        assert (status, answer["go"]) == (503, False)
        assert answer["error"].startswith("could not be checked: state at ")
